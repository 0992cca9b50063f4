"""swiftreplies doctor: what is well, what is not, and the exit code."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from cli.checks import ingest_log
from db.pool import Conn, Pool
from handlers.media_store.local import Directory
from handlers.media_store.sighting import Sight
from handlers.process.secrets import Vault, access_token_of
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from simulator.app import create_app
from simulator.client import Simulator
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.wire import Between, between

KEY = "a key of sixteen characters or more"
TOKEN = "token of the bot"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    runner = web.AppRunner(create_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Simulator(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield client
    await runner.cleanup()


@pytest.fixture
def command(database: Database, broker: RabbitMQ, simulator: Simulator) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "INGEST_LOG_URL": database.log_url,
            "AMQP_URL": broker.url,
            "SECRETS_KEY": KEY,
            "OPENAI_MODEL": "offline",
            "WHATSAPP_APP_SECRET": "s",
            "WHATSAPP_VERIFY_TOKEN": "v",
            "WHATSAPP_API_URL": simulator.url,
        }
    )


async def looked(command: Command, **changes: str) -> tuple[int, dict[str, tuple[str, str]]]:
    result = await command("doctor", "--json", **changes)
    report = json.loads(result.out)
    assert report["ok"] == (result.code == 0)
    found: dict[str, tuple[str, str]] = {}
    for check in report["checks"]:
        _, detail = found.get(check["check"], ("", ""))
        found[check["check"]] = (check["state"], detail + check["detail"])
    return result.code, found


async def with_token(owner: Conn, simulator: Simulator, **number: Any) -> Tenant:
    made = await make_tenant(owner)
    sealed = Vault((KEY,)).encrypt(TOKEN, access_token_of(made.chatbot_id))
    await owner.execute("UPDATE chatbots SET access_token = $1", sealed)
    known = {
        "phone_number_id": made.phone_number_id,
        "display_phone_number": made.number.lstrip("+"),
        "token": TOKEN,
    }
    await simulator.config(numbers=[known | number])
    return made


async def test_all_is_well_but_nobody_works(
    command: Command, owner: Conn, simulator: Simulator
) -> None:
    made = await with_token(owner, simulator)
    code, found = await looked(command)
    states = {check: state for check, (state, _) in found.items()}
    assert code == 1
    bot = f"chatbot {made.chatbot_id}"
    assert {check for check, state in states.items() if state == "failed"} == {
        "workers",
        "consumers",
    }
    for check in ("configuration", "postgresql", "postgresql login", "schema", "topology", bot):
        assert states[check] == "ok", found
    assert states[f"token of {bot}"] == "ok"
    assert "1 app(s)" in next(d for c, (_, d) in found.items() if c.startswith("account "))
    await owner.execute("INSERT INTO workers (name) VALUES ('w')")
    assert (await looked(command))[1]["workers"] == ("ok", "1 alive")
    plain = await command("doctor")
    assert TOKEN not in plain.out
    assert plain.out.count("\n") == len(found) + plain.out.count("nobody reads") - 1


async def test_a_login_that_may_too_much_is_a_warning(
    command: Command, database: Database, owner: Conn
) -> None:
    _, found = await looked(command, DATABASE_URL=database.owner_url)
    assert found["postgresql login"][0] == "warning"
    assert "superuser" in found["postgresql login"][1]


async def test_what_meta_says_is_told(command: Command, owner: Conn, simulator: Simulator) -> None:
    made = await with_token(owner, simulator, token="another")
    bot = f"chatbot {made.chatbot_id}"
    _, found = await looked(command)
    assert found[bot][0] == "failed"
    assert "190" in found[bot][1]
    assert found[f"token of {bot}"][0] == "failed"
    await with_number(simulator, made, display_phone_number="12025559999")
    _, found = await looked(command)
    assert "is the number +12025559999" in found[bot][1]
    await with_number(simulator, made)
    await simulator.config(subscribed=False)
    _, found = await looked(command)
    assert found[bot][0] == "ok"
    assert any(s == "failed" for c, (s, _) in found.items() if c.startswith("account "))
    await owner.execute("UPDATE chatbots SET access_token = NULL")
    _, found = await looked(command)
    assert "has no access token" in found[bot][1]
    await owner.execute("UPDATE chatbots SET phone_number_id = NULL")
    _, found = await looked(command, WHATSAPP_ACCESS_TOKEN=TOKEN)
    assert found[bot][0] == "warning"
    _, found = await looked(command, WHATSAPP_API_URL="http://127.0.0.1:1")
    assert "meta" not in found


async def with_number(simulator: Simulator, made: Tenant, **changed: str) -> None:
    known = {
        "phone_number_id": made.phone_number_id,
        "display_phone_number": made.number.lstrip("+"),
        "token": TOKEN,
    }
    await simulator.config(numbers=[known | changed])


async def test_everything_that_is_missing_is_told_at_once(command: Command) -> None:
    bare = Command({"PATH": "/usr/bin:/bin"})
    result = await bare("doctor")
    assert result.code == 1
    for name in ("DATABASE_URL", "AMQP_URL", "WHATSAPP_APP_SECRET", "SECRETS_KEY"):
        assert f"{name} is missing" in result.out
    away = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "AMQP_URL": "amqp://127.0.0.1:1/",
    }
    code, found = await looked(command, **away)
    assert code == 1
    assert found["postgresql"][0] == found["rabbitmq"][0] == "failed"


async def test_a_database_without_the_schema_is_told(command: Command, owner: Conn) -> None:
    await owner.execute("DELETE FROM schema_migrations WHERE version = '0012_api'")
    _, found = await looked(command)
    assert found["schema"][0] == "failed"
    assert "0012_api" in found["schema"][1]
    assert "swiftreplies migrate" in found["schema"][1]


async def test_policies_are_asked_for_with_the_broker_s_login(
    command: Command, broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = [{"pattern": "^wa", "definition": {"max-length": 9}}]

    async def answer(request: web.Request) -> web.Response:
        login = urlsplit(broker.url)
        ours = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        known = request.headers.get("Authorization") == f"Basic {ours}"
        return web.json_response(bounded if known else [], status=200 if known else 401)

    app = web.Application()
    app.router.add_get("/api/policies/{vhost}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(ingest_log, "MANAGEMENT_PORT", runner.addresses[0][1])
    assert (await looked(command))[1]["policies"] == ("ok", "every queue is bounded")
    bounded[0]["definition"] = {}
    state, detail = (await looked(command))[1]["policies"]
    assert (state, "none bounds the queues" in detail) == ("warning", True)
    await runner.cleanup()


async def test_of_several_brokers_each_is_looked_at(command: Command, broker: RabbitMQ) -> None:
    dead = "amqp://x:pw-of-nobody@127.0.0.1:1/"
    _, found = await looked(command, AMQP_URL=f"{dead},{broker.url}")
    state, detail = found["rabbitmq 127.0.0.1:1"]
    assert state == "warning", "another answers"
    assert "nothing listens there" in detail
    there = broker.url.rpartition("@")[2].rstrip("/")
    assert "version" in found[f"rabbitmq {there}"][1]
    assert found["topology"][0] == "ok"
    _, found = await looked(command, AMQP_URL=f"{dead},{dead}")
    assert found["rabbitmq 127.0.0.1:1"][0] == "failed"
    assert "topology" not in found
    async with rabbitmq(in_memory=True) as stranger:
        _, found = await looked(command, AMQP_URL=f"{stranger.url},{broker.url}")
    assert found["rabbitmq"][0] == "failed"
    assert "2 clusters" in found["rabbitmq"][1]


async def test_what_stands_before_the_database_is_told(
    command: Command, database: Database, postgres_server: Postgres
) -> None:
    async with between(Between(postgres_server, drops=True, poses=True)) as pooler:
        _, found = await looked(command, DATABASE_URL=pooler.url(database.owner_url))
        state, detail = found["postgresql session"]
        assert state == "failed"
        assert "a pooler" in detail
        assert "ALTER ROLE" in detail
        assert "superuser" in detail
    _, found = await looked(command, DATABASE_URL=f"{database.runtime_url}?sslmode=require")
    assert "127.0.0.1:" in found["postgresql"][1]
    assert "the server has no TLS" in found["postgresql"][1]
    url = f"{database.runtime_url}?channel_binding=require&connect_timeout=5"
    _, found = await looked(command, DATABASE_URL=url)
    assert found["configuration"][0] == "warning"
    assert "DATABASE_URL: without channel_binding=require" in found["configuration"][1]
    assert found["postgresql"][0] == "ok"


async def test_a_login_that_may_see_the_log_is_a_warning(command: Command, owner: Conn) -> None:
    await owner.execute("GRANT swiftreplies_log TO runtime")
    try:
        _, found = await looked(command)
        assert found["postgresql login"][0] == "warning"
        assert "REVOKE swiftreplies_log FROM runtime" in found["postgresql login"][1]
    finally:
        await owner.execute("REVOKE swiftreplies_log FROM runtime")


async def test_a_log_in_postgresql_is_looked_at_instead_of_a_broker(
    command: Command, owner: Conn
) -> None:
    _, found = await looked(command, INGEST_LOG="postgres", AMQP_URL="")
    assert found["ingest log"] == ("ok", "a table of the database, 0 entries")
    assert not {"rabbitmq", "topology", "consumers", "policies"} & set(found)
    await owner.execute(
        "INSERT INTO ingest_entries (lane, body) SELECT 'dead-other', 'x'"
        " FROM generate_series(1, 100000)"
    )
    _, found = await looked(command, INGEST_LOG="postgres", AMQP_URL="")
    assert found["ingest log"][0] == "failed"
    assert "full: 100000 entries" in found["ingest log"][1]
    assert found["dead letters"][0] == "warning"
    _, found = await looked(command, INGEST_LOG="postgres", AMQP_URL="", INGEST_LOG_URL="")
    assert found["ingest log"][0] == "failed"
    assert "CREATE ROLE swiftreplies_ingest LOGIN" in found["ingest log"][1]
    await owner.execute("REVOKE ALL ON ingest_entries FROM swiftreplies_log")
    _, found = await looked(command, INGEST_LOG="postgres", AMQP_URL="")
    assert "permission denied" in found["ingest log"][1]


async def model_checks(command: Command, simulator: Simulator) -> list[tuple[str, str]]:
    result = await command(
        *("doctor", "--json"),
        OPENAI_MODEL="some-model",
        OPENAI_API_KEY="sk-1",
        OPENAI_BASE_URL=f"{simulator.url}/v1",
    )
    checks = json.loads(result.out)["checks"]
    return [(c["state"], c["detail"]) for c in checks if c["check"] == "model"]


async def test_the_model_is_asked_once_and_shortly(command: Command, simulator: Simulator) -> None:
    assert await model_checks(command, simulator) == [
        ("ok", f"some-model at {simulator.url}/v1/ answers")
    ]
    (asked,) = await simulator.log("model")
    assert asked["request"]["max_completion_tokens"] == 16
    assert asked["request"]["tools"]
    assert len(json.dumps(asked["request"])) < 1_500


async def test_without_a_key_no_model_is_asked(command: Command, simulator: Simulator) -> None:
    _, found = await looked(command, OPENAI_API_KEY="sk-1")  # the model is `offline`
    assert "model" not in found
    assert await simulator.log("model") == []


async def test_what_the_models_server_cannot_take_is_told(
    command: Command, simulator: Simulator
) -> None:
    await simulator.config(
        model_quirks={
            "no_max_completion_tokens": True,
            "alternating_roles": True,
            "nine_character_ids": True,
        }
    )
    first, *others = await model_checks(command, simulator)
    assert first[0] == "ok"
    assert others == [
        ("ok", "takes max_tokens, not max_completion_tokens; it gets that"),
        ("ok", "wants ids of calls with nine letters and digits; it gets that"),
        ("ok", "wants user and assistant to take turns; it gets that"),
    ]
    assert len(await simulator.log("model")) == 4
    await simulator.config(model_quirks=None)
    await simulator.config(model_quirks={"no_tools": True})
    _, (state, detail) = await model_checks(command, simulator)
    assert state == "warning"
    assert "no big knowledge base" in detail


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ({"status": 401}, "the key is refused"),
        ({"status": 404}, "OPENAI_BASE_URL"),
        ({"status": 500}, "does not answer (http_500)"),
        ({"raw": {"body": "<html>"}}, "does not answer (unreadable)"),
        ({"message": {"content": ""}, "finish_reason": "length"}, ""),
    ],
    ids=str,
)
async def test_a_model_that_does_not_answer(
    command: Command, simulator: Simulator, rule: dict[str, Any], detail: str
) -> None:
    await simulator.rules(rule)
    ((state, said),) = await model_checks(command, simulator)
    assert (state, detail in said) == ("failed" if detail else "ok", True)
    assert "sk-1" not in said


async def test_an_embedding_model_that_does_not_answer(
    command: Command, simulator: Simulator
) -> None:
    wanted = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "EMBEDDING_MODEL": "some-vectors",
    }
    _, found = await looked(command, **wanted)
    assert found["embedding model"][0] == "ok"
    assert "some-vectors" in found["embedding model"][1]
    await simulator.config(embedding_status=404)
    _, found = await looked(command, **wanted)
    state, said = found["embedding model"]
    assert (state, "EMBEDDING_MODEL" in said, "sk-1" in said) == ("warning", True, False)
    _, found = await looked(command)
    assert "embedding model" not in found


async def test_a_store_that_is_not_one_is_told(
    command: Command, owner: Conn, pool: Pool, tmp_path: Path
) -> None:
    _, found = await looked(command)
    assert found["media store"][0] == "warning"
    here, there = tmp_path / "a", tmp_path / "b"
    ingress = Sight(pool, Directory(here), "ingress@a:1")
    worker = Sight(pool, Directory(here), "worker@b:2")
    await ingress.look()
    await owner.execute("INSERT INTO media_stores (process, store) VALUES ('worker@old:1', 'x')")
    await owner.execute("UPDATE media_stores SET store = (SELECT min(store) FROM media_stores)")
    _, found = await looked(command)
    assert (found["media store"][0], "not proven yet" in found["media store"][1]) == (
        "warning",
        True,
    )
    await owner.execute("DELETE FROM media_stores WHERE process = 'worker@old:1'")
    for one in (ingress, worker):
        await one.look()
    _, found = await looked(command)
    assert found["media store"][0] == "ok"
    assert found["media store"][1].startswith("one: 2 processes")
    # A copy has the identity too, and the markers of then.
    await asyncio.to_thread(shutil.copytree, here, there)
    moved = Sight(pool, Directory(there), "worker@b:2")
    for one in (moved, ingress, moved):
        await one.look()
    assert len(await owner.fetch("SELECT DISTINCT store FROM media_stores")) == 1
    code, found = await looked(command)
    state, detail = found["media store"]
    assert (code, state) == (1, "failed")
    assert "ingress@a:1 does not find what worker@b:2" in detail
    (tmp_path / "file").write_text("")
    await Sight(pool, Directory(tmp_path / "file"), "worker@b:2").look()
    code, found = await looked(command)
    state, detail = found["media store"]
    assert (code, state) == (1, "failed")
    assert detail.startswith("worker@b:2: MEDIA_STORE")
    await owner.execute("UPDATE media_stores SET seen_at = now() - interval '1 hour'")
    _, found = await looked(command)
    assert found["media store"][0] == "warning"
