"""What no statement may do, whoever writes it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import db
from db.sql import load

FOLDER = Path(str(db.__file__)).parent
LOCKS = re.compile(r"FOR (?:NO KEY UPDATE|UPDATE|SHARE|KEY SHARE)(?: OF (\w+))?( SKIP LOCKED)?")
TABLES = re.compile(r"\b(?:FROM|JOIN)\s+(?:ONLY\s+)?([a-z_]+)\b(?!\s*\()")

FUNCTION = re.compile(r"CREATE FUNCTION (\w+)\(.*?\$function\$(.*?)\$function\$", re.DOTALL)
PARTS = re.compile(r"(?:WITH|,|RECURSIVE)\s+([a-z_]+)\s+AS\s+(?:MATERIALIZED\s+)?\(")

# Query: why it may wait for a lock and decide by what stood beside it before.
LOOKS_BESIDE = {
    "campaigns.take_pending": "the campaign is locked; who writes meanwhile gets both",
    "conversations.read_turn": "what it reads of contact, chatbot and plan is looked at again by"
    " fence_turn(), or before the reply is sent",
    "takeovers.lock_conversation": "an inactive chatbot's message is cancelled before it is sent,"
    " and so is an erased contact's",
    "sends.lock_send": "only locks; read_send reads when they are there",
    "sends.lock_unknown": "a fence that moved on meanwhile only makes it less due",
    "takeovers.answered_by_person": "inputs that come meanwhile wait for the conversation's lock",
    "actions.lock_approving": "the conversation's contact never changes; read_approving() reads"
    " when the decisions are locked",
    "actions.lock_action_conversation": "the conversation of an action never changes",
    "tool_calls.lock_call_conversation": "the conversation of a call never changes",
    "dead.lock_dead_conversation": "the conversation of a message never changes",
    "changes.edit_message": "the conversation of a message never changes; the rest is its own",
    "changes.revoke_message": "as edit_message",
    "sends.mark_accepted": "what webhooks want, as it was a moment ago",
    "statuses.merge_statuses": "as mark_accepted",
    "contacts.touch_contacts": "as mark_accepted",
    "imports.hold_chatbot": "the chatbot of an import never changes",
    "imports.end_jobs": "locks the import too, and so reads it as it is then",
}


def statements() -> Iterator[tuple[str, str]]:
    for path in sorted(FOLDER.glob("*.sql")):
        if path.name != "schema.sql":
            for name, sql in load(str(path)).items():
                yield f"{path.stem}.{name}", re.sub(r"--.*", "", sql)


def functions() -> Iterator[tuple[str, str]]:
    """Today's, as they are in force."""
    text = (FOLDER / "schema.sql").read_text()
    for match in re.finditer(
        r"CREATE FUNCTION (\w+)\(.*?\$function\$(.*?)\$function\$", text, re.DOTALL
    ):
        yield match[1], re.sub(r"--.*", "", match[2])


def tables(sql: str) -> set[str]:
    """Not the statement's own parts."""
    return set(TABLES.findall(sql)) - set(PARTS.findall(sql))


def test_a_conflict_that_is_passed_over_is_named() -> None:
    """One without a target also hides those that nobody thought of: two first conversations of one
    contact took the same thread, and the later message was parked as poison."""
    bare = {name for name, sql in (*statements(), *functions()) if "ON CONFLICT DO" in sql}
    assert bare == {"parked.park_items"}, "see why in db/parked.sql"


def test_who_waits_for_a_lock_looks_again() -> None:
    """A statement that waits for a lock goes on with the row as it is then, and with everything
    beside it as it was before: what is decided after the wait is read by the next statement."""
    beside = set()
    for name, sql in statements():
        waits = [lock for lock in LOCKS.finditer(sql) if not lock[2]]
        if waits and len(tables(sql)) > 1:
            beside.add(name)
    assert beside == LOOKS_BESIDE.keys()


@pytest.mark.parametrize(
    ("sql", "waits", "seen"),
    [
        ("SELECT 1 FROM messages m JOIN contacts c ON true FOR NO KEY UPDATE OF m", 1, 2),
        ("SELECT 1 FROM messages FOR UPDATE SKIP LOCKED", 0, 1),
        ("SELECT 1 FROM unnest($1) AS i FOR SHARE", 1, 0),
    ],
)
def test_locks_and_tables_are_seen(sql: str, waits: int, seen: int) -> None:
    assert sum(not lock[2] for lock in LOCKS.finditer(sql)) == waits
    assert len(tables(sql)) == seen
