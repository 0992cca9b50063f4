"""What code says to a customer is in the customer's language."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage

from db.conversations import claim_conversations
from db.ids import ConversationId, WorkerId
from db.pool import Conn, Pool
from handlers.agent.answerer import Answerer, NoAnswer
from handlers.agent.answerer import Kind as Why
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox
from handlers.fixed.texts import Kind, fixed_text
from handlers.rules.reply import MAX_CHARS
from handlers.turns.run import run_turn
from tests.factories import Tenant, make_conversation, make_tenant

ME = WorkerId(1)
HINDI = "क्या आप रविवार को खुले हैं?"


@dataclass(slots=True)
class Says:
    text: str | None  # None: no answer
    name: str = "m"

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        if self.text is None:
            raise NoAnswer("http_400", Why.NEVER)
        return AIMessage(self.text)


@dataclass(slots=True)
class Chat:
    owner: Conn
    pool: Pool
    user: Tenant
    conversation_id: ConversationId
    said: int = 0

    async def hears(self, text: str, **metadata: Any) -> None:
        self.said += 1
        await self.owner.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, content_text, message_id, input_seq, metadata)"
            " SELECT $1, $2, contact_id, id, 'inbound', 'received', $4, 'w.' || $5::int, $5,"
            " $6::text::jsonb FROM conversations WHERE id = $3",
            *(self.user.user_id, self.user.chatbot_id, self.conversation_id, text, self.said),
            json.dumps(metadata),
        )
        await self.owner.execute("UPDATE conversations SET input_seq = $1", self.said)

    async def answers(self, answerer: Answerer) -> str:
        await self.owner.execute("UPDATE conversations SET ready_at = now()")
        async with self.pool.acquire() as conn:
            (claim,) = await claim_conversations(conn, ME, 1, 100)
        await run_turn(self.pool, Agent(answerer), ME, claim)
        text: str = await self.owner.fetchval(
            "SELECT content_text FROM messages WHERE direction = 'outbound'"
            " ORDER BY id DESC LIMIT 1"
        )
        return text

    async def choose(self, table: str, language: str) -> None:
        await self.owner.execute(f"UPDATE {table} SET language = $1", language)


@pytest.fixture
async def chat(pool: Pool, owner: Conn) -> Chat:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    return Chat(owner, pool, user, conversation_id)


async def test_by_what_the_language_is_known(chat: Chat) -> None:
    said = []
    await chat.hears("xyz")
    said.append(await chat.answers(Offline()))
    for table, language in (("users", "it"), ("chatbots", "fr"), ("contacts", "nl")):
        await chat.choose(table, language)
        if table == "contacts":
            await chat.hears(HINDI)
            said.append(await chat.answers(Offline()))
        await chat.hears("?" if table != "contacts" else HINDI)
        said.append(await chat.answers(Offline()))
    # English, the tenant's, the chatbot's; what the customer wrote; what somebody chose for them.
    languages = ["en", "it", "fr", "nl", "nl"]
    assert said == [fixed_text(Kind.NO_INFORMATION, language) for language in languages]


async def test_what_a_customer_wrote_before_tells_too(chat: Chat) -> None:
    await chat.choose("chatbots", "fr")
    await chat.hears(HINDI)
    await chat.answers(Says("हाँ।"))
    await chat.hears("[photo: cannot be opened]", opaque=True)
    assert await chat.answers(Says("")) == fixed_text(Kind.MEDIA, "hi")
    await chat.hears("[photo] ¿tienen esta?")
    assert await chat.answers(Says(None)) == fixed_text(Kind.APOLOGY, "es")


async def test_a_long_answer_says_in_the_customer_s_language_that_it_is_cut(chat: Chat) -> None:
    await chat.hears(HINDI)
    text = await chat.answers(Says("नींबू केक दो दिन पहले ऑर्डर करना होता है। " * 300))
    mark = fixed_text(Kind.SHORTENED, "hi")
    assert text.endswith(f"करना होता है।\n\n{mark}")
    assert MAX_CHARS / 2 < len(text) <= MAX_CHARS


@pytest.mark.parametrize("status", ["approved", "denied", "expired"])
@pytest.mark.parametrize("answerer", [Offline(), Says(None)])
async def test_a_decision_is_told_in_the_customer_s_language(
    chat: Chat, status: str, answerer: Answerer
) -> None:
    await chat.hears(HINDI)
    await chat.answers(Says("हाँ।"))
    data = {"status": status, "details": "धन वापसी", "response": None}
    await chat.owner.execute(
        "INSERT INTO conversation_events (user_id, conversation_id, input_seq, kind, data)"
        " VALUES ($1, $2, 2, 'action_decided', $3::text::jsonb)",
        *(chat.user.user_id, chat.conversation_id, json.dumps(data)),
    )
    await chat.owner.execute("UPDATE conversations SET input_seq = 2")
    said = fixed_text(Kind(status), "hi", details="धन वापसी")
    assert await chat.answers(answerer) == said


async def test_the_tenant_s_own_texts(chat: Chat) -> None:
    own = {"apology": {"hi": "अभी नहीं।", "es": 5}, "limit": {"hi": "कल मिलते हैं।"}}
    await chat.owner.execute("UPDATE chatbots SET texts = $1::text::jsonb", json.dumps(own))
    await chat.hears("hola, gracias")
    assert await chat.answers(Says(None)) == fixed_text(Kind.APOLOGY, "es")
    await chat.owner.execute("UPDATE conversations SET taken_over_until = now()")
    await chat.hears(HINDI)
    assert await chat.answers(Says(None)) == "अभी नहीं।"


@pytest.mark.parametrize(
    ("wrote", "told"), [(HINDI, "कल मिलते हैं।"), ("are you open?", "Tomorrow again.")]
)
async def test_a_limit_is_told_in_the_chatbot_s_own_words_for_the_language(
    chat: Chat, wrote: str, told: str
) -> None:
    own = {"limit": {"hi": "कल मिलते हैं।"}}
    plan = {"limits": {"message_limit_notice": "Tomorrow again."}}
    await chat.owner.execute("UPDATE chatbots SET texts = $1::text::jsonb", json.dumps(own))
    await chat.owner.execute(
        "UPDATE user_subscriptions"
        " SET daily_message_limit = 0, subscription_config = $1::text::jsonb",
        json.dumps(plan),
    )
    await chat.hears(wrote)
    assert await chat.answers(Says("x")) == told


@pytest.mark.parametrize("bad", ["english", "EN", "en_US", ""])
async def test_a_language_is_a_tag(chat: Chat, bad: str) -> None:
    for table in ("users", "chatbots", "contacts"):
        with pytest.raises(Exception, match="language_form"):
            await chat.choose(table, bad)
