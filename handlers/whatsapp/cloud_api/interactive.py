"""The body of a message with buttons, a list or a link. Pure."""

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
