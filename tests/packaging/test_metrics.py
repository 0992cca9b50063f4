"""What is exported follows Prometheus' conventions, and docs/metrics.md says all of it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from handlers.ingest.batch import delay_s
from handlers.process import telemetry
from ingress.api.problems import PROBLEMS
from tests.packaging import ROOT
from worker.intake import SUBSCRIPTIONS

ROW = re.compile(r"^\| `(swiftreplies_\w+)` \| (\w+) \| ?(.*?) ?\| (.*) \|$", re.MULTILINE)
LABEL = re.compile(r"`(\w+)`(?:: ([\w, ()]+))?")
UNBOUNDED = {"user_id", "tenant", "chatbot_id", "contact", "number", "phone_number_id", "id"}


@dataclass(frozen=True, slots=True)
class Documented:
    kind: str
    labels: dict[str, set[str]]
    text: str


def documented() -> dict[str, Documented]:
    found = {}
    for name, kind, labels, text in ROW.findall((ROOT / "docs" / "metrics.md").read_text()):
        assert name not in found, f"{name} stands twice"
        values = {
            label: {v.split()[0] for v in listed.split(", ") if v}
            for label, listed in LABEL.findall(labels)
        }
        found[name] = Documented(kind, values, text)
    return found


def exported() -> dict[str, MetricWrapperBase]:
    """By the name under which a sample is written; a counter's has _total, which Python's lacks."""
    ours = {}
    for one in vars(telemetry).values():
        if isinstance(one, MetricWrapperBase):
            suffix = {"counter": "_total", "info": "_info"}.get(str(one._type), "")
            ours[one._name + suffix] = one
    return ours


def test_every_metric_is_documented_and_no_other() -> None:
    documents = documented()
    ours = exported()
    assert set(documents) == set(ours)
    for name, one in ours.items():
        if one._type == "info":  # a gauge to whoever scrapes it, its labels are its values
            assert documents[name].kind == "gauge"
            continue
        assert documents[name].kind == one._type, name
        assert set(documents[name].labels) == set(one._labelnames), name


def test_counters_begin_at_zero_for_the_values_that_are_documented() -> None:
    """rate() and increase() do not see a series begin."""
    for name, one in exported().items():
        if one._type == "counter" and one._labelnames:
            (label,) = one._labelnames
            begun = {values[0] for values in one._metrics}
            assert documented()[name].labels[label] == begun, name


def test_values_are_those_of_the_code() -> None:
    documents = documented()
    api = documents["swiftreplies_api_requests_total"].labels["status"]
    assert api == {"200", "201", "202", "204", "304"} | {
        str(status) for status, _ in PROBLEMS.values()
    }
    assert documents["swiftreplies_ingest_subscribed"].labels["subscription"] == set(SUBSCRIPTIONS)
    reasons = (ROOT / "docs" / "schema.md").read_text().partition("## Parked reasons")[2]
    known = set(re.findall(r"^\| `(\w+)` \|", reasons.partition("\n## ")[0], re.MULTILINE))
    assert documents["swiftreplies_items_parked_total"].labels["reason"] == known - {"reason"}


@pytest.mark.parametrize("name", sorted(exported()))
def test_names_units_and_labels_are_as_the_field_has_them(name: str) -> None:
    one = exported()[name]
    assert re.fullmatch(r"swiftreplies_[a-z]+(_[a-z]+)*", name)
    assert name.endswith("_total") == (one._type == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|count|sum|bucket)(_|$)", name)
    if one._type == "histogram":
        assert re.search(r"_(seconds|bytes|entries)$", name)
    assert one._documentation, "every one has a help text"
    assert not one._documentation.endswith(".")
    assert not set(one._labelnames) & UNBOUNDED


def test_nothing_else_of_ours_is_registered() -> None:
    """A metric that was made elsewhere would be in no table."""
    collected = {family.name for family in REGISTRY.collect() if family.name.startswith("swift")}
    assert collected == {one._name for one in exported().values()}


@pytest.mark.parametrize(
    ("received_at", "expected"),
    [
        ("2026-11-22T12:00:00.5+00:00", 1.5),
        ("2026-11-22T13:00:00+01:00", 2.0),
        ("2026-11-22T12:00:09+00:00", 0.0),  # its clock is ahead of ours
        ("2026-11-22T12:00:00", None),  # of no zone
        ("now", None),
        (None, None),
    ],
)
def test_a_delay_is_never_below_nothing(received_at: str | None, expected: float | None) -> None:
    assert delay_s(received_at, datetime(2026, 11, 22, 12, 0, 2, tzinfo=UTC)) == expected
