"""A language model as the answerer: any server that speaks OpenAI's chat completions."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import httpx2
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    SystemMessage,
)
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError
from pydantic import SecretStr

from handlers.agent.answerer import NoAnswer
from handlers.agent.prompt import Briefing, system_prompt
from handlers.agent.tools import Toolbox
from handlers.agent.transport import AiohttpTransport
from handlers.process import telemetry

MODEL_TIMEOUT_S = 20.0  # a request; langchain-openai has none of its own
MODEL_RETRIES = 1  # by the client, which honours Retry-After; nothing else retries the model
MAX_ANSWER_TOKENS = 800


class Completions(ChatOpenAI):
    """ChatOpenAI without two detours that change nothing: the SDK's `create()` walks through every
    message and tool looking for something to rename (with 40 messages 5.8 of 7.1 ms of CPU), and
    each answer is taken apart in another thread. The request goes through the same client, so
    timeouts, retries and errors stay; tests/turn/test_model_client.py holds both to the same body.
    """

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - nobody listens
        **kwargs: Any,
    ) -> ChatResult:
        body = self._get_request_payload(messages, stop=stop, **kwargs)
        answer: Any = await self.root_async_client.post(
            "/chat/completions", cast_to=object, body=body
        )
        return self._create_chat_result(answer)


@dataclass(frozen=True, slots=True)
class Model:
    """Any server that speaks OpenAI's chat completions."""

    name: str
    client: ChatOpenAI

    @classmethod
    def create(
        cls, name: str, api_key: str, base_url: str | None, session: aiohttp.ClientSession
    ) -> "Model":
        return cls(
            name,
            Completions(
                model=name,
                api_key=SecretStr(api_key),
                base_url=base_url,
                timeout=MODEL_TIMEOUT_S,
                max_retries=MODEL_RETRIES,
                max_completion_tokens=MAX_ANSWER_TOKENS,
                # Some model names would switch to /responses, which compatible servers lack.
                use_responses_api=False,
                http_async_client=httpx2.AsyncClient(
                    transport=AiohttpTransport(session), follow_redirects=True
                ),
            ),
        )

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        prompt = [SystemMessage(system_prompt(briefing)), *messages]
        # What bind_tools() would make of them: they are in OpenAI's form already.
        given: dict[str, Any] = {"tools": tools.schemas} if tools.schemas else {}
        if given and not may_call:
            given["tool_choice"] = "none"
        asked = time.monotonic()
        outcome = "failed"  # also when the turn's time is up in the middle of it
        try:
            answer = await self.client.ainvoke(prompt, RunnableConfig(callbacks=[]), **given)
            outcome = "answered"
        except OpenAIError as error:
            raise NoAnswer(_why(error)) from error
        finally:
            telemetry.MODEL_SECONDS.labels(outcome).observe(time.monotonic() - asked)
        if usage := answer.usage_metadata:
            telemetry.MODEL_TOKENS.labels("input").inc(usage["input_tokens"])
            telemetry.MODEL_TOKENS.labels("output").inc(usage["output_tokens"])
        answer = tidied(answer, may_call=may_call)
        if not (answer.text.strip() or answer.tool_calls or answer.invalid_tool_calls):
            raise NoAnswer("empty_answer")
        return answer


def tidied(answer: AIMessage, *, may_call: bool) -> AIMessage:
    """As it can go into the thread: each call with an id of its own and a name that every server
    takes, so that its result can be paired with it; nothing of the server's besides."""
    ids: set[str] = set()

    def own_id(given: str | None) -> str:
        if not given or given in ids:
            given = f"call_{uuid4().hex}"
        ids.add(given)
        return given

    calls = answer.tool_calls if may_call else []
    invalid = answer.invalid_tool_calls if may_call else []
    return AIMessage(
        answer.text,
        tool_calls=[c | {"id": own_id(c["id"]), "name": _name(c["name"])} for c in calls],
        invalid_tool_calls=[
            c | {"id": own_id(c["id"]), "name": _name(c["name"]), "args": "{}"} for c in invalid
        ],
        usage_metadata=answer.usage_metadata,
    )


def _name(given: str | None) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", given or "")[:64] or "nameless"


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
