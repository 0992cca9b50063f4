"""/v1/exports"""

from typing import Annotated

from pydantic import Field

from db.exports import (
    ExportRow,
    contact_exists,
    create_export,
    find_export,
    list_exports,
    open_exports,
)
from db.ids import ContactId
from db.jobs import create_job
from db.pool import Conn
from handlers.exports.columns import columns_by_table
from handlers.exports.content import What
from handlers.plans import Feature, Permission
from ingress.api.fields import Body, NoBody, NoParameters, Paged, Parameters, RowId
from ingress.api.mistakes import MISTAKES_MAX, Mistake
from ingress.api.principal import needs
from ingress.api.problems import Problem, invalid
from ingress.api.table import (
    BEGUN,
    Answer,
    Call,
    Endpoint,
    Page,
    StoredFile,
    begun,
    page_of,
    there,
)

OPEN_MAX = 10  # exports of a tenant that wait or are being made
COLUMNS_MAX = 100
NAME_CHARS = 63  # of a column


class OfExport(Parameters):
    export_id: RowId[int]


class NewExport(Body):
    what: Annotated[What, Field(description="`contact` needs `contact_id`")]
    contact_id: Annotated[RowId[ContactId] | None, Field(description="whose")] = None
    columns: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=NAME_CHARS)]] | None,
        Field(min_length=1, max_length=COLUMNS_MAX, description="only these; missing: all"),
    ] = None


async def _create(conn: Conn, call: Call[NoParameters, NewExport]) -> Answer[ExportRow]:
    wanted, user_id = call.body, call.user_id
    if wanted.columns is not None:
        needs(call.principal, Feature.CUSTOM_REPORTS)
        known = set().union(*(await columns_by_table(conn, wanted.what)).values())
        # Passed over, a misspelt one would be missed when the file is opened.
        wrong = [i for i, name in enumerate(wanted.columns) if name not in known]
        if wrong:
            raise invalid([Mistake(f"columns.{i}", "no such column") for i in wrong[:MISTAKES_MAX]])
    if (wanted.what == "contact") != (wanted.contact_id is not None):
        raise invalid([Mistake("contact_id", "goes with what = contact, and with nothing else")])
    if wanted.contact_id is not None and not await contact_exists(conn, user_id, wanted.contact_id):
        raise invalid([Mistake("contact_id", "there is no such contact")])
    if (waiting := await open_exports(conn, user_id)) >= OPEN_MAX:
        raise Problem(
            "limit_reached",
            f"{waiting} exports wait or are being made. Come again when one is ready.",
            limit="exports",
            allowed=OPEN_MAX,
            count=waiting,
        )
    job = await create_job(conn, user_id, "export")
    export_id = await create_export(
        conn, user_id, job, wanted.what, wanted.contact_id, wanted.columns
    )
    made = there(await find_export(conn, user_id, export_id))
    return begun(made.row, job)


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[ExportRow]]:
    asked = call.parameters
    return page_of(await list_exports(conn, call.user_id, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfExport, NoBody]) -> Answer[ExportRow]:
    found = there(await find_export(conn, call.user_id, call.parameters.export_id))
    return Answer(found.row)


async def _file(conn: Conn, call: Call[OfExport, NoBody]) -> Answer[StoredFile]:
    found = there(await find_export(conn, call.user_id, call.parameters.export_id))
    if found.file is None or found.row.bytes is None:
        raise Problem(
            "not_ready", f"The export is {found.row.status}.", status_now=found.row.status
        )
    name = f"swiftreplies-{found.row.what}-{found.row.id}.zip"
    return Answer(StoredFile(found.file, name, found.row.bytes))


ENDPOINTS = (
    Endpoint(
        name="create_export",
        method="POST",
        path="/exports",
        permission="exports:write",
        summary="Has an export made: a ZIP of CSV and JSONL, kept for 7 days",
        parameters=NoParameters,
        body=NewExport,
        answers=ExportRow,
        work=_create,
        features=(Permission.EXPORT_DATA,),
        statuses=BEGUN,
        once=True,
        problems=("limit_reached",),
    ),
    Endpoint(
        name="list_exports",
        method="GET",
        path="/exports",
        permission="exports:read",
        summary="Exports, newest first",
        parameters=Paged,
        body=NoBody,
        answers=Page[ExportRow],
        work=_list,
        features=(Permission.EXPORT_DATA,),
    ),
    Endpoint(
        name="read_export",
        method="GET",
        path="/exports/{export_id}",
        permission="exports:read",
        summary="One export",
        parameters=OfExport,
        body=NoBody,
        answers=ExportRow,
        work=_read,
        features=(Permission.EXPORT_DATA,),
    ),
    Endpoint(
        name="read_export_file",
        method="GET",
        path="/exports/{export_id}/file",
        permission="exports:write",
        summary="The ZIP, while it is kept",
        parameters=OfExport,
        body=NoBody,
        answers=StoredFile,
        work=_file,
        features=(Permission.EXPORT_DATA,),
        problems=("not_ready",),
    ),
)
