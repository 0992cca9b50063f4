"""Puts the figures of the last run into docs/performance.md: `python -m bench.report`.

Tables go between the marks `<!-- bench NAME -->` and `<!-- end -->`, plots to docs/images, and the
figures themselves to docs/benchmarks, so that a table can be checked and a plot drawn again.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.harness import RESULTS, number_of, table

mpl.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
FIGURES = DOCS / "benchmarks"
IMAGES = DOCS / "images"
MARK = re.compile(r"(<!-- bench ([a-z0-9_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLOURS = {"product": "#128c7e", "floor": "#9aa5ac", "pywa": "#d08c3f"}
SHOWN = {
    "ingress": ("webhooks_per_s", "cpu_ms", "rss_mb"),
    "ingress_half_load": ("ack_p50_ms", "ack_p99_ms"),
    "ingress_batches": ("items_per_s", "cpu_ms"),
    "door": ("ack_p50_ms", "ack_p99_ms", "rss_mb_most"),
    "ingest": ("messages_per_s",),
    "turn": ("turns_per_s", "cpu_ms", "postgresql_cpu_ms"),
    "turn_tool": ("turns_per_s", "cpu_ms", "postgresql_cpu_ms"),
    "start_ingress": ("ready_s", "rss_mb"),
    "start_worker": ("ready_s", "rss_mb"),
}
_ONE = ("read_turn", "read_messages", "read_events", "load_checkpoint", "reserve_for_turn")
_LAST = ("fence", "queue_text", "pack and store the checkpoint", "settle_inputs")
TRIPS = {
    "claim": "1 for up to 32",
    "read: transaction": "2: BEGIN with the tenant, COMMIT",
    "think: model client": "1, HTTP",
    "write: transaction": "2: BEGIN with the tenant, COMMIT",
    "typing indicator": "1, HTTP, beside the turn",
    **{f"read: {step}": "1" for step in _ONE},
    **{f"write: {step}": "1" for step in _LAST},
}
CUT = 3  # times a goal: more is not drawn
OTHERS = ("#5b7fa6", "#a65b7f", "#7f6ba6", "#6ba67f")


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    for path in sorted(RESULTS.glob("*.json")):
        (FIGURES / path.name).write_text(path.read_text())
    saved = {path.stem: json.loads(path.read_text()) for path in sorted(FIGURES.glob("*.json"))}
    page = PAGE.read_text()
    missing = sorted(set(saved) - {name for _, name, _ in MARK.findall(page)})
    if missing:
        sys.exit(f"{PAGE.name} has no place for: {', '.join(missing)}")
    PAGE.write_text(MARK.sub(lambda m: m[1] + _section(m[2], saved) + m[3], page))
    for name, result in saved.items():
        _draw(name, result)
    _draw_goals(saved)


def _section(name: str, saved: dict[str, Any]) -> str:
    if name not in saved:
        return "Not measured yet.\n"
    result = saved[name]
    machine = result["machine"]
    rounds = max(
        (len(s["rounds"]) for side in result["sides"].values() for s in side.values()), default=0
    )
    where = (
        f"{rounds} rounds on {machine['cores']} cores ({machine['cpu']}), load at the end"
        f" {machine['load_1min']}, {machine['at'][:10]}, commit {machine['commit']};"
        " median (lowest to highest)."
    )
    return "\n\n".join([table(result), *_steps(result), f"<sub>{where}</sub>"]) + "\n"


def _steps(result: dict[str, Any]) -> list[str]:
    """Of a turn: what each step costs the worker, and how often it waits for somebody."""
    costs: dict[str, float] = result["more"].get("steps_cpu_ms", {})
    if not costs:
        return []
    trips = result["more"]["round_trips"]
    lines = ["| step | worker's CPU, ms | round trips |", "|---|---|---|"]
    for step, cost in costs.items():
        lines.append(f"| {step} | {cost:.2f} | {TRIPS.get(step, '')} |")
    lines.append(f"| all | {sum(costs.values()):.2f} | |")
    said = (
        f"Counted by PostgreSQL and by the stand-ins: {trips['statements']:.1f} statements a turn"
        f" in {trips['transactions']:.0f} transactions, {trips['model_calls']:.0f} call of the"
        f" model, {trips['graph_api_calls']:.0f} of the Graph API (typing)."
    )
    return ["\n".join(lines), said]


def _draw(name: str, result: dict[str, Any]) -> None:
    """The figures that are worth seeing, side by side; of growth, how often each step's cost is
    that of the small database."""
    if name == "growth":
        _draw_ratios(name, result)
    shown = SHOWN.get(name, ())
    if not shown:
        return
    drawing, places = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 2.9), squeeze=False)
    for place, figure in zip(places[0], shown, strict=True):
        sides = [side for side in result["sides"] if figure in result["sides"][side]]
        for number, side in enumerate(sides):
            spread = result["sides"][side][figure]
            colour = COLOURS.get(side, OTHERS[number % len(OTHERS)])
            place.bar(side, spread["median"], color=colour, width=0.6)
            place.plot([side] * len(spread["rounds"]), spread["rounds"], "o", ms=3, color="#222")
        place.set_title(figure.replace("_", " "), fontsize=9)
        place.tick_params(labelsize=8)
        place.set_ylim(bottom=0)
        place.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(result["title"], fontsize=10)
    drawing.tight_layout()
    drawing.savefig(IMAGES / f"bench-{name}.png", dpi=110)
    plt.close(drawing)


def _draw_ratios(name: str, result: dict[str, Any]) -> None:
    ratios = {k: v for k, v in result["ratios"].items() if v["rounds"]}
    drawing, place = plt.subplots(figsize=(7, 0.3 * len(ratios) + 0.9))
    for number, spread in enumerate(reversed(ratios.values())):
        place.barh(number, spread["median"], color=COLOURS["product"], height=0.6)
        place.plot(spread["rounds"], [number] * len(spread["rounds"]), "o", ms=3, color="#222")
    names = [ratio.partition(",")[0].replace("_", " ") for ratio in reversed(ratios)]
    place.set_yticks(range(len(ratios)), names, fontsize=8)
    place.axvline(1.2, color="#c0503f", lw=1)
    place.set_xlim(left=0)
    place.tick_params(axis="x", labelsize=8)
    place.set_title("cost beside 10 million messages / beside little; goal: 1.2", fontsize=9)
    place.spines[["top", "right"]].set_visible(False)
    drawing.tight_layout()
    drawing.savefig(IMAGES / f"bench-{name}.png", dpi=110)
    plt.close(drawing)


def _draw_goals(saved: dict[str, Any]) -> None:
    """Every goal as a share of what is wanted: right of the line is met."""
    goals = [
        goal
        for result in saved.values()
        for goal in result["goals"]
        if "rows read" not in goal["what"]  # many, and of none but the database's own
    ]
    if not goals:
        return
    drawing, place = plt.subplots(figsize=(8, 0.34 * len(goals) + 0.9))
    for number, goal in enumerate(reversed(goals)):
        reached, wanted = goal["reached"], goal["wanted"]
        less = wanted / reached if reached > 0 else CUT
        share = reached / wanted if goal["at_least"] else less
        place.barh(
            number, min(share, CUT), color="#128c7e" if goal["met"] else "#c0503f", height=0.6
        )
        sign = "≥" if goal["at_least"] else "≤"
        place.text(
            min(share, CUT) + 0.03,
            number,
            f"{number_of(goal['reached'])} ({sign} {goal['wanted']:g})",
            va="center",
            fontsize=8,
        )
    place.set_yticks(range(len(goals)), [goal["what"] for goal in reversed(goals)], fontsize=8)
    place.axvline(1, color="#222", lw=1)
    place.set_xlim(0, 3.6)
    place.set_xticks([0, 0.5, 1, 1.5, 2, 2.5, 3])
    place.set_xlabel("goal reached, as a multiple of it (cut at 3)", fontsize=8)
    place.tick_params(axis="x", labelsize=8)
    place.spines[["top", "right"]].set_visible(False)
    drawing.tight_layout()
    drawing.savefig(IMAGES / "bench-goals.png", dpi=110)
    plt.close(drawing)


if __name__ == "__main__":
    main()
