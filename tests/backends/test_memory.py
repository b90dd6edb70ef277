"""Training that needs more memory than there is ends in one line, before anything is
allocated or written.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call, changed

from mlp_xp import system
from mlp_xp.backends import memory
from mlp_xp.backends.failures import BackendFailure, BackendOutOfMemory
from mlp_xp.backends.memory import (
    NotEnoughMemoryError,
    available_bytes,
    check_memory,
    training_bytes,
)
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig


def test_a_network_too_large_is_one_line_and_leaves_no_folder(data_dir, tmp_path):
    outcome = call(
        "train",
        "--data-dir",
        data_dir,
        "--hidden",
        2 * 10**9,
        "--run-dir",
        tmp_path / "run",
    )
    assert_one_line(
        outcome,
        2,
        "error: training needs about ",
        "GiB of memory, but ",
        " are available",
    )
    assert not (tmp_path / "run").exists()


def test_the_estimate_counts_weights_slots_and_one_batch():
    config = TrainConfig(batch_size=10, hidden=(3, 5), optimizer="adam", validation=20)
    parameters = (4 * 3 + 3) + (3 * 5 + 5) + (5 * 2 + 2)
    assert training_bytes(config, (4, 3, 5, 2), "float32") == 4 * (
        parameters * (2 + 2 + 1) + 10 * (4 + 3 + 5 + 2)
    )


def test_the_memory_of_a_gpu_is_left_to_its_library(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    config, backend = TrainConfig(hidden=(10,)), open_backend()
    with pytest.raises(NotEnoughMemoryError, match=r"but 0.00 GiB are available"):
        check_memory(config, (784, 10, 10), backend)
    check_memory(config, (784, 10, 10), changed(backend, on_gpu=True))


PEAK = """
import resource, sys
from mlp_xp import TrainConfig, open_backend
from mlp_xp.backends.memory import training_bytes
from mlp_xp.core.job import Job, layer_sizes
from mlp_xp.core.training import trajectory
from data_sets import on_device, synthetic
backend = open_backend()
dataset = on_device(synthetic(300, 100, 28), backend)
job = Job(TrainConfig(hidden=(4,), epochs=1, batch_size=100, optimizer="adam"), dataset, backend)
for event in trajectory(job): pass
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
config = TrainConfig(hidden=(6000,), epochs=1, batch_size=100, optimizer="adam", warm_up_steps=1, learning_rate=1e-6)
for event in trajectory(Job(config, dataset, backend)): pass
print(training_bytes(config, layer_sizes(config, dataset.signature), "float64"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="getrusage has other units elsewhere"
)
def test_the_estimate_is_below_what_a_process_uses_but_not_far():
    # A shell in between, because a process inherits the peak of the one that starts it.
    code = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, PEAK]
    path = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tools")]
    run = subprocess.run(
        code,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path)},
    )
    estimated, measured = map(int, run.stdout.split())
    assert measured / 3 < estimated <= measured


@pytest.mark.linux
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    """Cached files are dropped when their memory is needed, and a group's limit holds
    for the groups within it.
    """
    own = (
        Path("/proc/self/cgroup")
        .read_text(encoding="utf-8")
        .rpartition("0::")[2]
        .strip()
    )
    group = tmp_path / own.lstrip("/")
    group.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(system, "GROUPS", tmp_path)
    for name, content in {
        "max": "1000000",
        "current": "600000",
        "stat": "anon 9\ninactive_file 1000\nactive_file 500\n",
    }.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert available_bytes() == 400000 + 1500
    (tmp_path / "memory.max").write_text("max")
    assert available_bytes() > 2**20


# A library that fails.


@pytest.mark.parametrize(
    ("error", "kind", "start"),
    [
        (
            MemoryError("Unable to allocate 9 TiB"),
            BackendOutOfMemory,
            "out of memory: backend foreign, in chunk: ",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
            BackendOutOfMemory,
            "out of memory: backend foreign, ",
        ),
        (
            RuntimeError("kernel\nlaunch " + "x" * 999),
            BackendFailure,
            "backend foreign: failed in chunk: RuntimeError",
        ),
    ],
)
def test_an_error_of_a_foreign_library_is_one_line(error, kind, start):
    backend = changed(open_backend("array_api_compat:numpy"), name="foreign")

    def chunk() -> None:
        raise error

    with pytest.raises(kind) as caught:
        backend.jit(chunk)()
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == (2 if kind is BackendOutOfMemory else 3)


@pytest.mark.every_backend
def test_a_fault_of_ours_keeps_its_traceback(backend):
    def faulty(x: object) -> object:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        backend.jit(faulty)(backend.asarray(np.ones(2)))


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_library_reports_what_it_cannot_allocate(name):
    backend = open_backend(name)
    huge = backend.jit(lambda x: backend.xp.zeros(2**45, dtype=backend.dtype) + x)
    with pytest.raises(
        BackendOutOfMemory, match=rf"^out of memory: backend {name}, in "
    ):
        backend.to_numpy(huge(backend.asarray(np.ones(1))))
