"""What every benchmark here needs: cores, processes under test, rounds, and results that are kept.

Servers, clients and this process share one core; the process under test has the other to itself.
Floor and product take turns, so that both meet the same weather, and a ratio is taken of each pair.
Only ratios count: absolute figures are this machine's.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.processes import Process

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
CORES = sorted(os.sched_getaffinity(0))
SERVERS_CORE, TESTED_CORE = CORES[0], CORES[-1]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Figures = dict[str, float]


def keep_to_servers_core() -> None:
    """This process and all that it starts, but for what `tested` starts."""
    os.sched_setaffinity(0, {SERVERS_CORE})


@asynccontextmanager
async def tested(
    name: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[Process]:
    """A process on the core for the tested; its last words are shown when it fails."""
    with tempfile.TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
        process = await Process.start(
            name,
            ["taskset", "--cpu-list", str(TESTED_CORE), *arguments],
            {**os.environ, **environment},
            Path(directory) / "log",
        )
        try:
            yield process
        except BaseException:
            print(process.tail(), file=sys.stderr)
            raise
        finally:
            process.terminate()
            await process.ended()


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_s: float  # user and system, of all its threads, since it began
    rss_mb: float
    at_s: float


def usage(pid: int) -> Usage:
    """Source: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        rss_mb=pages * PAGE_BYTES / 1024 / 1024,
        at_s=time.perf_counter(),
    )


def spent(before: Usage, after: Usage, things: int) -> Figures:
    """CPU for each thing, and how much of its core the process used."""
    cpu = after.cpu_s - before.cpu_s
    return {
        "cpu_ms": cpu * 1000 / things,
        "core": cpu / (after.at_s - before.at_s),
        "rss_mb": after.rss_mb,
    }


# ---- rounds -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float
    rounds: list[float]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Spread":
        return cls(statistics.median(rounds), min(rounds), max(rounds), list(rounds))


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    reached: float
    wanted: float
    at_least: bool = True  # else at most

    @property
    def met(self) -> bool:
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted


@dataclass(slots=True)
class Result:
    """One benchmark: figures by side and by name, ratios of product to floor, goals."""

    name: str  # of its files
    title: str
    sides: dict[str, dict[str, Spread]] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # what else its table or plot shows

    def compare(self, figure: str, product: str = "product", floor: str = "floor") -> float:
        """The median over the rounds of product / floor; kept as `figure`, or for another pair as
        `figure, product / floor`."""
        pairs = zip(
            self.sides[product][figure].rounds, self.sides[floor][figure].rounds, strict=True
        )
        plain = (product, floor) == ("product", "floor")
        name = figure if plain else f"{figure}, {product} / {floor}"
        self.ratios[name] = Spread.of([p / f for p, f in pairs])
        return self.ratios[name].median

    def goal(self, what: str, reached: float, wanted: float, *, at_least: bool = True) -> None:
        self.goals.append(Goal(what, reached, wanted, at_least))

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        whole = {**asdict(self), "machine": machine()}
        for goal, kept in zip(self.goals, whole["goals"], strict=True):
            kept["met"] = goal.met
        (RESULTS / f"{self.name}.json").write_text(json.dumps(whole, indent=1) + "\n")


async def in_turns(
    result: Result,
    sides: Mapping[str, Callable[[], Awaitable[Figures]]],
    rounds: int = ROUNDS,
) -> None:
    """Each side once a round, the order turned round every time; one round before that warms up
    and is thrown away."""
    kept: dict[str, list[Figures]] = {name: [] for name in sides}
    order = list(sides)
    for number in range(-1, rounds):
        for name in order:
            figures = await sides[name]()
            if number >= 0:
                kept[name].append(figures)
        order.reverse()
        told = f"round {number + 1} of {rounds}" if number >= 0 else "warm"
        print(f"  {result.name}: {told}, load {os.getloadavg()[0]:.1f}", flush=True)
    for name, figures_of in kept.items():
        result.sides[name] = {
            figure: Spread.of([figures[figure] for figures in figures_of])
            for figure in figures_of[0]
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, the one that `share` of them do not pass."""
    return values[min(len(values) - 1, int(len(values) * share))]


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(CORES),
        "cpu": model,
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


# ---- for the terminal and for docs --------------------------------------------------------------


WIDEST = 8  # figures beside each other


def _flat(saved: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    lines = []
    if figures:
        lines += ["| " + " | ".join(["", *(f.replace("_", " ") for f in figures)]) + " |"]
        lines += ["|" + "---|" * (len(figures) + 1)]
    for name, side in saved["sides"].items():
        cells = [_spread(side[f]) if f in side else "" for f in figures]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    for name, ratio in saved["ratios"].items():
        of = "" if " / " in name else ", product / floor"
        lines.append(f"\n{name.replace('_', ' ')}{of}: **{_spread(ratio)}**")
    return lines


def _upright(saved: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    """A line for each figure, with its ratio where there is one."""
    lines = ["| " + " | ".join(["", *saved["sides"], "ratio"]) + " |"]
    lines += ["|" + "---|" * (len(saved["sides"]) + 2)]
    ratios = {name.partition(",")[0]: ratio for name, ratio in saved["ratios"].items()}
    for figure in figures:
        cells = [_spread(side[figure]) for side in saved["sides"].values()]
        ratio = f"**{_spread(ratios[figure])}**" if figure in ratios else ""
        lines.append("| " + " | ".join([figure.replace("_", " "), *cells, ratio]) + " |")
    return lines


def table(saved: Mapping[str, Any]) -> str:
    """Of what a result saved, in Markdown, which a terminal shows just as well."""
    figures = list(dict.fromkeys(f for side in saved["sides"].values() for f in side))
    lines = _upright(saved, figures) if len(figures) > WIDEST else _flat(saved, figures)
    for goal in saved["goals"]:
        sign = "≥" if goal["at_least"] else "≤"
        verdict = "met" if goal["met"] else "**not met**"
        lines.append(
            f"\nGoal: {goal['what']} {sign} {number_of(goal['wanted'])};"
            f" reached {number_of(goal['reached'])}: {verdict}"
        )
    return "\n".join(lines)


def _spread(spread: Mapping[str, Any]) -> str:
    """The median, and between which values the rounds were."""
    if len(spread["rounds"]) == 1:
        return number_of(spread["median"])
    low, high = number_of(spread["low"]), number_of(spread["high"])
    return f"{number_of(spread['median'])} ({low} to {high})"


def number_of(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
