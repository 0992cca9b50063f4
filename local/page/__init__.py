"""A page like a phone: one writes as a customer, and sees beside it what the product did.

`chats` reads what is on the phone from the simulator's journal, `writing` is what a customer sends,
`files` what they send it in. `tenant` asks the product's API, `record` reads what that does not
tell, `program` is what the tenant's own program got, `lies` is what the outside world can do to it.
`server` puts them on a page; `phone` is what they share.
"""
