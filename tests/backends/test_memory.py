"""Training without enough memory, or on a library that fails, ends in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call, changed

from mlp_xp import system
from mlp_xp.backends import memory
from mlp_xp.backends.failures import BackendOutOfMemory
from mlp_xp.backends.memory import (
    NotEnoughMemoryError,
    available_bytes,
    check_memory,
    training_bytes,
)
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig

TESTS = Path(__file__).parents[1]


def test_a_network_too_large_is_one_line_and_leaves_no_folder(data_dir, tmp_path):
    run = tmp_path / "run"
    outcome = call("train --hidden 2000000000", data_dir=data_dir, run_dir=run)
    assert_one_line(outcome, 2, "memory")
    assert not run.exists()


def test_the_estimate_counts_weights_slots_and_one_batch():
    config = TrainConfig(batch_size=10, hidden=(3, 5), optimizer="adam", validation=20)
    parameters = (4 * 3 + 3) + (3 * 5 + 5) + (5 * 2 + 2)
    numbers = parameters * (2 + 2 + 1) + 10 * (4 + 3 + 5 + 2)
    assert training_bytes(config, (4, 3, 5, 2), "float32") == 4 * numbers


def test_the_memory_of_a_gpu_is_left_to_its_library(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    config, backend = TrainConfig(hidden=(10,)), open_backend()
    with pytest.raises(NotEnoughMemoryError):
        check_memory(config, (784, 10, 10), backend)
    check_memory(config, (784, 10, 10), changed(backend, on_gpu=True))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="getrusage has other units elsewhere"
)
def test_the_estimate_is_below_the_use_of_a_process_but_not_far():
    # A shell in between, because a process inherits the peak of the one that starts it.
    code = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, PEAK]
    path = {"PYTHONPATH": f"{TESTS}:{TESTS / 'tools'}"}
    run = subprocess.run(code, capture_output=True, text=True, check=True, env=path)
    estimated, measured = map(int, run.stdout.split())
    assert measured / 3 < estimated <= measured


PEAK = """
import resource, sys
from mlp_xp import TrainConfig, open_backend
from mlp_xp.backends.memory import training_bytes
from mlp_xp.core.job import Job, layer_sizes
from mlp_xp.core.training import trajectory
from data_sets import on_device, synthetic
backend = open_backend()
dataset = on_device(synthetic(300, 100, 28), backend)
common = {"epochs": 1, "batch_size": 100, "optimizer": "adam", "warm_up_steps": 1}
config = TrainConfig(hidden=(4,), **common)
for event in trajectory(Job(config, dataset, backend)): pass
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
config = TrainConfig(hidden=(6000,), **common, learning_rate=1e-6)
for event in trajectory(Job(config, dataset, backend)): pass
print(training_bytes(config, layer_sizes(config, dataset.signature), "float64"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


@pytest.mark.linux
@pytest.mark.parametrize(("most", "available"), [("1000000", 401_500), ("max", 10**9)])
def test_the_limit_of_a_container_counts(most, available, tmp_path, monkeypatch):
    """A group's limit holds for the groups within it.

    Cached files are dropped when their memory is needed.
    """
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    group = tmp_path / lines.rpartition("0::")[2].strip().lstrip("/")
    group.mkdir(parents=True, exist_ok=True)
    (tmp_path / "memory.max").write_text(most)
    (tmp_path / "memory.current").write_text("600000")
    caches = "anon 9\ninactive_file 1000\nactive_file 500\n"
    (tmp_path / "memory.stat").write_text(caches)
    monkeypatch.setattr(system, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_of_machine", lambda: 10**9)
    assert available_bytes() == available


# A library that fails.


@pytest.mark.every_backend
def test_a_fault_of_ours_keeps_its_traceback(backend):
    def faulty(x: object) -> object:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        backend.jit(faulty)(backend.asarray(np.ones(2)))


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_library_reports_an_array_too_large_for_it(name):
    backend = open_backend(name)
    huge = backend.jit(lambda x: backend.xp.zeros(2**45, dtype=backend.dtype) + x)
    with pytest.raises(BackendOutOfMemory):
        backend.to_numpy(huge(backend.asarray(np.ones(1))))
