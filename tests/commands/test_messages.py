"""A wrong command line is refused in one line, before anything is read or written.

And every error is one line.
"""

import shlex
from unittest.mock import Mock

import pytest
from helpers import QUOTED, assert_one_line, call, call_main

from mlp_xp.errors import Argument, MlpXpError, not_installed
from mlp_xp.files import FileError

# Command lines, and the important words of the answer. RUN is a finished run.
REFUSED = [
    # The command and the names of options.
    ("tarin --epochs 3", 'Unknown command "tarin". Did you mean "train"?'),
    ("--epochs 3", 'Unknown command "--epochs".'),
    ("train --epcohs 4", "--epcohs ... Did you mean --epochs?"),
    # no abbreviations: they may change meaning
    ("train --epo 4", "--epo ... Did you mean --epochs?"),
    ("evaluate", "RUN_DIR requires an argument ... --help"),
    ("predict RUN", "after the run, give at least one picture file"),
    ("export RUN", "give runs, and then a file to write"),
    # Values.
    ("train --epochs", "--epochs requires an argument"),
    ("train --epochs many", '--epochs: ... "many"'),
    (f"train --epochs {'9' * 5000}", '--epochs: ... "999'),
    ("train --lr fast", '--lr: ... "fast"'),
    ("train --threads two", '--threads: ... "two"'),
    ("train --label x --label y", "--label specified multiple times"),
    ("sweep --nesterov yes", '"yes" for --nesterov. Choose from: "true", "false"'),
    ("completion zhs", 'SHELL ... "bash", "zsh", "fish" ... Did you mean "zsh"?'),
    ("plot RUN --output=", "--output=: is empty"),
    ("plot RUN --output ''", "--output: is empty"),
    ("plot RUN --output=a=", "--output: is for the curves of several runs"),
    ("evaluate ''", "error: an argument: is empty"),
    ("evaluate nowhere", "'nowhere': is not a run"),
    ("evaluate RUN --data-dir nowhere", "--data-dir: 'nowhere': no such folder"),
    ("train --config none.json", "'none.json' ... No such file"),
    # Options with a contradiction.
    ("train --config x --recipe small", "--config and --recipe: give only one"),
    ("train --dataset kmnist --data-dir x", "--dataset and --data-dir: give only one"),
    ("train --cv 2 --page", "--cv and --page: give only one"),
    ("train --resume x --run-dir y", "--resume and --run-dir: give only one"),
    ("train --resume x --recipe small", "--resume and --recipe: give only one"),
    ("predict RUN x.png --json --show", "--show and --json: give only one"),
    ("plot RUN RUN --data-dir x", "--data-dir: is for a single run"),
    ("plot RUN RUN --cache-dir x", "--cache-dir: is for a single run"),
    ("plot RUN RUN --backend torch", "--backend: is for a single run"),
    ("train --overwrite", "--overwrite: is for an existing run ... give --run-dir"),
    ("parity --patience 2", "Unknown option: --patience"),
    ("parity --monitor loss", "Unknown option: --monitor"),
    ("parity --checkpoint-every 9", "Unknown option: --checkpoint-every"),
    ("plot RUN RUN --output x.jpg", "'x.jpg' is not the name of a PNG file"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=lambda text: text[:40])
def test_a_wrong_command_line_is_refused_in_one_line(
    typed, said, small_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr("mlp_xp.runs.experiment.load_dataset")
    words = [small_run if word == "RUN" else word for word in shlex.split(typed)]
    outcome = call(*words)
    assert_one_line(outcome, 2, "error: ", said)
    assert outcome.err[:-1].isprintable()
    assert not set(outcome.err) & set("│╭╮╰╯─"), "no box around it"
    assert outcome.out == ""
    assert not [*tmp_path.iterdir()], "no run was begun"


# Errors, their exit codes, and the beginnings of their lines.
ERRORS = [
    (MlpXpError("no such thing"), 2, "error: no such thing"),
    (
        MlpXpError("-1 is low", setting="learning_rate"),
        2,
        "error: --learning-rate: -1 is low",
    ),
    (
        MlpXpError("no", remedy=("give ", Argument("task", "a b"))),
        2,
        f"error: no; give --task {QUOTED}",
    ),
    (FileError("disk full"), 1, "error: disk full"),
    (KeyboardInterrupt, 130, "interrupted"),
    (
        PermissionError(13, "Permission denied", "a/b"),
        1,
        "error: 'a/b': Permission denied; fix the",
    ),
    (
        ModuleNotFoundError("no", name="numpy.linalg"),
        2,
        "error: numpy.linalg is not installed; ",
    ),
    (
        ModuleNotFoundError("no", name="PIL.Image"),
        2,
        f"error: PIL.Image {not_installed('pillow')}",
    ),
    (
        ModuleNotFoundError("no", name="safetensors"),
        2,
        "error: safetensors is not installed; ",
    ),
    (
        ModuleNotFoundError("no", name="a_library"),
        2,
        f"error: a_library {not_installed('a_library')}",
    ),
    (MemoryError(), 2, "error: out of memory: "),
]


@pytest.mark.parametrize(("error", "code", "line"), ERRORS)
def test_every_error_has_its_code_and_one_line(error, code, line):
    outcome = call_main(Mock(side_effect=error), "mlp-xp")
    assert_one_line(outcome, code)
    assert outcome.err.startswith(line)
    assert outcome.out == ""
