"""A language model as the answerer: any server that speaks OpenAI's chat completions."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp
import httpx2
import structlog
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import PrivateAttr, SecretStr

from handlers.agent import spending
from handlers.agent.answerer import (
    CUT,
    EMPTY_ANSWER,
    FINISH,
    ONLY_THOUGHT,
    THOUGHT_TOO_LONG,
    Kind,
    NoAnswer,
)
from handlers.agent.breaker import Breaker
from handlers.agent.citing import TEXT_MAX
from handlers.agent.completions import answer, dialect
from handlers.agent.completions.answer import Answer
from handlers.agent.completions.dialect import Concession
from handlers.agent.completions.refusals import Refused, refused
from handlers.agent.gauge import Gauge
from handlers.agent.pictures import with_pictures
from handlers.agent.prompt import Briefing
from handlers.agent.told import tell
from handlers.agent.tools import Toolbox
from handlers.agent.transport import AiohttpTransport
from handlers.process import telemetry
from handlers.rules.backoff import backoff
from handlers.rules.budgets import OUTPUT_TOKENS

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MODEL_TIMEOUT_S = 20.0  # a request; langchain-openai has none of its own
_TIMEOUTS = httpx2.Timeout(MODEL_TIMEOUT_S).as_dict()
MODEL_RETRIES = 1  # of one question, whatever is wrong; nothing else retries the model
RETRY_AFTER_MAX_S = 5.0  # a server that wants a longer pause gets it, without a turn that waits
MAX_ADAPTIONS = 3  # of one question: refusals that say what a server cannot take
LEAST_ROOM = 100  # with less than that it is a probe
UNSAID = (EMPTY_ANSWER, ONLY_THOUGHT, THOUGHT_TOO_LONG)  # the server answered, the model did not


class NotReached(NoAnswer):
    """Nothing came at all."""

    billed = False


class Completions(ChatOpenAI):
    """ChatOpenAI without what changes nothing: the SDK's `create()` walks through every message and
    tool looking for something to rename (with 40 messages 5.8 of 7.1 ms of CPU), its `post()` makes
    options, headers and a URL anew for each request (0.4 ms), each answer is taken apart in another
    thread, and callbacks are called that nobody has. The request has the SDK's headers and goes
    through the client that it would go through; tests/turn/test_model_client.py holds both to the
    same body. What the server answers is read by handlers/agent/completions, since ChatOpenAI
    raises anything at an answer that is not as OpenAI's."""

    _target: tuple[httpx2.URL, httpx2.Headers] | None = PrivateAttr(default=None)

    def body(self, messages: list[BaseMessage], **given: Any) -> dialect.Body:
        return self._get_request_payload(messages, **given)

    async def post(self, body: dialect.Body) -> httpx2.Response:
        """Whatever the status. Raises httpx2.HTTPError."""
        if self._target is None:
            self._target = _target_of(self.root_async_client)
        url, headers = self._target
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        request = httpx2.Request(
            "POST", url, headers=headers, content=text.encode(), extensions={"timeout": _TIMEOUTS}
        )
        client: httpx2.AsyncClient = self.http_async_client  # type: ignore[assignment]  # as given
        return await client.send(request)


def _target_of(sdk: AsyncOpenAI) -> tuple[httpx2.URL, httpx2.Headers]:
    said = {**sdk.default_headers, **sdk.auth_headers}
    headers = httpx2.Headers({name: one for name, one in said.items() if isinstance(one, str)})
    return sdk.base_url.copy_with(raw_path=sdk.base_url.raw_path + b"chat/completions"), headers


@dataclass(slots=True)
class Model:
    """Any server that speaks OpenAI's chat completions; one for the process and the endpoint."""

    name: str
    client: Completions
    concessions: frozenset[Concession] = frozenset()  # found out so far
    thinks: bool = False  # so much that it needs room for it
    breaker: Breaker = field(default_factory=Breaker)
    gauge: Gauge = field(default_factory=Gauge)
    wishes: Mapping[str, Any] = field(default_factory=dict)  # members of each request
    thinking: int = 0  # tokens beside the answer's, as it was told to think
    sees_images: bool = False
    billed_as: str = ""  # in the table of prices; empty: by its name

    @classmethod
    def create(
        cls,
        name: str,
        api_key: str,
        base_url: str | None,
        session: aiohttp.ClientSession,
        *,
        follows: bool = True,
    ) -> "Model":
        """`follows`: redirects, with which a key goes along."""
        return cls(
            name,
            Completions(
                model=name,
                api_key=SecretStr(api_key),
                base_url=base_url,
                timeout=MODEL_TIMEOUT_S,
                max_retries=0,
                max_completion_tokens=OUTPUT_TOKENS,
                # Some model names would switch to /responses, which compatible servers lack.
                use_responses_api=False,
                http_async_client=httpx2.AsyncClient(
                    transport=AiohttpTransport(session), follow_redirects=follows
                ),
            ),
        )

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        # What bind_tools() would make of them: they are in OpenAI's form already.
        schemas, of = tools.schemas, briefing.chatbot_id
        given: dict[str, Any] = {"tools": schemas} if schemas else {}
        if given and not may_call:
            given["tool_choice"] = "none"
        told = tell(briefing, messages, schemas, self.gauge.scale(of))
        body = self.client.body(told.messages, **given)
        shows = self.sees_images and bool(briefing.pictures)
        if shows:
            body["messages"] = with_pictures(body["messages"], briefing.pictures)
        body["max_completion_tokens"] = briefing.budget.output_tokens + self.thinking
        body |= self.wishes
        asked, known = time.monotonic(), self.concessions
        outcome = "failed"  # also when the turn's time is up in the middle of it
        try:
            with self.breaker.asked():
                read = await self.ask(body, may_call=may_call)
            outcome = "answered"
        finally:
            telemetry.MODEL_SECONDS.labels(outcome).observe(time.monotonic() - asked)
            if new := self.concessions - known:
                log.info("model.conceded", model=self.name, concessions=sorted(c.name for c in new))
        if usage := read.usage:
            telemetry.MODEL_TOKENS.labels("input").inc(usage.input_tokens)
            telemetry.MODEL_TOKENS.labels("output").inc(usage.output_tokens)
            if not shows:  # what a picture counts is the server's own
                self.gauge.note(of, told.tokens, usage.input_tokens)
        return as_message(read)

    async def ask(self, body: dialect.Body, *, may_call: bool) -> Answer:
        """With as few requests as it takes, and none that is known to be refused."""
        conceded, adaptions, retries = self.concessions, MAX_ADAPTIONS, MODEL_RETRIES
        thinks = self.thinks
        while True:
            roomy = dialect.with_room(body) if thinks else body  # as far as it can be paid
            sent = dialect.adapted(await spending.afforded(roomy), conceded)
            try:
                read = await self._ask_once(sent, body, may_call)
            except NoAnswer as none:
                if none.word in UNSAID:
                    self.concessions |= conceded  # it took the request
                found = dialect.found_out(none, sent) if isinstance(none, Refused) else None
                if not thinks and self._needs_room(none, body):
                    thinks = True
                elif found and adaptions:
                    conceded, adaptions = conceded | found | self.concessions, adaptions - 1
                elif retries and _may_pass(none):
                    retries -= 1
                    await asyncio.sleep(_pause_s(none))
                else:
                    raise
            else:
                # Only now: what does not help is not wanted.
                self.concessions |= conceded
                self.thinks = thinks
                return read

    def _needs_room(self, none: NoAnswer, body: dialect.Body) -> bool:
        """To think. Whoever says how long an answer may be says it of its thoughts too."""
        fixed = {"max_completion_tokens", "reasoning_effort"} & self.wishes.keys()
        probe = body["max_completion_tokens"] < LEAST_ROOM
        return none.word == THOUGHT_TOO_LONG and not fixed and not probe

    async def _ask_once(self, sent: dialect.Body, body: dialect.Body, may_call: bool) -> Answer:
        tools = [schema["function"]["name"] for schema in body.get("tools", ())]
        try:
            response = await self.client.post(sent)
        except httpx2.TimeoutException as error:  # a kind of HTTPError, so it comes first
            raise NotReached("timeout") from error
        except httpx2.HTTPError as error:
            raise NotReached("unreachable") from error
        if not response.is_success:
            raise refused(
                response.status_code, response.headers, response.content, datetime.now(UTC)
            )
        try:
            read = answer.read(response.content, tools, may_call=may_call)
        except NoAnswer as none:
            if none.billed:
                spending.note(self.billed_as or self.name, none.usage)
            raise
        spending.note(self.billed_as or self.name, read.usage)
        return read


def _may_pass(none: NoAnswer) -> bool:
    """Whether asking again at once may help. What came and made no sense was paid for, and waits
    for the server to be well again; only that nothing was said is often chance."""
    if none.word in UNSAID:
        return none.word != THOUGHT_TOO_LONG
    nothing_came = isinstance(none, Refused | NotReached)
    return (
        none.kind is Kind.LATER and nothing_came and (none.retry_after_s or 0) <= RETRY_AFTER_MAX_S
    )


def _pause_s(none: NoAnswer) -> float:
    if none.retry_after_s is not None:
        return none.retry_after_s
    if none.kind is not Kind.LATER:
        return 0.0
    return backoff(0, base_s=0.5, cap_s=0.5, dice=random.random()).total_seconds()


def as_message(read: Answer) -> AIMessage:
    """As it can go into the thread: each call with an id of its own, so that its result can be
    paired with it, and nothing of the server's besides."""
    ids: set[str] = set()

    def own_id(given: str | None) -> str:
        if not given or given in ids:
            given = uuid4().hex[:9]  # the strictest servers want nine
        ids.add(given)
        return given

    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in read.calls:
        id_ = own_id(call.id)
        if call.problem is None:
            calls.append(ToolCall(name=call.name, args=call.arguments, id=id_))
        else:
            invalid.append(
                InvalidToolCall(
                    name=call.name,
                    args="{}",
                    id=id_,
                    error=call.problem,
                    type="invalid_tool_call",
                )
            )
    usage = read.usage
    return AIMessage(
        # Twice what a message may have: whose server answers megabytes would have all others wait
        # while they are looked through.
        read.text[:TEXT_MAX],
        tool_calls=calls,
        invalid_tool_calls=invalid,
        response_metadata={FINISH: read.finish} | ({CUT: True} if read.cut else {}),
        usage_metadata=usage
        and UsageMetadata(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        ),
    )
