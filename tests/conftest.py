"""Fixtures: every test that takes `backend` or `xp` runs on every backend that is usable here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlp_xp.backend import BACKENDS, Backend, BackendError, installed, open_backend
from mlp_xp.datasets import MNIST_DIR, Dataset, load_dataset

NEEDS_GPU = {"cupy"}


def backend_params() -> list:
    """One parameter a backend; what must be installed for the tests to mean something is never skipped."""
    return [pytest.param(name, marks=[pytest.mark.gpu] if name in NEEDS_GPU else [], id=name) for name in BACKENDS]


def open_or_skip(name: str, dtype: str = "float64") -> Backend:
    """Open a backend, or skip the test with the reason that a user would read."""
    if name in ("torch", "cupy") and not installed(name):
        pytest.skip(f"{name} is not installed")
    try:
        return open_backend(name, dtype=dtype)
    except BackendError as error:
        if name in NEEDS_GPU:
            pytest.skip(str(error))
        raise


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
