"""A refused sweep or cross-validation says why in one line, and changes no file."""

from pathlib import Path

import numpy as np
import pytest
import sweeping
from data_sets import TINY, write_idx_folder, write_samples
from helpers import assert_one_line, call, unchanged

# The options of a command, typed in the folder of the fixture `place`, and the words
# of the answer with the facts.
SWEPT = [
    # Values and ranges.
    ("--seed 5..3", "--seed: '5..3' is not a range ... the smaller first"),
    ("--seed 0..4000000000", "the sweep has more than 100000 members"),
    ("--seed 0..999 --epochs 1..999", "the sweep has more than 100000 members"),
    (
        "--learning-rate 1..inf --optuna 1",
        "--learning-rate: '1..inf' is not a range; give two finite numbers",
    ),
    (
        "--learning-rate 0.1..1",
        "--learning-rate: the range 0.1..1.0 is for Optuna",
    ),
    # The settings of a member.
    (
        "--patience 0 1",
        "--patience: 1 needs held-out samples ... in a member with patience 1",
    ),
    (
        "--validation 0 300",
        "--validation: 300 is out of range ... in a member with validation 300",
    ),
    (
        "--device cpu cuda:7",
        "device 'cuda:7' is not available ... in a member with device cuda:7",
    ),
    # Optuna.
    (
        "--seed 0..9 --optuna 3",
        "--optuna: no setting but seed and fold has several values or a range",
    ),
    ("--optuna 3 --epochs 1 2", "--validation: 0 held-out samples, but Optuna"),
    # Where it is computed.
    ("--cluster host:1", "--cluster: 'host:1' is not an address such as dask://"),
    ("--cluster dask://h:1 --jobs 2", "--cluster: cannot be combined with --jobs"),
    # The folder of something else.
    ("--sweep-dir s --hidden 4 5 --seed 0..2", "seed was 0,1, and is now 0,1,2"),
    ("--sweep-dir s/members/0000", "is neither empty nor a sweep"),
    ("--sweep-dir s/sweep.json", "is not a folder"),
]
SWEEP = "sweep --data-dir data --epochs 1"
POLARS = pytest.mark.needs("polars")
OWN = "--data-dir own.csv --label kind"
FOLDED = [
    (f"{OWN} --cv 48", "--cv ... 47 rows are too few for 48 folds with at least 1"),
    (
        "--data-dir own.csv --cv 24 --task regression --label x0",
        "--cv ... 47 rows are too few for 24 folds",
    ),
    (
        f"{OWN} --fold 1",
        "--fold: 1 is out of range; it must be below the number of folds, --cv",
    ),
    (f"{OWN} --cv 3 --fold 3", "--fold: 3 is out of range"),
    (f"{OWN} --cv 3 --test-fraction 0.1", "--cv and --test-fraction: give only one"),
    ("--cv 3 --data-dir parts.npz", "--cv ... have a test set of their own"),
    ("--cv 3 --dataset mnist", "--cv ... 'mnist' holds images like MNIST's"),
]


REFUSED = [
    *((f"{SWEEP} {words}", said) for words, said in SWEPT),
    *(
        pytest.param(f"train --epochs 2 {words}", said, marks=POLARS)
        for words, said in FOLDED
    ),
]


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_a_refused_command_says_why_in_one_line_and_changes_no_file(typed, said, place):
    with unchanged(place):
        assert_one_line(call(typed), 2, said)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data, and a sweep on them."""
    place = tmp_path_factory.mktemp("place")
    write_idx_folder(place / "data", TINY)
    X, kinds = np.random.default_rng(5).normal(size=(47, 3)), ["a", "b"] * 23 + ["c"]
    write_samples(place / "own.csv", X, kinds)
    np.savez(place / "parts.npz", x_train=X, y_train=kinds, x_test=X + 1, y_test=kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("mlp_xp.sweeps.run.this_machine", sweeping.inline)
        patch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
        assert call(f"{SWEEP} --hidden 4 5 --seed 0..1 --sweep-dir s").code == 0
    return place
