"""The process of one contestant, which runs a round on request: `python -m benchmarks.worker JOB`.

The argument is the job as JSON. Commands are read from standard input, one per line; answers are written to standard
output as JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.contestants import Unavailable, initial_network
from benchmarks.whole import make_contestant
from benchmarks.workloads import Job, Workload


def serve(job: Job, commands: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Create the contestant and send its number of samples; run a round on `round`; send the results on `end`."""
    try:
        contestant = make_contestant(job)
    except Unavailable as reason:
        answer({"unavailable": str(reason)})
        return
    _, random = initial_network(job)
    contestant.shuffle(random.permutation(contestant.samples))
    start, samples = 0, job.workload.steps * job.workload.batch_size
    answer({"ready": contestant.samples})
    for command in commands:
        if command.strip() == "end":
            peak = peak_bytes()  # before the test images are loaded for the loss
            answer({"peak_bytes": peak, "loss": contestant.loss()})
            return
        if start + samples > contestant.samples:
            contestant.shuffle(random.permutation(contestant.samples))
            start = 0
        began = time.perf_counter()
        contestant.train(start, job.workload.steps)
        answer({"seconds": time.perf_counter() - began})
        start += samples


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    try:
        # On Linux, ru_maxrss includes the peak of the process that started this one; VmHWM does not.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Serve one job. Output of libraries goes to standard error, so that it does not mix with answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    fields = json.loads(sys.argv[1])
    workload = Workload(**fields["workload"])
    job = Job(**fields | {"workload": workload._replace(hidden=tuple(workload.hidden))})
    serve(job, sys.stdin, lambda message: print(json.dumps(message), file=answers, flush=True))


if __name__ == "__main__":
    main()
