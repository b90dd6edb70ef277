"""One recipe has equal figures for mixed tables by all ways to train.

They are the command line, the library and the estimators.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_sets import Mixed, mixed, write_csv
from estimators import TOLERANCE
from helpers import output_of
from sklearn import metrics
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import TrainConfig, evaluate, from_arrays, open_backend, train
from mlp_xp.core.network import initial_layers
from mlp_xp.estimator import MLPClassifier, MLPRegressor, TableEncoder

CUT = 112  # rows to train on, in whole batches
TRAIN, TEST = slice(CUT), slice(CUT, None)
RECIPE = {
    "activation": "tanh",
    "optimizer": "momentum",
    "momentum": 0.8,
    "learning_rate": 0.05,
    "epochs": 6,
    "hidden": (5,),
    "init": "glorot",
    "update_order": "simultaneous",
    "warm_up_steps": 0,
    "decay_bias": False,
    "batch_size": 16,
    "weight_decay": 0.02,
}
# The same for scikit-learn.
SAME = {
    "activation": "tanh",
    "solver": "sgd",
    "momentum": 0.8,
    "nesterovs_momentum": False,
    "learning_rate_init": 0.05,
    "hidden_layer_sizes": (5,),
    "tol": 0,
    "n_iter_no_change": 99,
    "warm_start": True,
}


class Case(NamedTuple):
    """A table, and how to train on it."""

    table: Mixed
    task: str
    recipe: dict[str, Any] = RECIPE
    weights: np.ndarray | None = None
    """Of the rows to train on."""
    class_weight: str | None = None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "task", "class_weight"),
    [
        ("penguins", "classes", "balanced"),
        ("titanic", "labels", "balanced"),
        ("ames", "regression", None),
    ],
)
def test_figures_are_equal(
    tmp_path: Path, name: str, task: str, class_weight: str | None, is_weighted: bool
) -> None:
    """With weights all samples are a batch.

    Each estimator divides by the sum of a batch's weights.
    """
    case = Case(mixed(name), task)
    if is_weighted:
        recipe = {**RECIPE, "batch_size": CUT, "weight_decay": 0.0}
        case = Case(case.table, task, recipe, np.arange(CUT) % 4.0, class_weight)
    figures = figures_of_the_library(case)
    assert figures_of_the_command_line(case, tmp_path) == figures
    expected = figures_of_the_estimator(case)
    found = {name: figures[name] for name in expected}
    assert found == pytest.approx(expected, rel=TOLERANCE)


def figures_of_the_library(case: Case) -> dict[str, Any]:
    X, y = case.table.frame("pandas"), case.table.frame("pandas", [case.table.label])
    dataset = from_arrays(
        X[TRAIN],
        y[TRAIN],
        (X[TEST], y[TEST]),
        task=case.task,
        sample_weight=case.weights,
        class_weight=case.class_weight,
    )
    *_, last = train(TrainConfig(**case.recipe), dataset, open_backend())
    return evaluate(last.model, dataset).metrics


def figures_of_the_command_line(case: Case, folder: Path) -> dict[str, Any]:
    settings = {
        **case.recipe,
        "data_dir": str(folder),
        "label": case.table.label,
        "exclude": ",".join(case.table.ids) or None,
        "task": case.task,
        "class_weight": case.class_weight,
    }
    columns = dict(case.table.columns)
    if case.weights is not None:
        columns["w"] = np.resize(case.weights, 150)
        settings["sample_weight"] = "w"
    for part, rows in (("train", TRAIN), ("test", TEST)):
        of_part = {name: values[rows] for name, values in columns.items()}
        write_csv(folder / f"{part}.csv", of_part)
    (folder / "recipe.json").write_text(json.dumps(settings))
    output_of("train", config=folder / "recipe.json", run_dir=folder / "run")
    figures = json.loads(output_of("evaluate --json", folder / "run"))
    assert figures.pop("run") == str(folder / "run")
    return figures


def figures_of_the_estimator(case: Case) -> dict[str, Any]:
    """Return the figures by scikit-learn.

    It has one output for two classes, as a label has.
    """
    frame, y = (
        case.table.frame("pandas"),
        np.array(case.table.columns[case.table.label]),
    )
    encoder, scaler = make_pipeline(TableEncoder(), StandardScaler()), StandardScaler()
    X, X_test = encoder.fit_transform(frame[TRAIN]), encoder.transform(frame[TEST])
    size, truth = case.recipe["batch_size"], y[TEST]
    alpha = size * case.recipe["weight_decay"]
    settings = {**SAME, "batch_size": size, "alpha": alpha}
    if case.task == "regression":
        scaled = scaler.fit_transform(y[TRAIN, None])[:, 0]
        estimator = fitted(MLPRegressor(**settings), X, scaled, case.weights)
        answers = scaler.inverse_transform(estimator.predict(X_test)[:, None])[:, 0]
        return {
            "r2": metrics.r2_score(truth, answers),
            "mae": metrics.mean_absolute_error(truth, answers),
        }
    estimator = MLPClassifier(**settings, class_weight=case.class_weight)
    answers = fitted(estimator, X, y[TRAIN], case.weights).predict(X_test)
    average = {"classes": "macro", "labels": "binary"}[case.task]
    return {
        "accuracy": metrics.accuracy_score(truth, answers),
        "f1_macro": metrics.f1_score(truth, answers, average=average),
        "log_loss": metrics.log_loss(truth, estimator.predict_proba(X_test)),
    }


def fitted(estimator: Any, X: Any, y: Any, weights: Any) -> Any:
    """Fit an estimator from the weights of the recipe's seed.

    The seed then gives the same batches too.
    """
    estimator.set_params(max_iter=1).fit(X, y)
    random = np.random.RandomState(0)
    layers = initial_layers((X.shape[1], 5, estimator.n_outputs_), random, "glorot")
    estimator.coefs_, estimator.intercepts_ = map(list, zip(*layers, strict=True))
    estimator.set_params(max_iter=RECIPE["epochs"], random_state=random)
    return estimator.fit(X, y, sample_weight=weights)
