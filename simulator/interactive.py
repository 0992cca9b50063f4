"""Reading an interactive message: whether the Graph API would take it."""

from collections.abc import Iterable
from typing import Any

from simulator.graph_errors import Refused, invalid

BODY_MAX = {"button": 1024, "list": 4096, "cta_url": 1024}
BUTTONS_MAX, TITLE_MAX, BUTTON_ID_MAX = 3, 20, 256
ROWS_MAX, ROW_TITLE_MAX, ROW_ID_MAX, DESCRIPTION_MAX = 10, 24, 200, 72


def interactive_text(content: dict[str, Any]) -> str:
    """What stands above the choices. Kinds that nobody sends are taken as they are."""
    kind = content.get("type")
    body = _inner(content, "body").get("text")
    if not isinstance(body, str) or not body:
        raise invalid("The parameter interactive['body']['text'] is required.")
    if kind not in BODY_MAX:
        return body
    if len(body) > BODY_MAX[kind]:
        raise invalid(f"Body text length invalid. Min length: 1, Max length: {BODY_MAX[kind]}")
    action = _inner(content, "action")
    match kind:
        case "button":
            buttons = [one.get("reply") for one in _objects(action, "buttons", BUTTONS_MAX)]
            _check(buttons, TITLE_MAX, BUTTON_ID_MAX)
            if len({one["title"] for one in buttons}) < len(buttons):  # type: ignore[index]
                raise _wrong("Duplicated title in buttons")
        case "list":
            _text(action.get("button"), "button", TITLE_MAX)
            sections = _objects(action, "sections", 10)
            rows = [row for one in sections for row in _objects(one, "rows", ROWS_MAX)]
            if len(rows) > ROWS_MAX:
                raise _wrong(f"Total row count exceed max allowed count: {ROWS_MAX}")
            _check(rows, ROW_TITLE_MAX, ROW_ID_MAX)
            for row in rows:
                if "description" in row:
                    _text(row["description"], "description", DESCRIPTION_MAX)
        case _:
            link = _inner(action, "parameters")
            _text(link.get("display_text"), "display_text", TITLE_MAX)
            if not str(link.get("url", "")).startswith(("http://", "https://")):
                raise _wrong("Param action['parameters']['url'] is not a valid URL")
    return body


def _check(choices: Iterable[Any], title_max: int, id_max: int) -> None:
    ids = []
    for one in choices:
        if not isinstance(one, dict):
            raise _wrong("A choice must be an object")
        _text(one.get("title"), "title", title_max)
        _text(one.get("id"), "id", id_max)
        ids.append(one["id"])
    if len(set(ids)) < len(ids):
        raise _wrong("Duplicated ids")


def _text(value: Any, name: str, longest: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise _wrong(f"{name} length invalid. Min length: 1, Max length: {longest}")


def _inner(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _objects(content: dict[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    value = content.get(name)
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise _wrong(f"{name} must be a list of 1 to {most}")
    return [one if isinstance(one, dict) else {} for one in value]


def _wrong(details: str) -> Refused:
    return Refused(400, 131009, "(#131009) Parameter value is not valid", details)
