"""The root of all errors that a user can cause."""

import copy
import pickle

import pytest

from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError


def test_the_library_names_the_argument_and_the_command_line_the_option():
    error = MlpXpError("-1 is out of range", setting="learning_rate")
    assert str(error) == "learning_rate: -1 is out of range"
    assert error.on_command_line() == "--learning-rate: -1 is out of range"
    assert (error.setting, error.text) == ("learning_rate", "-1 is out of range")


def test_without_a_setting_both_say_the_same():
    error = MlpXpError("'x': is damaged")
    assert str(error) == error.on_command_line() == "'x': is damaged"
    assert error.setting is None


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_says_the_same_and_has_the_same_exit_code(copied):
    """As an error that a process hands to another is one."""
    error = FileError("cannot be made", setting="run_dir")
    again = copied(error)
    assert (type(again), str(again), again.exit_code) == (FileError, "run_dir: cannot be made", 1)
