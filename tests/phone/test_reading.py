"""What the page shows, from what the simulator saw and the product wrote down."""

import json
from typing import Any

from local.page.chats import TYPING_S, Chats
from local.page.program import MAX_ARRIVALS, MAX_EVENTS, Program
from local.page.record import turns

NUMBER, CUSTOMER = "4098", "12025550178"
TEXT: dict[str, Any] = {"type": "text", "text": {"body": "hello"}}


class Phone:
    """Feeds a journal of its own making."""

    def __init__(self) -> None:
        self.chats = Chats()
        self._seq = 0

    def lines(self) -> list[dict[str, Any]]:
        return [line.as_json() for line in self.chats.of(NUMBER, CUSTOMER).lines.values()]

    def entry(self, kind: str, **fields: Any) -> None:
        self._seq += 1
        self.chats.take({"seq": self._seq, "at": 1000.0 + self._seq, "kind": kind, **fields})

    def webhook(self, value: dict[str, Any], status: int | None = 200) -> None:
        value = {"metadata": {"phone_number_id": NUMBER}, **value}
        payload = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
        self.entry("webhook", body=json.dumps(payload), status=status)

    def message(self, wamid: str, status: int | None = 200, **more: Any) -> None:
        message = {"id": wamid, "from": CUSTOMER, "from_user_id": f"US.{CUSTOMER}", **TEXT, **more}
        self.webhook({"messages": [message]}, status)

    def send(self, wamid: str, outcome: str = "accepted", **to: str) -> None:
        addressee = {"to": f"+{CUSTOMER}", "recipient": None, **to}
        body = {"type": "text", "text": {"body": "hi"}}
        common = {"phone_number_id": NUMBER, "context": None, "outcome": outcome, "body": body}
        self.entry("send", wamid=wamid, **common, **addressee)


def test_ticks_of_the_customer() -> None:
    phone = Phone()
    phone.chats.wrote(NUMBER, CUSTOMER, {"id": "a", **TEXT}, 1.0)
    assert [line["tick"] for line in phone.lines()] == ["waiting"]
    phone.message("a", status=503)
    assert [line["tick"] for line in phone.lines()] == ["sent"]
    phone.message("a")
    phone.message("a")
    phone.message("b")
    assert [line["tick"] for line in phone.lines()] == ["delivered", "delivered"]
    phone.entry("read", message_id="a", typing=False)
    assert [line["tick"] for line in phone.lines()] == ["read", "delivered"]
    phone.message("a")
    assert [line["tick"] for line in phone.lines()] == ["read", "delivered"]


def test_ticks_of_the_bot_rise_only() -> None:
    phone = Phone()
    phone.send("r")
    for status in ("read", "sent", "delivered"):
        phone.webhook({"statuses": [{"id": "r", "status": status}]})
    assert [line["tick"] for line in phone.lines()] == ["read"]


def test_typing_ends_with_the_answer_or_by_itself() -> None:
    phone = Phone()
    phone.message("a")
    phone.entry("read", message_id="a", typing=True)
    chat = phone.chats.of(NUMBER, CUSTOMER)
    assert chat.types(1003.0)
    assert not chat.types(1003.0 + TYPING_S)
    phone.send("r")
    assert not chat.types(1004.0)


def test_what_was_refused_is_on_no_phone() -> None:
    phone = Phone()
    phone.send("r", outcome="refused")
    phone.send("s", outcome="vanished")
    assert phone.lines() == []


def test_number_and_bsuid_are_one_chat() -> None:
    phone = Phone()
    phone.message("a")
    phone.send("r", to=None, recipient=f"US.{CUSTOMER}")  # type: ignore[arg-type]  # as Meta has it
    assert [line["wamid"] for line in phone.lines()] == ["a", "r"]


def test_changes_of_a_message() -> None:
    phone = Phone()
    phone.message("a")
    phone.message("b")
    edit = {"original_message_id": "a", "message": {"type": "text", "text": {"body": "new"}}}
    phone.message("c", type="edit", edit=edit)
    phone.message("d", type="reaction", reaction={"message_id": "a", "emoji": "x"})
    phone.message("e", type="revoke", revoke={"original_message_id": "b"})
    assert [line["kind"] for line in phone.lines()] == ["text", "deleted"]
    assert (phone.lines()[0]["text"], phone.lines()[0]["reactions"]) == ("new", ["x"])
    phone.message("f", type="reaction", reaction={"message_id": "a"})
    assert phone.lines()[0]["reactions"] == []


def test_spoilt_webhooks_are_passed_over() -> None:
    phone = Phone()
    for body in (
        "",
        "{",
        "[]",
        '{"entry": 1}',
        '{"entry": [{"changes": [{"field": "messages"}]}]}',
    ):
        phone.entry("webhook", body=body, status=200)
    phone.webhook(
        {"messages": [{"id": "a", "from": CUSTOMER, "type": "text", "text": "no object"}]}
    )
    assert [line["text"] for line in phone.lines()] == [""]


def row(identity: int, direction: str, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "message_id": f"w{identity}",
        "message_type": "text",
        "content_text": f"text {identity}",
        "status": "received",
        "in_reply_to": None,
        "duration": None,
        "metadata": {},
        "is_from_human": False,
        "at": float(identity),
    }
    return {"id": identity, "direction": direction, **plain, **more}


def test_a_burst_is_one_turn_and_the_newest_is_first() -> None:
    knowledge = {7: {"id": 7, "question": "q", "answer": "a"}}
    found = turns(
        [
            row(1, "inbound", duration=0.5),
            row(2, "inbound", duration=0.5),
            row(3, "inbound"),
            row(4, "outbound", in_reply_to="w2", metadata={"kb_cited": [7, 8], "model": "m"}),
        ],
        [],
        knowledge,
    )
    assert [[i["text"] for i in turn["inputs"]] for turn in found] == [
        ["text 1", "text 2"],
        ["text 3"],
    ]
    assert (found[0]["seconds"], found[0]["reply"]["model"]) == (0.5, "m")
    assert found[0]["knowledge"] == [knowledge[7]]
    assert (found[1]["open"], found[1]["reply"]) == (True, None)


def test_turns_that_took_equally_long_are_two() -> None:
    found = turns(
        [
            row(1, "inbound", duration=0.5),
            row(2, "outbound", in_reply_to="w1"),
            row(3, "inbound", duration=0.5),
            row(4, "outbound", in_reply_to="w3"),
        ],
        [],
        {},
    )
    assert [[i["text"] for i in turn["inputs"]] for turn in found] == [["text 3"], ["text 1"]]


def test_a_decision_is_what_its_turn_answered() -> None:
    decided = {"request_type": "refund_please", "status": "approved"}
    events: list[dict[str, Any]] = [{"data": decided, "at": 4.0}, {"data": decided, "at": None}]
    (turn,) = turns([row(4, "outbound", status="read")], events, {})
    assert (turn["inputs"], turn["events"]) == ([], ["refund please approved"])


def test_silence_has_its_reason() -> None:
    (turn,) = turns([row(1, "inbound", duration=0.1, metadata={"reason": "taken_over"})], [], {})
    assert (turn["open"], turn["reason"]) == (False, "taken_over")


def delivery(seq: int, webhook_id: str, arrival: int, **more: Any) -> dict[str, Any]:
    body = json.dumps({"type": "ping", "data": {}})
    base = {"seq": seq, "at": 1000.0 + seq, "webhook_id": webhook_id, "arrival": arrival}
    return {**base, "body": body, "status": 200, "verified": True, "problem": None, **more}


def test_an_event_has_its_attempts_and_what_was_answered_later() -> None:
    program = Program("shop")
    program.take([delivery(1, "a", 1, status=None), delivery(2, "b", 1), delivery(3, "a", 2)])
    program.take([delivery(1, "a", 1, status=500), delivery(4, "a", 3, verified=False)])
    b, a = program.as_json()["events"]
    assert (b["id"], a["id"], a["type"], a["taken"]) == ("b", "a", "ping", True)
    shown = [(each["n"], each["status"], each["verified"]) for each in a["arrivals"]]
    assert shown == [(1, 500, True), (2, 200, True), (3, 200, False)]


def test_what_the_page_keeps_of_a_program_is_bounded() -> None:
    program = Program("shop")
    program.take([delivery(n, f"event {n}", 1) for n in range(MAX_EVENTS + 5)])
    program.take([delivery(100 + n, "event 44", n + 1, status=500) for n in range(100)])
    events = program.as_json()["events"]
    assert [events[0]["id"], len(events)] == ["event 44", MAX_EVENTS]
    shown = [each["n"] for each in events[0]["arrivals"]]
    assert shown == [1, *range(102 - MAX_ARRIVALS, 101)]


# ---- what can be pressed -------------------------------------------------------------------------


def test_buttons_rows_and_links_are_shown_and_a_press_is_what_it_says() -> None:
    phone = Phone()
    reply = {"id": "a", "title": "Lemon"}
    for wamid, kind, action in (
        ("w.1", "button", {"buttons": [{"type": "reply", "reply": reply}]}),
        ("w.2", "list", {"button": "See", "sections": [{"rows": [reply]}]}),
        ("w.3", "cta_url", {"name": "cta_url", "parameters": {"display_text": "M", "url": "u"}}),
    ):
        inner = {"type": kind, "body": {"text": "Which?"}, "action": action}
        body = {"type": "interactive", "interactive": inner}
        common = {"phone_number_id": NUMBER, "context": None, "outcome": "accepted", "body": body}
        phone.entry("send", wamid=wamid, to=f"+{CUSTOMER}", recipient=None, **common)
    shown = [(line["text"], line["details"]) for line in phone.lines()]
    assert shown == [
        ("Which?", {"reply": "button_reply", "choices": [reply]}),
        ("Which?", {"reply": "list_reply", "choices": [reply], "opens": "See"}),
        ("Which?", {"link": {"display_text": "M", "url": "u"}}),
    ]
    press = {"type": "button_reply", "button_reply": reply}
    phone.message("w.4", type="interactive", interactive=press)
    items = [{"product_retailer_id": "CAKE", "quantity": 2}]
    phone.message("w.5", type="order", order={"product_items": items})
    assert [line["text"] for line in phone.lines()[3:]] == ["Lemon", "Cart: 2 x CAKE"]


def test_a_file_of_either_side_is_named_by_its_id_and_nothing_else_is_fetched() -> None:
    phone = Phone()
    image = {"id": "71", "mime_type": "image/png", "url": "https://shop.example/x.png"}
    phone.message("w.1", type="image", image=image)
    menu = {"id": "72", "filename": "menu.pdf", "caption": "Our cakes"}
    for wamid, kind, content in (
        ("w.2", "document", menu),
        ("w.3", "image", {"link": "https://shop.example/x.png"}),
    ):
        body = {"type": kind, kind: content}
        common = {"phone_number_id": NUMBER, "context": None, "outcome": "accepted", "body": body}
        phone.entry("send", wamid=wamid, to=f"+{CUSTOMER}", recipient=None, **common)
    shown = [(line["text"], line["details"]) for line in phone.lines()]
    assert shown == [
        ("Photo", {"medium": "71", "name": ""}),
        ("Our cakes", {"medium": "72", "name": "menu.pdf"}),
        ("Photo", {}),
    ]
