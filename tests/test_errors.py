"""The base class of all errors a user can cause, and its wording by front ends."""

import copy
import pickle

import pytest

from mlp_xp.commands.process import as_option
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.files import FileError

QUANTITIES = MlpXpError(
    ("many whole numbers, but no ", Argument("task")),
    remedy=(
        "give ",
        Argument("task", "regression"),
        " or ",
        Argument("test_fraction", 0),
    ),
    setting="data_dir",
    file="a.csv",
    line=3,
    column="x",
)
PLACE = "'a.csv', line 3, column 'x': many whole numbers"


def test_python_names_the_argument():
    remedy = 'but no task; give task="regression" or test_fraction=0'
    assert str(QUANTITIES) == f"data_dir: {PLACE}, {remedy}"


def test_the_command_line_names_the_option():
    remedy = "but no --task; give --task regression or --test-fraction 0"
    assert QUANTITIES.worded(as_option) == f"--data-dir: {PLACE}, {remedy}"


def test_a_text_alone_is_the_same_for_both():
    error = MlpXpError("'x': is damaged")
    assert str(error) == error.worded(as_option) == "'x': is damaged"


def test_what_is_known_later_is_added():
    error = MlpXpError("-1 is low", remedy="give more", setting="rate")
    error.notes.append("nothing is saved")
    error.row = 0
    assert str(error) == "rate: row 0: -1 is low; give more; nothing is saved"


@pytest.mark.parametrize(
    "copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_copy_says_the_same_and_has_the_same_exit_code(copied):
    """Processes hand copies of errors to one another."""
    assert str(copied(QUANTITIES)) == str(QUANTITIES)
    again = copied(FileError("cannot be made", setting="run_dir"))
    assert type(again) is FileError
    assert (str(again), again.exit_code) == ("run_dir: cannot be made", 1)
