"""What a contact is found by: each beginning once, whatever is missing or odd."""

import random
from typing import Any

import pytest

from db.pool import Conn
from tests.factories import make_tenant

NUMBER = "+12025550143"
DIGITS = {f"w:{'12025550143'[:n]}" for n in range(2, 9)}
ENDS = {f"s:{'12025550143'[-n:]}" for n in range(4, 9)}


@pytest.mark.parametrize(
    ("name", "number", "tags", "chatbot", "terms"),
    [
        (None, None, None, None, set()),
        ("Ada adam", None, "[]", 7, {"w:a", "w:ad", "w:ada", "w:adam", "c:7"}),
        ("Łódź-20", None, "{}", None, {"w:ł", "w:ło", "w:łod", "w:łodz", "w:2", "w:20"}),
        ("1202", NUMBER, '["vip", 7, "vip", null]', None, {*DIGITS, *ENDS, "w:1", "t:vip", "t:7"}),
        (None, "+12345678", f'["{"x" * 101}"]', None, None),
    ],
)
async def test_each_beginning_once(
    owner: Conn, name: Any, number: Any, tags: Any, chatbot: Any, terms: set[str] | None
) -> None:
    sql = "SELECT contact_terms_of($1, $2, $3::text::jsonb, $4)"
    found = await owner.fetchval(sql, name, number, tags, chatbot)
    assert len(found) == len(set(found))
    if terms is None:
        terms = {f"w:{'12345678'[:n]}" for n in range(2, 9)} | {
            f"s:{'12345678'[-n:]}" for n in range(4, 9)
        }
    assert set(found) == terms


async def test_rows_of_one_statement_get_theirs(owner: Conn) -> None:
    of = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO contacts (user_id, phone_number, name)"
        " SELECT $1, '+1202555' || lpad(n::text, 4, '0'), 'Ada ' || n"
        " FROM generate_series(1, 200) n",
        of.user_id,
    )
    wrong = await owner.fetch(
        "SELECT c.id FROM contacts c WHERE ARRAY (SELECT t.term FROM contact_terms t"
        "  WHERE t.user_id = c.user_id AND t.of_contact = c.id ORDER BY 1) <> ARRAY (SELECT t"
        "  FROM unnest(contact_terms_of(c.name, c.phone_number, c.tags, c.chatbot_id)) t"
        "  ORDER BY 1)"
    )
    assert wrong == []
    assert await owner.fetchval("SELECT count(DISTINCT of_contact) FROM contact_terms") == 200


def has(terms: set[str], places: list[tuple[str, str | None]]) -> bool:
    return all(one in terms or other in terms for one, other in places)


async def walked(
    owner: Conn, user: int, places: list[tuple[str, str | None]], limit: int, steps: int
) -> list[int]:
    """All that is found, page by page."""
    found: list[int] = []
    before: int | None = 10**18
    terms, otherwise = [one for one, _ in places], [other for _, other in places]
    while before is not None:
        page = await owner.fetch(
            "SELECT id, stopped FROM contacts_by_terms($1, $2, $3, $4, $5, $6, NULL)",
            *(user, terms, otherwise, before, limit, steps),
        )
        ids = [row["id"] for row in page if row["id"] is not None]
        stopped = [row["stopped"] for row in page if row["id"] is None]
        assert len(ids) <= limit
        assert all(one < before for one in stopped)  # it goes on
        found += ids
        before = stopped[0] if stopped else ids[-1] if len(ids) == limit else None
    return found


@pytest.mark.parametrize("seed", range(5))
async def test_a_search_finds_all_that_have_all_terms_newest_first(owner: Conn, seed: int) -> None:
    """Of terms that many have and few, near each other and far apart."""
    dice = random.Random(seed)
    of, other = await make_tenant(owner), await make_tenant(owner)
    rows = await owner.fetch(
        "INSERT INTO contacts (user_id, phone_number, name)"
        " SELECT CASE WHEN n % 10 = 9 THEN $2::bigint ELSE $1::bigint END,"
        "        '+1202' || lpad(n::text, 7, '0'), ''"
        " FROM generate_series(1, 1000) n RETURNING id, user_id",
        *(of.user_id, other.user_id),
    )
    await owner.execute("DELETE FROM contact_terms")
    has_terms: dict[int, set[str]] = {row["id"]: set() for row in rows}
    ids = sorted(has_terms)
    for term in "abcdef":
        share = dice.choice((0.9, 0.3, 0.05, 0.005))
        first, last = sorted(dice.sample(range(len(ids)), 2)) if term in "ab" else (0, len(ids))
        for one in ids[first:last]:
            if dice.random() < share:
                has_terms[one].add(term)
    await owner.executemany(
        "INSERT INTO contact_terms (user_id, term, of_contact)"
        " SELECT user_id, $2, id FROM contacts WHERE id = $1",
        [(one, term) for one, terms in has_terms.items() for term in sorted(terms)],
    )
    of_tenant = {row["id"] for row in rows if row["user_id"] == of.user_id}
    for _ in range(12):
        places = [
            (dice.choice("abcdef"), dice.choice("abcdef") if dice.random() < 0.3 else None)
            for _ in range(dice.randint(1, 3))
        ]
        wanted = [one for one in reversed(ids) if one in of_tenant and has(has_terms[one], places)]
        limit, steps = dice.choice(((3, 10_000), (50, 10_000), (7, 3), (200, 1)))
        assert await walked(owner, of.user_id, places, limit, steps) == wanted, (places, limit)
