"""Names are printed as people or files spell them, and tables are whole."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, varied, write_idx_folder
from helpers import call, output_of
from PIL import Image

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.show.console import plain_console, print_table, say

pytestmark = pytest.mark.usefixtures("eighty_columns")
odd_names = pytest.mark.posix  # not allowed on Windows
ODD = "a:x:b [red]c[/red] :smile:"
NAMES = [ODD, ":x:", "[red]", "[/]", *"456789"]
HEADS = ("run", "train loss", "数字", "date")
ROWS = [("a-long-name", "0.25", "7", "2026-11-27"), ("b", "3", "", "-")]


# Lines.


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_are_whole(terminal):
    """Programs read them, and people copy wrapped paths from a terminal."""
    path = f"/path/without/space/{'x' * 60}"
    line = f"a word {path}: 7 (99.8 %), and [red] more :smile:"
    assert said_on(terminal, 40, lambda console: say(console, line)) == f"{line}\n"


def test_control_characters_are_shown_as_escapes():
    assert said_on(False, 40, lambda console: say(console, "\x1b[31m")) == "\\x1b[31m\n"
    assert table_on(False, 40, ["name"], [["a\x1b[0m"]])[1] == r"a\x1b[0m"


# Tables.


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_is_whole(terminal):
    assert table_on(terminal, 40, HEADS, ROWS) == [
        "run          train loss  数字        date",
        "a-long-name        0.25     7  2026-11-27",
        "b                     3                 -",
    ]
    wide = "x" * 50
    assert table_on(terminal, 40, [wide, "y"], [["1", "2"]]) == [
        f"{wide}  y",
        f"{1:<52}2",
    ]


def said_on(terminal: bool, width: int, print_to) -> str:
    """Return the output of a function on a terminal, or in a file."""
    file = io.StringIO()
    print_to(plain_console(file=file, force_terminal=terminal, width=width))
    return file.getvalue()


def table_on(terminal: bool, width: int, heads, rows) -> list[str]:
    """Return the lines of a table without colours."""
    said = said_on(terminal, width, lambda console: print_table(heads, rows, console))
    return re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()


# Names of classes, folders and pictures.


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory, no_pictures) -> Path:
    """A run in a folder with an odd name, of classes with odd names."""
    folder = tmp_path_factory.mktemp("runs") / ODD.replace("/", "")
    data = folder.parent / "data"
    dataset = varied(TINY, outputs=tuple(NAMES), name=str(data))
    write_idx_folder(data, dataset)
    config = TrainConfig(epochs=1, hidden=(4,))
    assert [*train(config, dataset, open_backend(), run_dir=folder)]
    return folder


@odd_names
def test_evaluate_names_the_classes_as_they_are_in_both_tables(odd_run):
    out = output_of("evaluate", odd_run)
    for title in ("ROC AUC\n", "predicted class)\n"):
        table = out.split(title)[1]
        assert all(f"\n{name}  " in f"\n{table}" for name in NAMES[:4])


@odd_names
def test_evaluate_has_no_scores_of_classes_without_samples(tmp_path, odd_run):
    test = TINY.test
    is_there = test.labels < 2
    parts = {"test_inputs": test.inputs[is_there], "test_labels": test.labels[is_there]}
    data = write_idx_folder(tmp_path, varied(TINY, **parts))
    out = output_of("evaluate", odd_run, data_dir=data)
    assert "nan" not in out
    table = [row.split()[-5:] for row in out.split("ROC AUC\n")[1].splitlines()[:10]]
    assert all(row[0] == "0" and row[2] == row[4] == "-" for row in table[2:])


@odd_names
def test_predict_names_each_picture_and_goes_on_after_a_bad_one(odd_run, tmp_path):
    pictures = tmp_path / ODD.replace("/", "")
    pictures.mkdir()
    paths = [pictures / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, TINY.test.inputs, strict=False):
        picture = Image.fromarray(255 - np.pad(image // 200 * 255, 4))
        picture.resize((140, 140)).save(path)
    first, bad, last = paths
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    gone = tmp_path / "gone.png"
    outcome = call("predict", odd_run, pictures, gone)
    assert outcome.code == 1
    named = [line.split(": ")[0] for line in outcome.out.splitlines()]
    assert named == [str(first), str(last)]
    assert len(re.findall(r"\(\d+\.\d %\)", outcome.out)) == 6
    of_bad, of_gone = outcome.err.splitlines()
    assert of_bad.startswith(f"error: '{bad}': cannot be read: ")
    assert of_gone.startswith(f"error: '{gone}': cannot be read: No such file")
