"""Several Python threads that train at once: the bits of each run, and the threads of the libraries afterwards."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from backends import open_or_skip
from data_sets import on_device, synthetic
from threadpoolctl import threadpool_info, threadpool_limits

from mlp_xp.config import TrainConfig
from mlp_xp.training import trajectory

ROUNDS = 5
WORKERS = 4
PATIENCE = 60  # seconds
# Products large enough that OpenBLAS would split them, into sums of another order.
CONFIG = TrainConfig(epochs=1, batch_size=150, hidden=(96,), report_every=150, warm_up_steps=2, learning_rate=0.1)
HOST = synthetic(750, 20, 28)
eager = pytest.mark.parametrize("name", ["numpy", "torch", "array-api-strict"])


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice in the environment, and two threads in every library, whatever this process was started with."""
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    try:
        import torch
    except ImportError:
        with threadpool_limits(limits=2):
            yield
        return
    before = torch.get_num_threads()
    with threadpool_limits(limits=2):
        torch.set_num_threads(2)
        yield
    torch.set_num_threads(before)


def own_counts(name: str) -> list[int]:
    """The threads of the library, as this Python thread sees them: PyTorch's own, or those of NumPy's BLAS."""
    if name == "torch":
        return [pytest.importorskip("torch", reason="torch is not installed").get_num_threads()]
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def counts(name: str) -> list[int]:
    """The threads of every library of this process."""
    return [each["num_threads"] for each in threadpool_info()] + own_counts(name)


def at_once(functions: list[Any]) -> list[Any]:
    """Call functions in Python threads of their own, all at once, and return their results."""
    results: list[Any] = [None] * len(functions)
    gate = threading.Barrier(len(functions))

    def work(i: int) -> None:
        gate.wait(PATIENCE)
        try:
            results[i] = functions[i]()
        except BaseException as error:
            results[i] = error

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert not any(worker.is_alive() for worker in workers)
    return results


@eager
def test_runs_at_once_have_the_bits_of_a_run_alone_and_leave_the_threads_as_they_were(name):
    backend = open_or_skip(name)
    dataset = on_device(HOST, backend)

    def run() -> tuple[bytes, list[int]]:
        losses = np.concatenate([event.losses for event in trajectory(CONFIG, dataset, backend)])
        return losses.tobytes(), counts(name)

    before = counts(name)
    assert before
    assert set(before) == {2}
    alone, after = run()
    assert after == before
    for _ in range(ROUNDS):
        results = at_once([run] * WORKERS)
        assert [each[0] == alone for each in results] == [True] * WORKERS
        assert counts(name) == before


def overlapping(backend: Any, name: str, fault: bool = False) -> tuple[list[int], list[int]]:
    """Run a chunk that begins inside another and ends after it. Return the threads of the second at its end."""
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    inside: list[int] = []
    own: list[int] = []

    def first(x: Any) -> Any:
        first_is_in.set()
        assert second_is_in.wait(PATIENCE)
        if fault:
            raise ZeroDivisionError
        return x

    def second(x: Any) -> Any:
        second_is_in.set()
        assert first_is_out.wait(PATIENCE)
        inside.extend(own_counts(name))
        return x

    x = backend.asarray(np.ones(2))

    def run_first() -> None:
        try:
            backend.jit(first)(x)
        finally:
            own.extend(own_counts(name))
            first_is_out.set()

    def run_second() -> None:
        assert first_is_in.wait(PATIENCE)
        backend.jit(second)(x)

    results = at_once([run_first, run_second])
    assert isinstance(results[0], ZeroDivisionError) if fault else results[0] is None
    assert results[1] is None
    return inside, own


@eager
@pytest.mark.parametrize("fault", [False, True])
def test_a_chunk_that_outlasts_another_stays_on_one_thread(name, fault):
    backend, before = open_or_skip(name), counts(name)
    inside, _ = overlapping(backend, name, fault)
    assert set(inside) == {1}
    assert counts(name) == before


def test_a_thread_that_leaves_before_another_has_its_own_number_back():
    """Of OpenMP, which counts for each Python thread."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    _, own = overlapping(open_or_skip("torch"), "torch")
    assert own[-1] == 2
    assert torch.get_num_threads() == 2


@eager
def test_a_run_between_two_chunks_holds_no_limit(name):
    backend, before = open_or_skip(name), counts(name)
    events = trajectory(CONFIG, on_device(HOST, backend), backend)
    next(events)
    assert counts(name) == before
    assert at_once([lambda: [event.closing for event in trajectory(CONFIG, on_device(HOST, backend), backend)][-1]])
    assert counts(name) == before
    events.close()
    assert counts(name) == before
