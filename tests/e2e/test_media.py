"""What a customer sends, through the running product: fetched, heard, shown, given, taken back."""

import aiohttp
import pytest

from simulator.samples import voice
from tests.api import Client
from tests.e2e.conftest import Product, until

ADA = "+12025550177"


@pytest.mark.usefixtures("workers")
async def test_a_voice_message_and_a_picture_come_through(product: Product) -> None:
    bot = await product.bot()
    stack, simulator = product.stack, product.simulator
    made = await stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "desk", "--json")
    )
    data = voice(2.0, mark="another one") + bytes(100_000)
    media_id = await simulator.media(data, mime_type="audio/ogg", says="Is there rye bread?")
    told = await simulator.do(bot.phone_number_id, ADA, "audio", media=media_id)
    await simulator.do(bot.phone_number_id, ADA, "image")
    (said,) = await product.replies(bot, 1)
    assert "[voice message] Is there rye bread?" in said
    count = "SELECT count(*) FROM media WHERE user_id = $1 AND status = 'stored'"
    await until(lambda: product.rows(bot, count), lambda rows: rows[0][0] == 2)
    async with aiohttp.ClientSession() as http:
        client = Client(stack.ingress_url, http, made["api_key"])
        (talk,) = (await client.get("/conversations")).json["data"]
        messages = (await client.get(f"/conversations/{talk['id']}/messages")).json["data"]
        urls = {m["message_id"]: m["content_url"] for m in messages if m["content_url"]}
        assert len(urls) == 2
        url = f"{stack.ingress_url}{urls[told['wamid']]}"
        headers = {"Authorization": f"Bearer {made['api_key']}"}
        async with http.get(url, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, data)
        await simulator.do(bot.phone_number_id, ADA, "revoke", target=told["wamid"])
        async with http.get(url, headers=headers) as answer:
            gone = answer.status
        if gone != 404:  # it is on its way
            path = urls[told["wamid"]].removeprefix("/v1")
            await until(lambda: client.send("GET", path), lambda a: a.status == 404)
