"""A typed client is generated from the description, as a tenant's developer would have it, and a
program with it holds a conversation through the running product."""

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Product, until

BIN = Path(sys.executable).parent
CONFIG = """
content_type_overrides:
  application/zip: application/octet-stream
  application/merge-patch+json: application/json
  text/csv: application/octet-stream
  application/x-ndjson: application/octet-stream
  application/pdf: application/octet-stream
  application/vnd.openxmlformats-officedocument.wordprocessingml.document: application/octet-stream
  text/html: application/octet-stream
"""
# The generator's own client.py passes `*args: object` on, which strict typing has no word for; and
# it takes a text that is no JSON for a file.
MYPY = """
[mypy]
strict = true
[mypy-shop_client.client]
disable_error_code = arg-type
[mypy-*.import_products,*.import_knowledge,*.import_contacts]
disable_error_code = attr-defined
"""
PROGRAM = """
import sys

from shop_client import AuthenticatedClient
from shop_client.api.conversations import (
    hand_back_conversation,
    list_conversations,
    read_conversation,
    send_message,
    take_over_conversation,
)
from shop_client.models import (
    Conversation,
    ConversationPage,
    ConversationWithMessages,
    IdempotencyKeyReusedProblem,
    InvalidRequestProblem,
    Message,
    NewMessage,
    NotFoundProblem,
    Takeover,
)

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)

page = list_conversations.sync(client=client, limit=10)
assert isinstance(page, ConversationPage), page
(row,) = page.data
assert page.next_ is None

taken = take_over_conversation.sync(row.id, client=client, body=Takeover(reason="Ada answers"))
assert isinstance(taken, Conversation), taken
assert taken.status == "taken_over"

text = NewMessage(content_text="This is Ada.")
made = send_message.sync_detailed(row.id, client=client, body=text, idempotency_key="ticket-1")
again = send_message.sync_detailed(row.id, client=client, body=text, idempotency_key="ticket-1")
assert isinstance(made.parsed, Message), made
assert (made.status_code, made.content) == (again.status_code, again.content)

other = NewMessage(content_text="Somebody else.")
refused = send_message.sync(row.id, client=client, body=other, idempotency_key="ticket-1")
assert isinstance(refused, IdempotencyKeyReusedProblem), refused
nobody = read_conversation.sync(999_999_999, client=client)
assert isinstance(nobody, NotFoundProblem), nobody
empty = send_message.sync(row.id, client=client, body=NewMessage(content_text=""))
assert isinstance(empty, InvalidRequestProblem), empty
assert [error.field for error in empty.errors or []] == ["content_text"]

back = hand_back_conversation.sync(row.id, client=client)
assert isinstance(back, Conversation), back
assert back.status == "bot"
whole = read_conversation.sync(row.id, client=client)
assert isinstance(whole, ConversationWithMessages), whole
said = [message.content_text for message in whole.messages or [] if message.is_from_human]
assert said == ["This is Ada."], said
print("held", made.parsed.id)
"""


async def run(*command: str, cwd: Path) -> str:
    running = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    return said.decode()


async def described(product: Product) -> bytes:
    """By the product that runs, and without a key."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{product.stack.ingress_url}/v1/openapi.json") as answer,
    ):
        return await answer.read()


@pytest.mark.timeout(480)
async def test_a_generated_client_holds_a_conversation(product: Product, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(await described(product))
    (tmp_path / "config.yml").write_text(CONFIG)
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "program.py").write_text(PROGRAM)
    await run(
        *("openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none"),
        *("--config", "config.yml", "--output-path", "shop_client", "--fail-on-warning"),
        cwd=tmp_path,
    )
    await run("mypy", "--config-file", "mypy.ini", "shop_client", "program.py", cwd=tmp_path)

    bot = await product.bot()
    made = await product.stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "shop", "--json")
    )
    await product.simulator.say(bot.phone_number_id, "13035550199", "Is anybody there?")
    assert len(await product.replies(bot, 1)) == 1
    await product.settled(bot)
    url = product.stack.ingress_url
    said = await run(sys.executable, "program.py", url, made["api_key"], cwd=tmp_path)
    assert said.startswith("held ")
    await until(lambda: product.replies(bot, 2), lambda replies: "This is Ada." in replies)
    await product.settled(bot)
    assert (await product.replies(bot, 2)).count("This is Ada.") == 1
