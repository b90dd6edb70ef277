"""Measure sweeps: `python scripts/bench_sweep.py throughput memory scale` on an idle machine.

throughput: 16 small runs as a sweep, the same one after another, and scikit-learn's MLPClassifier under joblib, on
float32 as `mlp_xp` trains here, and on float64, which `X / 255` gives. A member evaluates the test set at each report
and writes a run folder; scikit-learn does neither, so sweeps are also measured with one report per epoch, and training
alone, without folders, which is what the machine can do. memory: the processes of 8 members at once, of one, and of
`train`. scale: what limits many members, each part on its own.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlp_xp import train
from mlp_xp.backend import installed, open_backend
from mlp_xp.data.datasets import load_dataset
from mlp_xp.runs.settings import RECIPES
from mlp_xp.runs.sweep_index import read_index, read_result
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps.grid import make_plan

RATES, SEEDS = (0.01, 0.02, 0.03, 0.05), range(4)
GRID = ["--recipe", "small", "--learning-rate", *map(str, RATES), "--seed", f"{SEEDS[0]}..{SEEDS[-1]}"]
SCRIPT = Path(__file__).resolve().with_name("sweep.py")


def sweep(*words: str) -> float:
    """Run a sweep in a new folder, and return its seconds."""
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, SCRIPT, *words, "--sweep-dir", f"{place}/s"], check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - began


def commands(epochs: int) -> float:
    """Run `train` for each member, one after another, without pictures, and return the seconds."""
    code = "import sys; from mlp_xp.commands import main, train; train.draw_pictures = lambda *_: None; main('train')"
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        for number, (rate, seed) in enumerate(itertools.product(RATES, SEEDS)):
            words = ["--recipe", "small", "--epochs", str(epochs), "--learning-rate", str(rate), "--seed", str(seed)]
            command = [sys.executable, "-c", code, *words, "--run-dir", f"{place}/{number}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def in_a_process(part: str, epochs: int, jobs: int) -> float:
    """Run a part of this script in a process of its own, as the others are, and return its seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, part, "--epochs", str(epochs), "--jobs", str(jobs)], check=True)
    return time.perf_counter() - began


def training(epochs: int, jobs: int) -> None:
    """Train the same grid in plain loops, one in each of `jobs` processes, with a report per epoch but no folders."""
    parts = [itertools.islice(itertools.product(RATES, SEEDS), first, None, jobs) for first in range(jobs)]
    processes = [multiprocessing.Process(target=train_all, args=([*part], epochs)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def train_all(members: list[tuple[float, int]], epochs: int) -> None:
    """Train members in this process."""
    backend = open_backend("numpy", dtype=RECIPES["small"].dtype)
    data = load_dataset("mnist", backend)
    for rate, seed in members:
        change: dict[str, Any] = {"learning_rate": rate, "seed": seed, "epochs": epochs, "report_every": 60_000}
        for _ in train(replace(RECIPES["small"].train, **change), data, backend):
            pass


def scikit_learn(epochs: int, jobs: int, dtype: str) -> None:
    """Train scikit-learn's MLPClassifier on the same grid under joblib."""
    import joblib

    data = load_dataset("mnist")
    images = (data.train_images.reshape(len(data.train_images), -1) / 255).astype(dtype)
    with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        joblib.Parallel()(
            joblib.delayed(fit)(images, data.train_labels, rate, seed, epochs)
            for rate, seed in itertools.product(RATES, SEEDS)
        )


def fit(images: object, labels: object, rate: float, seed: int, epochs: int) -> None:
    """Train the network of the recipe `small` with scikit-learn."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)
    # Momentum without Nesterov's change, no decay, no early end.
    same: dict[str, Any] = {
        "solver": "sgd",
        "nesterovs_momentum": False,
        "alpha": 0,
        "tol": 0,
        "n_iter_no_change": epochs,
    }
    network: Any = MLPClassifier(
        (64,), batch_size=32, learning_rate_init=rate, random_state=seed, max_iter=epochs, **same
    )
    network.fit(images, labels)


# What `throughput` runs in a process of its own.
PARTS: dict[str, Callable[[int, int], None]] = {
    "training": training,
    "scikit-learn": partial(scikit_learn, dtype="float32"),
    "scikit-learn-float64": partial(scikit_learn, dtype="float64"),
}


def throughput(epochs: int, jobs: int) -> None:
    """Print the times of 16 runs, and their ratios."""
    members = len(RATES) * len(SEEDS)
    words = [*GRID, "--epochs", str(epochs)]
    print(f"{members} members of the recipe small with {epochs} epochs; load {os.getloadavg()[0]:.1f} at the start")
    first = 0.0
    at_once, seldom = ["--jobs", str(jobs)], ["--report-every", "60000"]
    measures: list[tuple[str, Callable[[], float]]] = [
        (f"sweep, {jobs} at once", lambda: sweep(*words, *at_once)),
        ("sweep, 1 at once", lambda: sweep(*words, "--jobs", "1")),
        (f"sweep, one report per epoch, {jobs} at once", lambda: sweep(*words, *seldom, *at_once)),
        ("train, one after another", lambda: commands(epochs)),
        (f"training alone, {jobs} processes", lambda: in_a_process("training", epochs, jobs)),
        ("training alone, 1 process", lambda: in_a_process("training", epochs, 1)),
        (f"scikit-learn, float32, {jobs} at once", lambda: in_a_process("scikit-learn", epochs, jobs)),
        (f"scikit-learn, float64, {jobs} at once", lambda: in_a_process("scikit-learn-float64", epochs, jobs)),
    ]
    if installed("jax"):
        measures.append((f"sweep --backend jax, {jobs} at once", lambda: sweep(*words, "--backend", "jax", *at_once)))
    for name, measure in measures:
        before = os.times()
        seconds = measure()
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        first = first or seconds
        rate = 60 * members / seconds
        print(
            f"{name:40} {seconds:7.1f} s {rate:7.1f} runs/min {seconds / first:6.2f} x the first, {cpu:6.1f} s CPU",
            flush=True,
        )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def pss(pid: int) -> tuple[int, int]:
    """Return the proportional set size of a process and all that it has started, in KiB, and their number."""
    total = number = 0
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            number += 1
    return total, number


def memory(epochs: int) -> None:
    """Print the largest memory of a sweep with 8 members at once, with 1, and of `train`."""
    first = 0
    seeds = ["--seed", "0..7"]
    for name, script, words in (
        ("sweep, 1 at once", "sweep.py", [*seeds, "--jobs", "1", "--sweep-dir"]),
        ("sweep, 8 at once", "sweep.py", [*seeds, "--jobs", "8", "--sweep-dir"]),
        ("train", "train.py", ["--run-dir"]),
    ):
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, str(SCRIPT.with_name(script)), "--recipe", "small", "--epochs", str(epochs)]
            command += [*words, f"{place}/s"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            most, number = 0, 0
            while process.poll() is None:
                now, processes = pss(process.pid)
                if now > most:
                    most, number = now, processes
                time.sleep(0.05)
        first = first or most
        print(f"{name:20} {most / 1024:7.0f} MiB (PSS of {number} processes) {most / first:5.2f} x the first")


def scale(members: int) -> None:
    """Print the time of each part of a sweep with many members."""

    def timed(what: str, seconds: float, number: int) -> None:
        print(f"{what:50} {number:6d} members {seconds:7.2f} s {1e3 * seconds / number:8.3f} ms each", flush=True)

    words = ["--recipe", "small", "--epochs", "1", "--hidden", "4", "--batch-size", "128", "--report-every", "60000"]
    base = sweep(*words, "--seed", "0..1")
    seconds = sweep(*words, "--seed", f"0..{members - 1}") - base
    timed("whole sweep, runs of one epoch, without the start", seconds, members - 2)
    for number in (members, 10_000):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            began = time.perf_counter()
            plan = make_plan(RECIPES["small"], {"seed": range(number), "learning_rate": [0.01]})
            timed("plan: each member checked", time.perf_counter() - began, number)
            began = time.perf_counter()
            places.write_index(folder, plan, plan.members, {})
            timed(
                f"sweep.json written ({(folder / 'sweep.json').stat().st_size >> 10} KiB)",
                time.perf_counter() - began,
                number,
            )
            began = time.perf_counter()
            read_index(folder)
            timed("sweep.json read and checked", time.perf_counter() - began, number)
            make_members(folder, number)
            began = time.perf_counter()
            for member in plan.members:
                read_result(places.run_of(folder, member.name))
            timed("all results read", time.perf_counter() - began, number)
            from mlp_xp.sweeps.summary import write_summary

            began = time.perf_counter()
            write_summary(folder)
            timed("summary", time.perf_counter() - began, number)


def make_members(folder: Path, number: int) -> None:
    """Train one member, and copy its small files to all others."""
    words = ["--recipe", "small", "--epochs", "1", "--hidden", "4", "--batch-size", "128", "--report-every", "60000"]
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [sys.executable, SCRIPT, *words, "--sweep-dir", f"{place}/s"], check=True, stdout=subprocess.DEVNULL
        )
        run = places.run_of(f"{place}/s", "0000")
        for i in range(number):
            copy = places.run_of(folder, f"{i:04d}")
            copy.mkdir(parents=True)
            for name in ("config.json", "metrics.jsonl", "result.json"):
                shutil.copy(run / name, copy / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=("throughput", "memory", "scale", *PARTS))
    parser.add_argument("--epochs", type=int, default=8, help="of each run (default: 8, as in the recipe)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once (default: one for each core)")
    parser.add_argument("--members", type=int, default=200, help="of the whole sweep in the part scale (default: 200)")
    given = parser.parse_args()
    if "throughput" in given.parts:
        throughput(given.epochs, given.jobs)
    for name, part in PARTS.items():
        if name in given.parts:
            part(given.epochs, given.jobs)
    if "memory" in given.parts:
        memory(given.epochs)
    if "scale" in given.parts:
        scale(given.members)
