"""python -m tests.defences [word ...]: all of them, or those whose name has one of the words.

1 when one is gone and no test notices, or when the tests fail with all of them in place.
"""

import argparse
import sys
from functools import partial

from tests.defences.catalogue import DEFENCES
from tests.defences.run import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.defences", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="word")
    words = parser.parse_args().words
    chosen = [d for d in DEFENCES if not words or any(word in d.name for word in words)]
    if not chosen:
        parser.error(f"none of the defences has one of {', '.join(words)} in its name")
    sys.exit(run(chosen, partial(print, flush=True)))
