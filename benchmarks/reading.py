"""Read tables to training data, beside pandas and scikit-learn.

Run it by `python -m benchmarks.reading`.

A table of 12 columns of decimals, 3 of whole numbers, of which one has gaps, and 5 of
text is written as CSV and as Parquet. Every reader runs in a process of its own, on one
thread, in turns. It ends with encoded categories of a training and a test set, and with
numbers and their means and deviations. scikit-learn also standardises the numbers here,
and the network of this package in each step. Its figures are the CPU time, user and
system, and the largest memory of the process, with all imports: the medians of the
rounds. It needs a POSIX system.

With --train, the table is that of `benchmarks.tables --rows`, and each process also
trains a network, by the recipe `own` and by scikit-learn with early stopping. The last
figure is the share of the test rows that are right, each of its own test rows.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

OURS = """
import sys, warnings
from mlp_xp import load_dataset
warnings.simplefilter("ignore")
load_dataset(sys.argv[1], label="kind")
"""
OTHERS = """
import sys
import pandas
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
is_csv = sys.argv[1].endswith("csv")
table = (pandas.read_csv if is_csv else pandas.read_parquet)(sys.argv[1])
kind = table.pop("kind")
train, test, *_ = train_test_split(table, kind, test_size=0.2, stratify=kind)
imputer = SimpleImputer(strategy="median", add_indicator=True)
encoder = OneHotEncoder(
    handle_unknown="infrequent_if_exist", min_frequency=0.01, sparse_output=False
)
transformer = make_column_transformer(
    (
        make_pipeline(imputer, StandardScaler()),
        make_column_selector(dtype_include="number"),
    ),
    (encoder, make_column_selector(dtype_exclude="number")),
)
transformer.fit_transform(train), transformer.transform(test)
"""
OURS_TRAINED = """
import sys, warnings
from mlp_xp import RECIPES, load_dataset, open_backend, train
warnings.simplefilter("ignore")
backend = open_backend(threads=1)
dataset = load_dataset(sys.argv[1], backend, label="kind")
recipe = RECIPES["own"]
*_, last = train(recipe.train, dataset, backend, networks=recipe.networks)
print(last.test.accuracy)
"""
OTHERS_TRAINED = """
import sys
import pandas
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
table = pandas.read_csv(sys.argv[1])
kind = table.pop("kind")
train, test, kinds, test_kinds = train_test_split(
    table, kind, test_size=0.2, stratify=kind, random_state=0
)
network = MLPClassifier(random_state=0, early_stopping=True)
model = make_pipeline(StandardScaler(), network).fit(train, kinds)
print(model.score(test, test_kinds))
"""
THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")


def write_table(folder: Path, rows: int) -> None:
    """Write the table as `t.csv` and `t.parquet`."""
    import polars as pl

    random = np.random.default_rng(0)
    columns: dict[str, pl.Series] = {}
    for i in range(12):
        digits = (3, 2, 6, 4)[i % 4]
        numbers = random.normal(size=rows) * 10 ** (i % 4)
        columns[f"x{i}"] = pl.Series(numbers.round(digits))
    for name in ("n0", "n1", "n2"):
        columns[name] = pl.Series(random.integers(0, 1000, rows))
    is_gap = pl.Series(random.random(rows) < 0.1)
    columns["n2"] = columns["n2"].set(is_gap, None)
    words = {
        "city": [f"City {i}" for i in range(25)],
        "colour": ["red", "green", "blue"],
        "flag": ["yes", "no"],
        "grade": list("ABCDEF"),
        "kind": ["good", "bad"],
    }
    for name, levels in words.items():
        places = random.integers(0, len(levels), rows)
        columns[name] = pl.Series(levels).gather(places)
    table = pl.DataFrame(columns)
    table.write_csv(folder / "t.csv")
    table.write_parquet(folder / "t.parquet")


def write_generated(folder: Path, rows: int) -> None:
    """Write the table of `benchmarks.tables --rows` as `t.csv`."""
    from benchmarks.tables import generated

    made = generated(rows)
    table = pd.concat([made.X, made.test_features]).round(6)
    table["kind"] = np.concatenate([made.y, made.test_labels])
    table.to_csv(folder / "t.csv", index=False)


def cost_of(command: list[str], root: str) -> tuple[float, float, str]:
    """Return the CPU seconds, the largest memory in MB and the output of a process.

    root: the folder from which it imports.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": root}
    process = subprocess.Popen(
        command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    said = process.stdout.read().strip()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return used.ru_utime + used.ru_stime, used.ru_maxrss / unit, said


def readers(older: Path | None) -> Iterator[tuple[str, list[str], str, str]]:
    """Yield the name of each reader, its command, its import path, and its file."""
    root = str(Path(__file__).resolve().parent.parent)
    for suffix in ("csv", "parquet"):
        yield f"mlp_xp, {suffix}", [sys.executable, "-c", OURS], root, suffix
        if older is not None and suffix == "csv":
            older = older.resolve()
            python = str(older / ".venv" / "bin" / "python")
            yield f"mlp_xp in {older.name}", [python, "-c", OURS], str(older), suffix
        yield f"pandas, {suffix}", [sys.executable, "-c", OTHERS], root, suffix


def trainers() -> Iterator[tuple[str, list[str], str, str]]:
    """Yield what `readers` yields, for programs that train too."""
    root = str(Path(__file__).resolve().parent.parent)
    yield "recipe own", [sys.executable, "-c", OURS_TRAINED], root, "csv"
    yield "scikit-learn's MLP", [sys.executable, "-c", OTHERS_TRAINED], root, "csv"


def main() -> None:
    """Print a row for each number of rows and reader."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--older", type=Path, help="another copy of the repository, with its .venv"
    )
    parser.add_argument("--train", action="store_true", help="train a network too")
    options = parser.parse_args()
    print(f"{'rows':>9}  {'reader':20} {'CPU s':>7} {'MB':>6}")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            (write_generated if options.train else write_table)(Path(name), rows)
            chosen = list(trainers() if options.train else readers(options.older))
            costs: dict[str, list[tuple[float, float, str]]] = {}
            for _ in range(options.rounds):
                for reader, command, root, suffix in chosen:
                    cost = cost_of([*command, f"{name}/t.{suffix}"], root)
                    costs.setdefault(reader, []).append(cost)
        for reader, each in costs.items():
            seconds, memory, said = zip(*each, strict=True)
            line = f"{rows:9}  {reader:20} {median(seconds):7.2f} {median(memory):6.0f}"
            shares = [float(text) for text in said if text]
            print(line, *(f"{share:.4f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
