"""Answers: what they are held against, and what is promised to who stops."""

from tests.defences.defence import Change, Defence

CHECKS = "tests/unit/test_checks.py"
UNHEARD = "tests/turn/test_laundering.py"
DOCUMENTS = "tests/unit/test_documents.py"
CHOICES = "tests/recording/test_choices.py"

DEFENCES = (
    Defence(
        "what comes while nobody asks ends a connection",
        "that it is no answer to the next request",
        (
            Change(
                "handlers/outbound/kept.py",
                "            protocol.is_asked = False\n",
                "            pass\n",
            ),
        ),
        ("tests/turn/test_model_client.py::test_a_second_answer_is_nobody_else_s",),
    ),
    Defence(
        "an answer is read as it is seen",
        "that marks and what is invisible are not there",
        (Change("handlers/rules/seen.py", 'b"\\x01"', 'b"\\x00"'),),
        (f"{CHECKS}::test_an_amount_is_read_as_it_is_seen",),
    ),
    Defence(
        "what stands beside a call was never heard",
        "that it is no source",
        (
            Change(
                "handlers/agent/evidence.py",
                "if n < begun and not _is_call(message):",
                "if n < begun:",
            ),
        ),
        (f"{UNHEARD}::test_what_stands_beside_a_call_is_never_heard",),
    ),
    Defence(
        "what nobody approved is no source",
        "that details of a request are only told by an approval",
        (
            Change(
                "handlers/agent/evidence.py",
                'if event.get("status") == "approved":',
                'if event.get("status"):',
            ),
        ),
        (f"{UNHEARD}::test_what_was_not_granted_is_no_source",),
    ),
    Defence(
        "a tool's error is no source",
        "that it quotes what the model gave",
        (
            Change(
                "handlers/agent/evidence.py",
                ' or result.text.startswith("error:")',
                "",
            ),
        ),
        (f"{UNHEARD}::test_a_sum_of_nothing_is_no_source",),
    ),
    Defence(
        "what lowers a price is the business's word",
        "that a rate is told, and not by the customer",
        (
            Change(
                "handlers/checks/told.py",
                "            and (not is_part or self._is_told_part(total, prices))\n",
                "",
            ),
        ),
        (
            f"{CHECKS}::test_what_lowers_a_price_is_the_business_s_word",
            f"{UNHEARD}::test_a_discount_that_the_customer_names_makes_no_price",
        ),
    ),
    Defence(
        "an edit to STOP is one",
        "that edits are looked at before the conversations are locked, and after",
        (
            Change(
                "handlers/ingest/changes.py",
                'if choice_of(text, writer.opt_out_words) == "stop":',
                "if False:",
            ),
        ),
        (f"{CHOICES}::test_an_edit_that_leaves_nothing_but_stop_is_one",),
    ),
    Defence(
        "no stop is confirmed that no row has",
        "the contact's choice in what a turn takes for one",
        (
            Change(
                "handlers/turns/inputs.py",
                "            if choice == context.marketing_choice and (\n"
                '                choice == "stop" or row.sent_at == context.marketing_choice_at\n'
                "            ):\n",
                '            if choice == "stop":\n',
            ),
        ),
        ("tests/turn/test_care.py::test_what_was_not_taken_down_is_not_confirmed",),
    ),
    Defence(
        "a tag that does not end is not read again and again",
        "how much of one is waited for",
        (Change("handlers/documents/html.py", "OPEN_CHARS = 1024 * 1024", "OPEN_CHARS = 2**30"),),
        (
            f"{DOCUMENTS}::test_a_tag_that_does_not_end_is_refused_before_it_is_read_again_and_again",
        ),
    ),
)
