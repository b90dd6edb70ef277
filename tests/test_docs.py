"""The notebooks of docs/ and the code in the README run as they stand, and give what they show."""

import base64
import re
from pathlib import Path

import pytest
from notebooks import NOTEBOOKS, clean, differences, execute, read, same_text

from mlp_xp import TrainConfig, load_dataset, open_backend, train

MOST_BYTES = 300_000  # of a notebook's pictures

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.mark.slow
@each_notebook
def test_a_notebook_gives_its_stored_outputs(path: Path, tmp_path: Path) -> None:
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
    failed = [cell for cell in cells if any(output.output_type == "error" for output in cell.outputs)]
    assert [cell.metadata.get("tags") for cell in failed] == [["raises-exception"]], "on purpose"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("accuracy 0.9651", "accuracy 0.9648", True),
        ("accuracy 0.9651", "accuracy 0.8651", False),
        ("accuracy 0.97", "recall 0.97", False),
        ("(3, 10)", "(3, 11)", False),
        ("7.4e-15", "7.4e-12", False),
        ("1.5", "1.5 2.5", False),
    ],
)
def test_texts_are_compared_to_a_few_digits(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same_text(other, one) is same
    assert same_text("in 3.2 s, largest 1e-15", "in 0.45 s, largest 2.4e-14", numbers=False)


README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
# What is in a block of code, and what it then prints.
PRINTED = {"load_run": r"\['\d'( '\d'){4}\]\n\[\[\d\.", "TrainConfig()": r"0 0 \d", "mlp_xp.estimator": r"\[\[\d\."}


@pytest.mark.parametrize("part", [pytest.param(each, marks=[pytest.mark.slow] * ("." in each)) for each in PRINTED])
def test_the_code_of_the_readme_runs(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """After a short run where `make train` writes its own, in the current folder."""
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (block,) = (each for each in blocks if part in each)
    assert len(blocks) == len(PRINTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: None)
    short = {"epochs": 1, "batch_size": 5000, "report_every": 60000}
    if part == "load_run":
        config, backend = TrainConfig(**short, hidden=(8,), warm_up_steps=0), open_backend()
        assert [*train(config, load_dataset(), backend, run_dir="runs/mnist-numpy-20261126-034049")]
    exec(compile(block.replace("TrainConfig()", f"TrainConfig(**{short})"), "README.md", "exec"), {})
    assert re.match(PRINTED[part], capsys.readouterr().out)
