"""A tenant is erased."""

import time
from collections.abc import Iterator

import pytest

from cli import api_keys
from cli.chatbots import NewChatbot, chatbot_create
from cli.command import Refused
from cli.contacts import contact_erase
from cli.erase_tenant import tenant_erase
from cli.tenant_lives import person_problems, tenant_switch, tenant_update
from cli.tenant_plans import NO_TERMS, Terms, tenant_plan
from cli.webhooks import Wanted, webhook_create
from db.ids import ContactId, UserId
from db.pool import Conn, Pool
from db.reconcile import recount
from db.tenants import UserChange
from handlers.ingest.recording import record_batch
from handlers.process.configuration import Environment
from tests.conftest import Database
from tests.erasure import MARKER, finish, found_in, only
from tests.erasure.person import ADA, lives, park_together
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, parked, plainly_logged, recorded, to

SHOP = ["Lemon Street", "hello@lemon.example"]


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


def environment(database: Database) -> Environment:
    return Environment({"DATABASE_URL": database.owner_url})


async def test_of_a_tenant_stay_its_id_and_what_it_used(
    pool: Pool, owner: Conn, database: Database
) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    await owner.execute(
        "UPDATE users SET email = $2, full_name = $3, company_name = $3, phone = $4 WHERE id = $1",
        *(int(ours.user_id), SHOP[1], SHOP[0], ours.number),
    )
    await lives(pool, owner, ours, ADA)
    await lives(pool, owner, theirs, ADA)
    await park_together(pool, ours, ADA)
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT user_id, id, 'When?', 'Lemon Street opens at 7.' FROM chatbots WHERE user_id = $1",
        int(ours.user_id),
    )
    await owner.execute(
        "INSERT INTO api_keys (user_id, key_name, api_key_hash) VALUES ($1, 'k', 'h')",
        int(ours.user_id),
    )
    assert (await tenant_erase(environment(database), ours.user_id))["user_id"] == ours.user_id
    keys = "SELECT count(*) FROM api_keys WHERE user_id = $1"
    assert await owner.fetchval(keys, int(ours.user_id)) == 0, "at once"
    hooks = "SELECT count(*) FROM webhooks WHERE user_id = $1"
    assert await owner.fetchval(hooks, int(ours.user_id)) == 0, "nothing is posted any more"
    await finish(pool, owner)
    user = await only(owner, "SELECT * FROM users WHERE id = $1", int(ours.user_id))
    assert {k: v for k, v in user.items() if v is not None and not k.endswith("_at")} == {
        "id": ours.user_id,
        "email": f"erased-{ours.user_id}@invalid",
        "password_hash": "!",
        "timezone": "UTC",
        "currency": "USD",
        "is_active": False,
        "told": [],
    }
    left = {
        table: n
        for table in await tables(owner)
        if (
            n := await owner.fetchval(
                f"SELECT count(*) FROM {table} WHERE user_id = $1", ours.user_id
            )
        )
    }
    used = {"usage_tracking", "monthly_usage_summary", "model_usage"}
    counted = {"takeovers", "model_calls", "usage_gaps"}  # of nobody, so that it can be again
    assert left.keys() == {*used, *counted, "erasures", "erased_numbers"}
    assert [f for f in await recount(owner, ours.user_id) if f.what.why is None] == []
    kept = "SELECT count(*) FROM messages WHERE user_id = $1"
    assert await owner.fetchval(kept, int(theirs.user_id)) == 4
    await owner.execute("DELETE FROM users WHERE id = $1", int(theirs.user_id))
    await owner.execute("DELETE FROM webhook_events WHERE user_id = $1", int(theirs.user_id))
    await owner.execute(
        "DELETE FROM parked_items WHERE phone_number_id = $1", theirs.phone_number_id
    )
    names = [*ADA.needles, *SHOP, ours.number, ours.phone_number_id]
    assert await found_in(owner, names) == {}


async def tables(owner: Conn) -> list[str]:
    rows = await owner.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE a.attname = 'user_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')"
        "   AND c.relnamespace = 'public'::regnamespace"
    )
    return [row["relname"] for row in rows]


async def test_what_comes_for_its_numbers_is_dropped_until_they_are_somebody_s(
    pool: Pool, owner: Conn, database: Database
) -> None:
    old, new = await make_tenant(owner), await make_tenant(owner)
    await tenant_erase(environment(database), old.user_id)
    written = to(old, ADA.wrote(1, int(time.time())), contacts=[ADA.contact])
    await record_batch(pool, [written], DEBOUNCE, MARKER)  # while its rows go
    await finish(pool, owner)
    await record_batch(pool, [written], DEBOUNCE, MARKER)
    assert await parked(owner) == []
    made = NewChatbot(
        user_id=new.user_id, name="New", number=old.number, phone_number_id=old.phone_number_id
    )
    await chatbot_create(environment(database), made)
    await record_batch(pool, [written], DEBOUNCE, MARKER)
    assert await recorded(owner, new) == [ADA.wamid(1)]


async def test_commands_say_what_is_not_there(pool: Pool, owner: Conn, database: Database) -> None:
    of = await make_tenant(owner)
    env = environment(database)
    ada = await lives(pool, owner, of, ADA)
    assert await contact_erase(env, ada) == {"contact_id": ada, "user_id": of.user_id}
    for again in (ada, ContactId(999_999)):
        with pytest.raises(Refused, match="there is no contact"):
            await contact_erase(env, again)
    await tenant_erase(env, of.user_id)
    for missing in (of.user_id, UserId(999_999)):
        with pytest.raises(Refused, match="there is no tenant"):
            await tenant_erase(env, missing)
    await finish(pool, owner)


@pytest.mark.parametrize("done", [False, True], ids=["while its rows go", "afterwards"])
async def test_an_erased_tenant_gets_nothing_any_more(
    pool: Pool, owner: Conn, database: Database, done: bool
) -> None:
    of, env = await make_tenant(owner), environment(database)
    await tenant_erase(env, of.user_id)
    if done:
        await finish(pool, owner)
    back = UserChange(email="back@lemon.example")
    bot = NewChatbot(user_id=of.user_id, name="New", number="+12025550133")
    hook = Wanted(
        user_id=of.user_id,
        url="https://shop.example/hook",
        events="*",
        chatbot_id=None,
        ordered=False,
    )
    sealing = Environment({"DATABASE_URL": database.owner_url, "SECRETS_KEY": "k" * 32})
    for command in (
        tenant_update(env, of.user_id, back, NO_TERMS),
        tenant_plan(env, of.user_id, Terms(None, {"daily_message_limit": 3})),
        tenant_switch(env, of.user_id, active=True),
        chatbot_create(env, bot),
        api_keys.apikey_create(env, api_keys.Wanted(user_id=of.user_id, name="New")),
        webhook_create(sealing, hook),
    ):
        with pytest.raises(Refused, match="there is no tenant"):
            await command
    user = await only(owner, "SELECT email, is_active FROM users WHERE id = $1", int(of.user_id))
    assert user == {"email": f"erased-{of.user_id}@invalid", "is_active": False}


def test_nobody_is_called_as_an_erased_tenant() -> None:
    """Or that one could not be erased, since e-mails are unique."""
    for email in ("erased-7@invalid", "Erased-7@INVALID"):
        (problem,) = person_problems(email, None, None)
        assert "--email" in problem
