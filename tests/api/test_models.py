"""A chatbot's model, what it is there for, and its own words against advertising, by the API."""

from typing import Any

import pytest

from db.pool import Conn
from handlers.process.secrets import Vault, model_keys_of
from handlers.rules.models import Key, read_keys
from tests.api import Client
from tests.factories import Tenant
from tests.ingress import SECRETS_KEY

URL, OTHER = "https://models.example/v1", "https://other.example/v1"
KEY = "sk-of-the-bakery"
MODEL = {"name": "big", "base_url": URL, "temperature": 0.2, "reasoning_effort": "low"}


async def keys(owner: Conn, chatbot_id: int) -> tuple[Key | None, ...]:
    sealed = await owner.fetchval("SELECT model_keys FROM chatbots WHERE id = $1", chatbot_id)
    return read_keys(sealed and Vault((SECRETS_KEY,)).decrypt(sealed, model_keys_of(chatbot_id)))


def path(ours: Tenant) -> str:
    return f"/chatbots/{ours.chatbot_id}"


async def test_a_model_is_given_and_its_key_is_never_shown(
    client: Client, owner: Conn, ours: Tenant
) -> None:
    given = MODEL | {"api_key": KEY, "max_output_tokens": 500, "sees_images": True}
    given |= {"fallbacks": [{"name": "small", "base_url": OTHER, "api_key": "sk-2"}]}
    answer = await client.patch(path(ours), {"model": given})
    assert answer.status == 200, answer
    shown = {name: value for name, value in given.items() if name not in ("api_key", "fallbacks")}
    assert answer.json["model"] == shown | {"fallbacks": [{"name": "small", "base_url": OTHER}]}
    assert KEY not in str(answer.json)
    assert await keys(owner, ours.chatbot_id) == (Key(URL, KEY), Key(OTHER, "sk-2"))
    stored = await owner.fetchrow(
        "SELECT model::text, model_keys FROM chatbots WHERE id = $1", ours.chatbot_id
    )
    assert stored is not None
    assert KEY not in str(tuple(stored))
    read = await client.get(path(ours))
    assert (read.json["model"], read.headers["ETag"]) == (
        answer.json["model"],
        answer.headers["ETag"],
    )


async def test_it_is_merged_and_every_change_raises_the_version(
    client: Client, owner: Conn, ours: Tenant
) -> None:
    tag = (await client.get(path(ours))).headers["ETag"]
    for change, model in (
        (MODEL | {"api_key": KEY}, MODEL),
        ({"temperature": None}, {n: v for n, v in MODEL.items() if n != "temperature"}),
        (
            {"temperature": 0.2, "fallbacks": [{"name": "offline"}]},
            MODEL | {"fallbacks": [{"name": "offline"}]},
        ),
        ({"fallbacks": None}, MODEL),
        ({"api_key": "sk-another"}, MODEL),
        (None, None),
    ):
        answer = await client.patch(path(ours), {"model": change}, If_Match=tag)
        assert (answer.status, answer.json["model"]) == (200, model), answer
        assert answer.headers["ETag"] != tag
        tag = answer.headers["ETag"]
    assert await keys(owner, ours.chatbot_id) == ()


async def test_a_chatbot_is_made_with_one(client: Client, owner: Conn) -> None:
    answer = await client.post(
        "/chatbots",
        {
            "name": "Bakery",
            "model": MODEL | {"api_key": KEY},
            "topic": "cakes",
            "opt_out_words": ["Schluss"],
        },
    )
    assert answer.status == 201, answer
    row = answer.json
    assert (row["model"], row["topic"], row["opt_out_words"]) == (MODEL, "cakes", ["Schluss"])
    assert await keys(owner, row["id"]) == (Key(URL, KEY),)


@pytest.mark.parametrize(
    ("model", "members"),
    [
        ({"name": "big", "base_url": URL}, ["model.api_key"]),
        ({"base_url": URL, "api_key": KEY}, ["model.name"]),
        (
            {"name": "a", "fallbacks": [{"name": "b", "base_url": URL}]},
            ["model.fallbacks.0.api_key"],
        ),
        ({"name": "a", "fallbacks": [{"name": "b"}] * 4}, ["model.fallbacks"]),
        ({"name": "a", "fallbacks": [{"temperature": 1}]}, ["model.fallbacks.0.name"]),
        ({"name": "a", "temperature": 3}, ["model.temperature"]),
        ({"name": "a", "temperature": "1"}, ["model.temperature"]),
        ({"name": "a", "max_output_tokens": 5}, ["model.max_output_tokens"]),
        ({"name": "a", "reasoning_effort": "huge"}, ["model.reasoning_effort"]),
        ({"name": ""}, ["model.name"]),
        ({"name": "a", "what": 1}, ["model.what"]),
        ({"name": "a", "base_url": "http://127.0.0.1/v1", "api_key": KEY}, ["model.base_url"]),
        ({"name": "a", "base_url": "https://10.0.0.1/v1", "api_key": KEY}, ["model.base_url"]),
        ({"name": "a", "base_url": "https://localhost/v1", "api_key": KEY}, ["model.base_url"]),
        ({"name": "a", "base_url": f"{URL}?key=1", "api_key": KEY}, ["model.base_url"]),
    ],
    ids=str,
)
async def test_what_is_wrong_is_named(
    client: Client, ours: Tenant, model: dict[str, Any], members: list[str]
) -> None:
    for answer in (
        await client.patch(path(ours), {"model": model}),
        await client.post("/chatbots", {"name": "Bakery", "model": model}),
    ):
        assert (answer.status, answer.problem) == (400, "invalid_request"), answer
        assert [one["field"] for one in answer.json["errors"]] == members
    assert (await client.get(path(ours))).json["model"] is None


async def test_a_key_goes_to_no_other_address(client: Client, owner: Conn, ours: Tenant) -> None:
    await client.patch(path(ours), {"model": MODEL | {"api_key": KEY}})
    answer = await client.patch(path(ours), {"model": {"base_url": OTHER}})
    assert answer.status == 400
    answer = await client.patch(path(ours), {"model": {"base_url": OTHER, "api_key": "sk-2"}})
    assert answer.status == 200
    assert await keys(owner, ours.chatbot_id) == (Key(OTHER, "sk-2"),)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"opt_out_words": ["?!"]}, 400),
        ({"opt_out_words": ["x" * 41]}, 400),
        ({"opt_out_words": ["x"] * 51}, 400),
        ({"opt_out_words": "x"}, 400),
        ({"topic": "x" * 501}, 400),
        ({"topic": "cakes"}, 200),
        ({"topic": None}, 200),
        ({"opt_out_words": []}, 200),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_topic_and_words(
    client: Client, ours: Tenant, given: dict[str, Any], says: int
) -> None:
    answer = await client.patch(path(ours), given)
    assert answer.status == says, answer
