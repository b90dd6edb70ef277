"""The examples in docstrings run, in a folder with a run of one epoch on MNIST."""

import doctest
import inspect
import shutil
from collections.abc import Iterator
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
    "mlp_xp.plot_curves": ("matplotlib",),
    "mlp_xp.plot_run": ("matplotlib",),
    "mlp_xp.sweep": ("joblib",),
}
"""The libraries without which an example cannot run."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples_of(name: str, found: Any) -> list[doctest.DocTest]:
    """Return the examples of a function, or of a class and its methods."""
    tests = doctest.DocTestFinder().find(found, name, module=inspect.getmodule(found))
    return [test for test in tests if test.examples]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """MNIST, which the examples call `dataset`."""
    return load_dataset()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """A folder with the run of the examples, `runs/digits`."""
    folder = tmp_path_factory.mktemp("examples")
    run_dir = folder / "runs" / "digits"
    list(train(TrainConfig(epochs=1), dataset, open_backend(), run_dir=run_dir))
    return folder


@pytest.fixture
def names(
    prepared: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The names that examples use, in a copy of the folder as current folder."""
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


def cases() -> Iterator[Any]:
    """Yield a case for each name, with a mark for the libraries that it needs."""
    for name, found in [*PUBLIC, *OTHERS]:
        libraries = NEEDED.get(name)
        marks = pytest.mark.needs(*libraries) if libraries else ()
        yield pytest.param(name, found, id=name, marks=marks)


@pytest.mark.parametrize(("name", "found"), [*cases()])
def test_the_examples_are_right(name, found, names):
    if name in PLAIN:
        return
    tests = examples_of(name, found)
    assert tests, f"{name} has no example"
    for test in tests:
        test.globs = dict(names)
        said: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
        assert not said, "".join(said)
