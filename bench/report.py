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

from bench.harness import RESULTS, table

mpl.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
FIGURES = DOCS / "benchmarks"
IMAGES = DOCS / "images"
MARK = re.compile(r"(<!-- bench ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLOURS = {"product": "#128c7e", "floor": "#9aa5ac", "pywa": "#d08c3f"}
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
    return f"{table(result)}\n\n<sub>{where}</sub>\n"


def _draw(name: str, result: dict[str, Any]) -> None:
    """The figures that its `more` names as worth seeing, side by side."""
    shown = [
        figure
        for figure in result["more"].get("plot", ())
        if any(figure in side for side in result["sides"].values())
    ]
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


def _draw_goals(saved: dict[str, Any]) -> None:
    """Every goal as a share of what is wanted: right of the line is met."""
    goals = [goal for result in saved.values() for goal in result["goals"]]
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
            f"{goal['reached']:.3g} ({sign} {goal['wanted']:g})",
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
