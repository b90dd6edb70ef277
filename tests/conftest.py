"""Fixtures and hooks. A test with the fixture `backend` or `xp` runs on every usable backend."""

import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cupy_stand_in
import numpy as np
import pytest
from backends import backend_params, open_or_skip
from data_sets import TINY, write_idx_folder
from helpers import load_script

from mlp_xp.backend import Backend
from mlp_xp.data.datasets import MNIST_DIR, load_dataset
from mlp_xp.dataset import Dataset

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before SciPy is imported: scikit-learn asks for it
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # a test leaves nothing in the user's cache folder

pytest_plugins = ["skip_summary"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run nothing if a test on the stand-in is marked `gpu`: it would wrongly count as a test on a GPU."""
    for item in items:
        if cupy_stand_in.NAME in item.nodeid and item.get_closest_marker("gpu"):
            raise pytest.UsageError(f"{item.nodeid}: runs on the stand-in for CuPy; do not mark it gpu")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Install the stand-in as cupy for tests on it, and only for these."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params.values() if callspec else ()
    stands_in = any(isinstance(param, str) and param == cupy_stand_in.NAME for param in params)
    with cupy_stand_in.installed() if stands_in else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def strict_flags() -> None:
    """Disable all optional parts of the standard in array-api-strict, so that code that passes runs anywhere."""
    import array_api_strict

    array_api_strict.set_array_api_strict_flags(
        boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )


@pytest.fixture(scope="session", params=backend_params())
def backend(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float64."""
    return open_or_skip(request.param)


@pytest.fixture(scope="session", params=backend_params())
def backend32(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float32."""
    return open_or_skip(request.param, "float32")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set as four files."""
    return write_idx_folder(tmp_path_factory.mktemp("data"), TINY)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Training without pictures, which take long and have their own tests; has no effect on other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_script("train"), "draw_pictures", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def no_matplotlib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module in place of Matplotlib, which cannot be imported: a run without it has no pictures."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "matplotlib.py").write_text("raise ImportError")
    return folder


@pytest.fixture
def no_pictures_elsewhere(no_matplotlib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in other processes without pictures, which take longer than all else in a short run."""
    monkeypatch.setenv("PYTHONPATH", str(no_matplotlib), prepend=os.pathsep)


@pytest.fixture
def xp(backend: Backend):
    """The namespace of each usable backend."""
    return backend.xp


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The repository's own copy of MNIST."""
    return MNIST_DIR


@pytest.fixture(scope="session")
def mnist(backend: Backend) -> Dataset:
    """MNIST on each usable backend."""
    return load_dataset(backend=backend)


@pytest.fixture
def random() -> Iterator[np.random.Generator]:
    """A random generator with the same seed for every test."""
    return np.random.default_rng(20)
