"""docs/events.md and docs/events.schema.json say what the catalogue says."""

import functools
import json
import re

import jsonschema
import pytest

from handlers.deliveries.described import Described, described
from tests.deliveries.documents import FILE, SCHEMAS, markdown, schemas


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    whole = json.loads(SCHEMAS.read_text())
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(
        whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def test_they_are_as_the_catalogue_is() -> None:
    assert FILE.read_text() == markdown(), "run `make events`"
    assert SCHEMAS.read_text() == schemas(), "run `make events`"


@pytest.mark.parametrize("one", described(), ids=lambda one: one.type)
def test_an_event_is_one_of_the_schemas_and_no_other_s(one: Described) -> None:
    valid = validator()
    valid.validate(one.sample)
    assert not valid.is_valid({**one.sample, "type": "another.event"})
    assert not valid.is_valid({**one.sample, "data": {}})


def test_every_event_has_its_section_and_a_sample_that_is_valid() -> None:
    valid = validator()
    titles = re.findall(r"^## (\S+)$", FILE.read_text(), re.MULTILINE)
    assert titles == list(dict.fromkeys(titles))
    assert set(titles) == {one.type for one in described()}
    samples = re.findall(r"^```json\n(.*?)^```$", FILE.read_text(), re.MULTILINE | re.DOTALL)
    assert [json.loads(sample)["type"] for sample in samples] == titles
    for sample in samples:
        valid.validate(json.loads(sample))
    links = re.findall(r"\]\(#(\w+)\)", FILE.read_text())
    assert links == [title.replace(".", "") for title in titles]
