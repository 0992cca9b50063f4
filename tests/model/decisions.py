"""What must hold of requests and decisions, after every single commit: decided once, told once, and
nothing approved beyond what a person said."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

ACTIONS = """
SELECT a.id, a.user_id, a.contact_id, a.status, a.amount, a.currency, a.request_type,
       a.request_key, a.usage_day, a.user_response, a.resolved_at IS NOT NULL AS resolved,
       a.auto_approve_similar AS approves, a.max_amount, a.max_per_day, a.any_contact,
       a.auto_approved_by AS by, a.withdrawn_at IS NOT NULL AS withdrawn
  FROM actions a ORDER BY a.id
"""
Rows = Mapping[int, Any]


def check_actions(before: Rows, now: Rows, told: Counter[int], tally: Counter[str]) -> None:
    """`told`: events about each."""
    assert before.keys() <= now.keys()
    for id, row in now.items():
        if (was := before.get(id)) is None:
            _requested(before, row, tally)
        else:
            _moved(was, row, tally)
        assert told[id] == (row["status"] != "pending"), f"not told of once: {row}"
    _sums(now)
    waiting = Counter(
        (row["user_id"], row["contact_id"], row["request_key"])
        for row in now.values()
        if row["status"] == "pending"
    )
    assert not waiting or max(waiting.values()) == 1, f"asked for twice: {waiting}"


def _requested(before: Rows, row: Any, tally: Counter[str]) -> None:
    if row["by"] is None:
        assert row["status"] == "pending", f"nobody decided it: {row}"
        tally["action: requested"] += 1
        return
    assert row["status"] == "approved", row
    decision = before[row["by"]]
    assert decision["approves"], f"what was withdrawn approves: {decision} {row}"
    assert decision["status"] == "approved", decision
    assert decision["user_id"] == row["user_id"], f"another tenant's: {decision} {row}"
    assert decision["any_contact"] or decision["contact_id"] == row["contact_id"], (decision, row)
    assert decision["request_type"] == row["request_type"], (decision, row)
    if row["amount"] is None:
        assert decision["amount"] is None, (decision, row)
        assert decision["request_key"] == row["request_key"], (decision, row)
    else:
        assert row["amount"] <= decision["max_amount"], (decision, row)
        assert row["currency"] == decision["currency"], (decision, row)
    tally["action: approved by an earlier decision"] += 1


def _moved(was: Any, row: Any, tally: Counter[str]) -> None:
    fixed = ("by", "amount", "currency", "request_type", "request_key", "contact_id", "usage_day")
    assert all(row[name] == was[name] for name in fixed), (was, row)
    if was["status"] != "pending":
        same = ("status", "user_response", "resolved", "max_amount", "max_per_day", "any_contact")
        assert all(row[name] == was[name] for name in same), f"decided twice: {was} {row}"
        assert was["approves"] or not row["approves"], f"it approves again: {was} {row}"
        tally["action: withdrawn"] += was["approves"] and not row["approves"]
    elif row["status"] != "pending":
        tally[f"action: {row['status']}"] += 1
        tally["action: approves more"] += row["approves"]


def _sums(now: Rows) -> None:
    """What a decision approved on one of the tenant's days."""
    sums: Counter[Any] = Counter()
    for row in now.values():
        if row["by"] is not None and row["amount"] is not None:
            sums[row["by"], row["usage_day"]] += row["amount"]
    for (decision, day), total in sums.items():
        assert total <= now[decision]["max_per_day"], f"more than a day's sum, on {day}: {total}"
