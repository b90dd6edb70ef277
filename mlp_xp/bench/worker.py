"""The process of one contestant of scripts/bench.py, which runs a round on request.

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
from statistics import median
from typing import Any

import numpy as np

from mlp_xp.backend import compile_afresh, open_backend
from mlp_xp.bench.contestants import Job, Layers, Unavailable, Workload, initial_network, make_contestant
from mlp_xp.data.datasets import load_dataset
from mlp_xp.metrics import evaluate
from mlp_xp.network import Layer

CHECK_SAMPLES = 1000
FEWEST_SHUFFLES = 3


def serve(job: Job, commands: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Create the contestant and send its number of samples; run a round on `round`; send the results on `end`."""
    try:
        contestant = make_contestant(job)
    except Unavailable as reason:
        answer({"unavailable": str(reason)})
        return
    _, random = initial_network(job)
    shuffles: list[float] = []

    def shuffle() -> None:
        permutation = random.permutation(contestant.samples)
        began = time.perf_counter()
        contestant.shuffle(permutation)
        shuffles.append((time.perf_counter() - began) / contestant.samples)

    shuffle()
    start, samples = 0, job.workload.steps * job.workload.batch_size
    answer({"ready": contestant.samples})
    for command in commands:
        if command.strip() == "end":
            peak, loss = peak_bytes(), check_loss(job, contestant.network())
            while len(shuffles) < FEWEST_SHUFFLES:
                shuffle()
            answer({"peak_bytes": peak, "loss": loss, "shuffle_seconds": median(shuffles)})
            return
        if start + samples > contestant.samples:
            shuffle()
            start = 0
        began, began_work = time.perf_counter(), time.process_time()
        contestant.train(start, job.workload.steps)
        # The time of all processors, before the time of the clock: their ratio is never too large.
        work = time.process_time() - began_work
        answer({"seconds": time.perf_counter() - began, "processor_seconds": work})
        start += samples


def check_loss(job: Job, layers: Layers) -> float:
    """Return the mean cross-entropy on the first test images, in float64, the same way for all contestants."""
    backend = open_backend("numpy")
    dataset = load_dataset(job.data_dir, backend)
    network = tuple(Layer(weights.astype(np.float64), bias.astype(np.float64)) for weights, bias in layers)
    images, labels = dataset.test_images[:CHECK_SAMPLES], dataset.test_labels[:CHECK_SAMPLES]
    return evaluate(network, images, labels, activation="sigmoid", backend=backend).loss


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
    compile_afresh()  # else the time of the first round would depend on earlier runs
    fields = json.loads(sys.argv[1])
    workload = Workload(**fields["workload"])
    job = Job(**fields | {"workload": workload._replace(hidden=tuple(workload.hidden))})
    serve(job, sys.stdin, lambda message: print(json.dumps(message), file=answers, flush=True))


if __name__ == "__main__":
    main()
