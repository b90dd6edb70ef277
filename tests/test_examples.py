"""The examples in docstrings run, in a folder with a run of one epoch on MNIST."""

import doctest
import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import is_installed

import mlp_xp
from mlp_xp import Dataset, TrainConfig, load_dataset, open_backend, parity, train
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.run_folder import RunFolder

MODULES = [mlp_xp, parity]
if is_installed("sklearn"):
    from mlp_xp import estimator

    MODULES.append(estimator)
PUBLIC = [
    (f"{module.__name__}.{name}", getattr(module, name))
    for module in MODULES
    for name in module.__all__
]
OTHERS = [("RunFolder", RunFolder)]
PLAIN = {"mlp_xp.RECIPES"}  # a dictionary has no docstring of its own
NEEDED = {
    "mlp_xp.export_onnx": ("onnx", "ndonnx"),
    "mlp_xp.parity.trace": ("array_lockstep",),
    "mlp_xp.plot_curves": ("matplotlib",),
    "mlp_xp.plot_run": ("matplotlib",),
    "mlp_xp.sweep": ("joblib",),
}
"""The libraries an example needs."""
SLOW = {"Report", "parity.trace", "plot_run", "sweep", "train"}  # seconds each
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


CASES = [
    pytest.param(
        name,
        found,
        id=name,
        marks=[pytest.mark.needs(*NEEDED.get(name, ()))]
        + [pytest.mark.slow] * (name.removeprefix("mlp_xp.") in SLOW),
    )
    for name, found in [*PUBLIC, *OTHERS]
    if name not in PLAIN
]


@pytest.mark.parametrize(("name", "found"), CASES)
def test_the_examples_are_right(name, found, names):
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = finder.find(found, name, module=inspect.getmodule(found))
    assert any(test.examples for test in tests), f"{name} has no example"
    for test in tests:
        test.globs = dict(names)
        said: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
        assert not said, "".join(said)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """MNIST, called `dataset` in the examples."""
    return load_dataset()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """A folder with the run of the examples, `runs/digits`."""
    folder = tmp_path_factory.mktemp("examples")
    run_dir = folder / "runs" / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mlp_xp.show.gallery.draw_run", lambda *_: []
        )  # `plot_run` draws them
        list(train(TrainConfig(epochs=1), dataset, open_backend(), run_dir=run_dir))
    return folder


@pytest.fixture
def names(
    prepared: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The names in the examples, with a copy of the folder as current folder."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert dataset.test is not None
    return {
        **{name.rpartition(".")[2]: found for name, found in PUBLIC},
        "np": np,
        "Path": Path,
        "Experiment": Experiment,
        "RunFolder": RunFolder,
        "dataset": dataset,
        "images": dataset.test.inputs,
    }
