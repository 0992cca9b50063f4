"""Whether Meta would take a message with a file."""

from typing import Any

from simulator.graph_errors import Refused, invalid
from simulator.state import State

KINDS = ("image", "video", "audio", "document")


def check_sent(state: State, number: str, kind: str, content: Any) -> None:
    """Of a message with a file: its id has to be one of this number's."""
    if "id" not in content:
        if not isinstance(content.get("link"), str):
            raise invalid(f"The parameter {kind}['id'] or {kind}['link'] is required.")
        return
    known = state.uploads.get(str(content["id"]))
    if known is None or known.phone_number_id != number:
        details = f"Media ID {content['id']} does not exist or has expired"
        raise Refused(400, 131053, "(#131053) Media upload error", details)
    if not known.mime_type.startswith("application/" if kind == "document" else kind):
        raise Refused(400, 131053, "(#131053) Media upload error", f"Not a medium of {kind}")
    caption = content.get("caption")
    if caption is not None and (kind == "audio" or len(caption) > 1_024):
        raise invalid(f"Param {kind}['caption'] is not valid.")
