"""The models of a chatbot: what is stored of them, and what a change makes of it. Pure.

A chatbot's `model` is JSON without keys; its keys stand apart, one for each place (the model, then
its fallbacks), each with the URL that it was given for. A key goes nowhere else: with another URL
it has to be given anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

FALLBACKS_MAX = 3
NAME_CHARS = 200  # as prices have it
KEY_CHARS = 2_000
LEAST_OUTPUT, MOST_OUTPUT = 50, 32_000
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
EFFORTS: Final[tuple[str, ...]] = get_args(Effort)
# What a model that thinks may spend on it, beside its answer.
THINKING_TOKENS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1_000,
    "low": 2_000,
    "medium": 4_000,
    "high": 8_000,
    "xhigh": 16_000,
}

Stored: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    base_url: str | None  # None: the installation's
    api_key: str


Keys: TypeAlias = tuple[Key | None, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One model, as a turn asks it. What is None is the installation's."""

    name: str | None
    base_url: str | None
    api_key: str | None
    temperature: float | None
    max_output_tokens: int | None
    reasoning_effort: str | None
    sees_images: bool


def changed(
    has: Stored | None, keys: Keys, given: Mapping[str, Any] | None
) -> tuple[Stored | None, Keys]:
    """By a merge patch, in which null takes away; `fallbacks` is replaced whole. A key stays where
    its URL stays."""
    if given is None:
        return None, ()
    before = _places(has, keys)
    of_all = {name: value for name, value in given.items() if name != "fallbacks"}
    model, key = _one(before[0][0] if before else {}, before[0][1] if before else None, of_all)
    if "fallbacks" in given:
        fallbacks = [_fallback(before, one) for one in given["fallbacks"] or ()]
    else:
        fallbacks = before[1:]
    if fallbacks:
        model["fallbacks"] = [one for one, _ in fallbacks]
    return (model, (key, *(one for _, one in fallbacks))) if model or key else (None, ())


def _places(has: Stored | None, keys: Keys) -> list[tuple[Stored, Key | None]]:
    if has is None:
        return []
    models = [{name: value for name, value in has.items() if name != "fallbacks"}]
    models += has.get("fallbacks", ())
    return [(one, keys[place] if place < len(keys) else None) for place, one in enumerate(models)]


def _one(has: Stored, key: Key | None, given: Mapping[str, Any]) -> tuple[Stored, Key | None]:
    model = {**has, **{name: value for name, value in given.items() if name != "api_key"}}
    model = {name: value for name, value in model.items() if value is not None}
    url = model.get("base_url")
    if "api_key" in given:
        key = None if given["api_key"] is None else Key(url, given["api_key"])
    return model, key if key is not None and key.base_url == url else None


def _fallback(
    before: Sequence[tuple[Stored, Key | None]], given: Mapping[str, Any]
) -> tuple[Stored, Key | None]:
    """Whoever gives back what was shown leaves the key where it was."""
    url, name = given.get("base_url"), given.get("name")
    known = [(one, key) for one, key in before if key is not None and key.base_url == url]
    same = [key for one, key in known if one.get("name") == name]
    kept = next(iter(same or [key for _, key in known]), None)
    return _one({}, kept, given)


def mistakes(model: Stored | None, keys: Keys) -> dict[str, str]:
    """What does not go together, by member."""
    found = {}
    for place, (one, key) in enumerate(_places(model, keys)):
        at = "model" if place == 0 else f"model.fallbacks.{place - 1}"
        if (place or "base_url" in one) and "name" not in one:
            found[f"{at}.name"] = "missing"
        if "base_url" in one and key is None:
            found[f"{at}.api_key"] = (
                "missing: a base_url is asked with a key that was given for it, never with another"
            )
    return found


def keys_text(keys: Keys) -> str | None:
    """To be sealed; None: there is none."""
    if not any(keys):
        return None
    return json.dumps([key and {"base_url": key.base_url, "api_key": key.api_key} for key in keys])


def read_keys(text: str | None) -> Keys:
    if text is None:
        return ()
    return tuple(key and Key(key["base_url"], key["api_key"]) for key in json.loads(text))


def wanted(model: Stored | None, keys: Keys) -> tuple[Wanted, ...]:
    """The model and its fallbacks, in the order in which they are asked. Empty: the
    installation's."""
    return tuple(
        Wanted(
            name=one.get("name"),
            base_url=one.get("base_url"),
            api_key=key.api_key if key and key.base_url == one.get("base_url") else None,
            temperature=one.get("temperature"),
            max_output_tokens=one.get("max_output_tokens"),
            reasoning_effort=one.get("reasoning_effort"),
            sees_images=bool(one.get("sees_images")),
        )
        for one, key in _places(model, keys)
    )
