"""A refused command or call says why in one line, and changes no file."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY, synthetic, varied, write_csv, write_idx_folder, write_npz
from helpers import (
    assert_one_line,
    call,
    output_of,
    pattern,
    small_config,
    small_settings,
    unchanged,
)
from run_folders import a_config, write_sweep
from safetensors.numpy import save_file

from mlp_xp import Model, evaluate, from_arrays, load_run, open_backend, predict, train
from mlp_xp.core.config import ConfigError
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.signature import Preparation, Signature
from mlp_xp.core.task import LABELS
from mlp_xp.data.columns import Column, Columns
from mlp_xp.errors import DatasetError, MlpXpError
from mlp_xp.runs._checkpoints import read_position
from mlp_xp.runs.ensembles import check_fit
from mlp_xp.runs.names import CHECKPOINT, CONFIG, FINGERPRINTS, METRICS, MODEL, RESULT
from mlp_xp.runs.records import RunError, parse_settings
from mlp_xp.runs.resuming import read_checkpoint
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, check_unchanged, settings_of
from mlp_xp.show.gallery import read_curves

pytestmark = pytest.mark.usefixtures("no_pictures")

# A command line, typed in the folder of the fixture `place`, and the words of the
# answer with the facts.
REFUSED = [
    # Begin a run.
    ("train --run-dir run --data-dir data", "run': already contains a run ... --overw"),
    # late faults, in the data or the backend
    ("train --run-dir run --overwrite --data-dir none", "'none'"),
    (
        "train --run-dir run --overwrite --data-dir data --batch-size 201",
        "--batch-size: 201",
    ),
    ("train --run-dir run --overwrite --data-dir data --device cuda:7", "cuda:7"),
    (
        "train --data-dir data --batch-size 128 --validation 0.4",
        "--batch-size: 128 ... 120 training samples",
    ),
    (
        "train --data-dir data --config batches.json",
        "--batch-size: 128 ... 120 training samples",
    ),
    # instead of the data in the configuration
    (
        "train --config run/config.json --dataset mnist --batch-size 60001",
        "--batch-size: 60001 ... 60000 training samples",
    ),
    (
        "sweep --config run/config.json --dataset mnist --batch-size 60001 60002",
        "--batch-size: 60001 ... 60000 training samples",
    ),
    # Resume a run.
    ("train --resume run --epochs 2", "--epochs: 2 is too few ... begun 3 epochs"),
    ("train --resume run --learning-rate 0.1", "--learning-rate ... (0.05, not 0.1)"),
    ("train --resume run --overwrite", "--resume and --overwrite: give only one"),
    ("train --resume run --data-dir fewer", "train samples 200 ... 150"),
    ("train --resume run --data-dir altered", "run started with other data: values"),
    (
        "train --resume run --start-from seeded",
        "--start-from: ... (None, not ... seeded'",
    ),
    ("train --resume seeded --start-from run", "--start-from: ... run', not ... run'"),
    ("train --resume no_model", f"has {RESULT} but no {CHECKPOINT} ... restore"),
    ("train --resume no_result", f"has {MODEL} but no {CHECKPOINT} ... restore"),
    ("train --resume bad_result --epochs 4", f"{RESULT}': is not JSON"),
    # Start from the weights of a run.
    ("train --data-dir data --start-from run", "--start-from: ... layers 4, not 64"),
    (
        "train --data-dir data --start-from run --hidden 4 --activation relu",
        "activation sigmoid, not relu",
    ),
    (
        "train --data-dir large --start-from run --hidden 4",
        "'run' does not fit the new run: inputs 36, not 49",
    ),
    (
        "train --data-dir data --start-from run --networks 2",
        "--start-from: cannot be combined with several --networks ... one of the two",
    ),
    ("train --data-dir data --start-from none", "--start-from: 'none': is not a run"),
    ("train --data-dir data --start-from bad_model", "--start-from: ... altered"),
    # Use several runs.
    ("evaluate run run_large", "'run_large': ... not fit the network of 'run': inputs"),
    ("evaluate run run_other", "'run_other': has another test set than 'run'"),
    (
        "evaluate floats other_split",
        "another test set than ... same split ... means of folds are in summary.csv",
    ),
    (
        "predict run run_large a.png",
        "'run_large': ... images of 7 x 7, not images of 6 x 6",
    ),
    ("predict run run table.csv", "images of 6 x 6; use a run ... trained on a table"),
    ("evaluate sweep", "'sweep': no member of this sweep has finished"),
    # Use files of another program.
    ("evaluate theme", "config.json': is of another program, not of a run"),
    ("train --resume foreign", "config.json': is of another program, not of a run"),
    # Use a model among files of another run, which its rows and data would come from.
    ("evaluate lone/model.safetensors", "does not say how its data were read"),
    (
        "evaluate without_rows/model.safetensors --data-dir floats.npz",
        "rows.safetensors': cannot be read",
    ),
    (
        "evaluate with_rows/model.safetensors --data-dir floats.npz",
        "rows.safetensors': does not have the rows that the model was trained on",
    ),
    # List runs.
    ("runs nowhere", "'nowhere': no such folder"),
    ("runs empty", "'empty': contains no runs"),
    ("runs run --sort speed", "--sort: 'speed' is not a column (did you mean 'seed'?)"),
    (
        "runs run --sort test_loss",
        "--sort: ... than on new data ... validation_accuracy",
    ),
    ("runs run --where test_loss=1", "--where: 'test_loss' is not known"),
    ("runs run --where hidden", "--where: 'hidden' is not a setting with its value"),
    ("runs run --where beta_1=high", "--beta-1: 'high' is not a number"),
    ("runs run --where decay_bias=yes", "--decay-bias: 'yes' is not true or false"),
    ("runs run --where optimizer=SGD", "--optimizer: 'SGD' ... did you mean 'sgd'?"),
    ("runs run --where state=ended", "--where: 'ended' is not known"),
    ("runs run --json --csv", "--json and --csv"),
    ("runs run --summary --sort seed", "--summary and --sort: give only one"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_a_refused_command_says_why_in_one_line_and_changes_no_file(typed, said, place):
    with unchanged(place):
        outcome = call(typed)
    assert_one_line(outcome, 2, said)
    assert outcome.out == "" or typed.startswith(("train", "sweep"))


# A call, its error, and the words of the error with the facts.

X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
ITS_OWN = Preparation(lambda images, **_: images)
PQ = Columns((Column("p"), Column("q")))
QP = Columns((Column("q"), Column("p")))


def goes_on_with_another_seed() -> None:
    settings = settings_of(RunFolder("run").settings(), {"seed": 1})
    read_checkpoint(RunFolder("run"), settings, open_backend())


def named(names: str) -> Dataset:
    return from_arrays(X, Y, feature_names=[*names])


def resume(**changes: Any) -> None:
    saved = settings_of(Settings(), {"schedule": "cosine"})
    check_unchanged(saved, settings_of(saved, changes))


def resume_several(**changes: Any) -> None:
    saved = settings_of(Settings(), {"networks": 3})
    check_unchanged(saved, settings_of(saved, changes))


def train_in(
    folder: Any, dataset: Any = TINY, start_from: Any = None, **changes: Any
) -> Model:
    options = {"run_dir": folder, "start_from": start_from}
    config = small_config(seed=3, **changes)
    *_, last = train(config, dataset, open_backend(), **options)
    return last.model


def fit(ours: dict[str, Any], **theirs: Any) -> None:
    """Check a model of three classes against data with its classes, both changed."""
    signature = Signature((6, 6), ("a", "b", "c"))
    model = varied(Model((), "sigmoid", signature, open_backend(), "runs/one"), **ours)
    other = replace(TINY.signature, **{"outputs": model.class_names, **theirs})
    check_fit(model, other, "the table")


REFUSED_CALLS = [
    # Read a model or a checkpoint.
    (lambda: load_run(3), MlpXpError, "path: ... 3 ... give the folder"),
    (lambda: load_run("empty"), RunError, "empty': is not a run: it has no config.js"),
    (lambda: load_run("none.safetensors"), RunError, "tensors': cannot be read: No su"),
    (lambda: load_run("folder.safetensors"), RunError, "tensors': cannot be read: "),
    (lambda: load_run("plain.safetensors"), RunError, "tensors': has format None"),
    (lambda: load_run("old.safetensors"), RunError, "tensors': has format 1"),
    (lambda: load_run("list.safetensors"), RunError, "tensors': is not a JSON object"),
    (lambda: load_run("cut.safetensors"), RunError, "tensors': is not JSON"),
    (
        lambda: load_run("run/checkpoint.safetensors"),
        RunError,
        "checkpoint.safetensors': is not a model",
    ),
    (
        lambda: read_position(Path("run", MODEL), open_backend()),
        RunError,
        "model.safetensors': ... 'settings' is missing",
    ),
    # Use a model.
    (lambda: evaluate([]), MlpXpError, "models: "),
    (
        lambda: evaluate("floats", backend=open_backend(dtype="float32")),
        MlpXpError,
        "give a backend in float64",
    ),
    (
        lambda: train_in(None, from_arrays(X, X[:, 0])).predict_proba(X),
        MlpXpError,
        "no probabilities; call predict",
    ),
    (
        lambda: load_run("ab").predict(np.ma.masked_equal(X, X[3, 1])),
        DatasetError,
        "X: row 3, column 'b': the value is masked",
    ),
    (
        lambda: predict([train_in(None, named("pq")), train_in(None, named("qp"))], X),
        DatasetError,
        "the networks have different features",
    ),
    (
        lambda: fit({}, outputs=("0", "1")),
        RunError,
        "runs/one ... does not fit the table: ... classes a, b, c, not 0, 1;",
    ),
    (
        lambda: fit({}, outputs=("x", "y", "z")),
        RunError,
        "classes a, b, c, not x, y, z;",
    ),
    (
        lambda: fit({"outputs": ("0", "1", "2")}, outputs=("1", "2", "3")),
        RunError,
        "classes 0, 1, 2, not 1, 2, 3;",
    ),
    (lambda: fit({}, task=LABELS), RunError, "task classes, not labels;"),
    (
        lambda: fit({"input_shape": (5, 6)}),
        RunError,
        "images of 5 x 6, not images of 6 x 6;",
    ),
    (
        lambda: fit({"columns": PQ}, columns=QP),
        RunError,
        "columns p, q, not q, p;",
    ),
    # Go on with a run, or begin one.
    (
        goes_on_with_another_seed,
        ConfigError,
        "seed: ... checkpoint.safetensors': a resumed run keeps its ... (0, not 1)",
    ),
    (
        lambda: train_in("run"),
        ConfigError,
        "seed: ... config.json': a resumed run keeps its settings (0, not 3)",
    ),
    (
        lambda: resume(dtype="float32"),
        ConfigError,
        "dtype: ... ('float64', not 'float32')",
    ),
    (
        lambda: train_in("scaled", from_arrays(X, X, scale_targets=False)),
        RunError,
        "targets standardised, not unchanged",
    ),
    # each step depends on it
    (lambda: resume(epochs=9), ConfigError, "epochs: ... (5, not 9)"),
    (lambda: resume_several(networks=4), ConfigError, "networks: ... (3, not 4)"),
    (
        lambda: train_in(None, named("ac"), start_from="ab"),
        RunError,
        "start_from: ... does not fit the new run: columns a, b, not a, c",
    ),
    (
        lambda: train_in("new", varied(TINY, train_labels=TINY.train.labels + 9)),
        MlpXpError,
        "train.labels",
    ),
    (
        lambda: train_in("new", varied(TINY, preparation=ITS_OWN)),
        MlpXpError,
        "prepare function of its own",
    ),
    (lambda: train_in("new", batch_size=201), MlpXpError, "batch_size: 201"),
    (lambda: train_in("table.csv"), MlpXpError, "table.csv'"),
    (lambda: train_in("table.csv/run"), MlpXpError, "table.csv"),
    # Read its records.
    (
        lambda: read_curves(RunFolder("no_reports")),
        RunError,
        "metrics.jsonl': has no reports",
    ),
]


@pytest.mark.parametrize(("refused", "error", "said"), REFUSED_CALLS)
def test_a_refused_call_says_why_in_one_line_and_changes_no_file(
    refused, error, said, place
):
    with unchanged(place), pytest.raises(error, match=pattern(said)) as caught:
        refused()
    assert "\n" not in str(caught.value)


# A file of settings, and the words of its error with the facts.

SORTING = {"task": "sorting", "targets": "unchanged"}
WRONG_FILES = [
    (b'{"epochs": 3', "is not JSON: "),
    (b"\xff\xfe{}", "is not JSON: "),
    (b"[1, 2]", "is not a JSON object"),
    (b'{"epochs": 3, "epochs": 4}', "one of the fields epochs is there twice"),
    (b'{"learning_rate": NaN}', "NaN is not a number"),
    (b'{"learning_rate": 1e999}', "learning_rate: ... inf is out of range"),
    (a_config({}, format=1), "has format 1, but this version"),
    (a_config({}, train_samples="9"), "'train_samples' is missing or not of the"),
    (a_config({}, train_samples=9.0), "'train_samples'"),
    (a_config({}, signature=SORTING), "is damaged: 'sorting' is not a task"),
    (b'{"format": 3, "settings": {}}', "its field 'threads' is missing"),
    (b'{"seed": -1}', "seed: ... -1 is out of range"),
    (b'{"epoch": 2}', "field 'epoch' is not known (did you mean 'epochs'?); choose"),
    (b'{"epochs": "2"}', "epochs: ... '2' is not a whole number"),
    (b'{"data_dir": ""}', "data_dir: ... is an empty string"),
]


@pytest.mark.parametrize(("content", "said"), WRONG_FILES)
def test_a_wrong_file_is_refused_in_one_line(content, said, tmp_path):
    path = tmp_path / "wrong.json"
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    path.write_bytes(content)
    with pytest.raises(MlpXpError, match=pattern(said)) as caught:
        parse_settings(path)
    assert f"'{path}'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def place(small_run, tmp_path_factory) -> Path:
    """A folder with data, runs on the data, and damaged copies of a run."""
    place = tmp_path_factory.mktemp("place")

    def trained(name: str, data: Path, **changes: Any) -> None:
        settings = small_settings(run_dir=place / name, **changes)
        output_of("train", data_dir=data, **settings)

    def copied(name: str, *lost: str) -> Path:
        folder = shutil.copytree(small_run, place / name)
        for file in lost:
            (folder / file).unlink()
        return folder

    altered = TINY.train.inputs.copy()
    altered[-1, -1, -1] ^= 1
    data = {
        "data": TINY,
        "fewer": synthetic(150, 60, 6),
        "altered": varied(TINY, train_inputs=altered),
        "other": synthetic(210, 60, 6),
        "large": synthetic(200, 60, 7),
    }
    for name, dataset in data.items():
        write_idx_folder(place / name, dataset)
    for name in ("other", "large"):
        trained(f"run_{name}", place / name)
    write_csv(place / "table.csv", {"a": [1, 2]})
    trained("floats", write_npz(place / "floats.npz", X, Y))
    trained("other_split", place / "floats.npz", split_seed=1)
    train_in(place / "ab", named("ab"))
    train_in(place / "scaled", from_arrays(X, X))
    write_models(place)
    (place / "batches.json").write_text('{"batch_size": 128, "validation": 80}')
    trained("seeded", place / "data", start_from=small_run)
    copied("run")
    copied("no_model", CHECKPOINT, MODEL)
    copied("no_result", CHECKPOINT, RESULT)
    (copied("bad_result") / RESULT).write_text("{")
    (copied("bad_model") / MODEL).write_bytes((small_run / MODEL).read_bytes()[:-1])
    write_sweep(place / "sweep", [{"seed": 0}], [None])
    for name in ("empty", "folder.safetensors", "theme", "foreign"):
        (place / name).mkdir()
    (place / "theme" / CONFIG).write_text('{"theme": "dark"}')
    (place / "foreign" / CONFIG).write_text('{"theme": "dark", "settings": {}}')
    (copied("no_reports") / METRICS).write_text("")
    return place


def write_models(place: Path) -> None:
    """Write models of another format, and models among files of another run."""
    formats = {"plain": None, "old": '{"format": 1}', "list": "[]", "cut": "{"}
    for name, facts in formats.items():
        metadata = facts and {"mlp_xp": facts}
        weights = {"network.0.weights": np.zeros((2, 2))}
        save_file(weights, place / f"{name}.safetensors", metadata)
    kept = {
        "lone": (),
        "without_rows": (CONFIG,),
        "with_rows": (CONFIG, FINGERPRINTS),
    }
    for name, files in kept.items():
        (place / name).mkdir()
        shutil.copy(place / "ab" / MODEL, place / name)
        for file in files:
            shutil.copy(place / "floats" / file, place / name)
