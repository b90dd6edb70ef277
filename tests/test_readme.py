"""The Python code in the README runs as it stands, after `make train`."""

import re
from pathlib import Path

import numpy as np
import pytest

from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.core.dataset import Dataset

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short run where `make train` writes its own, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: None)
    backend = open_backend()
    config = TrainConfig(epochs=1, hidden=(8,), batch_size=5000, report_every=60000, warm_up_steps=0)
    for _ in train(config, load_dataset("mnist", backend), backend, run_dir="runs/mnist-numpy-20261126-034049"):
        pass
    return tmp_path / "runs"


def test_a_trained_network_is_used(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (each for each in BLOCKS if "load_run" in each)
    exec(compile(block, "README.md", "exec"), names := {})
    printed = capsys.readouterr().out
    images = names["images"]
    assert (images.dtype, images.shape[1:]) == (np.uint8, (28, 28))
    assert images[:, 0, 0].tolist() == [0] * len(images)  # paper
    assert printed.startswith(f"{names['model'].predict(images)}\n[[")
    assert names["model"].predict_proba(images).shape == (len(images), 10)


def test_a_network_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (each for each in BLOCKS if "TrainConfig()" in each)
    short = block.replace("TrainConfig()", "TrainConfig(epochs=1, batch_size=5000, report_every=60000)")
    exec(compile(short, "README.md", "exec"), names := {})
    assert capsys.readouterr().out.startswith("0 0 ")
    assert isinstance(names["dataset"], Dataset)
    assert names["probabilities"].shape == (10000, 10)


def test_no_other_code_is_untested() -> None:
    """The third is run by test_estimator.py, which needs scikit-learn."""
    assert ["mlp_xp.estimator" in each for each in BLOCKS] == [False, False, True]
