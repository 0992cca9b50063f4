"""A tenant gives a file, to be sent: it gets its row, which makes it theirs, in one transaction.

    begun    its name is noted among what is to be removed, some time from now
    written  into the store
    given    the row, and the note goes: it stays

Whoever dies before the end leaves the note, and the file is removed.
"""

from datetime import UTC, datetime, timedelta

from db.given_media import (
    GivenMedium,
    NewFile,
    give_file,
    held_by,
    note_finished,
    note_unfinished,
)
from db.ids import UserId
from db.pool import Conn
from db.tenants import lock_user
from handlers.media.sendable import TENANT_BYTES, TENANT_FILES, TENANT_GIVES
from handlers.media.work import file_key

# A file has to be whole within 15 minutes, and is removed after an hour: who gives it a row when
# that is near could be too late.
REMOVED_AFTER, NEAR = timedelta(hours=1), timedelta(minutes=10)


class NoRoom(Exception):
    """`what`: files, bytes, today."""

    def __init__(self, what: str, most: int, held: int) -> None:
        super().__init__(what)
        self.what = what
        self.most = most
        self.held = held


class TooLate(Exception):
    """It may be removed at any moment."""


class NotThere(Exception):
    """Its chatbot or contact is none of the tenant's."""


async def begin(conn: Conn, user_id: UserId) -> str:
    """Where it is to be written."""
    file = file_key(user_id, datetime.now(UTC))
    await note_unfinished(conn, user_id, file, REMOVED_AFTER)
    return file


async def give(conn: Conn, user_id: UserId, new: NewFile) -> GivenMedium:
    """Raises NoRoom, TooLate, NotThere."""
    if not await lock_user(conn, user_id):
        raise NotThere
    held = await held_by(conn, user_id)
    for what, most, has, more in (
        ("files", TENANT_FILES, held.files, 1),
        ("bytes", TENANT_BYTES, held.bytes, new.bytes),
        ("today", TENANT_GIVES, held.today, 1),
    ):
        if has + more > most:
            raise NoRoom(what, most, has)
    if not await note_finished(conn, user_id, new.file, NEAR):
        raise TooLate
    given = await give_file(conn, user_id, new)
    if given is None:
        raise NotThere
    return given
