"""The base class of all errors that a user can cause: what it holds, and how front ends
word it.
"""

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


def test_python_names_the_argument_and_the_command_line_the_option():
    place = "'a.csv', line 3, column 'x'"
    text = f'{place}: many whole numbers, but no task; give task="regression" or test_fraction=0'
    assert str(QUANTITIES) == f"data_dir: {text}"
    assert QUANTITIES.worded(as_option) == (
        f"--data-dir: {place}: many whole numbers, but no --task; give --task regression or --test-fraction 0"
    )
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
    """As an error that a process hands to another is one."""
    assert str(copied(QUANTITIES)) == str(QUANTITIES)
    again = copied(FileError("cannot be made", setting="run_dir"))
    assert (type(again), str(again), again.exit_code) == (
        FileError,
        "run_dir: cannot be made",
        1,
    )
