"""Alerts and dashboard: whole, parsed, and each alert with what to do. That what they ask for is
exported is tested on the running product, in tests/e2e/test_metrics.py."""

import re
from typing import Any

import pytest
import yaml

from tests.packaging import ROOT
from tests.packaging.composing import completed, composed
from tests.packaging.expressions import (
    ALERTS,
    DASHBOARD,
    Selector,
    expressions,
    fits,
    panels,
    problems,
    rules,
    selectors,
)
from tests.packaging.test_metrics import documented
from worker.claims import TURN_SLOTS

OPERATIONS = ROOT / "docs" / "operations.md"
METRICS = ROOT / "docs" / "metrics.md"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["description"]) > 40
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert ROOT / file == OPERATIONS
    assert anchor == rule["alert"].lower()
    # Each has its paragraph, and it is not empty.
    assert re.search(rf"^### {rule['alert']}\n\n\S.+", OPERATIONS.read_text(), re.MULTILINE)


def test_full_is_nine_tenths_of_what_a_worker_runs_at_most() -> None:
    (rule,) = [rule for rule in rules() if rule["alert"] == "SwiftRepliesTurnsFull"]
    threshold = int(rule["expr"].rpartition(">")[2])
    assert 0.85 < threshold / TURN_SLOTS < 0.95
    told = (rule["annotations"]["summary"], OPERATIONS.read_text(), METRICS.read_text())
    for text in told:
        assert re.search(rf"{TURN_SLOTS:,} (turns|at most)", text)


def test_no_alert_is_described_that_does_not_exist() -> None:
    described = re.findall(r"^### (SwiftReplies\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert described == list(dict.fromkeys(described))
    assert set(described) == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_promql(expression: str) -> None:
    assert selectors(expression)


def test_a_name_label_or_value_that_nobody_exports_is_noticed() -> None:
    """The judge of tests/e2e/test_metrics.py."""
    series = {"m_total": [{"status": "200"}, {"status": "503"}]}

    def told(expression: str) -> list[str]:
        return [problem for one in selectors(expression) for problem in problems(one, series)]

    assert told('sum by (status) (rate(m_total{status=~"5..", job="x"}[5m])) > 0') == []
    assert told("max by (instance) (m_total) or -absent(up)") == []
    assert told("rate(n_total[5m]) / m_total") == ["nobody exports n_total"]
    assert told("sum by (code) (m_total)") == ["m_total has no code"]
    assert told('m_total{status="401"}')[0].startswith("no series of m_total fits")
    assert told('m_total{code!="401"}')[0].startswith("no series of m_total fits")
    assert told('rabbitmq_queue_messages_ready{lane="1"}')[0].endswith("has no lane")
    assert selectors("a - b") == [Selector(n, (), frozenset()) for n in "ab"]
    assert fits("a", "!~", "b|c")


def test_the_dashboard_has_every_metric_and_its_rows() -> None:
    text = " ".join(expressions())
    missing = {
        name for name in documented() if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", text)
    }
    assert not missing
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == [
        *("Door", "Ingest", "Turns", "Sends", "Webhooks of tenants", "Dead and parked", "Health")
    ]


def test_panels_do_not_overlap_and_ask_the_chosen_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    services = composed(completed())[0]["services"]
    prometheus = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text())
    assert prometheus["rule_files"] == [ALERTS.name]
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    for name, port in (
        ("ingress", services["ingress"]["environment"]["PORT"]),
        ("worker", services["worker"]["environment"]["METRICS_PORT"]),
    ):
        (found,) = jobs[f"swiftreplies-{name}"]["dns_sd_configs"]
        assert found["names"] == [name]
        assert str(found["port"]) == port
    places = dict(v.removesuffix(":ro").split(":") for v in services["grafana"]["volumes"])
    provider = yaml.safe_load(
        (DASHBOARD.parent / "provisioning" / "dashboards" / "swiftreplies.yml").read_text()
    )
    (one,) = provider["providers"]
    assert (
        f"{one['options']['path']}/{DASHBOARD.name}" == places["./deploy/grafana/swiftreplies.json"]
    )
