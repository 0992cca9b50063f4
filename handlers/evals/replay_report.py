"""A replay for people and for programs. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from handlers.evals.outcome import Use
from handlers.evals.replay import Replayed
from handlers.evals.results import outcome_json, plain, uses_json

SHOWN_CHARS = 300  # of a text, for people
ARGUMENTS_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    conversation_id: int
    chatbot_id: int
    chatbot_name: str
    timezone: str
    turns: Sequence[Replayed]
    left_out: int  # turns before them
    tokens: int
    stopped: str | None = None  # a word: the rest was not asked

    @property
    def changed(self) -> int:
        return sum(one.is_same is False for one in self.turns)


def as_json(report: ReplayReport) -> dict[str, Any]:
    shown: dict[str, Any] = plain(
        {
            "conversation_id": report.conversation_id,
            "chatbot_id": report.chatbot_id,
            "changed": report.changed,
            "left_out": report.left_out,
            "stopped": report.stopped,
            "tokens": report.tokens,
            "turns": [_turn(one) for one in report.turns],
        }
    )
    return shown


def _turn(one: Replayed) -> dict[str, Any]:
    turn, then = one.turn, one.turn.then
    return {
        "message_id": turn.message_id,
        "at": turn.at.isoformat(),
        "say": list(turn.said),
        "skipped": turn.skipped,
        "same": one.is_same,
        "then": {
            "answer": then.answer,
            "model": then.model,
            "cited": list(then.cited),
            "tools": None if then.tools is None else uses_json(then.tools),
            "handed_over": then.handed_over,
            "tokens": then.tokens,
        },
        "now": None if one.now is None else outcome_json(one.now),
    }


# ---- for people ----------------------------------------------------------------------------------


def table(report: ReplayReport) -> str:
    """Lines as they are: who prints them makes what tenants and customers wrote harmless."""
    zone = ZoneInfo(report.timezone)
    lines = [f"conversation {report.conversation_id} with {report.chatbot_name}"]
    if report.left_out:
        lines.append(f"{report.left_out} turns before these are left out")
    for one in report.turns:
        said = " / ".join(map(_one_line, one.turn.said)) or "(a decision to be told)"
        lines += [
            "",
            f"#{one.turn.message_id}  {one.turn.at.astimezone(zone):%Y-%m-%d %H:%M}  {said}",
        ]
        lines += [f"    {line}" for line in _compared(one)]
    asked = sum(one.now is not None for one in report.turns)
    end = f"{asked} turns, {report.changed} answered otherwise, {report.tokens:,} tokens"
    return "\n".join([*lines, "", end + (f"; stopped: {report.stopped}" if report.stopped else "")])


def _compared(one: Replayed) -> Iterator[str]:
    then = one.turn.then
    yield f"then  {_one_line(then.answer) or '(nothing)'}"
    yield from _about(then.cited, then.tools, then.tokens)
    if one.now is None:
        yield f"now   (not asked: {one.turn.skipped or 'stopped before'})"
    elif one.is_same:
        yield "now   (the same)"
    else:
        yield f"now   {_one_line(one.now.text) or f'(nothing: {one.now.reason})'}"
    if one.now is not None:
        yield from _about(one.now.cited, one.now.tools, one.now.tokens)


def _about(cited: Sequence[str], tools: Sequence[Use] | None, tokens: int | None) -> Iterator[str]:
    if cited:
        yield f"        rows: {'; '.join(map(_one_line, cited))}"
    if tools:
        yield f"        tools: {'; '.join(map(_use, tools))}"
    if tools is None:
        yield "        tools: not kept any more"
    if tokens:
        yield f"        tokens: {tokens:,}"


def _use(use: Use) -> str:
    given = json.dumps(use.arguments, ensure_ascii=False, default=str)
    return f"{use.name} {_cut(given, ARGUMENTS_CHARS)}{' (refused)' if use.refused else ''}"


def _one_line(text: str) -> str:
    return _cut(" ".join(text.split()), SHOWN_CHARS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\u2026"
