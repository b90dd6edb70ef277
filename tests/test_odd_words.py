"""Words of a command line, and values in files, that are odd: `--`, control characters, names that are too long."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from helpers import assert_one_line, call, call_main, finish, options, small_settings, start

from mlp_xp import evaluate_run, open_backend, plot_curves, plot_run, predict_pictures, train
from mlp_xp.commands import COMMANDS, module_of
from mlp_xp.commands.command_line import HELP, UsageError, add_options, parse, print_error
from mlp_xp.commands.command_line import Parser as PlainParser
from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.show import plots

ESCAPE = "bad\n\x1b[31mFAKE: all fine"
KINDS = {command: getattr(module_of(command), name) for command, (_, name) in COMMANDS.items()}
OPTIONS = [
    (command, option)
    for command, kind in KINDS.items()
    for option in add_options(PlainParser(), kind)
    if not option.metavar
]


def named(value: object) -> str:
    return getattr(value, "name", str(value))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir, no_pictures) -> Path:
    """A run on a data set of its own."""
    folder = tmp_path_factory.mktemp("words")
    data = shutil.copytree(data_dir, folder / "data")
    done = call("train", "--data-dir", data, "--run-dir", folder / "run", *options(small_settings(epochs=1)))
    assert (done.code, done.err) == (0, "")
    return folder / "run"


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A copy of the run, to change it."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


# The word `--`.


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=named)
def test_no_option_takes_the_end_of_options(command, option):
    """Python's argparse turns it into an empty list, whatever the type of the option."""
    for some in (False, True):
        with pytest.raises(UsageError, match="^" + option.shown) as caught:
            parse(KINDS[command], args=["--seed=1", f"{option.shown}=--"], some=some)
        assert str(caught.value).endswith(HELP)


@pytest.mark.parametrize(
    ("command", "words"),
    [("train", ["--resume=--"]), ("train", ["--hidden=--"]), ("plot", ["x", "y", "--output=--"]),
     ("parity", ["--steps=--"]), ("evaluate", ["x", "--data-dir=--"]), ("predict", ["x", "y", "--backend=--"])],
)  # fmt: skip
def test_a_command_refuses_the_end_of_options(command, words):
    assert_one_line(call(command, *words), 2, f"{words[-1][:-3]}: ", "'--'")


# One line, whatever the words are.


@pytest.mark.parametrize(
    ("command", "words"),
    [("train", [ESCAPE]), ("train", [f"--{ESCAPE}"]), ("train", ["--device", ESCAPE]), ("evaluate", [ESCAPE]),
     ("train", ["--recipe", ESCAPE]), ("train", ["--backend", ESCAPE]), ("train", ["--data-dir", ESCAPE]),
     ("predict", [ESCAPE, ESCAPE]), ("parity", ["--backends", ESCAPE])],
)  # fmt: skip
def test_an_error_shows_control_characters_as_escapes(command, words):
    outcome = call(command, *words)
    assert_one_line(outcome, 2, r"bad\n\x1b[31mFAKE")
    assert outcome.err[:-1].isprintable()


def test_a_warning_is_one_line(copied):
    config = json.loads((copied / "config.json").read_text())
    config["threads"] = {"number": 77, "reason": ESCAPE + "\n\n"}
    (copied / "config.json").write_text(json.dumps(config))

    def main() -> None:
        warnings.warn(ESCAPE, MlpXpWarning, stacklevel=2)

    for outcome in (call("train", "--resume", copied, "--threads", "1"), call_main(main, "x")):
        assert_one_line(outcome, 0)
        assert outcome.err.startswith("warning: ")
        assert outcome.err[:-1].isprintable()


def test_a_mismatch_is_one_line(data_dir, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("from numpy import *\nfrom array_api_compat.numpy import *\n")
    monkeypatch.setattr("mlp_xp.commands.parity.mismatches", lambda *_: [ESCAPE])
    outcome = call("parity", "--backends", "array_api_compat:numpy", "--steps", "3", "--data-dir", data_dir)
    assert outcome.code == 1
    assert outcome.err
    assert all(line.startswith("mismatch: ") and line.isprintable() for line in outcome.err.splitlines())


def test_help_shows_control_characters_as_escapes(copied):
    config = json.loads((copied / "config.json").read_text())
    config["settings"]["device"] = ESCAPE
    (copied / "config.json").write_text(json.dumps(config))
    outcome = call("train", "--config", copied / "config.json", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.replace("\n", "").isprintable()


# Words that are too long.

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("command", "words"),
    [("evaluate", [LONG]), ("predict", [LONG, "x"]), ("plot", [LONG]), ("train", ["--resume", LONG]),
     ("train", ["--config", LONG]), ("train", ["--run-dir", LONG]), ("train", ["--data-dir", LONG]),
     ("train", ["--dataset", "emnist-letters", "--cache-dir", LONG]), ("parity", ["--data-dir", LONG]),
     ("parity", ["--report-dir", LONG, "--steps", "1"])],
)  # fmt: skip
def test_a_path_that_is_too_long_is_bad_input(command, words):
    outcome = call(command, *words)
    assert_one_line(outcome, 2, "error: ")
    assert len(outcome.err) < 1000


def test_the_output_of_plot_is_a_path_too(run):
    assert_one_line(call("plot", run, run, "--output", f"{LONG}.png"), 2, ".png': cannot write")


@pytest.mark.parametrize("word", [LONG * 20, "a b " * 25000, "a/" * 50000, "\n" * 100000], ids=lambda word: word[:4])
@pytest.mark.parametrize(
    "option",
    ["--dtype", "--optimizer", "--device", "--data-dir", "--backend", "--recipe", "--epochs", "--", "", "--x="],
)
def test_no_error_echoes_a_long_word(option, word):
    words = [option + word] if option in ("--", "", "--x=") else [option, word]
    outcome = call("train", *words)
    assert_one_line(outcome, 2)
    assert len(outcome.err) < 5000


def test_no_path_that_can_be_is_cut(capsys):
    """So that a command in an error can be copied."""
    path = "/".join(["x" * 255, "é" * 127, "y" * 80] * 8)
    print_error(f"interrupted; resume with: python train.py --resume {path}")
    assert capsys.readouterr().err.endswith(f" --resume {path}\n")


# The data set of a run.


@pytest.mark.parametrize("name", ["kmist", "kmnist"])
def test_a_data_set_beside_a_folder_is_refused(name, data_dir, tmp_path):
    words = ["--data-dir", data_dir, "--run-dir", tmp_path / "run", *options(small_settings(epochs=1))]
    assert_one_line(call("train", "--dataset", name, *words), 2, f"--dataset: '{name}' and data_dir")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def moved(run) -> Path:
    """The run, while its data are elsewhere."""
    data = run.parent / "data"
    data.rename(run.parent / "elsewhere")
    yield run
    (run.parent / "elsewhere").rename(data)


@pytest.mark.parametrize("words", [["train", "--resume"], ["evaluate"], ["plot"]], ids=lambda words: words[0])
def test_data_that_moved_are_asked_for(words, moved, tmp_path):
    command, *before = words
    config, data = moved / "config.json", moved.parent / "data"
    outcome = call(command, *before, moved)
    said = f"error: {str(config)!r}: the run's data are not where it says: {str(data)!r}: no such folder"
    assert_one_line(outcome, 2, said, "give their folder with --data-dir")
    assert "--data-dir: " not in outcome.err
    assert_one_line(call(command, *before, moved, "--data-dir", tmp_path / "x"), 2, "--data-dir: ", "no such folder")
    assert call(command, *before, moved, "--data-dir", moved.parent / "elsewhere").code == 0


@pytest.mark.parametrize("words", [["train", "--resume"], ["evaluate"]], ids=lambda words: words[0])
def test_a_broken_run_is_no_saved_configuration_to_give(words, copied):
    (copied / "config.json").write_text("{")
    command, *before = words
    outcome = call(command, *before, copied)
    assert_one_line(outcome, 2, "is not JSON", "restore it from a copy, or train again")
    assert "give a saved" not in outcome.err
    assert_one_line(call("train", "--config", copied / "config.json"), 2, "is not JSON", "give a saved configuration")


# Numbers.


def test_what_is_no_number_is_said_to_be_none():
    assert_one_line(call("train", "--learning-rate", "nan"), 2, "--learning-rate: nan is not a number")
    with pytest.raises(ConfigError, match=r"^weight_decay: nan is not a number; it must be at least 0$"):
        TrainConfig(weight_decay=float("nan"))


def test_patience_names_what_it_needs():
    assert_one_line(call("train", "--patience", "3"), 2, "must be 0 unless samples are held out with validation")


@pytest.mark.parametrize("tolerance", ["1e308", "1e300"])
def test_a_large_tolerance_gives_no_foreign_line(tolerance, data_dir):
    words = ["--backends", "array_api_compat:numpy", "--steps", "3", "--dtype", "float32", "--data-dir", data_dir]
    outcome = call("parity", *words, "--tolerance", tolerance)
    assert (outcome.code, outcome.err) == (0, "")


# Pictures.


def test_long_names_fit_in_a_picture():
    """Matplotlib warns where they leave no room, and in the tests a warning is an error."""
    names = ["a" * 1000, "b " * 500]
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1])
    assert plots.draw_confusion(np.eye(2, dtype=int), names).png()
    assert plots.draw_mistakes(images, labels, np.eye(2)[::-1], names).png()
    assert plots.draw_curves([plots.Curves(name * 5, [], 10) for name in names * 20]).png()


@pytest.mark.parametrize("variable", ["HOME", "MPLCONFIGDIR", "MATPLOTLIBRC"])
def test_matplotlib_says_nothing_of_its_own(variable, run, tmp_path):
    value = tmp_path / "matplotlibrc" if variable == "MATPLOTLIBRC" else Path(os.devnull)
    if variable == "MATPLOTLIBRC":
        value.write_text("nonsense: 1\nfigure.dpi: x y\n")
    env = {"XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", variable: str(value)}
    outcome = finish(start("plot", run, run, "--output", tmp_path / "curves.png", env=env))
    assert (outcome.code, outcome.err) == (0, "")


def test_the_level_of_matplotlibs_logger_is_the_callers_again():
    code = "import logging; from mlp_xp.show import plots; plots.import_matplotlib(); "
    code += "print(logging.getLogger('matplotlib').level)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"


# Paths of the library.


@pytest.mark.parametrize("path", ["a\0b", "\ud800", b"x", 3, None, ["x"]], ids=ascii)
def test_what_cannot_be_a_path(path, run):
    backend = open_backend()
    for use in (
        evaluate_run,
        plot_run,
        lambda path: predict_pictures(path, []),
        lambda path: predict_pictures(run, [path]),
        lambda path: plot_curves([path], "x.png"),
        lambda path: plot_curves([], path),
        lambda path: next(train(TrainConfig(), TINY, backend, run_dir=path or 0)),
    ):
        with pytest.raises(MlpXpError, match=r"not a path|not valid in a path") as caught:
            use(path)
        assert caught.value.setting in ("run_dir", "pictures", "run_dirs", "output")
