"""Mixed tables through the command line, the library and the estimators: the figures of
one recipe are equal.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import mixed, write_csv
from estimators import TOLERANCE
from helpers import call
from sklearn import metrics
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import TrainConfig, evaluate, from_arrays, open_backend, train
from mlp_xp.core.network import initial_layers
from mlp_xp.estimator import MLPClassifier, MLPRegressor, TableEncoder

CUT = 112  # rows to train on, in whole batches
RECIPE = {
    "activation": "tanh",
    "optimizer": "momentum",
    "momentum": 0.8,
    "learning_rate": 0.05,
    "epochs": 6,
}
RECIPE |= {
    "hidden": (5,),
    "init": "glorot",
    "update_order": "simultaneous",
    "warm_up_steps": 0,
    "decay_bias": False,
}
SAME = {
    "activation": "tanh",
    "solver": "sgd",
    "momentum": 0.8,
    "nesterovs_momentum": False,
    "learning_rate_init": 0.05,
}
SAME |= {
    "hidden_layer_sizes": (5,),
    "tol": 0,
    "n_iter_no_change": 99,
    "warm_start": True,
}


def fitted(estimator: Any, X: Any, y: Any, weights: Any) -> Any:
    """Fit an estimator from the weights of the recipe's seed, which then gives the same
    batches too.
    """
    estimator.set_params(max_iter=1).fit(X, y)
    random = np.random.RandomState(0)
    layers = initial_layers((X.shape[1], 5, estimator.n_outputs_), random, "glorot")
    estimator.coefs_, estimator.intercepts_ = map(list, zip(*layers, strict=True))
    return estimator.set_params(max_iter=RECIPE["epochs"], random_state=random).fit(
        X, y, sample_weight=weights
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "task"),
    [("penguins", "classes"), ("titanic", "labels"), ("ames", "regression")],
)
def test_figures_are_equal(
    tmp_path: Path, name: str, task: str, is_weighted: bool
) -> None:
    """With weights all samples are a batch, because each estimator divides by the sum
    of a batch's weights.

    scikit-learn has one output for two classes, as a label has.
    """
    table, weights = mixed(name), np.arange(150.0) % 4
    balanced = "balanced" if is_weighted and task != "regression" else None
    size, decay = (CUT, 0.0) if is_weighted else (16, 0.02)
    recipe = {**RECIPE, "batch_size": size, "weight_decay": decay}

    for part, rows in (("train", slice(CUT)), ("test", slice(CUT, None))):
        columns = {**table.columns, "w": weights}
        write_csv(
            tmp_path / f"{part}.csv",
            {name: values[rows] for name, values in columns.items()},
        )
    ignored = [*table.ids, *["w"] * (not is_weighted)]
    how = {
        "data_dir": str(tmp_path),
        "label": table.label,
        "exclude": ",".join(ignored) or None,
        "task": task,
    }
    how |= {"sample_weight": "w" if is_weighted else None, "class_weight": balanced}
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe, **how}))
    assert call(
        "train", "--config", tmp_path / "recipe.json", "--run-dir", tmp_path / "run"
    )[::2] == (0, "")
    said = json.loads(call("evaluate", tmp_path / "run", "--json").out)

    frame, y = table.frame("pandas"), table.frame("pandas", [table.label])
    given = {
        "sample_weight": weights[:CUT] if is_weighted else None,
        "class_weight": balanced,
    }
    dataset = from_arrays(
        frame[:CUT], y[:CUT], (frame[CUT:], y[CUT:]), task=task, **given
    )
    *_, last = train(TrainConfig(**recipe), dataset, open_backend())
    assert said == {
        "run": str(tmp_path / "run"),
        **evaluate(last.model, dataset).metrics,
    }

    encoder, scaler = make_pipeline(TableEncoder(), StandardScaler()), StandardScaler()
    X, X_test = encoder.fit_transform(frame[:CUT]), encoder.transform(frame[CUT:])
    values, of_rows = y[table.label].to_numpy(), given["sample_weight"]
    same, truth = {**SAME, "batch_size": size, "alpha": size * decay}, values[CUT:]
    if task == "regression":
        estimator = fitted(
            MLPRegressor(**same), X, scaler.fit_transform(y[:CUT])[:, 0], of_rows
        )
        answers = scaler.inverse_transform(estimator.predict(X_test)[:, None])[:, 0]
        expected = {
            "r2": metrics.r2_score(truth, answers),
            "mae": metrics.mean_absolute_error(truth, answers),
        }
    else:
        estimator = fitted(
            MLPClassifier(**same, class_weight=balanced), X, values[:CUT], of_rows
        )
        average = "macro" if task == "classes" else "binary"
        f1 = metrics.f1_score(truth, estimator.predict(X_test), average=average)
        log_loss = metrics.log_loss(truth, estimator.predict_proba(X_test))
        expected = {
            "accuracy": estimator.score(X_test, truth),
            "f1_macro": f1,
            "log_loss": log_loss,
        }
    assert {name: said[name] for name in expected} == pytest.approx(
        expected, rel=TOLERANCE
    )
