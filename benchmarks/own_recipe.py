"""Compare the recipe `own` with scikit-learn on small tables: `python -m
benchmarks.own_recipe`.

Each figure is the median over splits into training and test set of the accuracy, or of
R², on the test set. All see the same rows, standardised; scikit-learn's network is also
trained on standardised numbers. The recipe was chosen on splits 10 to 39: `--splits 10
40` shows them.
"""

import argparse
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

from mlp_xp import from_arrays, open_backend, train
from mlp_xp.core.dataset import Dataset
from mlp_xp.runs.settings import RECIPES, with_fitting_batches

TABLES = {
    **dict.fromkeys(("iris", "wine", "breast_cancer", "digits"), "classes"),
    **dict.fromkeys(("diabetes", "linnerud"), "regression"),
}
HEAD = f"{'table':14} {'rows':>5} {'recipe own':>11} {'its epochs':>11} {'MLP':>8} {'linear':>8}"


def split(name: str, task: str, seed: int) -> Dataset:
    """Return a table of scikit-learn, with a fifth of its rows as test set."""
    import sklearn.datasets

    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return from_arrays(
        X.astype(float),
        y.astype(float) if task == "regression" else y,
        0.2,
        task=task,
        seed=seed,
    )


def own(dataset: Dataset) -> tuple[float, int]:
    """Return the score of the recipe on the test set, and how many epochs it trained."""
    settings = with_fitting_batches(RECIPES["own"], len(dataset.train))
    *_, last = train(settings.train, dataset, open_backend())
    assert last.test
    return last.test.score, last.epoch + 1


def others(dataset: Dataset) -> Iterator[float]:
    """Yield the scores of scikit-learn's network with early stopping, and of its
    logistic or ridge regression.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models: tuple[Any, ...] = (
        MLPClassifier(early_stopping=True, random_state=0),
        LogisticRegression(max_iter=5000),
    )
    if dataset.signature.task.floats:
        network = MLPRegressor(early_stopping=True, random_state=0)
        models = (
            TransformedTargetRegressor(network, transformer=StandardScaler()),
            Ridge(),
        )
    train, test = dataset.train, dataset.test
    assert test is not None
    for model in models:
        fitted = make_pipeline(StandardScaler(), model).fit(train.inputs, train.labels)
        yield fitted.score(test.inputs, test.labels)


def compare(name: str, task: str, splits: range) -> str:
    """Return the row of a table."""
    datasets = [split(name, task, seed) for seed in splits]
    scores, epochs = zip(*map(own, datasets), strict=True)
    network, linear = (
        median(each) for each in zip(*map(others, datasets), strict=True)
    )
    rows = len(datasets[0].train) + len(datasets[0].test or ())
    return f"{name:14} {rows:5} {median(scores):11.4f} {median(epochs):11.0f} {network:8.4f} {linear:8.4f}"


def main() -> None:
    """Print a row for each table as it ends."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.own_recipe",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=[*TABLES])
    parser.add_argument(
        "--splits", nargs=2, type=int, default=(0, 10), metavar=("FIRST", "END")
    )
    options = parser.parse_args()
    # of networks that have not converged, and of columns of zeros
    warnings.simplefilter("ignore")
    print(HEAD)
    for name in options.tables:
        print(compare(name, TABLES[name], range(*options.splits)), flush=True)


if __name__ == "__main__":
    main()
