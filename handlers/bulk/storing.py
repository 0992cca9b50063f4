"""A batch of rows becomes rows of the noun, in the caller's transaction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from db.bulk import (
    enter_new,
    insert_contacts,
    update_contacts,
    upsert_knowledge,
    upsert_products,
    wants_to_hear,
    without_room,
)
from db.contacts import find_contacts, hold_numbers, lock_contacts
from db.ids import ContactId, UserId
from db.imports import Import, lines_of, new_keys
from db.pool import Conn
from db.telling import tell_contacts
from db.waits import admit_contacts
from handlers.bulk.nouns import NOUNS, Noun, Row
from handlers.deliveries.catalogue import CONTACT_CREATED, CONTACT_UPDATED
from handlers.plans import Limit
from handlers.rules.numbers import of_several_spellings, variants

Numbered = tuple[int, Row]  # with its line


@dataclass(slots=True)
class Outcome:
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)

    def add(self, rows: int, inserted: int, updated: int) -> None:
        self.inserted += inserted
        self.updated += updated
        self.unchanged += rows - inserted - updated


async def store(conn: Conn, user_id: UserId, this: Import, rows: Sequence[Numbered]) -> Outcome:
    """Raises one of CONFLICT when somebody else is at the same rows: do it again."""
    outcome = Outcome()
    noun = NOUNS[this.what]
    fresh = await _once(conn, user_id, this, noun, rows, outcome)
    if this.what == "contacts":
        await _contacts(conn, user_id, fresh, outcome)
        return outcome
    for given, group in alike([row for _, row in fresh]):
        if this.what == "products":
            stored = await upsert_products(conn, user_id, group, given)
        else:
            assert this.chatbot_id is not None, "a constraint of the table"
            stored = await upsert_knowledge(conn, user_id, this.chatbot_id, group, given)
        outcome.add(len(group), stored.inserted, stored.updated)
    return outcome


async def _once(
    conn: Conn,
    user_id: UserId,
    this: Import,
    noun: Noun,
    rows: Sequence[Numbered],
    outcome: Outcome,
) -> list[Numbered]:
    """Those whose key the file did not have before."""
    keys = [_hashed(f"{this.file} {noun.known_by(row[noun.key])}") for _, row in rows]
    first: dict[str, int] = {}
    for key, (line, _) in zip(keys, rows, strict=True):
        first.setdefault(key, line)
    new = await new_keys(conn, user_id, this.id, list(first), list(first.values()))
    old = [key for key in first if key not in new]
    lines = await lines_of(conn, user_id, this.id, old) if old else {}
    fresh = []
    for key, (line, row) in zip(keys, rows, strict=True):
        if key in new and first[key] == line:
            fresh.append((line, row))
        else:
            why = f"the same {noun.key} as line {lines.get(key, first[key])}"
            outcome.rejected.append((line, why))
    return fresh


def _hashed(text: str) -> str:
    return str(UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))


def alike(rows: Sequence[Row]) -> list[tuple[list[str], list[Row]]]:
    """Those that say something of the same columns: one statement each. Of CSV it is one."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(tuple(sorted(row)), []).append({"place": place, **_plain(row)})
    return [(list(given), group) for given, group in groups.items()]


def _plain(row: Row) -> dict[str, Any]:
    return {name: str(value) if name == "price" and value else value for name, value in row.items()}


# ---- contacts ------------------------------------------------------------------------------------


async def _contacts(
    conn: Conn, user_id: UserId, rows: Sequence[Numbered], outcome: Outcome
) -> None:
    """In the order of ingest: who is new is made first, and only then is anybody locked who was
    there; room last."""
    numbers = [row["phone_number"] for _, row in rows]
    known = await _known(conn, user_id, numbers)
    if lines := of_several_spellings(number for number in numbers if number not in known):
        await hold_numbers(conn, user_id, lines)
        known = await _known(conn, user_id, numbers)
    strange = [one for one in rows if one[1]["phone_number"] not in known]
    made = await insert_contacts(conn, user_id, [row for _, row in strange]) if strange else {}
    there = [one for one in rows if one[1]["phone_number"] in known]
    await lock_contacts(conn, user_id, sorted(set(known.values())))
    changed: list[ContactId] = []
    for given, group in alike([row for _, row in there]):
        numbered = [{"id": known[row["phone_number"]], **row} for row in group]
        some = await update_contacts(conn, user_id, numbered, given)
        outcome.add(len(group), 0, len(some))
        changed += some
    await _tell(conn, user_id, CONTACT_UPDATED, changed)
    if made:
        await _let_in(conn, user_id, strange, made, outcome)


async def _known(conn: Conn, user_id: UserId, numbers: Sequence[str]) -> dict[str, ContactId]:
    """By the number itself, or by another spelling of it."""
    spelled = {other: number for number in numbers for other in variants(number)}
    found = await find_contacts(conn, user_id, sorted({*numbers, *spelled}), [])
    ids = {one.phone_number: one.id for one in found}
    others = {number: ids[other] for other, number in spelled.items() if other in ids}
    return {number: one for number in numbers if (one := ids.get(number, others.get(number)))}


async def _let_in(
    conn: Conn,
    user_id: UserId,
    rows: Sequence[Numbered],
    ids: Mapping[str, ContactId],
    outcome: Outcome,
) -> None:
    while await admit_contacts(conn, user_id):  # who came before has the room before
        pass
    await enter_new(conn, user_id, sorted(ids.values()))  # unless somebody has them locked
    gone = set(await without_room(conn, user_id, sorted(ids.values())))
    for line, row in rows:
        if ids[row["phone_number"]] in gone:
            outcome.rejected.append((line, f"the plan has no room for it ({Limit.MAX_CONTACTS})"))
    made = [one for one in ids.values() if one not in gone]
    outcome.add(len(made), len(made), 0)
    await _tell(conn, user_id, CONTACT_CREATED, sorted(made))


async def _tell(conn: Conn, user_id: UserId, event: str, ids: list[ContactId]) -> None:
    if ids and await wants_to_hear(conn, user_id, event):
        await tell_contacts(conn, user_id, event, sorted(ids))
