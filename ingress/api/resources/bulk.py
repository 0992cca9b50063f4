"""Files of many rows, in and out: import and export of knowledge, contacts and products."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from db.jobs import Job
from db.pool import Conn
from handlers.bulk.nouns import What
from handlers.documents.reading import TYPES
from handlers.plans import Feature, Permission
from ingress.api.fields import NoBody, NoParameters, Parameters
from ingress.api.resources.knowledge import OfChatbot, ours
from ingress.api.table import Answer, Call, Intake, Outflow, Rows

Format = Annotated[
    Literal["csv", "jsonl"] | None,
    Field(description="missing: what `Accept` names, else CSV"),
]


class Asked(Parameters):
    format: Format = None


class AskedOfChatbot(OfChatbot):
    format: Format = None


@dataclass(frozen=True, slots=True)
class Rejected:
    line: Annotated[int, Field(description="where the row begins; the first line is 1")]
    why: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    inserted: int
    updated: int
    unchanged: int
    rejected: Annotated[list[Rejected], Field(description="the first 200")]
    rejected_total: int
    ignored: Annotated[list[str], Field(description="columns that nobody knows, the first 20")]


async def _rows(what: What, conn: Conn, call: Call[Any, NoBody]) -> Answer[Rows]:
    chatbot_id = getattr(call.parameters, "chatbot_id", None)
    if chatbot_id is not None:
        await ours(conn, call, chatbot_id)
    return Answer(Rows(what, chatbot_id, getattr(call.parameters, "format", None)))


def _intake(what: What, path: str, features: tuple[Feature, ...]) -> Intake[Any, Any, Any]:
    return Intake(
        name=f"import_{what}",
        method="POST",
        path=f"{path}/import",
        permission=f"{what}:write",
        summary="Makes rows of a CSV or JSONL file, or changes those that differ; safe to repeat"
        + (". A PDF, a DOCX or a web page becomes passages" if what == "knowledge" else ""),
        documents=tuple(TYPES) if what == "knowledge" else (),
        parameters=OfChatbot if what == "knowledge" else NoParameters,
        body=NoBody,
        answers=ImportReport,
        later=Job,
        work=partial(_rows, what),
        statuses={
            200: "done, with what became of each line",
            202: "it takes longer; `Location` is its job, whose `report` will be the same",
        },
        features=(Feature.BULK_OPERATIONS, *features),
        once=True,
        problems=("import_ended", "limit_reached"),
    )


def _outflow(what: What, path: str) -> Outflow[Any, Any, Any]:
    return Outflow(
        name=f"export_{what}",
        method="GET",
        path=f"{path}/export",
        permission=f"{what}:read",
        summary="All rows as a file that the import takes back unchanged; one that breaks off is"
        " not whole",
        parameters=AskedOfChatbot if what == "knowledge" else Asked,
        body=NoBody,
        answers=str,
        work=partial(_rows, what),
        features=(Permission.EXPORT_DATA,),
    )


ENDPOINTS = (
    _intake("knowledge", "/chatbots/{chatbot_id}/knowledge", (Feature.CHATBOT_MANAGEMENT,)),
    _outflow("knowledge", "/chatbots/{chatbot_id}/knowledge"),
    _intake("contacts", "/contacts", (Feature.CONTACT_MANAGEMENT,)),
    _outflow("contacts", "/contacts"),
    _intake("products", "/products", ()),
    _outflow("products", "/products"),
)
