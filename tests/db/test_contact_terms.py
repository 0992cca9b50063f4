"""What a contact is found by: each beginning once, whatever is missing or odd."""

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
