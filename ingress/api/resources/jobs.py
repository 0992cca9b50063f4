"""/v1/jobs. A job is of the noun that it works on, and shown to whoever may read that."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from db.jobs import Job, list_jobs, read_job
from db.pool import Conn
from handlers.api_keys import may
from handlers.bulk.nouns import NOUNS
from handlers.bulk.work import KIND
from ingress.api.fields import NoBody, Paged, Parameters, RowId
from ingress.api.table import Answer, Call, Endpoint, Page, page_of, there

# What who wants to see a job of the kind needs.
SEEN_WITH: Mapping[str, str] = MappingProxyType(
    {"export": "exports:read", "eval": "chatbots:read"}
    | {f"{KIND}{what}": f"{what}:read" for what in NOUNS}
)


class OfJob(Parameters):
    job_id: RowId[int]


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[Job]]:
    asked = call.parameters
    return page_of(await list_jobs(conn, call.user_id, _seen(call), asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfJob, NoBody]) -> Answer[Job]:
    job = there(await read_job(conn, call.user_id, call.parameters.job_id))
    return Answer(there(job if job.kind in _seen(call) else None))


def _seen(call: Call[Any, Any]) -> list[str]:
    """Kinds of jobs that the key may see."""
    given = call.principal.permissions
    return [kind for kind, permission in SEEN_WITH.items() if may(given, permission)]


ENDPOINTS = (
    Endpoint(
        name="list_jobs",
        method="GET",
        path="/jobs",
        permission=None,
        summary="What takes longer than a request, newest first",
        parameters=Paged,
        body=NoBody,
        answers=Page[Job],
        work=_list,
    ),
    Endpoint(
        name="read_job",
        method="GET",
        path="/jobs/{job_id}",
        permission=None,
        summary="One job: how far it is, and what came of it",
        parameters=OfJob,
        body=NoBody,
        answers=Job,
        work=_read,
    ),
)
