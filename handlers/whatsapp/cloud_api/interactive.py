"""The body of a message with buttons, a list or a link; or with a file. Pure."""

from typing import Any


def interactive_message(text: dict[str, Any], interactive: dict[str, Any]) -> dict[str, Any]:
    """Of the body of its text (graph_api.text_message), and what stands under it as
    messages.metadata keeps it."""
    body = {name: value for name, value in text.items() if name != "text"}
    return {
        **body,
        "type": "interactive",
        "interactive": {
            "type": _TYPES[interactive["type"]],
            "body": {"text": text["text"]["body"]},
            "action": _action(interactive),
        },
    }


def media_message(text: dict[str, Any], medium: dict[str, Any]) -> dict[str, Any]:
    """Of the body of a text, and the file as db/sends.py reads it: Meta has it under `handle`."""
    body = {name: value for name, value in text.items() if name != "text"}
    kind = medium["kind"]
    more = {"caption": medium.get("caption")}
    if kind == "document":
        more["filename"] = medium.get("name") or "document.pdf"
    shown = {"id": medium["handle"]} | {name: value for name, value in more.items() if value}
    return {**body, "type": kind, kind: shown}


_TYPES = {"buttons": "button", "list": "list", "link": "cta_url"}


def _action(interactive: dict[str, Any]) -> dict[str, Any]:
    match interactive["type"]:
        case "buttons":
            return {
                "buttons": [
                    {"type": "reply", "reply": {"id": one["id"], "title": one["title"]}}
                    for one in interactive["choices"]
                ]
            }
        case "list":
            rows = interactive["choices"]
            return {"button": interactive["button"], "sections": [{"rows": rows}]}
        case _:
            link = {"display_text": interactive["title"], "url": interactive["url"]}
            return {"name": "cta_url", "parameters": link}
