"""python -m tests.worker.beating URL NAME: a worker without roles, to be killed."""

import sys
import time

from handlers.process import telemetry
from worker.liveness import Liveness


def main() -> None:
    telemetry.configure("info", "json", "worker")
    liveness = Liveness(sys.argv[1], sys.argv[2])
    liveness.start()
    while True:
        liveness.main_loop_runs()
        time.sleep(1)


main()
