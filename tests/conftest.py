"""Fixtures and helpers: every test that takes `backend` or `xp` runs on every backend that is usable here."""

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

from mlp_xp.backend import BACKENDS, Backend, BackendError, installed, open_backend
from mlp_xp.data.datasets import MNIST_DIR, load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.parity.notebook import flat, one_hot

NEEDS_GPU = {"cupy"}


def backend_params() -> list:
    """One parameter a backend; what must be installed for the tests to mean something is never skipped.

    The stand-in for CuPy comes last and is never marked `gpu`: what runs on it has not run on a GPU.
    """
    names = [pytest.param(name, marks=[pytest.mark.gpu] if name in NEEDS_GPU else [], id=name) for name in BACKENDS]
    return [*names, pytest.param(cupy_stand_in.NAME, id=cupy_stand_in.NAME)]


def open_or_skip(name: str, dtype: str = "float64") -> Backend:
    """Open a backend, or skip the test with the reason that a user would read."""
    if name == cupy_stand_in.NAME:
        with cupy_stand_in.installed():
            return open_backend("cupy", dtype=dtype)
    if name in ("torch", "cupy") and not installed(name):
        pytest.skip(f"{name} is not installed")
    try:
        return open_backend(name, dtype=dtype)
    except BackendError as error:
        if name in NEEDS_GPU:
            pytest.skip(str(error))
        raise


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
    from helpers import TINY, write_idx_folder  # which imports this file

    return write_idx_folder(tmp_path_factory.mktemp("data"), TINY)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """They take longer than all else, and have their own tests; a process of its own draws them."""
    from helpers import load_script

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


def assert_close(actual, expected: np.ndarray, backend: Backend, rtol: float, atol: float = 0.0) -> None:
    """Namespace, dtype, shape and device first, then values."""
    assert actual.dtype == backend.dtype
    assert actual.shape == expected.shape
    host = backend.to_numpy(actual)
    assert type(host) is np.ndarray
    np.testing.assert_allclose(host, expected, rtol=rtol, atol=atol)


def trajectory_tolerance(steps: int, fan_in: int, dtype: Any = np.float64) -> float:
    """How far two right computations of one trajectory may be apart after so many steps, for `assert_near`.

    The largest error of a step is that of its longest sum, x W_0 over fan_in terms. Added up in another order, such a
    sum of terms of order 1 changes by about sqrt(fan_in) eps (Higham and Mary, 2019: rounding errors are as good as
    independent, so their sum grows with the root). Descent with a modest rate does not amplify a difference, so those
    of all the steps at worst add up:

        steps * sqrt(fan_in) * eps
    """
    return steps * fan_in**0.5 * float(np.finfo(dtype).eps)


def assert_near(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """|actual - expected| <= tolerance * max(1, |expected|), everywhere; both finite.

    Relative alone would be too much to ask of small losses: the loss is the logarithm of a probability near 1 there,
    which carries an absolute error of eps however small the loss.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    assert np.isfinite(expected).all()
    excess = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
    where = np.unravel_index(int(np.argmax(excess)), excess.shape) if excess.size else ()
    assert not excess.size or excess[where] <= tolerance, (
        f"apart by {excess[where]:.3g} at {where}, tolerance {tolerance:.3g}: {actual[where]} is not {expected[where]}"
    )


def synthetic(samples: int = 300, test_samples: int = 100, size: int = 12, classes: int = 10) -> Dataset:
    """Small images on the host that a network can learn: a random pattern for each class, and noise."""
    random = np.random.default_rng(samples)
    patterns = random.integers(0, 128, (classes, size, size))

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, classes, count)
        labels[:classes] = np.arange(classes)[:count]  # every class is there: the notebook counts them by the largest
        images = patterns[labels] + random.integers(0, 128, (count, size, size))
        return images.astype(np.uint8), labels.astype(np.uint8)

    return Dataset(*part(samples), *part(test_samples), tuple(str(i) for i in range(classes)))


def on_device(dataset: Dataset, backend: Backend) -> Dataset:
    """The arrays of a data set on the host, copied to the backend's device."""
    fields = ("train_images", "train_labels", "test_images", "test_labels")
    return dataset._replace(**{field: backend.asarray(getattr(dataset, field)) for field in fields})


def notebook_rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The training part of a data set on the host as the notebook prepares it: float64 rows and one-hot labels."""
    return flat(dataset.train_images), one_hot(dataset.train_labels)
