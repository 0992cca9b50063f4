"""A chatbot that its tenant made by the API is answering within seconds."""

import time

import aiohttp

from tests.api import Client
from tests.e2e.conftest import Product, until

CUSTOMER = "13035550144"


async def test_a_tenant_makes_a_chatbot_that_answers(product: Product) -> None:
    stamp = product.stamp()
    phone_number_id, token = f"41{stamp}", f"token-{stamp}"
    await product.simulator.config(
        numbers=[
            {
                "phone_number_id": phone_number_id,
                "display_phone_number": f"1{stamp}",
                "token": token,
            }
        ]
    )
    user = await product.stack.command(
        "tenant", "create", "--email", f"t{stamp}@x.example", "--json"
    )
    key = await product.stack.command(
        *("apikey", "create", "--user", str(user["user_id"]), "--name", "all", "--json")
    )
    async with aiohttp.ClientSession() as http:
        client = Client(product.stack.ingress_url, http, key["api_key"])
        # What comes before it is there waits for it, and is answered as well.
        await product.simulator.say(phone_number_id, CUSTOMER, "Are you open?")
        named = {
            "name": f"Bot {stamp}",
            "whatsapp_phone_number": f"+1{stamp}",
            "phone_number_id": phone_number_id,
            "access_token": token,
        }
        started = time.monotonic()
        made = await client.post("/chatbots", named, Idempotency_Key="first")
        assert (made.status, made.json["number_confirmed_at"]) == (201, None)
        path = f"/chatbots/{made.json['id']}"
        await until(
            lambda: client.get(path), lambda a: a.json["number_confirmed_at"] is not None, 10.0
        )
        assert time.monotonic() - started < 10

        async def sends() -> list[str]:
            entries = await product.simulator.log("send")
            return [e["text"] for e in entries if e["phone_number_id"] == phone_number_id]

        await until(sends, lambda texts: len(texts) == 1)
        await product.simulator.say(phone_number_id, CUSTOMER, "And tomorrow?")
        await until(sends, lambda texts: len(texts) == 2)
