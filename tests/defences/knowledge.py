"""Knowledge bases: imported, indexed, searched."""

from tests.defences.defence import Change, Defence

KNOWLEDGE = "db/migrations/0025_knowledge.sql"

DEFENCES = (
    Defence(
        "intake waits for no change of knowledge",
        "that a chatbot's row is written when the change commits, and not with it",
        (
            Change(
                KNOWLEDGE,
                "    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
                " EXECUTE FUNCTION tell_kb_version();\n",
                "    FOR EACH ROW EXECUTE FUNCTION tell_kb_version();\n",
            ),
        ),
        ("tests/recording/test_not_held.py",),
    ),
    Defence(
        "an index is built by one worker",
        "the look whether somebody alive builds it already",
        (
            Change(
                KNOWLEDGE,
                "               AND (d.builder IS NULL OR d.builder = p_worker\n"
                "                    OR NOT EXISTS (SELECT FROM public.workers w\n"
                "                                    WHERE w.id = d.builder\n"
                "                                      AND w.beat_at > clock_timestamp()"
                " - p_term))\n",
            ),
        ),
        (
            "tests/turn/test_big_knowledge.py::test_one_worker_builds_and_a_dead_one_s_work_is_anybody_s",
        ),
    ),
    Defence(
        "nothing false is said before there is an index",
        "that a search in vain makes the turn come again",
        (
            Change(
                "handlers/agent/big_base.py",
                "        if not found:\n            raise NotReady\n",
            ),
        ),
        ("tests/turn/test_big_knowledge.py::test_nothing_false_is_said_until_it_is_there",),
    ),
    Defence(
        "a badly quoted cell becomes no rows",
        "the look for the line in which a cell that was not closed well ends",
        (
            Change(
                "handlers/bulk/spreadsheet.py",
                "                rest = None if alone else self._rest(end)\n",
                "                rest = None\n",
            ),
        ),
        ("tests/cli/test_spreadsheet.py::test_no_row_is_ever_invented",),
    ),
)
