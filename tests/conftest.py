"""Fixtures and hooks. A test with the fixture `backend` or `xp` runs on every usable
backend.
"""

import ast
import os
import re
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import cupy_stand_in
import numpy as np
import pytest
import sweeping
from backends import backend_params, has_gpu, is_installed, open_for_test
from data_sets import TINY, write_idx_folder
from helpers import call, options, small_settings

from mlp_xp.backends import BACKENDS
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import MNIST_DIR, load_dataset

# One thread, as `make test` has it: on busy cores two BLAS threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# before SciPy is imported: scikit-learn asks for it
os.environ.setdefault("SCIPY_ARRAY_API", "1")
with suppress(ModuleNotFoundError):
    import hypothesis

    # The same examples each time: a test that fails by chance stops work that has
    # nothing to do with it.
    hypothesis.settings.register_profile("same", derandomize=True, database=None)
    hypothesis.settings.load_profile("same")
# a test leaves nothing in the user's cache folder
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")

QUICK_BACKENDS = {"numpy", "array-api-strict"}
OPTIONAL_BACKENDS = {"torch", "jax", "array-api-strict"}
# What tests import that the package does not require.
OPTIONAL = {
    *("PIL", "hypothesis", "jax", "joblib", "matplotlib", "pandas", "polars", "pooch"),
    *("psutil", "pyarrow", "requests", "scipy", "sklearn", "nbformat"),
}
# Modules of the repository that import such packages.
IMPORTING = {"notebooks": "nbformat", "benchmarks": "psutil"}
LEFT_OUT = pytest.StashKey[Counter]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file of tests that imports something that is not installed."""
    if not re.fullmatch(r"test_\w+\.py", collection_path.name):
        return None
    tree = ast.parse(collection_path.read_text("utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    packages = {name.partition(".")[0] for name in names}
    packages |= {IMPORTING[name] for name in packages & {*IMPORTING}}
    missing = {name for name in packages & OPTIONAL if not is_installed(name)}
    if not missing:
        return None
    config.stash.setdefault(LEFT_OUT, Counter())[f"{min(missing)} (files)"] += 1
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark tests on slower backends as slow, and leave out those that need something
    this machine does not have.

    A test on another backend than QUICK_BACKENDS is slow, unless it is marked
    `every_backend`.
    """
    kept, left_out = [], config.stash.setdefault(LEFT_OUT, Counter())
    for item in items:
        callspec = getattr(item, "callspec", None)
        words = (
            {x for x in callspec.params.values() if isinstance(x, str)}
            if callspec
            else set()
        )
        for name in words & {*BACKENDS, cupy_stand_in.NAME}:
            if name in OPTIONAL_BACKENDS:
                item.add_marker(pytest.mark.needs(name.replace("-", "_")))
            if name not in QUICK_BACKENDS and not item.get_closest_marker(
                "every_backend"
            ):
                item.add_marker(pytest.mark.slow)
        missing = [
            name
            for marker in item.iter_markers("needs")
            for name in marker.args
            if not is_installed(name)
        ]
        if sys.platform == "win32" and item.get_closest_marker("posix"):
            missing += ["a POSIX system"]
        if sys.platform != "linux" and item.get_closest_marker("linux"):
            missing += ["Linux"]
        if item.get_closest_marker("gpu"):
            # it would wrongly count as a test on a GPU
            if cupy_stand_in.NAME in item.nodeid:
                raise pytest.UsageError(
                    f"{item.nodeid}: runs on the stand-in for CuPy; do not mark it gpu"
                )
            missing += [] if has_gpu() else ["a GPU with CuPy"]
        if missing:
            left_out[missing[0]] += 1
        else:
            kept.append(item)
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send what a process of pytest-xdist has left out, which is the same in each, to
    the main one.
    """
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(
            session.config.stash.get(LEFT_OUT, {})
        )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of pytest-xdist has left out."""
    node.config.stash[LEFT_OUT] = Counter(
        getattr(node, "workeroutput", {}).get("left_out", {})
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print one line about the tests that were left out."""
    if left_out := config.stash.get(LEFT_OUT, None):
        words = ", ".join(
            f"{number} need {name}" for name, number in left_out.most_common()
        )
        terminalreporter.write_line(
            f"left out, because it is not available here: {words}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Install the stand-in as cupy for tests on it, and only for these."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params.values() if callspec else ()
    stands_in = any(
        isinstance(param, str) and param == cupy_stand_in.NAME for param in params
    )
    with cupy_stand_in.installed() if stands_in else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def strict_flags() -> None:
    """Disable all optional parts of the standard in array-api-strict, so that code that
    passes runs anywhere.
    """
    if not is_installed("array_api_strict"):
        return
    import array_api_strict

    array_api_strict.set_array_api_strict_flags(
        boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )


@pytest.fixture(scope="session", params=backend_params())
def backend(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float64."""
    return open_for_test(request.param)


@pytest.fixture(scope="session", params=backend_params())
def backend32(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float32."""
    return open_for_test(request.param, "float32")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set as four files."""
    return write_idx_folder(tmp_path_factory.mktemp("data"), TINY)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Training without pictures, which take long and have their own tests; has no
    effect on other processes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
        patch.setattr("mlp_xp.api.draw_run", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def small_run(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory, no_pictures: None
) -> Path:
    """A run that `train` has finished, with small settings on the small data set."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    outcome = call(
        "train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings())
    )
    assert (outcome.code, outcome.err) == (0, "")
    return folder


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps train their members in this process, and draw nothing, which both is
    quicker.
    """
    monkeypatch.setattr("mlp_xp.sweeps.run.this_machine", sweeping.inline)
    monkeypatch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns for what is printed in this process."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def no_pictures_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in other processes without Matplotlib, whose pictures take longer than
    all else in a short run.
    """
    folder = tmp_path_factory.mktemp("modules")
    (folder / "matplotlib.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


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
