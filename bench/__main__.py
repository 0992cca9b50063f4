"""`make bench`: the product beside a bare floor in the same run. Named ones only: `make bench
ARGS="ingress turn"`; `--quick` for a look that proves nothing."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module

from bench import harness
from bench.harness import Result

# In this order; each has `run(quick)`, which returns what it measured.
NAMES = (
    *("ingress", "door", "calls", "ingest", "told", "turn", "in_flight", "deliveries"),
    *("overload", "neighbour", "counters", "growth", "retention", "start", "media"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small and few rounds")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    harness.keep_to_servers_core()
    failed = []
    for name in arguments.names or NAMES:
        run: Callable[[bool], Awaitable[list[Result]]] = import_module(f"bench.{name}").run
        print(f"\n{name}", flush=True)
        try:
            results = asyncio.run(run(arguments.quick))
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            print(f"{name} was not measured: {error}", file=sys.stderr)
            failed.append(name)
            continue
        for result in results:
            result.save()
            saved = json.loads((harness.RESULTS / f"{result.name}.json").read_text())
            print(f"\n{result.title}\n\n{harness.table(saved)}", flush=True)
    if failed:
        sys.exit(f"\nnot measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
