"""What a person or a file names is printed as it is, in whole lines; tables fit the
terminal.
"""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, varied, write_idx_folder
from helpers import call
from PIL import Image
from rich.cells import cell_len

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.show.console import plain_console, print_table, say

pytestmark = pytest.mark.usefixtures("eighty_columns")
odd_names = pytest.mark.posix  # which Windows does not allow
ODD = "a:x:b [red]c[/red] :smile:"


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory, no_pictures) -> Path:
    """A run in a folder with an odd name, of classes with odd names."""
    folder = tmp_path_factory.mktemp("runs") / ODD.replace("/", "")
    names = (ODD, ":x:", "[red]", "[/]", *"456789")
    dataset = varied(TINY, outputs=names, name=str(folder.parent / "data"))
    write_idx_folder(folder.parent / "data", dataset)
    for _ in train(
        TrainConfig(epochs=1, hidden=(4,)), dataset, open_backend(), run_dir=folder
    ):
        pass
    return folder


@odd_names
def test_names_of_classes(odd_run):
    outcome = call("evaluate", odd_run)
    assert (outcome.code, outcome.err) == (0, "")
    first, second = (
        outcome.out.split(part)[1] for part in ("ROC AUC\n", "predicted class)\n")
    )
    for part in (first, second):
        assert all(f"\n{name}  " in part for name in (":x:", "[red]", "[/]"))
        assert f"\n{ODD}  " in f"\n{part}"


# Lines.


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_are_whole(terminal):
    """Programs read them, and a path that a terminal wraps can be copied."""
    file, line = (
        io.StringIO(),
        f"a word /path/without/space/{'x' * 60}: 7 (99.8 %), and [red] more :smile:",
    )
    say(plain_console(file=file, force_terminal=terminal, width=40), line)
    assert file.getvalue() == f"{line}\n"


def test_control_characters_are_shown_as_escapes():
    console = plain_console(file=io.StringIO(), width=40)
    say(console, "bad\x1b[31m name")
    print_table(["name"], [["a\x1b[0m"]], console)
    assert console.file.getvalue().split() == [
        r"bad\x1b[31m",
        "name",
        "name",
        r"a\x1b[0m",
    ]


# Tables.

HEADS, ROWS = (
    ("run", "train loss", "数字", "date"),
    [("a-long-name", "0.25", "7", "2026-11-27"), ("b", "3", "", "-")],
)


def test_a_file_gets_a_whole_table():
    console = plain_console(file=io.StringIO(), width=40)
    print_table(HEADS, ROWS * 2, console)
    head, *rows = console.file.getvalue().splitlines()
    assert head == "run          train loss  数字        date"
    assert (
        rows
        == [
            "a-long-name        0.25     7  2026-11-27",
            "b                     3                 -",
        ]
        * 2
    )
    print_table(["x" * 50, "y"], [["1", "2"]], console)
    assert console.file.getvalue().splitlines()[-2:] == ["x" * 50 + "  y", f"{1:<52}2"]


@pytest.mark.parametrize(("width", "shown"), [(41, HEADS), (40, HEADS[:3])])
def test_a_terminal_gets_the_columns_that_fit(width, shown):
    """The words of a head are one below the other first."""
    console = plain_console(file=io.StringIO(), force_terminal=True, width=width)
    print_table(
        [*HEADS[:2], "xxx", *HEADS[2:]],
        [(*row[:2], "1", *row[2:]) for row in ROWS],
        console,
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    assert max(map(cell_len, said.splitlines())) <= width
    assert (
        ("no room for: date\n" in said) == ("date" not in shown) == ("2026" not in said)
    )
    assert "train loss" not in said
    print_table(
        ["run", "loss", "epoch"],
        [("learning rate 0.3, optimizer momentum", "0.25", "7")],
        console,
    )
    last = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).removeprefix(said)
    assert re.search(
        r"run +loss +epoch *\nlearning rate 0.3, +\noptimizer momentum +0.25 +7\n$",
        last,
    ), last
    assert all(word in said for word in ("train", "loss", "0.25", "数字"))


def test_only_the_columns_that_are_too_wide_are_left_out():
    console = plain_console(file=io.StringIO(), force_terminal=True, width=40)
    print_table(["a", "wide", "b"], [["1", "x" * 50, "2"]], console)
    said = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    assert [line.split() for line in said.splitlines()] == [
        ["a", "b"],
        ["1", "2"],
        ["no", "room", "for:", "wide"],
    ]


@odd_names
def test_evaluate_on_data_without_some_classes(tmp_path, odd_run):
    few = varied(TINY, test_inputs=TINY.test.inputs[TINY.test.labels < 2],
                        test_labels=TINY.test.labels[TINY.test.labels < 2])  # fmt: skip
    outcome = call("evaluate", odd_run, "--data-dir", write_idx_folder(tmp_path, few))
    assert (outcome.code, outcome.err) == (0, "")
    assert "nan" not in outcome.out
    table = outcome.out.split("ROC AUC\n")[1].splitlines()[:10]
    assert [int(row.split()[-5]) for row in table] == [
        np.sum(TINY.test.labels == i) * (i < 2) for i in range(10)
    ]
    assert all(row.split()[-3] == row.split()[-1] == "-" for row in table[2:])
    rows = outcome.out.split("predicted class)\n")[1].splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == [
        ODD,
        ":x:",
        "[red]",
        "[/]",
        *"456789",
    ]


# A fault hides no other result.


@odd_names
def test_predict_names_each_picture_and_goes_on_after_a_bad_one(odd_run, tmp_path):
    pictures = tmp_path / ODD.replace("/", "")
    pictures.mkdir()
    for i in range(3):
        image = Image.fromarray(255 - np.pad(TINY.test.inputs[i] // 200 * 255, 4))
        image.resize((140, 140)).save(pictures / f"{i}.png")
    content = (pictures / "1.png").read_bytes()
    (pictures / "1.png").write_bytes(content[: len(content) // 2])
    outcome = call("predict", odd_run, pictures, tmp_path / "gone.png")
    assert outcome.code == 1
    assert [line.split(": ")[0] for line in outcome.out.splitlines()] == [
        str(pictures / f"{i}.png") for i in (0, 2)
    ]
    assert len(re.findall(r"\(\d+\.\d %\)", outcome.out)) == 6
    first, second = outcome.err.splitlines()
    assert first.startswith(f"error: '{pictures / '1.png'}': cannot be read: ")
    assert second.startswith(
        f"error: '{tmp_path / 'gone.png'}': cannot be read: No such file"
    )
