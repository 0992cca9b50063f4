"""What model calls are paid for is counted, once, whatever becomes of the turn."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from db.conversations import Claim, claim_conversations
from db.pool import Pool, tenant
from handlers.agent.completions.answer import read
from handlers.agent.spending import Usage
from handlers.figures import forget_old_model_calls
from handlers.turns.run import run_turn
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Owner, Tenant, make_message, make_tenant
from tests.turn.shop import ME, Shop, open_shop
from tests.usage import MODEL, differences, model_calls

TOLD = {
    "prompt_tokens": 1_000,
    "completion_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 600},
}
TOKENS = {"input_tokens": 1_000, "cached_tokens": 600, "output_tokens": 50}
CHEAP = ("some-model", "turn", date(2026, 1, 1), "2", "0.5", "8")
CENTS = Decimal("0.0015")  # 400 x 2 + 600 x 0.5 + 50 x 8 for a million


@pytest.fixture
async def shop(pool: Pool, owner: Owner) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as opened:
        await price(owner, CHEAP)
        yield opened


async def price(owner: Owner, given: tuple[Any, ...]) -> None:
    model, kind, day, *prices = given
    await owner.execute(
        "INSERT INTO model_prices VALUES ($1, $2, $3, $4, $5, $6)",
        *(model, kind, day, *map(Decimal, prices)),
    )


async def usage_of(owner: Owner, user: Tenant) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT chatbot_id, kind, model, calls, unpriced_calls, input_tokens, cached_tokens,"
        " output_tokens, cost FROM model_usage WHERE user_id = $1",
        user.user_id,
    )
    return [dict(row) for row in rows]


def paid(shop: Shop, calls: int, *, cost: Decimal = CENTS, **tokens: int) -> list[dict[str, Any]]:
    told = tokens or {name: n * calls for name, n in TOKENS.items()}
    return [
        {
            "chatbot_id": shop.tenant.chatbot_id,
            "kind": "turn",
            "model": "some-model",
            "calls": calls,
            "unpriced_calls": 0,
            **told,
            "cost": cost * calls,
        }
    ]


# ---- of a turn -----------------------------------------------------------------------------------


async def test_each_call_of_a_turn_is_counted_with_its_answer(shop: Shop, owner: Owner) -> None:
    call = {"name": "search_knowledge_base", "arguments": {"query": "open"}}
    await shop.simulator.rules(
        {"reply": "", "tool_calls": [call], "usage": TOLD, "times": 1},
        {"reply": "From 7.", "usage": TOLD},
    )
    who = await shop.customer()
    assert (await shop.turn(who, "When?")).said == ["From 7."]
    assert await usage_of(owner, shop.tenant) == paid(shop, 2)
    await shop.turn(who, "And tomorrow?")
    assert await usage_of(owner, shop.tenant) == paid(shop, 3)
    assert await owner.fetchval("SELECT array_agg(calls ORDER BY id) FROM model_calls") == [2, 1]
    assert await differences(owner, shop.tenant) == []


async def test_an_answer_of_which_nothing_can_be_made_is_paid_for_too(
    shop: Shop, owner: Owner
) -> None:
    """Asked twice by its client; then the turn is put off, and this counts with that."""
    await shop.simulator.rules({"reply": "", "usage": TOLD})
    who = await shop.customer()
    turn = await shop.turn(who, "Hello?")
    assert (turn.said, turn.due) == ([], True)
    assert await usage_of(owner, shop.tenant) == paid(shop, 2)


async def test_what_a_server_refuses_is_not_paid_for(shop: Shop, owner: Owner) -> None:
    await shop.simulator.rules({"reply": "x", "status": 500})
    assert (await shop.turn(await shop.customer(), "Hello?")).said == []
    assert await usage_of(owner, shop.tenant) == []


async def test_a_turn_that_fails_after_the_model_answered_is_counted(
    shop: Shop, owner: Owner
) -> None:
    await shop.simulator.rules({"reply": "Yes.", "usage": TOLD})
    await owner.execute(
        "ALTER TABLE messages ADD CONSTRAINT fails CHECK (content_text <> 'Yes.') NOT VALID"
    )
    turn = await shop.turn(await shop.customer(), "Are you there?")
    assert (turn.said, turn.failed) == ([], True)
    assert await usage_of(owner, shop.tenant) == paid(shop, 1)


async def test_a_turn_that_is_stopped_while_it_thinks_keeps_what_it_had_paid_for(
    shop: Shop, owner: Owner, pool: Pool
) -> None:
    wish = {"name": "request_human_action", "arguments": {"type": "call", "details": "me"}}
    await shop.simulator.rules(
        {"reply": "", "tool_calls": [wish], "usage": TOLD, "times": 1},
        {"reply": "late", "hang_ms": 60_000},
    )
    running = asyncio.create_task(shop.turn(await shop.customer(), "When?"))

    async def wished() -> bool:
        """What the first answer asks for is reserved."""
        async with tenant(pool, shop.tenant.user_id) as conn:
            held: int = await conn.fetchval(
                "SELECT coalesce(sum(actions), 0) FROM usage_reservations"
            )
        return held > 0

    while not await wished():
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await usage_of(owner, shop.tenant) == paid(shop, 1)


async def claimed(shop: Shop) -> Claim:
    async with shop.pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 100)
    return claim


async def test_a_turn_that_lost_its_lease_is_counted_and_its_successor_as_well(
    shop: Shop, owner: Owner
) -> None:
    await shop.simulator.rules(
        {"reply": "first", "usage": TOLD, "times": 1, "latency_ms": 600},
        {"reply": "second", "usage": TOLD},
    )
    contact_id, conversation_id = await shop.customer()
    await owner.execute("UPDATE conversations SET input_seq = 1, ready_at = now()")
    await make_message(
        *(owner, shop.tenant, contact_id, conversation_id),
        direction="inbound",
        status="received",
        input_seq=1,
    )
    slow = asyncio.create_task(run_turn(shop.pool, shop.agent, ME, await claimed(shop)))
    while not await owner.fetchval("SELECT count(*) FROM usage_reservations"):
        await asyncio.sleep(0.01)
    await owner.execute("UPDATE conversations SET lease_owner = NULL, ready_at = now()")
    claim = await claimed(shop)
    await slow
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1
    assert await usage_of(owner, shop.tenant) == paid(shop, 1)
    await run_turn(shop.pool, shop.agent, ME, claim)
    assert await owner.fetchval(
        "SELECT array_agg(content_text) FROM messages WHERE direction = 'outbound'"
    ) == ["second"]
    assert await usage_of(owner, shop.tenant) == paid(shop, 2)


async def test_a_turn_s_end_that_is_tried_again_counts_once(shop: Shop, owner: Owner) -> None:
    """Whether the first COMMIT went through is not known: its answer was lost."""
    for conversation in (1, 1, 2):
        await model_calls(shop.pool, shop.tenant, 7, conversation_id=conversation)
    (row,) = await usage_of(owner, shop.tenant)
    assert (row["model"], row["calls"], row["input_tokens"]) == (MODEL, 4, 1_800)


async def test_a_model_that_tells_no_tokens_counts_its_calls(shop: Shop, owner: Owner) -> None:
    await shop.simulator.rules({"reply": "Yes.", "usage": "none"})
    await shop.turn(await shop.customer(), "Hello?")
    nothing = dict.fromkeys(TOKENS, 0)
    assert await usage_of(owner, shop.tenant) == paid(shop, 1, cost=Decimal(0), **nothing)


async def test_chatbots_and_tenants_are_counted_apart(shop: Shop, owner: Owner) -> None:
    other = await make_tenant(owner)
    for user in (shop.tenant, other):
        await model_calls(shop.pool, user, 1)
    assert [r["chatbot_id"] for r in await usage_of(owner, other)] == [other.chatbot_id]
    assert [r["calls"] for r in await usage_of(owner, shop.tenant)] == [2]


# ---- prices --------------------------------------------------------------------------------------


async def test_a_call_costs_what_was_in_force_on_its_day(owner: Owner, pool: Pool) -> None:
    """Of several the newest that is valid; one for the kind before one for all."""
    user = await make_tenant(owner)
    today = await owner.fetchval("SELECT current_date")
    await model_calls(pool, user, 1)  # none at all
    await price(owner, (MODEL, "*", date(2026, 1, 1), "1", "1", "1"))
    await price(owner, ("another", "turn", date(2026, 1, 1), "70", "70", "70"))
    await model_calls(pool, user, 2)
    await price(owner, (MODEL, "turn", date(2026, 1, 1), "10", "10", "10"))
    await price(owner, (MODEL, "turn", date(today.year + 2, 1, 1), "500", "500", "500"))
    await price(owner, (MODEL, "ask", date(2026, 2, 1), "600", "600", "600"))
    await model_calls(pool, user, 3)
    rows = await owner.fetch("SELECT unpriced_calls, cost FROM model_calls ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (2, 0),
        (0, Decimal("0.00097")),
        (0, Decimal("0.0097")),
    ]
    (row,) = await usage_of(owner, user)
    assert (row["unpriced_calls"], row["cost"]) == (2, Decimal("0.01067"))


# ---- rows that are forgotten ---------------------------------------------------------------------


async def test_rows_go_after_two_months_and_what_was_counted_stays(
    owner: Owner, pool: Pool
) -> None:
    user = await make_tenant(owner)
    await model_calls(pool, user, 1)
    await model_calls(pool, user, 2)
    await owner.execute(
        "UPDATE model_calls SET created_at = now() - interval '63 days' WHERE epoch = 1"
    )
    await forget_old_model_calls(pool)
    assert await owner.fetchval("SELECT array_agg(epoch) FROM model_calls") == [2]
    assert [row["calls"] for row in await usage_of(owner, user)] == [4]
    assert await differences(owner, user) == []


# ---- what servers say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (b'{"prompt_tokens": 9, "completion_tokens": 2}', Usage(9, 2)),
        (
            b'{"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}',
            Usage(9, 0, 4),
        ),
        (
            b'{"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}',
            Usage(9, 0, 4),
        ),
        (
            b'{"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}',
            Usage(9, 2, 3),
        ),
        # More of the input than there was.
        (
            b'{"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 40}}',
            Usage(9, 0, 9),
        ),
        (b'{"prompt_tokens": 9, "prompt_tokens_details": null}', Usage(9, 0)),
        (b'{"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": "4"}}', Usage(9, 0)),
        (b'"none"', None),
        (b"null", None),
    ],
)
def test_what_is_said_of_cached_input_is_read(told: bytes, usage: Usage | None) -> None:
    body = b'{"choices": [{"message": {"content": "hi"}}], "usage": ' + told + b"}"
    assert read(body, (), may_call=False).usage == usage


# ---- `prices import` -----------------------------------------------------------------------------


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
    )


async def test_prices_come_from_csv_and_from_jsonl(
    command: Command, owner: Owner, tmp_path: Path
) -> None:
    table = tmp_path / "prices.csv"
    table.write_text(
        "model,kind,input,cached,output,valid_from\n"
        '"a, b",turn,0.15,0.075,0.6,2026-01-01\n'
        "\n"
        "c,*,3,,15,2026-02-28\n"
    )
    assert (await command("prices", "import", str(table), "--json")).json == {
        "inserted": 2,
        "updated": 0,
    }
    lines = tmp_path / "prices.jsonl"
    lines.write_text(
        '{"model": "c", "kind": "*", "input": 4, "output": "16.5", "valid_from": "2026-02-28"}\n'
        '{"model": "c", "kind": "embedding", "input": 0.1, "cached": null, "output": 0,'
        ' "valid_from": "2026-03-01"}\n'
    )
    assert (await command("prices", "import", str(lines), "--json")).json == {
        "inserted": 1,
        "updated": 1,
    }
    rows = await owner.fetch("SELECT * FROM model_prices ORDER BY model, kind")
    assert [tuple(map(str, row)) for row in rows] == [
        ("a, b", "turn", "2026-01-01", "0.150000", "0.075000", "0.600000"),
        ("c", "*", "2026-02-28", "4.000000", "4.000000", "16.500000"),
        ("c", "embedding", "2026-03-01", "0.100000", "0.100000", "0.000000"),
    ]


async def test_each_mistake_is_told_with_its_line_and_nothing_is_imported(
    command: Command, owner: Owner, tmp_path: Path
) -> None:
    table = tmp_path / "prices.csv"
    table.write_text(
        "model,kind,input,cached,output,valid_from\n"
        "a,turn,1,1,1,2026-01-01\n"
        "a,turns,-1,1,1e3,2026-02-30\n"
        ",turn,1,,1,\n"
        "a,turn,1,1,1\n"
        "a,turn,2,2,2,2026-01-01\n"
    )
    told = await command.refused("prices", "import", str(table))
    wrong = [
        "kind is none of turn, ask, eval, embedding, transcription, *",
        "input is not an amount like 0.15, with at most 6 decimals",
        "output is not an amount like 0.15, with at most 6 decimals",
        "valid_from is not a day like 2026-12-31",
    ]
    assert told.splitlines() == [
        f"{table}: nothing was imported",
        "  line 3: " + "; ".join(wrong),
        "  line 4: model is missing; valid_from is missing",
        "  line 5: 5 values for 6 columns",
        "  line 6: the same model, kind and day as line 2",
    ]
    lines = tmp_path / "prices.jsonl"
    lines.write_text('{"model": "a"\n[1]\n{"model": "a", "prize": 1}\n')
    told = await command.refused("prices", "import", str(lines))
    assert [line.partition(":")[0] for line in told.splitlines()[1:]] == [
        "  line 1",
        "  line 2",
        "  line 3",
    ]
    headless = tmp_path / "headless.csv"
    headless.write_text("a,turn,1,1,1,2026-01-01\n")
    told = await command.refused("prices", "import", str(headless))
    assert "line 1: the columns have to be model, kind, input, output, valid_from, cached" in told
    assert await owner.fetchval("SELECT count(*) FROM model_prices") == 0


async def test_the_runtime_reads_prices_and_makes_none(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner)
    async with tenant(pool, user.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM model_prices") == 0
        assert not await conn.fetchval(
            "SELECT has_table_privilege('model_prices', 'INSERT,UPDATE,DELETE')"
        )
