"""python -m tests.chaos --seeds 1,2,3 [--small]: one row a seed; 1 when a promise was broken."""

import argparse
import asyncio
import sys

from tests.chaos.judge import explanations, judge, row_of, table
from tests.chaos.plan import FULL, SMALL, Size, draw
from tests.chaos.run import play


async def main(seeds: list[int], size: Size) -> int:
    rows: list[list[str]] = []
    broken = 0
    for seed in seeds:
        seen = await play(draw(seed, size), lambda line: print(line, flush=True))
        verdict = judge(seen)
        for line in explanations(seen, verdict):
            print(f"  {line}")
        broken += bool(verdict.violations)
        rows.append(row_of(seen, verdict))
        print(table(rows), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="1", help="numbers, comma-separated")
    parser.add_argument("--small", action="store_true", help="1,000 messages, 8 blows")
    arguments = parser.parse_args()
    chosen = [int(seed) for seed in arguments.seeds.split(",")]
    sys.exit(asyncio.run(main(chosen, SMALL if arguments.small else FULL)))
