"""Measure what threads gain and cost: `python scripts/bench_threads.py` on an idle machine; a few minutes.

For steps of growing work, the time of a step on one thread, and how many times as long it takes on all CPUs: once while
nothing else runs, and once beside a busy loop. `threads.LARGE_STEP` follows from it. The last column is the number
of threads that the rule gives a run now.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from mlp_xp.backend import Backend, open_backend
from mlp_xp.chunks import make_chunk, step_coefficients
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import BYTES
from mlp_xp.device import initial_state
from mlp_xp.network import count_parameters
from mlp_xp.plan import Chunk, chunk_lengths
from mlp_xp.threads import cpus, threads_by_work

# Hidden units and batch size.
WORKLOADS = [
    *(((64,), 1), ((64,), 32), ((64,), 128), ((512, 256), 128), ((800,), 128), ((1024,), 512)),
    *(((1024, 1024), 512), ((1024, 1024), 1024), ((2048, 2048), 512), ((2048, 2048), 1024)),
]
SAMPLES = 4096
SECONDS = 0.2  # of a round, at least


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keep so many CPUs busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def seconds_per_step(backends: list[Backend], hidden: tuple[int, ...], size: int, rounds: int) -> list[list[float]]:
    """Return, for each backend, the seconds of a step in each round; the rounds take turns."""
    config = TrainConfig(hidden=hidden, batch_size=size, update_order="simultaneous", init="glorot")
    sizes = (784, *hidden, 10)
    random = np.random.RandomState(0)
    steps, _, _ = chunk_lengths(size, count_parameters(sizes), SAMPLES)
    coefficients = step_coefficients(config, Chunk(0, steps, size), 0, steps)
    order = random.randint(0, SAMPLES, (steps, size))
    images, labels = random.randint(0, 256, (SAMPLES, 28, 28)).astype(np.uint8), random.randint(0, 10, SAMPLES)
    runs: list[list[Any]] = []
    for backend in backends:
        state, _ = initial_state(config, sizes, backend)
        rest = images, labels, order
        arrays = (*map(backend.asarray, rest), backend.asarray(coefficients, backend.dtype))
        runs.append([make_chunk(config.of_steps(), backend, BYTES.function), state, arrays])
    times: list[list[float]] = [[] for _ in backends]
    for number in range(rounds + 1):
        for run, backend, seen in zip(runs, backends, times, strict=True):
            chunk, state, arrays = run
            began, chunks = time.perf_counter(), 0
            while chunks < 1 or time.perf_counter() - began < SECONDS:
                state, losses = chunk(state, *arrays)
                backend.to_numpy(losses)
                chunks += 1
            run[1] = state
            if number:  # the first one warms up
                seen.append((time.perf_counter() - began) / (chunks * steps))
    return times


def main() -> None:
    """Print a table for each backend, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=["numpy", "torch"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1], help="numbers of busy loops")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.backends:
        backends = [open_backend(name, dtype=options.dtype, threads=number) for number in (1, cpus())]
        print(f"\n{name} {backends[0].version}, {options.dtype}, {cpus()} CPUs; load {os.getloadavg()[0]:.1f}\n")
        columns = "".join(f" {cpus()} threads, {busy} busy |" for busy in options.busy)
        print(f"| network | batch | multiply-adds | ms |{columns} rule |\n| --- |{' ---: |' * (4 + len(options.busy))}")
        for hidden, size in WORKLOADS:
            work = size * sum((a + 1) * b for a, b in pairwise((784, *hidden, 10)))
            cells, alone = "", float("nan")
            for busy in options.busy:
                with busy_loops(busy):
                    one, all_of_them = seconds_per_step(backends, hidden, size, options.rounds)
                alone = statistics.median(one) if busy == options.busy[0] else alone
                cells += f" {statistics.median(b / a for a, b in zip(one, all_of_them, strict=True)):.2f} |"
            network = "-".join(map(str, (784, *hidden, 10)))
            rule, _ = threads_by_work(work)
            print(f"| {network} | {size} | {work:.1e} | {1000 * alone:.3g} |{cells} {rule} |", flush=True)


if __name__ == "__main__":
    main()
