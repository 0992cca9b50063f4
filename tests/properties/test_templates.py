"""Whatever anybody spells: nothing raises, and what is sent is what Meta takes."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.rules.cutting import units
from handlers.templates.anatomy import slots
from handlers.templates.checking import Definition, mistakes
from handlers.templates.parameters import mistakes as parameter_mistakes
from handlers.templates.parameters import normalised
from handlers.templates.rendering import Missing, Rendered, render

FAST = settings(max_examples=300, deadline=None, derandomize=True, database=None)
KEYS = st.sampled_from(
    (
        "type",
        "format",
        "text",
        "url",
        "buttons",
        "cards",
        "components",
        "example",
        "body",
        "header",
        "field",
        "else",
        "link",
        "1",
        "0",
        "limited_time_offer",
        "has_expiration",
        "expires_at",
    )
)
WORDS = st.sampled_from(
    (
        "HEADER",
        "BODY",
        "BUTTONS",
        "CAROUSEL",
        "LIMITED_TIME_OFFER",
        "TEXT",
        "IMAGE",
        "URL",
        "QUICK_REPLY",
        "COPY_CODE",
        "{{}}",
        "name",
        "https://a.example/{{1}}",
        "Hi {{1}} now",
    )
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
TEXTS = st.text(max_size=60)
NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), unique=True, max_size=6)


@dataclass(frozen=True)
class Made:
    components: Any
    parameter_format: str


@FAST
@given(ANYTHING, ANYTHING, st.sampled_from(["POSITIONAL", "NAMED", ""]))
def test_whatever_it_is_nothing_raises(components: Any, parameters: Any, how: str) -> None:
    of = Definition(
        name="x", language="en", category="UTILITY", parameter_format=how, components=components
    )
    mistakes(of)
    parameter_mistakes(components, parameters, ())
    filled = render(Made(components, how), parameters, {"name": "Noor"})
    assert isinstance(filled, Rendered | Missing)


@FAST
@given(NAMES, st.data(), st.booleans())
def test_what_is_sent_is_what_meta_takes(
    names: list[str], data: st.DataObject, named: bool
) -> None:
    keys = names if named else [str(n) for n in range(1, len(names) + 1)]
    body = "Hi, " + " and ".join(f"{{{{{key}}}}}" for key in keys) + " it is."
    made = Made([{"type": "BODY", "text": body}], "NAMED" if named else "POSITIONAL")
    texts = {key: data.draw(TEXTS | st.just("long " * 400)) for key in keys}
    parameters = {"body": {key: {"text": text} for key, text in texts.items()}}
    filled = render(made, parameters, {})
    empty = {key for key, text in texts.items() if not normalised(text)}
    if empty:
        assert isinstance(filled, Missing)
        assert set(filled.places) == {f"body.{key}" for key in empty}
        return
    assert isinstance(filled, Rendered)
    sent = [one for part in filled.components for one in part["parameters"]]
    assert len(sent) == len(keys)
    for one in sent:
        assert one["text"]
        assert not {"\n", "\t", "\r"} & set(one["text"])
        assert "     " not in one["text"]
        assert one["text"] in filled.text
    assert units(filled.text) <= 1_024
    json.dumps(filled.components, allow_nan=False).encode()
    if named:
        assert [one["parameter_name"] for one in sent] == keys


@FAST
@given(ANYTHING, ANYTHING)
def test_what_passes_the_check_is_never_missing_a_text(components: Any, parameters: Any) -> None:
    """But for what only the customer's row knows."""
    if parameter_mistakes(components, parameters, ()):
        return
    filled = render(Made(components, "POSITIONAL"), parameters, {})
    if isinstance(filled, Missing):
        spelt = json.dumps(parameters, default=str)
        assert "field" in spelt, (filled, slots(components))
