"""What a person or a file names is printed as it is: no markup, no emoji; and lines are broken between words alone."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, write_idx_folder
from helpers import call
from PIL import Image
from rich.cells import cell_len

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.commands.evaluate import show_matrix
from mlp_xp.commands.tables import Column, print_table
from mlp_xp.data.registry import DATASETS
from mlp_xp.show.terminal import GLUE, say
from mlp_xp.show.width import plain_console

pytestmark = pytest.mark.usefixtures("eighty_columns")
ODD = "a:x:b [red]c[/red] :smile:"


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory, no_pictures) -> Path:
    """A run in a folder with an odd name, of classes with odd names."""
    folder = tmp_path_factory.mktemp("runs") / ODD.replace("/", "")
    names = (ODD, ":x:", "[red]", "[/]", *"456789")
    dataset = TINY._replace(class_names=names, name=str(folder.parent / "data"))
    write_idx_folder(folder.parent / "data", dataset)
    for _ in train(TrainConfig(epochs=1, hidden=(4,)), dataset, open_backend(), run_dir=folder):
        pass
    return folder


def test_names_of_classes(odd_run):
    outcome = call("evaluate", odd_run)
    assert (outcome.code, outcome.err) == (0, "")
    first, second = (outcome.out.split(part)[1] for part in ("recall\n", "predicted class)\n"))
    for part in (first, second):
        assert all(f"\n{name}  " in part for name in (":x:", "[red]", "[/]"))
        assert f"\n{ODD}  " in f"\n{part}"


# Lines.

LONG = f"a word /path/without/space/{'x' * 60}: 7 (99.8 %), and [red] more -- words, emnist-letters-with-hyphens, 1"


@pytest.mark.parametrize("width", [40, 57])
def test_a_terminal_gets_lines_that_are_broken_between_words(width):
    file = io.StringIO()
    say(plain_console(file=file, force_terminal=True, width=width), f"one\n{LONG}", 4)
    lines = file.getvalue().splitlines()
    assert lines[0] == "one"
    assert " ".join(line.strip() for line in lines[1:]) == LONG
    assert all(line.startswith("    ") for line in lines[2:])
    assert all(len(line) <= width or " " not in line.strip() for line in lines)
    assert not lines[1].startswith(" ")


def test_what_is_glued_is_never_broken():
    for width in (40, 41, 42):
        file = io.StringIO()
        answers = [f"{i} (99.8 %)" for i in range(9)]
        say(plain_console(file=file, force_terminal=True, width=width), ", ".join(answers).replace(" (", f"{GLUE}(")
            .replace(" %", f"{GLUE}%"))  # fmt: skip
        lines = file.getvalue().splitlines()
        assert [answer for line in lines for answer in re.findall(r"\d \(99\.8 %\)", line)] == answers
        assert max(map(len, lines)) <= width


def test_a_file_gets_whole_lines():
    file = io.StringIO()
    say(plain_console(file=file, width=40), LONG)
    assert file.getvalue() == f"{LONG}\n"


def test_control_characters_are_shown_as_escapes():
    console = plain_console(file=io.StringIO(), width=40)
    say(console, f"bad\x1b[31m{GLUE}name")
    print_table([Column("name", ["a\x1b[0m"], True)], console)
    assert console.file.getvalue().split() == [r"bad\x1b[31m", "name", "name", r"a\x1b[0m"]


# The tables of evaluate.


@pytest.mark.parametrize(
    ("names", "width"),
    [
        (DATASETS["emnist-letters"].class_names, 200),
        (DATASETS["emnist-letters"].class_names, 40),
        (("数字一", "longname", "-300000.5"), 40),
    ],
)
def test_the_confusion_matrix_fits_and_says_all(names, width):
    """As a table, or as a paragraph for each row without what never happened."""
    count, random = len(names), np.random.default_rng(2)
    matrix = random.integers(0, 2, (count, count)) * 1234 + np.eye(count, dtype=int)
    is_table = width == 200 or count == 3
    console = plain_console(file=io.StringIO(), force_terminal=not is_table, width=width)
    show_matrix(matrix, names, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines).replace("\n  ", " ")
    for name, row in zip(names, matrix.tolist(), strict=True):
        (line,) = re.findall(rf"^{re.escape(name)}:? (.*)$", text, flags=re.MULTILINE)
        if is_table:
            assert [int(cell.replace(".", "0")) for cell in line.split()] == row
        else:
            said = [f"{head} {count}" for head, count in zip(names, row, strict=True) if count]
            assert line.split(", ") == said


def test_evaluate_on_data_without_some_classes(tmp_path, odd_run):
    few = TINY._replace(test_inputs=TINY.test_inputs[TINY.test_labels < 2],
                        test_labels=TINY.test_labels[TINY.test_labels < 2])  # fmt: skip
    outcome = call("evaluate", odd_run, "--data-dir", write_idx_folder(tmp_path, few))
    assert (outcome.code, outcome.err) == (0, "")
    assert "nan" not in outcome.out
    table = outcome.out.split("recall\n")[1].split("\n\n")[0].splitlines()
    assert [int(row.split()[-3]) for row in table] == [np.sum(TINY.test_labels == i) for i in (0, 1)]
    rows = outcome.out.split("predicted class)\n")[1].splitlines()[1:]
    assert all(row.startswith(name) for row, name in zip(rows, (ODD, ":x:"), strict=True))
    assert "no test images of: [red], [/], 4, 5, 6, 7, 8, 9\n" in outcome.out


# A fault hides no other result.


def test_predict_names_each_picture_and_goes_on_after_a_bad_one(odd_run, tmp_path):
    pictures = tmp_path / ODD.replace("/", "")
    pictures.mkdir()
    for i in range(3):
        image = Image.fromarray(255 - np.pad(TINY.test_inputs[i] // 200 * 255, 4))
        image.resize((140, 140)).save(pictures / f"{i}.png")
    content = (pictures / "1.png").read_bytes()
    (pictures / "1.png").write_bytes(content[: len(content) // 2])
    outcome = call("predict", odd_run, pictures, tmp_path / "gone.png")
    assert outcome.code == 1
    assert [line.split(": ")[0] for line in outcome.out.splitlines()] == [str(pictures / f"{i}.png") for i in (0, 2)]
    assert len(re.findall(r"\(\d+\.\d %\)", outcome.out)) == 6
    first, second = outcome.err.splitlines()
    assert first.startswith(f"error: {str(pictures / '1.png')!r}: cannot be read: ")
    assert second.startswith(f"error: {str(tmp_path / 'gone.png')!r}: cannot be read: No such file")
