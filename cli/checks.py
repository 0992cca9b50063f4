"""What `swiftreplies doctor` found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    check: str
    state: State
    detail: str  # what was found, and unless it is ok what to do


def ok(check: str, detail: str) -> Check:
    return Check(check, "ok", detail)


def warning(check: str, detail: str) -> Check:
    return Check(check, "warning", detail)


def failed(check: str, detail: str) -> Check:
    return Check(check, "failed", detail)
