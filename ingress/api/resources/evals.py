"""A bot's own tests: /v1/chatbots/{chatbot_id}/evals, /v1/evals/{eval_id}"""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from db.asks import asking
from db.evals import CaseRow, EvalRow, NewEval, create_eval, list_evals, open_evals, read_eval
from db.evals import read_cases as cases_of
from db.jobs import create_job
from db.pool import Conn
from handlers.evals.document import Invalid
from handlers.evals.reading import read_suite
from handlers.evals.suite import REPEAT_MAX, Suite
from handlers.plans import Limit
from ingress.api.asking import no_tokens
from ingress.api.fields import NO_NUL, Body, NoBody, Paged, Parameters, RowId
from ingress.api.mistakes import MISTAKES_MAX, Mistake
from ingress.api.problems import Problem, invalid, not_found
from ingress.api.resources.knowledge import OfChatbot, ours
from ingress.api.table import BEGUN, Answer, Call, Endpoint, Page, begun, page_of, there

KIND = "eval"
OPEN_MAX = 4  # runs of a tenant that wait or are under way
BUDGET_MAX = 10**12
SUITE_CHARS_MAX = 60_000  # a body has 64 KiB

EXAMPLE = """\
bot: Luma
cases:
  - name: opening hours
    turns:
      - say: When are you open?
        expect: {contains_all: ["9", "18"], silent: false}
"""


class EvalsOfChatbot(OfChatbot, Paged):
    pass


class OfEval(Parameters):
    eval_id: RowId[int]


class NewRun(Body):
    suite: Annotated[
        str,
        Field(
            min_length=1,
            max_length=SUITE_CHARS_MAX,
            pattern=NO_NUL,
            description="YAML, as docs/evals.md shows it",
        ),
    ]
    repeat: Annotated[
        int | None,
        Field(ge=1, le=REPEAT_MAX, description="each case so often; missing: as the suite says"),
    ] = None
    budget: Annotated[
        int | None,
        Field(ge=0, le=BUDGET_MAX, description="tokens; missing: what the plan has for the day"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalShown(EvalRow):
    cases: Annotated[list[CaseRow], Field(description="that are done, in the suite's order")]


async def _create(conn: Conn, call: Call[OfChatbot, NewRun]) -> Answer[EvalRow]:
    chatbot_id, user_id, body = call.parameters.chatbot_id, call.user_id, call.body
    suite = await _suite(body)
    waiting = await open_evals(conn, user_id)
    now = there(await asking(conn, user_id, chatbot_id))
    if not now.chatbot:
        raise not_found()
    if not now.in_force:
        raise Problem(
            "not_in_plan", "No plan is in force today, so nothing is answered: ask the operator."
        )
    allowed = call.principal.plan.limit(Limit.MAX_TEST_TOKENS_PER_DAY)
    if allowed is not None and now.used >= allowed:
        raise no_tokens(allowed, now.used)
    if waiting >= OPEN_MAX:
        raise Problem(
            "limit_reached",
            f"{waiting} runs wait or are under way. Come again when one is done.",
            limit="evals",
            allowed=OPEN_MAX,
            count=waiting,
        )
    job_id = await create_job(conn, user_id, KIND)
    new = NewEval(
        chatbot_id=chatbot_id,
        job_id=job_id,
        name=suite.name,
        suite=body.suite,
        repeat=suite.repeat,
        total=len(suite.cases),
        budget=body.budget,
        is_draft=False,
    )
    made = there(await read_eval(conn, user_id, await create_eval(conn, user_id, new)))
    return begun(made, job_id)


async def _suite(body: NewRun) -> Suite:
    """In a thread: the loop has other requests."""
    try:
        return await asyncio.to_thread(read_suite, body.suite, body.repeat)
    except Invalid as error:
        raise invalid([Mistake("suite", line) for line in error.lines[:MISTAKES_MAX]]) from None


async def _list(conn: Conn, call: Call[EvalsOfChatbot, NoBody]) -> Answer[Page[EvalRow]]:
    asked = call.parameters
    await ours(conn, call, asked.chatbot_id)
    return page_of(await list_evals(conn, call.user_id, asked.chatbot_id, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfEval, NoBody]) -> Answer[EvalShown]:
    eval_id = call.parameters.eval_id
    found = there(await read_eval(conn, call.user_id, eval_id))
    shown = {name: getattr(found, name) for name in EvalRow.__dataclass_fields__}
    return Answer(EvalShown(**shown, cases=await cases_of(conn, call.user_id, eval_id)))


ENDPOINTS = (
    Endpoint(
        name="create_eval",
        method="POST",
        path="/chatbots/{chatbot_id}/evals",
        permission="chatbots:write",
        summary="Runs a suite of tests against the chatbot as a job: through the turn that answers"
        " customers, and nothing comes of it but the result and test tokens",
        parameters=OfChatbot,
        body=NewRun,
        answers=EvalRow,
        work=_create,
        statuses=BEGUN,
        once=True,
        problems=("limit_reached",),
        example={"suite": EXAMPLE, "repeat": 3},
    ),
    Endpoint(
        name="list_evals",
        method="GET",
        path="/chatbots/{chatbot_id}/evals",
        permission="chatbots:read",
        summary="Runs of the chatbot's suites, newest first",
        parameters=EvalsOfChatbot,
        body=NoBody,
        answers=Page[EvalRow],
        work=_list,
    ),
    Endpoint(
        name="read_eval",
        method="GET",
        path="/evals/{eval_id}",
        permission="chatbots:read",
        summary="One run with its cases, which passed, what was found, and what `fell` since the"
        " last run of the suite",
        parameters=OfEval,
        body=NoBody,
        answers=EvalShown,
        work=_read,
    ),
)
