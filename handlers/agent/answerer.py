"""Who writes the answer: a language model, or, offline, the knowledge base word for word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError
from pydantic import SecretStr

from handlers.agent.prompt import Briefing, Row, system_prompt
from handlers.rules.retrieval import Index

OFFLINE = "offline"  # the value of OPENAI_MODEL

MODEL_TIMEOUT_S = 20.0  # a request; langchain-openai has none of its own
MODEL_RETRIES = 1  # by the client, which honours Retry-After; nothing else retries the model
MAX_ANSWER_TOKENS = 800


class NoAnswer(Exception):
    """Nothing came that could be sent; the message is a fixed word."""


class Answerer(Protocol):
    @property
    def name(self) -> str:
        """Of the model, for the record."""

    async def answer(self, briefing: Briefing, messages: Sequence[AnyMessage]) -> AIMessage:
        """Raises NoAnswer."""


@dataclass(frozen=True, slots=True)
class Model:
    """Any server that speaks OpenAI's chat completions."""

    name: str
    client: ChatOpenAI

    @classmethod
    def create(cls, name: str, api_key: str, base_url: str | None) -> "Model":
        return cls(
            name,
            ChatOpenAI(
                model=name,
                api_key=SecretStr(api_key),
                base_url=base_url,
                timeout=MODEL_TIMEOUT_S,
                max_retries=MODEL_RETRIES,
                max_completion_tokens=MAX_ANSWER_TOKENS,
                # Some model names would switch to /responses, which compatible servers lack.
                use_responses_api=False,
            ),
        )

    async def answer(self, briefing: Briefing, messages: Sequence[AnyMessage]) -> AIMessage:
        try:
            answer = await self.client.ainvoke(
                [SystemMessage(system_prompt(briefing)), *messages], RunnableConfig(callbacks=[])
            )
        except OpenAIError as error:
            raise NoAnswer(_why(error)) from error
        if not answer.text.strip():
            raise NoAnswer("empty_answer")
        return answer


def _why(error: OpenAIError) -> str:
    match error:
        case APIStatusError():
            return f"http_{error.status_code}"
        case APITimeoutError():  # a kind of APIConnectionError, so it comes first
            return "timeout"
        case APIConnectionError():
            return "unreachable"
        case _:
            return type(error).__name__


# Tuned on the phrasings in tests/unit/test_offline.py: below the bar an answer is a guess, and
# within the margin two rows answer different questions about equally well.
OFFLINE_BAR = 0.22
OFFLINE_MARGIN = 0.03
OFFLINE_NO_ANSWER = (
    "I'm sorry, I don't have that information. Would you like me to pass your question to a"
    " colleague?"
)


@dataclass(frozen=True, slots=True)
class Offline:
    """Copies the stored answer, or says that there is none. No model, no network."""

    name: str = OFFLINE

    async def answer(self, briefing: Briefing, messages: Sequence[AnyMessage]) -> AIMessage:
        asked: list[str] = []
        for message in reversed(messages):
            if not isinstance(message, HumanMessage):
                break
            asked.insert(0, message.text)
        rows = offline_rows(asked, briefing.knowledge)
        text = "\n\n".join(dict.fromkeys(row.answer for row in rows)) or OFFLINE_NO_ANSWER
        return AIMessage(text, response_metadata={"kb_ids": [row.id for row in rows]})


def offline_rows(asked: Sequence[str], knowledge: Sequence[Row]) -> list[Row]:
    """The rows that answer: for each line of the burst by itself, else for the burst as a whole."""
    index = Index([f"{row.question} {row.question} {row.answer}" for row in knowledge])
    found: list[Row] = []
    for line in asked:
        row = _best(index, line, knowledge)
        if row is not None and row not in found:
            found.append(row)
    if not found and len(asked) > 1:
        row = _best(index, " ".join(asked), knowledge)
        found = [row] if row is not None else []
    return found


def _best(index: Index, question: str, knowledge: Sequence[Row]) -> Row | None:
    hits = index.search(question, 2)
    if not hits or hits[0].share < OFFLINE_BAR:
        return None
    best = knowledge[hits[0].place]
    if len(hits) > 1 and hits[0].share - hits[1].share < OFFLINE_MARGIN:
        rival = knowledge[hits[1].place]
        if best.category is None or best.category != rival.category:
            return None
    return best
