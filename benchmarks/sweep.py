"""Time a sweep of 16 runs of the recipe `small`, and the same runs otherwise: `python benchmarks/sweep.py`.

A member of a sweep evaluates the test set at each report and writes a run folder; scikit-learn under joblib does not.
Run it on an idle machine; it needs scikit-learn, joblib and JAX.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlp_xp import load_dataset

RATES, SEEDS = (0.01, 0.02, 0.03, 0.05), range(4)
GRID = ["--learning-rate", *map(str, RATES), "--seed", f"{SEEDS[0]}..{SEEDS[-1]}"]
SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def command(name: str, *words: str) -> None:
    """Run a command on the recipe `small` in a new folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = "--sweep-dir" if name == "sweep" else "--run-dir"
        program = [sys.executable, str(SCRIPTS / f"{name}.py"), "--recipe", "small", *words, folder, f"{place}/new"]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)


def one_after_another(*words: str) -> None:
    """Run `train` for each member."""
    for rate, seed in itertools.product(RATES, SEEDS):
        command("train", "--learning-rate", str(rate), "--seed", str(seed), *words)


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
    """Train the network of the recipe `small`: momentum without Nesterov's change, no decay, no early end."""
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")  # it has not converged
    settings: dict[str, Any] = {"solver": "sgd", "nesterovs_momentum": False, "alpha": 0, "batch_size": 32, "tol": 0}
    settings |= {"learning_rate_init": rate, "random_state": seed, "max_iter": epochs, "n_iter_no_change": epochs}
    MLPClassifier((64,), **settings).fit(images, labels)


def main() -> None:
    """Print the time of each, and its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each run (default: 8, as in the recipe)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once (default: one for each core)")
    options = parser.parse_args()
    epochs, jobs = ("--epochs", str(options.epochs)), ("--jobs", str(options.jobs))
    measures: dict[str, Callable[[], None]] = {
        f"sweep, {options.jobs} at once": lambda: command("sweep", *GRID, *epochs, *jobs),
        "sweep, one at once": lambda: command("sweep", *GRID, *epochs, "--jobs", "1"),
        "train, one after another": lambda: one_after_another(*epochs),
        "scikit-learn under joblib, float32": lambda: scikit_learn(options.epochs, options.jobs, "float32"),
        "scikit-learn under joblib, float64": lambda: scikit_learn(options.epochs, options.jobs, "float64"),
        "sweep on JAX": lambda: command("sweep", *GRID, *epochs, *jobs, "--backend", "jax"),
    }
    first = 0.0
    for name, measure in measures.items():
        began = time.perf_counter()
        measure()
        seconds = time.perf_counter() - began
        first = first or seconds
        print(f"{name:36} {seconds:7.1f} s {seconds / first:6.2f} x the first", flush=True)


if __name__ == "__main__":
    main()
