"""A refused command says why in one line, and changes no file."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from data_sets import TINY, synthetic, varied, write_csv, write_idx_folder
from helpers import assert_one_line, call, output_of, small_settings
from run_folders import write_sweep

from mlp_xp.runs.names import CHECKPOINT, MODEL, RESULT

pytestmark = pytest.mark.usefixtures("no_pictures")

# A command line, typed in the folder of the fixture `place`, and the words of the
# answer with the facts.
REFUSED = [
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
        "predict run run_large a.png",
        "'run_large': ... images of 7 x 7, not images of 6 x 6",
    ),
    ("predict run run table.csv", "images of 6 x 6; use a run ... trained on a table"),
    ("evaluate sweep", "'sweep': no member of this sweep has finished"),
    # List runs.
    ("runs nowhere", "'nowhere': no such folder"),
    ("runs empty", "'empty': contains no runs"),
    ("runs run --sort speed", "--sort: 'speed' is not a column (did you mean 'seed'?)"),
    (
        "runs run --sort test_loss",
        "--sort: ... than on new data ... validation_accuracy",
    ),
    (
        "runs run --where test-loss<1",
        "--where: test_loss: ... better there than on new",
    ),
    ("runs run --where hidden", "--where: 'hidden' is not a condition"),
    ("runs run --where hidden<64", "hidden is not a number; compare it by = or !="),
    ("runs run --where beta_1=high", "--where: 'beta_1=high': 'high' is not a number"),
    ("runs run --where decay_bias=yes", "--where: 'yes' ... choose one of true, false"),
    ("runs run --where optimizer=SGD", "--where: 'SGD' ... did you mean 'sgd'?"),
    ("runs run --where date>banana", "--where: 'date>banana' ... is not a date"),
    ("runs run --json --csv", "--json and --csv"),
    ("runs run --summary --sort seed", "--summary and --sort: give only one"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_a_refused_command_says_why_in_one_line_and_changes_no_file(
    typed, said, place, monkeypatch
):
    monkeypatch.chdir(place)
    before = contents(place)
    outcome = call(typed)
    assert_one_line(outcome, 2, said)
    assert outcome.out == "" or typed.startswith("train")
    assert contents(place) == before


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.is_file() and path.read_bytes() for path in place.rglob("*")}


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
    trained("seeded", place / "data", start_from=small_run)
    copied("run")
    copied("no_model", CHECKPOINT, MODEL)
    copied("no_result", CHECKPOINT, RESULT)
    (copied("bad_result") / RESULT).write_text("{")
    (copied("bad_model") / MODEL).write_bytes((small_run / MODEL).read_bytes()[:-1])
    write_sweep(place / "sweep", [{"seed": 0}], [None])
    (place / "empty").mkdir()
    return place
