"""The tool by which the bot sends a file of its chatbot's: by the title that the tenant gave it.

As all tools it sends nothing: what was chosen is queued behind the answer, in the turn's last
transaction (handlers/turns/leaving.py), so that a turn that dies or is repeated sends it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SEND_FILE: Final = "send_file"
FILES_MAX = 3  # of a turn

CHOSEN = "done: the file goes out behind your answer. Say in a few words what it is."
SEND_FILE_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": SEND_FILE,
        "description": (
            "Sends the customer one of the files that are listed under <files>, behind your answer."
            " Call it when they ask for what is in it, or it answers them best."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "file": {"type": "integer", "description": "Its number, as it is listed."}
            },
            "required": ["file"],
        },
    },
}


@dataclass(frozen=True, slots=True)
class OfferedFile:
    id: int
    kind: str  # image, video, audio, document
    title: str


@dataclass(slots=True)
class Files:
    """Of one run."""

    offered: Sequence[OfferedFile]
    chosen: list[int] = field(default_factory=list)

    def choose(self, arguments: dict[str, Any]) -> str:
        """The result, for the model."""
        given = arguments.get("file")
        wanted = (
            int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given
        )
        if isinstance(wanted, bool) or wanted not in [one.id for one in self.offered]:
            return "error: there is no such file: take a number that is listed under <files>"
        if wanted not in self.chosen:
            if len(self.chosen) >= FILES_MAX:
                return f"error: {FILES_MAX} files at once are the most"
            self.chosen.append(wanted)
        return CHOSEN


def files_of(rows: Sequence[Sequence[Any]]) -> tuple[OfferedFile, ...]:
    """Of [id, kind, title], as db/conversations.py reads them."""
    return tuple(OfferedFile(*row) for row in rows)
