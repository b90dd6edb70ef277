"""Fixtures and hooks. A test with the fixture `backend` runs on each usable backend."""

import ast
import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import cupy_stand_in
import numpy as np
import pytest
import sweeping
from backends import backend_params, has_gpu, is_installed, open_for_test
from data_sets import TINY, write_idx_folder
from helpers import imported, output_of, small_settings

from mlp_xp.backends import BACKENDS
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import MNIST_DIR, load_dataset

# One thread, as `make test` has it: on busy cores two BLAS threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# before SciPy is imported: scikit-learn asks for it
os.environ.setdefault("SCIPY_ARRAY_API", "1")
with suppress(ModuleNotFoundError):
    import hypothesis

    # The same examples each time: a failure by chance would stop unrelated work.
    hypothesis.settings.register_profile("same", derandomize=True, database=None)
    # `make mutants` needs to know only whether a test fails, not its smallest example.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    same = hypothesis.settings.get_profile("same")
    hypothesis.settings.register_profile("unshrunk", same, phases=phases)
    hypothesis.settings.load_profile("same")
# a test leaves nothing in the user's cache folder
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")

QUICK_BACKENDS = {"numpy", "array-api-strict"}
OPTIONAL_BACKENDS = {"torch", "jax", "array-api-strict"}
# Packages of the tests, not required by the package.
OPTIONAL = {
    *("PIL", "hypothesis", "jax", "joblib", "matplotlib", "pandas", "polars", "pooch"),
    *("psutil", "pyarrow", "requests", "scipy", "sklearn", "nbformat"),
    "array_lockstep",
}
# Modules of the repository, and the packages they import.
IMPORTING = {"notebooks": "nbformat", "benchmarks": "psutil"}
LEFT_OUT = pytest.StashKey[Counter]()


def pytest_configure(config: pytest.Config) -> None:
    """Expect the warning of `train`, which draws nothing without Matplotlib."""
    if not is_installed("matplotlib"):
        config.addinivalue_line("filterwarnings", "ignore:.*has no pictures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file of tests with an import of a missing package."""
    if not re.fullmatch(r"test_\w+\.py", collection_path.name):
        return None
    names = imported(ast.parse(collection_path.read_text("utf-8")).body)
    names |= {IMPORTING[name] for name in names & {*IMPORTING}}
    missing = {name for name in names & OPTIONAL if not is_installed(name)}
    if not missing:
        return None
    config.stash.setdefault(LEFT_OUT, Counter())[f"{min(missing)} (files)"] += 1
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark slow tests, and leave out tests this machine cannot run."""
    kept, left_out = [], config.stash.setdefault(LEFT_OUT, Counter())
    for item in items:
        mark_by_backend(item)
        lacks = missing_for(item)
        if lacks:
            left_out[lacks[0]] += 1
        else:
            kept.append(item)
    items[:] = kept


def mark_by_backend(item: pytest.Item) -> None:
    """Add the mark for the library of a test's backend, and mark slow tests.

    A test on another backend than QUICK_BACKENDS is slow, unless it is marked
    `every_backend`.
    """
    for name in texts_of(item) & {*BACKENDS, cupy_stand_in.NAME}:
        if name in OPTIONAL_BACKENDS:
            item.add_marker(pytest.mark.needs(name.replace("-", "_")))
        is_wanted = name in QUICK_BACKENDS or item.get_closest_marker("every_backend")
        if not is_wanted:
            item.add_marker(pytest.mark.slow)


def missing_for(item: pytest.Item) -> list[str]:
    """Return the needs of a test this machine does not meet."""
    needed = [name for mark in item.iter_markers("needs") for name in mark.args]
    missing = [name for name in needed if not is_installed(name)]
    if sys.platform == "win32" and item.get_closest_marker("posix"):
        missing.append("a POSIX system")
    if sys.platform != "linux" and item.get_closest_marker("linux"):
        missing.append("Linux")
    if item.get_closest_marker("gpu"):
        # it would wrongly count as a test on a GPU
        if cupy_stand_in.NAME in item.nodeid:
            raise pytest.UsageError(
                f"{item.nodeid}: runs on the stand-in for CuPy; do not mark it gpu"
            )
        if not has_gpu():
            missing.append("a GPU with CuPy")
    return missing


def texts_of(item: pytest.Item) -> set[str]:
    """Return the text parameters of a test."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params.values() if callspec else ()
    return {each for each in params if isinstance(each, str)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the counts of a process of pytest-xdist to the main process.

    The counts are the same in each process.
    """
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(
            session.config.stash.get(LEFT_OUT, {})
        )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of a process of pytest-xdist."""
    node.config.stash[LEFT_OUT] = Counter(
        getattr(node, "workeroutput", {}).get("left_out", {})
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print one line about the tests left out."""
    if left_out := config.stash.get(LEFT_OUT, None):
        words = ", ".join(
            f"{number} need {name}" for name, number in left_out.most_common()
        )
        terminalreporter.write_line(
            f"left out, because it is not available here: {words}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Install the stand-in as cupy for the tests on it only."""
    stands_in = cupy_stand_in.NAME in texts_of(item)
    with cupy_stand_in.installed() if stands_in else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def strict_flags() -> None:
    """Disable all optional parts of the standard in array-api-strict.

    Tested code then runs anywhere.
    """
    if not is_installed("array_api_strict"):
        return
    import array_api_strict

    array_api_strict.set_array_api_strict_flags(
        boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """Files are written without a wait: the power does not fail in this process.

    Commands in processes of their own wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses a wrong descriptor too
        yield


@pytest.fixture(scope="session", params=backend_params())
def backend(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float64."""
    return open_for_test(request.param)


@pytest.fixture(scope="session", params=backend_params())
def backend32(request: pytest.FixtureRequest, strict_flags: None) -> Backend:
    """Each usable backend in float32."""
    return open_for_test(request.param, "float32")


@pytest.fixture(params=["float64", "float32"])
def backend_of_each_dtype(request: pytest.FixtureRequest, backend: Backend) -> Backend:
    """Each usable backend, in float64 and in float32."""
    return open_backend(backend.name, backend.device_name, request.param)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set as four files."""
    return write_idx_folder(tmp_path_factory.mktemp("data"), TINY)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Training in this process without pictures.

    Pictures take long and have their own tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def small_run(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory, no_pictures: None
) -> Path:
    """A finished run with small settings on the small data set."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    output_of("train", **small_settings(data_dir=data_dir, run_dir=folder))
    return folder


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps train their members in this process, and draw nothing: both is quicker."""
    monkeypatch.setattr("mlp_xp.sweeps.run.this_machine", sweeping.inline)
    monkeypatch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns for the output of this process."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def no_pictures_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in other processes without Matplotlib.

    Its pictures take longer than all else in a short run.
    """
    folder = tmp_path_factory.mktemp("modules")
    (folder / "matplotlib.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.fixture(scope="session", autouse=True)
def installed_packages() -> Iterator[None]:
    """List the installed packages once, for the versions of foreign namespaces.

    Each list takes a quarter of a second.
    """
    with pytest.MonkeyPatch.context() as patch:
        listed = functools.cache(metadata.packages_distributions)
        patch.setattr(metadata, "packages_distributions", listed)
        yield


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The repository's own copy of MNIST."""
    return MNIST_DIR


@pytest.fixture(scope="session")
def mnist(backend: Backend) -> Dataset:
    """MNIST on each usable backend."""
    return load_dataset(backend=backend)


@pytest.fixture
def random() -> np.random.Generator:
    """A random generator with the same seed for every test."""
    return np.random.default_rng(20)
