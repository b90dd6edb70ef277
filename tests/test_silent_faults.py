"""Faults that change no loss and raise no error: checksums, clocks, shapes, lengths and threads."""

import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import open_or_skip
from data_sets import on_device, synthetic
from threadpoolctl import threadpool_info, threadpool_limits

from mlp_xp import TrainConfig, open_backend, predict, train
from mlp_xp.backend import Backend, BackendFailure
from mlp_xp.dataset import Dataset, Preparation
from mlp_xp.features import flatten_and_scale
from mlp_xp.network import Layer
from mlp_xp.runs import run_folder
from mlp_xp.runs.run_folder import RunError
from mlp_xp.training import WARM_UP_EPOCH, trajectory

HOST = synthetic(150, 40, 6)


# The checksum of a run's data covers all of it.


def large() -> Dataset:
    """12 003 and 6 001 samples of 2 x 2."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (18004, 2, 2), dtype=np.uint8)
    labels = random.integers(0, 10, 18004, dtype=np.uint8)
    return HOST._replace(
        train_images=images[:12003], train_labels=labels[:12003], test_images=images[12003:], test_labels=labels[12003:]
    )


LARGE_CONFIG = TrainConfig(epochs=1, batch_size=4000, hidden=(1,), warm_up_steps=0)


@pytest.fixture(scope="module")
def large_run(tmp_path_factory) -> Path:
    """The folder of a finished run on `large()`, which is accepted when it comes again."""
    folder, backend = tmp_path_factory.mktemp("run"), open_backend("numpy")
    assert len([*train(LARGE_CONFIG, large(), backend, run_dir=folder)]) > 1
    assert len([*train(LARGE_CONFIG, large(), backend, run_dir=folder)]) == 1
    return folder


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_changed_bit_anywhere_is_other_data(name, large_run, monkeypatch):
    """97 places over each array, its ends among them: a checksum that leaves out a fifth of them misses some.

    It is that of the run, where the arrays were not copied in pieces.
    """
    host = large()
    monkeypatch.setattr(run_folder, "PIECE_BYTES", 5000)
    assert len([*train(LARGE_CONFIG, host, open_backend("numpy"), run_dir=large_run)]) == 1
    size = getattr(host, name).size
    for place in np.linspace(0, size - 1, 97).astype(int):
        array = getattr(host, name).copy()
        array.reshape(-1)[place] ^= 1  # the lowest bit: a label stays within the classes
        with pytest.raises(RunError, match="data_crc32"):
            next(train(LARGE_CONFIG, host._replace(**{name: array}), open_backend("numpy"), run_dir=large_run))


def test_a_checksum_compiles_nothing():
    jax = pytest.importorskip("jax")
    backend, names = open_backend("jax"), []
    dataset = on_device(large(), backend)
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **others: names.append(event))
    run_folder.checksum(dataset, backend)
    assert "/jax/core/compile/backend_compile_duration" not in names


# Clocks. A clock that only the test moves makes every reading exact.


class Clock:
    """Stands still but for what the test adds to `now`."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def slow_transfers(backend: Backend, clock: Clock) -> Backend:
    """The backend, with one second for each transfer to the host: a chunk of training has one, a report none."""

    def to_numpy(array: Any) -> np.ndarray:
        clock.now += 1
        return backend.to_numpy(array)

    return replace(backend, to_numpy=to_numpy)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_samples_per_second_are_samples_over_seconds_of_training(batch_size, clock):
    backend = slow_transfers(open_backend("numpy"), clock)
    config = TrainConfig(epochs=2, batch_size=batch_size, hidden=(4,), report_every=60)
    began, done, since, chunks, rates = clock.now, 0, 0, 0, []
    for event in trajectory(config, on_device(HOST, backend), backend):
        assert event.position.seconds == clock.now - began
        if event.position.epoch != WARM_UP_EPOCH and event.losses.size:
            chunks += 1
            done = event.position.epoch * 150 + event.position.sample
        if event.report:
            expected = (done - since) / chunks if chunks else 0.0
            assert event.report.samples_per_second == expected
            assert event.report.seconds == clock.now - began
            rates.append(expected)
            since, chunks = done, 0
        clock.now += 100  # whatever the caller does meanwhile is no training
    assert len(rates) == 7


def test_seconds_go_on_where_the_run_was_left(clock, tmp_path):
    """The time up to the checkpoint counts, the time between the two processes does not."""
    backend = slow_transfers(open_backend("numpy"), clock)
    config = TrainConfig(epochs=3, hidden=(4,), report_every=50)
    reports = train(config, HOST, backend, run_dir=tmp_path)
    for report in reports:
        if (report.epoch, report.sample) == (1, 0):  # after the checkpoint at the end of the first epoch
            break
        clock.now += 1000
    reports.close()
    left = report.seconds
    assert 3000 < left < 3500
    clock.now += 10**6
    seconds = [report.seconds for report in train(config, HOST, backend, run_dir=tmp_path)]
    assert 3000 < seconds[0] < 3500
    assert seconds == sorted(seconds)
    recorded = [json.loads(line)["seconds"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert recorded == sorted(recorded)
    assert recorded[3:] == seconds[:-1]
    assert json.loads((tmp_path / "result.json").read_text())["seconds"] == seconds[-1] < 4000


# Parts of a prediction.


def predicted_shapes(samples: int, backend: Backend) -> list[tuple[int, ...]]:
    """The shapes of images that the forward pass sees when so many of MNIST's size are predicted.

    One for each run of its Python, which where a library compiles is one for each compilation.
    """
    shapes = []

    def prepare(images, **kwargs):
        shapes.append(tuple(images.shape))
        return flatten_and_scale(images, **kwargs)

    layers = on_device(synthetic(20, samples, 28), backend)
    weights = backend.asarray(np.zeros((784, 10)), backend.dtype), backend.asarray(np.zeros(10), backend.dtype)
    probabilities = predict(
        (Layer(*weights),), layers.test_images, activation="sigmoid", backend=backend, prepare=Preparation(prepare)
    )
    assert probabilities.shape == (samples, 10)
    return shapes


def test_the_forward_pass_for_a_test_set_compiles_once(backend):
    """10 000 images do not fit at once, and the number that does is no divisor of 10 000."""
    shapes = predicted_shapes(10000, backend)
    assert len(set(shapes)) == 1
    assert shapes[0][0] < 10000


@pytest.mark.parametrize("samples", [1100, 2503, 3001])
def test_parts_of_a_prediction_are_as_even_as_can_be(samples):
    sizes = [shape[0] for shape in predicted_shapes(samples, open_backend("numpy"))]
    assert sum(sizes) == samples
    assert len(sizes) > 1
    # All but the last are n / parts rounded up, so the last lacks less than one sample for each part.
    assert max(sizes) == sizes[0] == -(-samples // len(sizes))
    assert max(sizes) - min(sizes) < len(sizes)


# Lengths of chunks.


def stretches(config: TrainConfig, host: Dataset) -> Iterator[list[int]]:
    """The lengths of the chunks up to each report, and after the last one of an epoch."""
    backend = open_backend("numpy")
    lengths: list[int] = []
    for event in trajectory(config, on_device(host, backend), backend):
        if event.position.epoch == WARM_UP_EPOCH or not event.losses.size:
            continue
        lengths.append(event.losses.size)
        if event.report or event.position.sample == host.train_images.shape[0]:
            yield lengths
            lengths = []


def test_what_the_longest_chunks_leave_is_cut_into_few():
    """With lengths n, sqrt(n) and 1 a rest r < n takes at most n / sqrt(n) chunks of sqrt(n) and sqrt(n) single steps.

    Without the middle length it would take up to n - 1 of one step, each with its cost on the host.
    """
    config = TrainConfig(epochs=1, hidden=(2,), report_every=1000, warm_up_steps=0)
    host = synthetic(2990, 20, 6)
    cuts = [*stretches(config, host)]
    assert sum(map(sum, cuts)) == 2990
    longest = max(itertools.chain(*cuts))
    root = math.isqrt(longest)
    assert longest > 500
    assert any(sum(cut) > longest // 2 and longest not in cut for cut in cuts), "there is a rest to be cut"
    for cut in cuts:
        assert len(cut) <= sum(cut) // longest + (longest // root) + root


# Threads.


def blas_threads() -> list[int]:
    """Of NumPy's BLAS; other libraries in this process may have brought their own."""
    return [
        each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas" and "numpy" in each["filepath"]
    ]


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice in the environment, and two threads in every library, whatever this process was started with."""
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    torch_threads = None
    try:
        import torch

        torch_threads = torch.get_num_threads()
        torch.set_num_threads(2)
    except ImportError:
        pass
    with threadpool_limits(limits=2, user_api="blas"):
        yield
    if torch_threads:
        torch.set_num_threads(torch_threads)


def thread_count(name: str) -> int:
    """The number of threads that a library would compute on now."""
    if name == "torch":
        return pytest.importorskip("torch", reason="torch is not installed").get_num_threads()
    counts = blas_threads()
    if not counts:
        pytest.skip("threadpoolctl knows no BLAS of NumPy here")
    (count,) = set(counts)
    return count


def threads_in_a_run(name: str) -> tuple[list[int], list[int]]:
    """Thread counts inside the chunks of a run, and in between."""
    backend = open_or_skip(name)
    inside, outside = [], []

    def scan(*args: Any) -> Any:
        inside.append(thread_count(name))
        return backend.scan(*args)

    watched = replace(backend, scan=scan)
    config = TrainConfig(epochs=1, batch_size=30, hidden=(4,), report_every=60)
    for _ in trajectory(config, on_device(HOST, backend), watched):
        outside.append(thread_count(name))
    assert inside
    assert outside
    return inside, outside


eager = pytest.mark.parametrize("name", ["numpy", "torch", "array-api-strict", "array_api_compat:numpy"])


@eager
def test_a_chunk_runs_on_one_thread_and_gives_the_others_back(name, two_threads):
    assert thread_count(name) == 2
    inside, outside = threads_in_a_run(name)
    assert set(inside) == {1}
    assert set(outside) == {2}


@eager
def test_threads_are_left_as_the_environment_chooses_them(name, two_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    inside, outside = threads_in_a_run(name)
    assert set(inside) == set(outside) == {2}


@eager
def test_whatever_goes_through_jit_runs_on_one_thread(name, two_threads):
    backend, counts = open_or_skip(name), []

    def function(x: Any) -> Any:
        counts.append(thread_count(name))
        return x

    backend.jit(function)(backend.asarray(np.ones(2)))
    assert counts == [1]
    assert thread_count(name) == 2


@eager
def test_threads_are_given_back_after_a_fault(name, two_threads):
    def fail(x: Any) -> Any:
        raise ZeroDivisionError

    backend = open_or_skip(name)
    with pytest.raises((ZeroDivisionError, BackendFailure)):  # the latter from a library that is not known
        backend.jit(fail)(backend.asarray(np.ones(2)))
    assert thread_count(name) == 2
