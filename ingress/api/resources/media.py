"""/v1/media"""

from db.media import find_medium
from db.pool import Conn
from handlers.media.sniffing import TYPES, ending
from handlers.plans import Feature
from ingress.api.fields import NoBody, Parameters, RowId
from ingress.api.problems import Problem, not_found
from ingress.api.table import Answer, Call, Endpoint, StoredFile, there


class OfMedium(Parameters):
    medium_id: RowId[int]


async def _file(conn: Conn, call: Call[OfMedium, NoBody]) -> Answer[StoredFile]:
    found = there(await find_medium(conn, call.user_id, call.parameters.medium_id))
    if found.status == "removed":  # taken back by who sent it
        raise not_found()
    if found.status != "stored" or found.file is None or found.content_type is None:
        raise Problem("not_ready", f"The file is {found.status}.", status_now=found.status)
    name = f"{found.kind}-{found.id}.{ending(found.content_type)}"
    return Answer(StoredFile(found.file, name, found.bytes or 0, found.content_type))


ENDPOINTS = (
    Endpoint(
        name="read_media",
        method="GET",
        path="/media/{medium_id}",
        permission="conversations:read",
        summary="What a customer sent: the file, as `content_url` of its message names it",
        parameters=OfMedium,
        body=NoBody,
        answers=StoredFile,
        work=_file,
        features=(Feature.MESSAGE_HISTORY,),
        problems=("not_ready",),
        file_types=TYPES,
    ),
)
