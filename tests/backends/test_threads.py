"""On how many threads libraries compute, and why.

Several Python threads may train at once.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from backends import is_installed
from data_sets import on_device, synthetic
from helpers import changed
from processes import PATIENCE
from threadpoolctl import threadpool_info, threadpool_limits

from mlp_xp.backends import threads
from mlp_xp.backends.numpy_backend import NumpyBackend
from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import (
    LARGE_STEP,
    LIMITS,
    ON_GPU,
    UNKNOWN,
    choose_threads,
)
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory

every_eager_library = pytest.mark.parametrize(
    "name",
    [
        "numpy",
        "array-api-strict",
        pytest.param("torch", marks=pytest.mark.every_backend),
    ],
)


# The number.


@every_eager_library
def test_a_given_number_overrides_an_earlier_run_a_variable_and_the_rule_in_this_order(
    name, monkeypatch
):
    backend = open_backend(name)
    assert counts_inside(backend) == {1}, "until a number is chosen"
    reason = "a forward pass of 1 000 000 multiply-adds is too small for more"
    assert chosen(choose_threads(backend, 10**6)) == (1, reason)
    # The libraries read it when they were loaded.
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert chosen(choose_threads(backend, 10**6)) == (2, "OMP_NUM_THREADS=2")
    resumed = choose_threads(backend, 10**6, 3)
    assert chosen(resumed) == (3, "as when the run began")
    given = open_backend(name, threads=3)
    assert chosen(given) == (3, "as given")
    assert choose_threads(given, 10**12, 4) is given
    assert given is open_backend(name, threads=3)
    assert own_counts(name) == {2}


def test_the_rule_gives_large_steps_all_cpus(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    work = 1024 * (784 * 2048 + 2048 * 2048 + 2048 * 10)
    number, reason, _ = choose_threads(open_backend(), work).threads
    assert number == 8
    assert "5 960 105 984 multiply-adds" in reason
    assert choose_threads(open_backend(), LARGE_STEP - 1).threads.number == 1


@pytest.mark.parametrize(
    ("quota", "number"), [("100000 100000", 1), ("250000 100000", 3), ("max 100000", 8)]
)
def test_the_share_of_a_container_counts(quota, number, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(quota)
    groups = [tmp_path / "not seen", tmp_path]
    monkeypatch.setattr(threads, "control_groups", lambda: groups)
    monkeypatch.setattr(threads, "cpus", lambda: 8)
    assert threads.available_cpus() == number


def test_opening_twice_with_a_number_gives_one_backend():
    """Though many others are opened between."""
    first = open_backend("numpy", threads=1)
    for number in range(2, 80):
        open_backend("numpy", threads=number)
    assert open_backend("numpy", threads=1) is first


def test_on_a_gpu_no_number_is_taken():
    backend = changed(open_backend(), threads=ON_GPU, on_gpu=True)
    assert choose_threads(backend, 10**12) is backend


def test_a_library_that_cannot_be_asked_is_not_promised_a_number(monkeypatch):
    """As Apple's Accelerate, which threadpoolctl does not know."""
    found = [each for each in LIMITS._found if each.user_api != "blas"]
    monkeypatch.setattr(LIMITS, "_found", found)
    monkeypatch.setattr(LIMITS, "look", lambda: None)
    backend = NumpyBackend("cpu", "float64")
    assert choose_threads(backend, 1) is backend
    assert backend.threads == UNKNOWN


@pytest.mark.slow
def test_jax_starts_on_the_number_that_is_given():
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    command = [sys.executable, "-c", START_JAX]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


START_JAX = """
import os
from pathlib import Path
from mlp_xp.backends.opening import open_backend
backend = open_backend("jax", "cpu", threads=3)
assert backend.threads.number == 3
assert "NPROC" not in os.environ
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not names or names.count("tf_XLAEigen") == 3, names
assert open_backend("jax", "cpu") is open_backend("jax", "cpu", threads=3)
"""


# Several Python threads at once.


@every_eager_library
@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_runs_at_once_have_the_bits_of_a_run_alone_and_leave_the_threads_as_they_were(
    name, times
):
    # Products large enough that OpenBLAS would split them, into sums of another order.
    config = TrainConfig(
        epochs=1,
        batch_size=150,
        hidden=(96,),
        report_every=150,
        warm_up_steps=2,
        learning_rate=0.1,
    )
    backend = open_backend(name)
    job = Job(config, on_device(synthetic(750, 20, 28), backend), backend)

    def run() -> bytes:
        losses = []
        for event in trajectory(job):
            losses.append(event.losses)
            between.append(own_counts(name))
        return np.concatenate(losses).tobytes()

    between = []
    alone = run()
    assert between == [{2}] * len(between), "a run between two chunks holds no limit"
    for _ in range(times):
        assert at_once([run] * 4) == [alone] * 4
        assert own_counts(name) == {2}


def test_runs_with_other_numbers_at_once_wait_for_each_other():
    """BLAS has one number for all Python threads."""
    numbers = (1, 2, 3, 1, 2)

    def work(number: int) -> Any:
        backend = open_backend("numpy", threads=number)
        return lambda: [counts_inside(backend) for _ in range(50)]

    results = at_once([work(number) for number in numbers])
    assert results == [[{number}] * 50 for number in numbers]
    assert own_counts("numpy") == {2}


def test_a_fault_restores_the_number_and_a_context_within_another_keeps_the_outer_one():
    outer, inner = open_backend(threads=3), open_backend(threads=1)

    def function(x: Any) -> Any:
        assert counts_inside(inner) | own_counts("numpy") == {3}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outer.jit(function)(np.ones(2))
    assert own_counts("numpy") == {2}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads in every library, and no choice in the environment.

    The process may have been started with others.
    """
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    torch = importlib.import_module("torch") if is_installed("torch") else None
    before = torch and torch.get_num_threads()
    with threadpool_limits(limits=2):
        if torch:
            torch.set_num_threads(2)
        yield
    if torch:
        torch.set_num_threads(before)


def own_counts(name: str) -> set[int]:
    """Return the threads of a library, as this Python thread sees them.

    They are PyTorch's own, or those of NumPy's BLAS.
    """
    if name == "torch":
        return {importlib.import_module("torch").get_num_threads()}
    pools = threadpool_info()
    return {each["num_threads"] for each in pools if each["user_api"] == "blas"}


def counts_inside(backend: Backend) -> set[int]:
    """Return the threads of the library in a compiled function."""
    seen: set[int] = set()

    def look(x: Any) -> Any:
        seen.update(own_counts(backend.name))
        return x

    backend.jit(look)(backend.asarray(np.ones(2)))
    return seen


def chosen(backend: Backend) -> tuple[int, str]:
    """Return the number of threads, which the backend must have, and its reason."""
    number, reason, _ = backend.threads
    assert counts_inside(backend) == {number}
    return number, reason


def at_once(functions: list[Callable[[], Any]]) -> list[Any]:
    """Call functions in Python threads of their own, and return their results."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(function) for function in functions]
        return [each.result(PATIENCE) for each in futures]
