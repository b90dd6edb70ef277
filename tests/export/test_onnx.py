"""ONNX files in onnxruntime against `predict` of their models.

onnxruntime computes in its own way.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_sets import mixed, varied
from helpers import assert_one_line, call

import mlp_xp
from mlp_xp import Activation, TrainConfig, export_onnx, from_arrays, open_backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.job import Job
from mlp_xp.core.model import Model
from mlp_xp.core.network import initial_layers
from mlp_xp.core.signature import PREPARATIONS, Preparation, Signature
from mlp_xp.core.step import to_device
from mlp_xp.core.task import TASKS, Units
from mlp_xp.data.reading import MISSING
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.parity.rounding import ULPS

needs_onnx = pytest.mark.needs("onnx", "ndonnx", "onnxruntime")


@needs_onnx
@pytest.mark.parametrize(("i", "task"), [*enumerate(TASKS)])
def test_every_task_activation_and_preparation(i, task, tmp_path) -> None:
    """All pairs of these; not all three together."""
    for j, activation in enumerate(ACTIVATIONS):
        model = model_of(
            open_backend(),
            task,
            activation,
            [*PREPARATIONS][(i + j) % len(PREPARATIONS)],
        )
        assert export_onnx(model, tmp_path / "m.onnx") == tmp_path / "m.onnx"
        assert_same(model, tmp_path / "m.onnx", inputs_of(model))


@needs_onnx
def test_in_another_dtype(tmp_path) -> None:
    for task, prepare in zip(TASKS, PREPARATIONS, strict=True):
        model = model_of(open_backend(), task, "sigmoid", prepare)
        export_onnx(model, tmp_path / "m.onnx", dtype="float32")
        assert_same(model, tmp_path / "m.onnx", inputs_of(model), "float32")


@needs_onnx
@pytest.mark.parametrize("where", ["X", "y"])
def test_numbers_that_float32_does_not_hold(where, tmp_path, random) -> None:
    """Training in float32 warns of the same columns."""
    data = {"X": random.standard_normal((50, 2)), "y": random.standard_normal((50, 2))}
    for factor, shift in ((1e50, 0), (1e-50, 0), (1e37, 1e39), (1, 1e9)):
        given = {**data, where: data[where] * [1, factor] + [0, shift]}
        model = model_for(from_arrays(given["X"], given["y"]))
        if shift == 1e9:
            said = "^'the network': columns (1|'1'): "
            with pytest.warns(MlpXpWarning, match=said) as told:
                export_onnx(model, tmp_path / "m.onnx", dtype="float32")
            assert told[0].filename == __file__
            continue
        with pytest.raises(MlpXpError, match="float32"):
            export_onnx(model, tmp_path / "m.onnx", dtype="float32")
        export_onnx(model, tmp_path / "m.onnx")
        (tmp_path / "m.onnx").unlink()


@needs_onnx
def test_the_metadata_and_the_checker(tmp_path) -> None:
    import onnx

    names = ("a", "\udcff", "ü")  # a folder's name may have bytes that are not UTF-8
    export_onnx(
        model_of(open_backend(), "labels", "relu", "bytes", outputs=names),
        tmp_path / "m.onnx",
    )
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    facts = metadata(tmp_path / "m.onnx")
    assert json.loads(facts.pop("class_names")) == [*names]
    assert facts == {
        "task": "labels",
        "mlp_xp": mlp_xp.__version__,
        "format": "1",
        "feature_names": "[]",
        "columns": "{}",
    }


@needs_onnx
def test_a_single_number_is_one_for_each_row(tmp_path) -> None:
    model = model_of(open_backend(), "regression", "tanh", "unchanged", units=None)
    last = model.network[-1]
    network = (
        *model.network[:-1],
        last._replace(weights=last.weights[:, :1], bias=last.bias[:1]),
    )
    model = varied(model, network=network, outputs=("y",))
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(model, tmp_path / "m.onnx", inputs_of(model))


@needs_onnx
@pytest.mark.parametrize("task", TASKS)
def test_an_ensemble_gives_the_mean(task, tmp_path) -> None:
    """Also of networks in two dtypes, one of which takes bytes as they are."""
    models = [
        model_of(open_backend(), task, "sigmoid", "bytes", seed) for seed in range(3)
    ]
    models += [
        model_of(
            open_backend(dtype="float32"),
            task,
            "relu",
            "standardize",
            units=models[0].signature.units,
        )
    ]
    X = inputs_of(models[0])
    mlp_xp.export_onnx(models, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", X)
    first = next(iter(found.values()))
    assert first.dtype == np.float64
    assert near(models, first, X)
    if not TASKS[task].floats:
        answer = found[TASKS[task].outputs_name]
        if TASKS[task].exclusive:
            answer = np.array(models[0].class_names)[answer]
        np.testing.assert_array_equal(answer, mlp_xp.predict(models, X).values)


@needs_onnx
def test_an_ensemble_of_arrays_with_names_in_another_order(tmp_path, random) -> None:
    X, y = random.standard_normal((50, 2)), np.arange(50) % 3
    swapped = from_arrays(X[:, ::-1], y, task="classes", feature_names=["q", "p"])
    models = [
        model_for(data)
        for data in (
            from_arrays(X, y, task="classes", feature_names=["p", "q"]),
            swapped,
        )
    ]
    mlp_xp.export_onnx(models, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", X)["probabilities"]
    assert near(models, found, pd.DataFrame(X, columns=["p", "q"]))


@pytest.mark.filterwarnings("ignore:column .* training")
@needs_onnx
@pytest.mark.parametrize("name", ["penguins", "titanic", "ames"])
def test_a_table_has_an_input_for_each_column(name, tmp_path) -> None:
    """Columns are in another order.

    There are gaps, rare and unseen categories, dates, true and false.
    """
    table = mixed(name)
    frame, y = table.frame("pandas object"), table.columns[table.label]
    models = [
        model_for(from_arrays(frame, y, 0.2, seed=seed), seed) for seed in range(2)
    ]
    model = models[0]
    other = frame[frame.columns[::-1]].copy()
    texts = [
        column.name
        for column in model.signature.columns.columns
        if column.kind == "category"
    ]
    other.loc[:4, texts], other.loc[5:9, texts] = "never seen", "n/A"
    assert any(column.flagged for column in model.signature.columns.columns)
    X = given_columns(model, other)
    export_onnx(model, tmp_path / "m.onnx")
    mlp_xp.export_onnx(models, tmp_path / "both.onnx")
    for path, which in (("m.onnx", models[:1]), ("both.onnx", models)):
        found = run(tmp_path / path, X)
        answer = found[model.signature.task.outputs_name]
        assert near(which, found.get("probabilities", answer), other)
        if model.signature.task.exclusive:
            names = np.array(model.class_names)[answer]
            expected = mlp_xp.predict(which, other).values
            np.testing.assert_array_equal(names, expected)
    kinds = {column.name: column.kind for column in model.signature.columns.columns}
    assert json.loads(metadata(tmp_path / "m.onnx")["columns"]) == kinds


@needs_onnx
def test_true_false_and_gaps_may_be_written_as_in_a_table(tmp_path) -> None:
    frame = pd.DataFrame({"answer": ["True", "False", "maybe", "NaN"] * 20})
    model = model_for(from_arrays(frame, [0, 1, 2, 3] * 20, task="classes"))
    export_onnx(model, tmp_path / "m.onnx")
    texts = ["TRUE", "true", "false", "fALSE", "maybe", "MAYBE", "", "null", "<na>"]
    found = run(tmp_path / "m.onnx", {"answer": np.array(texts)})["probabilities"]
    assert len(np.unique(found.round(9), axis=0)) == 5
    assert near([model], found, pd.DataFrame({"answer": texts}))


@needs_onnx
def test_the_bytes_do_not_depend_on_the_order_of_a_set(tmp_path, monkeypatch) -> None:
    """The order of the texts in a set is another one in each process."""
    table = mixed("titanic")
    model = model_for(from_arrays(table.frame("pandas"), table.columns[table.label]))
    kinds = [each.kind for each in model.signature.columns.columns if each.flagged]
    assert "category" in kinds
    written = []
    for missing in (sorted(MISSING), sorted(MISSING, reverse=True)):
        monkeypatch.setattr("mlp_xp.export.onnx.MISSING", missing)
        export_onnx(model, tmp_path / "m.onnx")
        written.append((tmp_path / "m.onnx").read_bytes())
    assert written[0] == written[1]


@needs_onnx
def test_a_table_of_numbers_is_a_matrix(tmp_path, random) -> None:
    X = random.standard_normal((50, 3))
    X[random.random(X.shape) < 0.2] = np.nan
    frame = pd.DataFrame(X, columns=["long name", "b", "c"])
    model = model_for(from_arrays(frame, np.arange(50) % 3, task="classes"))
    export_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", X)
    assert near([model], found["probabilities"], frame)
    assert json.loads(metadata(tmp_path / "m.onnx")["columns"]) == {
        "long name": "number",
        "b": "number",
        "c": "number",
    }


@needs_onnx
def test_an_activation_of_ones_own(tmp_path) -> None:
    def softsign(z: Any, /, *, xp: Any) -> Any:
        return z / (1 + xp.abs(z)), z

    model = model_of(
        open_backend(), "classes", Activation(softsign, lambda z, *, xp: z), "bytes"
    )
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(model, tmp_path / "m.onnx", inputs_of(model))


@needs_onnx
def test_a_regression_may_have_a_column_of_probabilities(tmp_path) -> None:
    """It has no output of this name."""
    frame = pd.DataFrame({"probabilities": [1, 0, 2] * 3, "kind": [*"abc"] * 3})
    export_onnx(model_for(from_arrays(frame, np.arange(9) / 2)), tmp_path / "m.onnx")


@needs_onnx
def test_networks_of_bytes_and_of_floats_up_to_255_are_one_graph(tmp_path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4), np.uint8)
    models = []
    for X in (images, images.astype(float)):
        models.append(model_for(from_arrays(X, np.arange(40) % 3, task="classes")))
    mlp_xp.export_onnx(models, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", images)["probabilities"]
    assert near(models, found, images)


@needs_onnx
def test_the_command(small_run, tmp_path) -> None:
    path = tmp_path / "digits.onnx"
    outcome = call("export", small_run, path, "--dtype", "float32")
    shapes = "X uint8 (n, 6, 6) -> probabilities float (n, 10), classes int64 (n)"
    assert outcome == (0, f"{path}: {shapes}\n", "")
    model = mlp_xp.load_run(small_run)
    X = np.random.default_rng(0).integers(0, 256, (80, 6, 6), np.uint8)
    assert_same(model, path, X, "float32")
    assert_one_line(
        call("export", small_run, tmp_path / "no" / "a.onnx"),
        1,
        "cannot write: No such file or directory; create the folder",
    )


def test_without_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    model = model_of(open_backend(), "classes", "relu", "bytes")
    said = "need ndonnx, which is not installed; install it with: .*pip install ndonnx"
    with pytest.raises(MlpXpError, match=said):
        export_onnx(model, tmp_path / "m.onnx")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@needs_onnx
@pytest.mark.parametrize("kind", ["names", "two", "labels", "number", "numbers"])
def test_the_estimators(kind, tmp_path, random) -> None:
    from mlp_xp.estimator import MLPClassifier, MLPRegressor

    X = random.standard_normal((80, 4))
    y = {
        "names": np.array(["red", "green", "blue"])[random.integers(0, 3, 80)],
        "two": random.integers(3, 5, 80),
        "labels": random.integers(0, 2, (80, 3)),
        "number": X[:, 0],
        "numbers": X[:, :2],
    }[kind]
    given = pd.DataFrame(X, columns=[*"abcd"]) if kind == "two" else X
    kind_of = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    estimator = kind_of(
        hidden_layer_sizes=(6,), activation="logistic", max_iter=2, random_state=0
    )
    estimator.fit(given, y).to_onnx(tmp_path / "m.onnx")
    layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    network = to_device([*layers], open_backend())
    allowed = tolerance(
        model_of(open_backend(), "classes", "sigmoid", "unchanged", network=network), X
    )
    found, expected = run(tmp_path / "m.onnx", X), estimator.predict(given)
    if y.dtype.kind == "f":
        assert np.abs(found["outputs"] - expected).max() <= allowed
        return
    assert (
        np.abs(found["probabilities"] - estimator.predict_proba(given)).max() <= allowed
    )
    answer = (
        found["labels"] if kind == "labels" else estimator.classes_[found["classes"]]
    )
    np.testing.assert_array_equal(answer, expected)
    facts = metadata(tmp_path / "m.onnx")
    assert json.loads(facts["class_names"]) == [*map(str, estimator.classes_)]
    assert json.loads(facts["feature_names"]) == (
        ["a", "b", "c", "d"] if kind == "two" else []
    )


@needs_onnx
@pytest.mark.repository
def test_the_documented_program_for_images(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    images = from_arrays(
        np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28), ["no", "yes"] * 2
    )
    model = model_for(images)
    export_onnx(model, "model.onnx")
    exec(documented(1), {})
    name, probability = capsys.readouterr().out.split()
    blank = np.zeros((1, 28, 28), np.uint8)
    assert name == model.predict(blank)[0]
    assert float(probability) == pytest.approx(
        model.predict_proba(blank).max(), abs=tolerance(model, np.zeros((1, 784)))
    )


@needs_onnx
@pytest.mark.repository
def test_the_documented_program_for_a_table(tmp_path, monkeypatch) -> None:
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    days = pd.date_range("2007-11-11", periods=80)
    lengths, islands = np.arange(80) % 30.0, np.array(["Dream", "Biscoe"] * 40, object)
    lengths[3], islands[5] = np.nan, None
    frame = pd.DataFrame({"island": islands, "bill_length_mm": lengths, "day": days})
    model = model_for(from_arrays(frame, np.arange(80) % 3, task="classes"))
    export_onnx(model, "penguins.onnx")
    names: dict[str, Any] = {"np": np, "onnxruntime": onnxruntime}
    exec(documented(2), names)
    rows = {
        "island": ["Dream", None],
        "bill_length_mm": [46.1, np.nan],
        "day": pd.to_datetime(["2007-11-11", "2008-11-16"]),
    }
    assert near([model], names["probabilities"], pd.DataFrame(rows))


# Models, files, and how far predictions may be apart.


# from 64 rows on, softmax goes another way
SHAPE, HIDDEN, OUTPUTS, ROWS = (3, 4), (7, 5), 3, 90
STEEPEST = 1.2  # slope of an activation: gelu's


def model_of(
    backend: Any,
    task: str,
    activation: Any,
    prepare: str,
    seed: int = 0,
    **changes: Any,
) -> Model:
    """Return an untrained model, of images of bytes or of floats, on a backend."""
    network = initial_layers(
        (12, *HIDDEN, OUTPUTS), np.random.RandomState(seed), "glorot"
    )
    pairs = np.random.default_rng(5).uniform(0.5, 2, (2, 2, 12))
    (shift, scale), units = pairs.astype(backend.dtype_name)
    fitted = (shift, scale) if prepare == "standardize" else ()
    signature = Signature(
        SHAPE,
        ("a", "b", "ü"),
        TASKS[task],
        Preparation(PREPARATIONS[prepare], fitted),
        units=Units(*units[:, :OUTPUTS]) if TASKS[task].floats else None,
    )
    model = Model(to_device(network, backend), activation, signature, backend)
    return varied(model, **changes)


def inputs_of(model: Model, rows: int = ROWS) -> np.ndarray:
    random = np.random.default_rng(rows)
    if model.signature.preparation.takes_bytes:
        return random.integers(0, 256, (rows, *SHAPE), np.uint8)
    return random.standard_normal((rows, *SHAPE)).astype(model.backend.dtype_name)


def near(models: list[Model], found: np.ndarray, X: Any) -> bool:
    """Return whether a file's first outputs are the mean of its models'.

    X: a matrix, or a data frame.
    """
    allowed = []
    for model in models:
        columns = model.signature.columns
        inputs = columns.features(X) if isinstance(X, pd.DataFrame) else X
        allowed.append(tolerance(model, features_of(model, inputs)))
    with warnings.catch_warnings(action="ignore"):  # of values that are new
        expected = mlp_xp.predict(models, X).outputs
    distance = np.abs(np.reshape(found, expected.shape) - expected).max()
    return distance <= max(allowed)


def run(path: Path, inputs: Any) -> dict[str, np.ndarray]:
    """Return the outputs of a file by name. inputs: a matrix, or columns by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(
        zip(
            names,
            session.run(None, inputs if isinstance(inputs, dict) else {"X": inputs}),
            strict=True,
        )
    )


def metadata(path: Path) -> dict[str, str]:
    import onnx

    return {each.key: each.value for each in onnx.load(path).metadata_props}


def tolerance(model: Model, x: np.ndarray, dtype: str | None = None) -> float:
    """Return how far two computations of a model's predictions may be apart.

    They are in the dtype or a wider one.

    x: features (n, features), as the network sees them. A product of n terms plus a
    bias is within gamma_(n+1) of the absolute values. A preparation, with shifts and
    scales from 0.5 to 2, is within 8 eps of 1 + |x|. An activation is tanh or another
    function within 5 eps, and at most eight operations within half an eps of values up
    to 1 + |z|; so is a link but for its sum. The matrices of absolute weights, and the
    slope of an activation, pass an error on; no link has a slope above 1.
    """
    eps, to_numpy = (
        float(np.finfo(dtype or model.backend.dtype_name).eps),
        model.backend.to_numpy,
    )
    function = open_backend().activation(model.activation).function
    error = 8 * eps * (1 + np.abs(x))
    for i, layer in enumerate(model.network):
        weights, bias = (to_numpy(array).astype(np.float64) for array in layer)
        z, size = x @ weights + bias, np.abs(x) @ np.abs(weights) + np.abs(bias)
        error = error @ np.abs(weights) + gamma(len(weights) + 1, eps / 2) * size
        if i < len(model.network) - 1:
            x, error = (
                function(z, xp=np)[0],
                STEEPEST * error + (ULPS[np.tanh] + 4) * eps * (1 + np.abs(z)),
            )
    units = model.signature.units or ()
    scale = max([1.0, *np.ravel(units).tolist()])
    link = (ULPS[np.tanh] + 4) * eps + gamma(z.shape[1], eps / 2)
    # each of the two has this error
    return 2 * scale * float((error + link * (1 + np.abs(z))).max())


def gamma(n: int, u: float) -> float:
    """Return Higham's gamma_n = n u / (1 - n u)."""
    return n * u / (1 - n * u)


def features_of(model: Model, X: np.ndarray) -> np.ndarray:
    function, fitted = model.signature.preparation
    x = function(X, *fitted, dtype=np.float64, xp=open_backend().xp)
    return np.reshape(x, (len(X), -1))


def assert_same(
    model: Model, path: Path, X: np.ndarray, dtype: str | None = None
) -> None:
    """Assert that a file says what `Model.predict` says, for all rows and for one."""
    task, wanted = model.signature.task, np.dtype(dtype or model.backend.dtype_name)
    allowed = tolerance(model, features_of(model, X), dtype)
    given = X if X.dtype == np.uint8 else X.astype(wanted)
    for rows in (slice(None), slice(1)):
        found, expected = run(path, given[rows]), model.predict(X[rows])
        *others, (name, answer) = found.items()
        assert name == task.outputs_name
        assert answer.shape == expected.shape
        if task.floats:
            assert (others, answer.dtype) == ([], wanted)
            assert np.abs(answer - expected).max() <= allowed
            continue
        ((name, probabilities),) = others
        assert (name, probabilities.dtype) == ("probabilities", wanted)
        assert np.abs(probabilities - model.predict_proba(X[rows])).max() <= allowed
        assert answer.dtype == np.int64
        if task.exclusive:
            answer = np.array(model.class_names)[answer]
        np.testing.assert_array_equal(answer, expected)


def model_for(dataset: Dataset, seed: int = 0) -> Model:
    """Return an untrained model of a data set."""
    job = Job(TrainConfig(hidden=HIDDEN, warm_up_steps=0), dataset, open_backend())
    return job.model(
        to_device(
            initial_layers(job.sizes, np.random.RandomState(seed), "glorot"),
            open_backend(),
        )
    )


def given_columns(model: Model, frame: Any) -> dict[str, np.ndarray]:
    """Return the columns of a data frame of pandas as a file's inputs.

    They are text, floats, and days for dates.
    """
    found = {}
    for column in model.signature.columns.columns:
        values = frame[column.name]
        if column.kind == "date":
            values = values.to_numpy("M8[us]") - np.datetime64("1970-01-01", "us")
            found[column.name] = np.where(
                np.isnat(values), np.nan, values / np.timedelta64(1, "D")
            )
        elif column.kind == "category":
            found[column.name] = np.array(
                ["NA" if each is None or each != each else str(each) for each in values]
            )
        else:
            found[column.name] = values.to_numpy(np.float64, na_value=np.nan)
    return found


def documented(number: int) -> str:
    """Return a program of the documentation."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    return text.split("```python\n")[number].partition("```")[0]
