"""Is each defence of the product missed by a test when it is gone? `make defences` says.

Each is taken out of a copy of the checkout, and the tests that are meant to notice run there.
"""
