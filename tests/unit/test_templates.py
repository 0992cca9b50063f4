"""Templates: what Meta would refuse is said, and what a filled one is, sent and seen."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from handlers.templates.checking import Definition, mistakes
from handlers.templates.parameters import OF_ORDER, of_contact
from handlers.templates.parameters import mistakes as parameter_mistakes
from handlers.templates.rendering import Missing, Rendered, render

BODY = {
    "type": "BODY",
    "text": "Hi {{1}}, order {{2}} is ready.",
    "example": {"body_text": [["Noor", "8841"]]},
}
NAMED_BODY = {
    "type": "BODY",
    "text": "Hi {{first_name}}, {{ order_id }} is ready.",
    "example": {
        "body_text_named_params": [
            {"param_name": "first_name", "example": "Noor"},
            {"param_name": "order_id", "example": "8841"},
        ]
    },
}
PHOTO = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::aW"]}}
GOOD = Definition(
    name="order_ready",
    language="en_US",
    category="UTILITY",
    parameter_format="POSITIONAL",
    components=[BODY],
)


@dataclass(frozen=True)
class Made:
    components: list[Any]
    parameter_format: str = "POSITIONAL"


def text(**more: Any) -> dict[str, Any]:
    return BODY | more


def links(*given: Any) -> list[Any]:
    return [BODY, {"type": "BUTTONS", "buttons": list(given)}]


def reply(label: str = "Yes") -> dict[str, Any]:
    return {"type": "QUICK_REPLY", "text": label}


URL = {
    "type": "URL",
    "text": "Track",
    "url": "https://shop.example/t/{{1}}",
    "example": ["https://shop.example/t/8841"],
}


def card(**more: Any) -> dict[str, Any]:
    body = {"type": "BODY", "text": "A cake"}
    buttons = {"type": "BUTTONS", "buttons": [reply()]}
    return {"components": [PHOTO, body, buttons]} | more


CAROUSEL = [BODY, {"type": "CAROUSEL", "cards": [card(), card()]}]
OFFER = [
    {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Ends!", "has_expiration": True}},
    BODY,
    {"type": "BUTTONS", "buttons": [{"type": "COPY_CODE", "example": "CAKE10"}]},
]


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        replace(GOOD, parameter_format="NAMED", components=[NAMED_BODY]),
        replace(GOOD, components=[PHOTO, BODY, {"type": "FOOTER", "text": "Reply STOP"}]),
        replace(GOOD, components=[{"type": "HEADER", "format": "LOCATION"}, BODY]),
        replace(GOOD, components=links(reply(), reply("No"), URL)),
        replace(GOOD, components=links(URL, reply())),
        replace(GOOD, category="MARKETING", components=CAROUSEL),
        replace(GOOD, category="MARKETING", components=OFFER),
        replace(GOOD, language="pt_BR", components=[{"type": "body", "text": "Hola"}]),
    ],
)
def test_what_is_right_is_let_through(good: Definition) -> None:
    assert mistakes(good) == []


@pytest.mark.parametrize(
    ("wrong", "place", "said"),
    [
        ({"name": "Order Ready"}, "name", "a-z, 0-9 and _"),
        ({"language": "en-US"}, "language", "Meta's codes"),
        ({"category": "AUTHENTICATION"}, "category", "WhatsApp Manager"),
        ({"category": "SALES"}, "category", "MARKETING, UTILITY"),
        ({"parameter_format": "MIXED"}, "parameter_format", "NAMED"),
        ({"components": "x"}, "components", "not a list"),
        ({"components": []}, "components", "BODY is needed"),
        ({"components": [PHOTO]}, "components", "no BODY"),
        ({"components": [BODY, BODY]}, "components[1].type", "already"),
        ({"components": [BODY, {"type": "X"}]}, "components[1].type", "none of"),
        ({"components": [text(text="x" * 1_025)]}, "components[0].text", "1025 characters"),
        ({"components": [text(text="{{1}} is {{2}} ready")]}, "components[0].text", "2388299"),
        (
            {"components": [text(text="It is {{1}} {{2}} now")]},
            "components[0].text",
            "side by side",
        ),
        ({"components": [text(text="a {{1}} b {{3}} c")]}, "components[0].text", "without gaps"),
        ({"components": [text(text="a {{x}} b {{1}} c")]}, "components[0].text", "without gaps"),
        ({"components": [text(text="a {{1 b {{2}} c")]}, "components[0].text", "2388047"),
        ({"components": [text(example={})]}, "components[0].example.body_text", "each variable"),
        (
            {"parameter_format": "NAMED", "components": [NAMED_BODY | {"example": None}]},
            "components[0].example.body_text_named_params",
            "first_name, order_id",
        ),
        (
            {"parameter_format": "NAMED", "components": [text(text="Hi {{First}} there")]},
            "components[0].text",
            "{{First}}",
        ),
        (
            {"components": [BODY, {"type": "HEADER", "format": "TEXT", "text": "x" * 61}]},
            "components[1].text",
            "60 at most",
        ),
        (
            {"components": [BODY, {"type": "HEADER", "format": "IMAGE"}]},
            "components[1].example.header_handle",
            "Resumable Upload",
        ),
        (
            {"components": [BODY, {"type": "FOOTER", "text": "By {{1}} now"}]},
            "components[1].text",
            "2388073",
        ),
        ({"components": links(*[reply(str(n)) for n in range(11)])}, "components[1].buttons", "10"),
        ({"components": links(URL, URL, URL)}, "components[1].buttons", "3 of URL, 2 at most"),
        ({"components": links(reply(), URL, reply())}, "components[1].buttons", "stand together"),
        ({"components": links(URL, reply(), URL)}, "components[1].buttons", "before or after all"),
        ({"components": links(reply("x" * 26))}, "components[1].buttons[0].text", "25 at most"),
        (
            {"components": links(URL | {"url": "https://a.example/{{1}}/x"})},
            "components[1].buttons[0].url",
            "very end",
        ),
        ({"components": OFFER}, "category", "MARKETING only"),
        (
            {
                "category": "MARKETING",
                "components": [
                    BODY,
                    {"type": "CAROUSEL", "cards": [card(), card(components=[PHOTO])]},
                ],
            },
            "components[1].cards",
            "differ",
        ),
    ],
)
def test_what_meta_would_refuse_is_said(wrong: dict[str, Any], place: str, said: str) -> None:
    found = mistakes(replace(GOOD, **wrong))
    assert any(one.place == place and said in one.detail for one in found), found


def test_all_that_is_wrong_is_said_at_once() -> None:
    bad = replace(GOOD, name="A", language="x", components=[text(text=""), URL])
    assert len({one.place for one in mistakes(bad)}) == 4


def test_a_positional_one_is_filled() -> None:
    made = Made([PHOTO, BODY, {"type": "FOOTER", "text": "Lemon Street"}, links(reply(), URL)[1]])
    parameters = {
        "header": {"link": "https://cdn.example/cake.jpg"},
        "body": {"2": {"text": "8841\n\n(two)"}, "1": {"field": "name", "else": "there"}},
        "buttons": {"0": {"text": "ready:yes"}, "1": {"field": "custom_fields.track"}},
    }
    values = of_contact("Noor  Ali", "+12025550143", {"track": "a b/1?x=ü", "no": None})
    assert render(made, parameters, values) == Rendered(
        [
            {
                "type": "header",
                "parameters": [
                    {"type": "image", "image": {"link": "https://cdn.example/cake.jpg"}}
                ],
            },
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "text": "Noor Ali"},
                    {"type": "text", "text": "8841 (two)"},
                ],
            },
            {
                "type": "button",
                "sub_type": "quick_reply",
                "index": "0",
                "parameters": [{"type": "payload", "payload": "ready:yes"}],
            },
            {
                "type": "button",
                "sub_type": "url",
                "index": "1",
                "parameters": [{"type": "text", "text": "a%20b/1?x=%C3%BC"}],
            },
        ],
        "[photo]\nHi Noor Ali, order 8841 (two) is ready.\nLemon Street\n"
        '[button "Yes"]\n[button "Track": https://shop.example/t/a%20b/1?x=%C3%BC]',
    )


def test_a_named_one_names_its_values() -> None:
    header = {"type": "HEADER", "format": "TEXT", "text": "For {{first_name}}"}
    made = Made([header, NAMED_BODY], "NAMED")
    filled = render(
        made,
        {
            "header": {"text": "Noor"},
            "body": {"first_name": {"text": "Noor"}, "order_id": {"text": "8841"}},
        },
        {},
    )
    assert isinstance(filled, Rendered)
    assert filled.text == "For Noor\nHi Noor, 8841 is ready."
    assert filled.components[0]["parameters"] == [
        {"type": "text", "parameter_name": "first_name", "text": "Noor"}
    ]
    assert [one["parameter_name"] for one in filled.components[1]["parameters"]] == [
        "first_name",
        "order_id",
    ]


def test_ten_positional_values_are_in_the_order_of_their_numbers() -> None:
    words = " and ".join(f"{{{{{n}}}}}" for n in range(1, 12))
    made = Made([{"type": "BODY", "text": f"So {words}."}])
    filled = render(made, {"body": {str(n): {"text": f"v{n}"} for n in range(1, 12)}}, {})
    assert isinstance(filled, Rendered)
    (body,) = filled.components
    assert [one["text"] for one in body["parameters"]] == [f"v{n}" for n in range(1, 12)]


def test_an_offer_and_a_carousel() -> None:
    parameters = {
        "expiry": {"expires_at": "2026-12-24T18:00:00Z"},
        "body": {"1": {"text": "Noor"}, "2": {"text": "1"}},
        "buttons": {"0": {"text": "CAKE10"}},
    }
    offer = render(Made(OFFER), parameters, {})
    assert isinstance(offer, Rendered)
    assert offer.components[0]["parameters"][0]["limited_time_offer"] == {
        "expiration_time_ms": 1_798_135_200_000
    }
    assert offer.components[-1] == {
        "type": "button",
        "sub_type": "copy_code",
        "index": "0",
        "parameters": [{"type": "coupon_code", "coupon_code": "CAKE10"}],
    }
    assert offer.text.endswith("[offer: Ends!, until 2026-12-24T18:00:00+00:00]")
    link = {"header": {"link": "https://cdn.example/1.jpg"}, "buttons": {"0": {"text": "buy"}}}
    many = render(Made(CAROUSEL), {"body": parameters["body"], "cards": [link, link]}, {})
    assert isinstance(many, Rendered)
    cards = many.components[-1]["cards"]
    assert [one["card_index"] for one in cards] == [0, 1]
    assert [one["type"] for one in cards[1]["components"]] == ["header", "button"]
    assert many.text.count("A cake") == 2


def test_what_is_not_known_is_missing() -> None:
    made = Made([PHOTO, BODY])
    parameters = {"body": {"1": {"field": "name"}, "2": {"field": "custom_fields.n", "else": " "}}}
    assert render(made, parameters, of_contact(None, None, {"n": ["x"]})) == Missing(
        ("header", "body.1", "body.2")
    )
    assert isinstance(
        render(Made([BODY]), parameters, of_contact("Noor", None, {"n": 7})),
        Rendered,
    )


def test_a_long_value_is_cut_to_what_meta_takes() -> None:
    made = Made([{"type": "BODY", "text": "We said: {{1}} to {{2}}."}])
    parameters = {"body": {"1": {"field": "reply"}, "2": {"text": "Noor"}}}
    filled = render(made, parameters, {"reply": "🍋 cake " * 500})
    assert isinstance(filled, Rendered)
    assert len(filled.text.encode("utf-16-le")) // 2 <= 1_024
    assert filled.text.endswith("… to Noor.")


@pytest.mark.parametrize(
    ("parameters", "place", "said"),
    [
        ({}, "body.1", "missing"),
        ([], "parameters", "no such place"),
        ({"body": {"1": {"text": "x"}, "3": {"text": "x"}}}, "body.3", "no such place"),
        ({"header": {"text": "x"}}, "header", "no such place"),
        ({"body": {"1": "Noor"}}, "body.1", "not an object"),
        ({"body": {"1": {"text": " \n"}}}, "body.1", "empty"),
        ({"body": {"1": {"text": "x" * 1_025}}}, "body.1", "1024"),
        ({"body": {"1": {"text": "x", "field": "name"}}}, "body.1", "not understood"),
        ({"body": {"1": {"field": "email"}}}, "body.1", "none of name, phone_number"),
        ({"body": {"1": {"field": "order.status"}}}, "body.1", "none of"),
        ({"body": {"1": {"field": "custom_fields."}}}, "body.1", "none of"),
        ({"body": {"1": {"field": "name", "else": ""}}}, "body.1", "else: empty"),
        ({"body": {"1": {"link": "https://a.example/"}}}, "body.1", "not understood"),
    ],
)
def test_wrong_parameters_are_named(parameters: Any, place: str, said: str) -> None:
    found = parameter_mistakes([BODY], parameters, ())
    assert any(one.place == place and said in one.detail for one in found), found


def test_right_parameters_are_right() -> None:
    order = {"field": "order.order_number"}
    parameters = {"body": {"1": {"field": "custom_fields.nick", "else": "you"}, "2": order}}
    assert parameter_mistakes([BODY], parameters, OF_ORDER) == []
    photo = {"header": {"link": "https://cdn.example/x.jpg"}}
    assert parameter_mistakes([PHOTO, {"type": "BODY", "text": "Hi"}], photo, ()) == []
    bad = {"header": {"link": "http://cdn.example/x.jpg"}}
    assert "https" in parameter_mistakes([PHOTO], bad, ())[0].detail
