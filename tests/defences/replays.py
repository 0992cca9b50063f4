"""The built-in answerer, cases of conversations, replays."""

from tests.defences.defence import Change, Defence

OFFLINE = "tests/agent/test_offline.py"
CASES = "tests/evals/test_cases.py"
REPLAY = "tests/evals/test_replay.py"

DEFENCES = (
    Defence(
        "offline: a row shares what is asked, and not only how",
        "the look at the words that say something",
        (
            Change(
                "handlers/agent/lookup.py",
                "for row, s in shares.items() if about.get(row, 0.0) >= TELLING_BAR]",
                "for row, s in shares.items() if about.get(row, 0.0) >= 0]",
            ),
        ),
        (f"{OFFLINE}::test_what_no_row_answers_is_left_alone",),
    ),
    Defence(
        "offline: a follow-up repeats no row that does not answer it",
        "that the row shares what the follow-up says",
        (
            Change(
                "handlers/agent/lookup.py",
                "if share >= OFFLINE_BAR and of_this.get(row, 0.0) >= least",
                "if share >= OFFLINE_BAR and least >= 0",
            ),
        ),
        (f"{OFFLINE}::test_a_follow_up_that_no_row_answers_is_left_alone",),
    ),
    Defence(
        "case: what cannot be seen is written by its number",
        "the escape of what is not printable",
        (
            Change(
                "handlers/evals/writing.py",
                "if char.isprintable() or char == _JOINER:",
                "if char >= ' ' or char == _JOINER:",
            ),
        ),
        (f"{CASES}::test_a_text_is_read_back_as_it_was",),
    ),
    Defence(
        "replay: no row is left of it",
        "that the run which held its tokens goes",
        (
            Change(
                "handlers/evals/replaying.py",
                "            await drop_eval(conn, user_id, run.id)\n",
                "            assert drop_eval is not None\n",
            ),
        ),
        (f"{REPLAY}::test_the_same_bot_says_the_same_and_no_row_comes_of_it",),
    ),
    Defence(
        "replay: a turn knows nothing of what came later",
        "the bound of the history at the turn's first message",
        (
            Change(
                "handlers/evals/replay.py",
                "[row for row in tape.messages if row.id < first][-KEPT_MESSAGES:]",
                "[row for row in tape.messages if row.id != first][-KEPT_MESSAGES:]",
            ),
        ),
        (f"{REPLAY}::test_a_model_is_asked_with_what_was_said_then_and_paid_for_as_a_test",),
    ),
)
