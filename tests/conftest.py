"""Fixtures and helpers: every test that takes `backend` or `xp` runs on every backend that is usable here."""

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

pytest_plugins = ["skip_summary"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test on the stand-in that counted as one on a GPU would be a false proof: then nothing runs."""
    for item in items:
        if cupy_stand_in.NAME in item.nodeid and item.get_closest_marker("gpu"):
            raise pytest.UsageError(f"{item.nodeid}: runs on the stand-in for CuPy; do not mark it gpu")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test on the stand-in finds it where CuPy would be, however it opens its backend; every other test does not."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params.values() if callspec else ()
    stands_in = any(isinstance(param, str) and param == cupy_stand_in.NAME for param in params)
    with cupy_stand_in.installed() if stands_in else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def strict_flags() -> None:
    """array-api-strict without all that the standard makes optional: what runs so, runs anywhere."""
    import array_api_strict

    array_api_strict.set_array_api_strict_flags(
        boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )


@pytest.fixture(scope="session", params=backend_params())
def backend(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend, in float64."""
    return open_or_skip(request.param)


@pytest.fixture(scope="session", params=backend_params())
def backend32(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend, in float32."""
    return open_or_skip(request.param, "float32")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set as four files."""
    return write_idx_folder(tmp_path_factory.mktemp("data"), TINY)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """They take longer than all else, and have their own tests; a process of its own draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_script("train"), "draw_pictures", lambda *_: None)
        yield


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
    """Seeded anew for every test."""
    return np.random.default_rng(20)
