"""STOP and START are taken down as they come in, whatever becomes of the turn."""

import pytest

from db.pool import Conn, Pool
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from tests.factories import Tenant, make_tenant
from tests.recording import DEBOUNCE, body, to, wrote
from tests.unit.kinds import FIELDS
from tests.unit.payloads import change, value

AT = 1_795_000_000


def says(wamid: str, what: str, at: int = AT) -> object:
    return wrote(wamid, at=at, text={"body": what})


async def choice(owner: Conn) -> str | None:
    (row,) = await owner.fetch("SELECT marketing_choice, version FROM contacts")
    return str(row["marketing_choice"]) if row["marketing_choice"] else None


async def record(pool: Pool, tenant: Tenant, *items: object) -> None:
    await record_batch(pool, [to(tenant, *items)], DEBOUNCE)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("Stop!", "stop"), ("baja", "stop"), ("إيقاف", "stop"), ("cancel my order", None)],
)
async def test_a_word_alone_ends_advertising(
    pool: Pool, owner: Conn, text: str, chosen: str | None
) -> None:
    await record(pool, await make_tenant(owner), says("w.1", text))
    assert await choice(owner) == chosen


async def test_start_takes_it_back_and_is_else_a_word_like_any_other(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    await record(pool, tenant, says("w.1", "Start"))
    assert await choice(owner) is None
    await record(pool, tenant, says("w.2", "STOP", AT + 1), says("w.3", "Start", AT + 2))
    assert await choice(owner) == "resume"


async def test_what_comes_twice_or_late_changes_nothing(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record(pool, tenant, says("w.1", "STOP", AT), says("w.2", "START", AT + 5))
    await record(pool, tenant, says("w.1", "STOP", AT))
    await record(pool, tenant, says("w.3", "STOP", AT + 3))  # written before START
    assert await choice(owner) == "resume"


async def test_a_tenant_s_own_word_is_its_chatbot_s_alone(pool: Pool, owner: Conn) -> None:
    one, other = await make_tenant(owner), await make_tenant(owner)
    await owner.execute(
        "UPDATE chatbots SET opt_out_words = '{Schluss jetzt}' WHERE id = $1", one.chatbot_id
    )
    await record(pool, other, says("w.1", "schluss jetzt!"))
    assert await choice(owner) is None
    await owner.execute("DELETE FROM messages")
    await owner.execute("DELETE FROM conversations")
    await owner.execute("DELETE FROM contacts")
    await record(pool, one, says("w.2", "schluss jetzt!"))
    assert await choice(owner) == "stop"


async def test_meta_s_own_switch_and_a_word_are_one_choice(pool: Pool, owner: Conn) -> None:
    """The newest by WhatsApp's time."""
    tenant = await make_tenant(owner)
    await record(pool, tenant, says("w.1", "STOP", AT))
    told = FIELDS["user_preferences"]["user_preferences"][0]
    preference = {"wa_id": "13035550111", "category": told["category"]} | {
        "value": "resume",
        "timestamp": AT + 9,
    }
    of = value(tenant.phone_number_id, tenant.number, user_preferences=[preference])
    await take_others(pool, [body(change(of, "user_preferences"))])
    assert await choice(owner) == "resume"
    await record(pool, tenant, says("w.2", "STOP", AT + 10))
    assert await choice(owner) == "stop"


def edits(wamid: str, of: str, what: str, at: int) -> object:
    return wrote(
        wamid,
        at=at,
        type="edit",
        edit={"original_message_id": of, "message": {"type": "text", "text": {"body": what}}},
    )


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_edit_that_leaves_nothing_but_stop_is_one(
    pool: Pool, owner: Conn, *, at_once: bool
) -> None:
    tenant = await make_tenant(owner)
    message, edit = says("w.1", "Hello"), edits("w.2", "w.1", "STOP", AT + 5)
    for batch in [[message, edit]] if at_once else [[message], [edit]]:
        await record(pool, tenant, *batch)
    assert await choice(owner) == "stop"
    await record(pool, tenant, says("w.3", "START", AT + 9), edit)  # and comes again
    assert await choice(owner) == "resume"


async def test_an_edit_that_says_more_is_none(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record(pool, tenant, says("w.1", "Hello"), edits("w.2", "w.1", "stop my order", AT + 5))
    assert await choice(owner) is None
