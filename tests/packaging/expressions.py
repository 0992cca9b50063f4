"""What the alerts and the dashboard ask Prometheus for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
import yaml

from tests.packaging import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "swiftreplies.json"
# Put on every series by who scrapes it.
OF_THE_SCRAPE = {"job", "instance"}
# RabbitMQ's own, under /metrics/per-object; seen there with 3.10.8.
RABBITMQ = {"rabbitmq_queue_messages_ready": {"queue", "vhost"}}


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    matchers: tuple[tuple[str, str, str], ...]  # label, = != =~ !~, value
    grouped: frozenset[str]  # labels by which something around it sums


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    targets = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    # Grafana puts its own in; any range is as good here.
    return [rule["expr"] for rule in rules()] + [
        expr.replace("$__rate_interval", "1m") for expr in targets
    ]


def selectors(expression: str) -> list[Selector]:
    """Raises ValueError when it is no PromQL."""
    return list(_selectors(promql_parser.parse(expression), frozenset()))


def _selectors(expr: Any, grouped: frozenset[str]) -> Iterator[Selector]:
    match expr:
        case promql_parser.VectorSelector():
            signs = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
            matchers = tuple(
                (m.name, signs[str(m.op).rpartition(".")[2]], m.value)
                for m in expr.matchers.matchers
            )
            assert expr.name, "a selector without a name"
            yield Selector(expr.name, matchers, grouped)
        case promql_parser.MatrixSelector():
            yield from _selectors(expr.vector_selector, grouped)
        case promql_parser.AggregateExpr():
            by = frozenset(expr.modifier.labels if expr.modifier else ())
            yield from _selectors(expr.expr, grouped | by)
        case promql_parser.BinaryExpr():
            yield from _selectors(expr.lhs, grouped)
            yield from _selectors(expr.rhs, grouped)
        case promql_parser.Call():
            for one in expr.args:
                yield from _selectors(one, grouped)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from _selectors(expr.expr, grouped)
        case _:  # a number or a text
            return


def fits(value: str, sign: str, wanted: str) -> bool:
    equal = re.fullmatch(wanted, value) is not None if "~" in sign else value == wanted
    return equal if sign[0] == "=" else not equal


Series = dict[str, list[dict[str, str]]]  # of each metric, the labels of each of its series


def problems(asked: Selector, series: Series) -> list[str]:
    """Why it would find nothing."""
    if asked.metric in RABBITMQ:
        labels = {label for label, _, _ in asked.matchers} | asked.grouped
        return [f"{asked.metric} has no {one}" for one in labels - RABBITMQ[asked.metric]]
    if asked.metric == "up":
        return []
    if asked.metric not in series:
        return [f"nobody exports {asked.metric}"]
    known = {label for labels in series[asked.metric] for label in labels} | OF_THE_SCRAPE
    found = [f"{asked.metric} has no {label}" for label in sorted(asked.grouped - known)]
    ours = [m for m in asked.matchers if m[0] not in OF_THE_SCRAPE]
    if not any(
        all(label in labels and fits(labels[label], sign, wanted) for label, sign, wanted in ours)
        for labels in series[asked.metric]
    ):
        found.append(f"no series of {asked.metric} fits {ours}")
    return found
