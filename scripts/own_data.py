"""Train on scikit-learn's small data sets by command line, library and estimator: `python scripts/own_data.py`.

Prints a table of the figures on every installed library, and exits with 1 if two of them differ that should not: those
of command line and library at all, those of two libraries by more than rounding. Needs the extra `sklearn`.
"""

import csv
import json
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sklearn import datasets
from sklearn.neural_network import MLPClassifier as Theirs

from mlp_xp import Dataset, load_dataset, open_backend, train
from mlp_xp.estimator import MLPClassifier
from mlp_xp.runs.settings import RECIPES

NAMES = ("iris", "wine", "breast_cancer", "digits")
BACKENDS = [name for name in ("numpy", "jax", "torch") if find_spec(name)]
ROUNDING = 1e-6  # of a loss, after all steps


def write_table(name: str, path: Path) -> None:
    """Write one of scikit-learn's data sets as CSV, with the names of its classes in the last column."""
    data: Any = getattr(datasets, f"load_{name}")()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, "class"])
        labels = data.target_names[data.target].tolist()
        writer.writerows([*row, label] for row, label in zip(data.data.tolist(), labels, strict=True))


def by_command(path: Path, backend: str, run: Path) -> tuple[float, float]:
    """Return accuracy and loss on the test set of a run of the command line with its defaults."""
    options = ["--data-dir", path, "--label", "class", "--backend", backend, "--run-dir", run]
    command = [sys.executable, "-m", "mlp_xp", "train", *map(str, options)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result["accuracy"], result["test_loss"]


def by_library(path: Path, backend: str) -> tuple[float, float]:
    """Return the same figures of the library, with the recipe of the command line."""
    opened = open_backend(backend)
    *_, last = train(RECIPES["own"].train, load_dataset(path, opened, label="class"), opened)
    assert last.accuracy is not None
    assert last.test_loss is not None
    return last.accuracy, last.test_loss


def by_estimator(estimator: Any, data: Dataset) -> tuple[float, float]:
    """Return the accuracy on the same test set of an estimator, and its last training loss."""
    prepare, fitted = data.prepare
    train_x, test_x = (
        prepare(part, *fitted, dtype=part.dtype, xp=open_backend().xp) for part in (data.train_images, data.test_images)
    )
    estimator.fit(train_x, data.train_labels)
    return float(estimator.score(test_x, data.test_labels)), float(estimator.loss_)


def main() -> int:
    """Print the table. Return 1 if figures differ."""
    warnings.simplefilter("ignore")  # of constant pixels, and of estimators that stop at the last epoch
    settings: dict[str, Any] = {"hidden_layer_sizes": (64,), "batch_size": 16, "learning_rate_init": 0.003}
    settings |= {"max_iter": 30, "random_state": 0}
    wrong = 0
    print("| data set | library | command line | library call | estimator | scikit-learn |\n|" + " --- |" * 6)
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            path = Path(folder) / f"{name}.csv"
            write_table(name, path)
            data = load_dataset(path, label="class")
            theirs = f"{100 * by_estimator(Theirs(**settings), data)[0]:.2f} %"
            rows = []
            for backend in BACKENDS:
                command = by_command(path, backend, Path(folder) / f"{name}-{backend}")
                library = by_library(path, backend)
                estimator = by_estimator(MLPClassifier(**settings, backend=backend), data)
                rows.append((command, library, estimator))
                shown = (f"{100 * right:.2f} %, loss {loss:.10f}" for right, loss in rows[-1])
                print(f"| {name} | {backend} | {' | '.join(shown)} | {theirs} |", flush=True)
            for command, library, estimator in rows:
                near = all(
                    abs(x[1] / y[1] - 1) < ROUNDING for x, y in zip((library, estimator), rows[0][1:], strict=True)
                )
                same = (library[0], estimator[0]) == (rows[0][1][0], rows[0][2][0])
                wrong += command != library or not (near and same)
    print(f"\n{wrong or 'no'} rows differ from what they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
