"""Tenants' own tools: called once, and never where they may not."""

from tests.defences.defence import Change, Defence

TURN = "tests/turn/test_own_tools.py"
APPROVALS = "tests/turn/test_tool_approvals.py"
API = "tests/api/test_tools.py"
DELIVERED = "tests/deliveries/test_approved_tools.py"
UNIT = "tests/unit/test_tools.py"
CALLS = "db/tool_calls.sql"
OWN = "handlers/agent/own_tools.py"

DEFENCES = (
    Defence(
        "tools: one that is renamed is the same",
        "that a call is known by its tool's id too",
        (
            Change(
                OWN,
                "one.tool_name == tool.name or one.tool_id == tool.id",
                "one.tool_name == tool.name",
            ),
        ),
        (f"{TURN}::test_a_tool_that_is_renamed_meanwhile_is_the_same_tool",),
    ),
    Defence(
        "tools: what breaks off is not done",
        "the look at how an answer ended",
        (
            Change(
                "handlers/tools/outcome.py",
                "outcome.broke_off is not None:  # 200",
                "False:  # 200",
            ),
        ),
        ("tests/turn/test_cut_answers.py::test_what_breaks_off_or_is_packed_is_not_certain",),
    ),
    Defence(
        "tools: who lost the lease calls nothing",
        "the look at the lease before a call is written down",
        (
            Change(
                "handlers/tools/ledger.py",
                "        if not await hold_lease(conn, by):\n            raise LostLease\n",
            ),
        ),
        (f"{TURN}::test_two_workers_at_one_conversation_call_once",),
    ),
    Defence(
        "tools: the same call for the same inputs is one",
        "the unique key of a turn's calls, and what rests on it",
        (
            Change(
                "db/migrations/0106_tools.sql",
                "CREATE UNIQUE INDEX tool_calls_of_turn\n",
                "CREATE INDEX tool_calls_of_turn\n",
            ),
            Change(
                CALLS,
                "    ON CONFLICT (user_id, conversation_id, input_seq, tool_name, arguments_hash)\n"
                "       WHERE input_seq IS NOT NULL DO NOTHING\n",
            ),
        ),
        (
            f"{TURN}::test_a_turn_that_dies_after_the_call_calls_once",
            f"{TURN}::test_who_dies_with_the_call_under_way",
        ),
    ),
    Defence(
        "tools: a turn that is repeated does nothing else",
        "the look at what was called for the same inputs",
        (Change(OWN, "return self._called_otherwise(tool, _hash(text))", "return None"),),
        (f"{TURN}::test_a_turn_that_is_repeated_calls_nothing_else",),
    ),
    Defence(
        "tools: what was done and not told is not done again",
        "the look at what was done for inputs before",
        (Change(OWN, "if (untold := self._untold(*key)) is not None:", "if untold := None:"),),
        (f"{TURN}::test_what_was_done_is_not_done_again_where_its_answer_was_put_off",),
    ),
    Defence(
        "tools: an answer that reached nobody told nobody",
        "the word that what it told was not told",
        (
            Change(
                "handlers/sends/ending.py",
                "        await tell_again(conn, user_id, conversations, gone, came)\n",
            ),
        ),
        (f"{TURN}::test_what_was_done_is_not_done_again_where_its_answer_was_put_off",),
    ),
    Defence(
        "tools: a try that is over says nothing of the next",
        "the number of the try in settle_call()",
        (Change(CALLS, "(tries = $3 OR $4 = 'done')", "($3::int IS NOT NULL)"),),
        (f"{TURN}::test_of_two_tries_the_one_that_counts",),
    ),
    Defence(
        "tools: a deleted chatbot's calls are not shown as due",
        "the look at deletions in due_tool_calls()",
        (
            Change(
                "db/migrations/0140_due_calls_of_the_living.sql",
                "WHERE g.user_id = t.user_id AND",
                "WHERE false AND",
            ),
        ),
        (f"{DELIVERED}::test_a_chatbot_that_is_being_deleted_holds_up_no_other",),
    ),
    Defence(
        "tools: what is done once is not repeated",
        "the tool's word for what may be",
        (Change(CALLS, "effect <> 'once' AND tries < $3\n", "tries < $3\n"),),
        (f"{TURN}::test_who_dies_with_the_call_under_way",),
    ),
    Defence(
        "tools: what nobody knows is not said to be done",
        "that a server that failed may have done it",
        (
            Change(
                "handlers/tools/outcome.py",
                'CallEnd("unknown", status, "server_error"',
                'CallEnd("done", status, "server_error"',
            ),
        ),
        (f"{TURN}::test_what_is_not_certain_is_not_said",),
    ),
    Defence(
        "tools: a call that was approved is taken once",
        "that it is due when it is taken",
        (
            Change(
                CALLS,
                "     WHERE user_id = $1 AND id = $2 AND status = 'due'\n",
                "     WHERE user_id = $1 AND id = $2\n",
            ),
        ),
        (f"{APPROVALS}::test_who_approves_at_once_and_who_calls_at_once_do_it_once",),
    ),
    Defence(
        "tools: a denial calls nothing",
        "what was decided",
        (
            Change(
                CALLS,
                "CASE WHEN $3 THEN 'due' ELSE 'dropped' END, due_at",
                "CASE WHEN $3 THEN 'due' ELSE 'due' END, due_at",
            ),
        ),
        (f"{APPROVALS}::test_a_denial_calls_nothing",),
    ),
    Defence(
        "tools: what a tool only repeats is no source",
        "that the model's own words are taken out of a result",
        (
            Change(
                "handlers/agent/evidence.py",
                "        yield without_echoes(result.text, given)\n",
                "        yield result.text\n",
            ),
        ),
        (f"{TURN}::test_what_a_tool_only_repeats_is_no_source",),
    ),
    Defence(
        "tools: nothing is done for who asked nothing",
        "the look whether a customer waits",
        (
            Change(
                OWN,
                '        if tool.effect != "none" and not self.customer_waits:\n'
                "            return NOT_ASKED\n",
            ),
        ),
        (f"{TURN}::test_nothing_is_done_for_who_asked_nothing",),
    ),
    Defence(
        "tools: a schema looks nothing up and tries nothing for ever",
        "the list of what a schema may have",
        (
            Change(
                "handlers/rules/tools.py",
                "        if keyword not in _KEYWORDS:\n",
                "        if False:\n",
            ),
        ),
        (f"{UNIT}::test_a_schema_that_is_refused",),
    ),
    Defence(
        "tools: a URL is looked at when it is given",
        "the guard's word for it",
        (
            Change(
                "ingress/api/resources/tools.py",
                "    if detail is not None:\n        raise wrong(detail)\n    return given\n\n\n"
                "def _named",
                "    return given\n\n\ndef _named",
            ),
        ),
        (f"{API}::test_what_is_wrong_is_told",),
    ),
    Defence(
        "tools: a chatbot has so many, whoever makes them at once",
        "the lock before they are counted",
        (
            Change(
                "handlers/tools/making.py",
                "    await lock_tools(conn, user_id, chatbot_id)\n",
            ),
        ),
        (f"{API}::test_no_more_than_there_may_be_whoever_makes_them_at_once",),
    ),
)
