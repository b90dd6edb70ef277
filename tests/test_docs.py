"""The notebooks of docs/ run as they stand, and give the outputs that are stored in them."""

import base64
import copy
import re
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs nbclient, in the extra `test`")
pytest.importorskip("ipykernel", reason="needs ipykernel, in the extra `test`")

import nbformat
from notebooks import NOTEBOOKS, clean, differences, execute, read, same_text

NEEDS = {"tour": ["jax"], "own_data": ["PIL"], "estimator": ["mlp_xp.estimator", "jax"]}
MOST_BYTES = 300_000  # of a notebook's pictures

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@each_notebook
def test_a_notebook_gives_its_stored_outputs(path: Path, tmp_path: Path) -> None:
    for module in ("matplotlib", *NEEDS[path.stem]):
        pytest.importorskip(module)
    stored = read(path)
    different = [*differences(stored, execute(stored, tmp_path))]
    assert not different, "\n".join([*different, "if that is right, run: make notebooks"])


@each_notebook
def test_a_notebook_is_stored_without_its_machine(path: Path) -> None:
    stored = read(path)
    assert stored == clean(stored), "written by Jupyter; run: make notebooks"
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    pictures = [output.data.pop("image/png") for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert sum(len(base64.b64decode(picture)) for picture in pictures) <= MOST_BYTES
    assert not re.search(r"/(home|root|tmp|Users|work)/|ipykernel|\x1b", str(outputs))


@each_notebook
def test_a_notebook_prints_shapes_and_fails_once_on_purpose(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    failed = [cell for cell in cells if any(output.output_type == "error" for output in cell.outputs)]
    assert [cell.metadata.get("tags") for cell in failed] == [["raises-exception"]]
    assert sum("shape" in cell.source for cell in cells) >= 5


def test_a_stale_notebook_is_told(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ("print('loss', 0.25 * 3)", "1 / 0", "print(2)")]
    cells[1].metadata.tags = ["raises-exception"]
    done = execute(nbformat.v4.new_notebook(cells=cells), tmp_path)
    assert done.cells[1].outputs[0].traceback == ["ZeroDivisionError: division by zero"]
    assert not [*differences(done, done)]
    for i, changed in enumerate(("loss 0.76\n", None, "3\n")):
        stale = copy.deepcopy(done)
        if changed:
            stale.cells[i].outputs[0].text = changed
        else:
            stale.cells[i].outputs = []
        assert len([*differences(stale, done)]) == (i > 0)  # 0.76 is 0.75 to a few digits
    stale.cells[0].outputs[0].text = "loss 0.79\n"
    assert len([*differences(stale, done)]) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("accuracy 0.9651", "accuracy 0.9648", True),
        ("accuracy 0.9651", "accuracy 0.8651", False),
        ("accuracy 0.97", "recall 0.97", False),
        ("0.0", "-0.1", True),  # the last digit shown
        ("0.00", "0.02", False),
        ("[ 1.25 10.5]", "[1.25  10.49]", True),
        ("(3, 10)", "(3, 11)", False),
        ("7.4e-15", "7.5e-15", True),
        ("7.4e-15", "7.4e-12", False),
        ("nan", "0.5", False),
        ("1.5", "1.5 2.5", False),
    ],
)
def test_texts_are_compared_to_a_few_digits(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same
    assert same_text(other, one) is same


def test_numbers_of_a_machine_are_not_compared() -> None:
    assert same_text("in 3.2 s, largest 1e-15", "in 0.45 s, largest 2.4e-14", numbers=False)
    assert not same_text("agrees: True", "agrees: False", numbers=False)
