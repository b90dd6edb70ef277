"""Training that needs more memory than there is ends in one line, before anything is allocated or written."""

import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, on_device
from helpers import assert_one_line, call, finish, start

from mlp_xp import train
from mlp_xp.backend import BackendFailure, BackendOutOfMemory, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Preparation
from mlp_xp.memory import Limit, NotEnoughMemoryError, check_memory, host_limit, in_units, training_memory
from mlp_xp.network import count_parameters
from mlp_xp.training import layer_sizes, trajectory

WIDE = 2 * 10**9  # units: with images of any size, more than a machine has


def test_a_network_too_large_is_one_line_and_leaves_no_folder(data_dir, tmp_path, backend):
    outcome = call(
        "train", "--data-dir", data_dir, "--backend", backend.name, "--hidden", WIDE, "--run-dir", tmp_path / "run"
    )
    assert_one_line(outcome, 2, "error: training needs about ", "TiB of memory, but ", " are available (limit: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("in_folder", [False, True])
def test_library_users_get_the_same(in_folder, tmp_path):
    numpy = open_backend("numpy")
    options = {"run_dir": tmp_path / "run"} if in_folder else {}
    with pytest.raises(NotEnoughMemoryError, match="needs about"):
        next(train(TrainConfig(hidden=(WIDE,)), on_device(TINY, numpy), numpy, **options))
    assert not (tmp_path / "run").exists()


def test_a_device_with_memory_of_its_own_has_its_own_limit():
    numpy = open_backend("numpy")
    dataset, config = on_device(TINY, numpy), TrainConfig(hidden=(1000,))
    sizes = layer_sizes(config, dataset)
    needed = training_memory(config, sizes, 200, 60, 8).device
    check_memory(config, sizes, dataset, replace(numpy, memory_available=lambda: needed))
    with pytest.raises(NotEnoughMemoryError, match=r"needs about 1\.04 MiB .*\(limit: the device cpu\)"):
        check_memory(config, sizes, dataset, replace(numpy, memory_available=lambda: needed - 1))


def test_the_estimate_is_the_sum_of_what_its_docstring_names():
    """By hand, for 100 samples of 4 pixels, hidden layers of 3 and 5, 2 classes, float32, batches of 10."""
    config = TrainConfig(batch_size=10, hidden=(3, 5), optimizer="adam", validation=20, report_every=10**6)
    sizes = (4, 3, 5, 2)
    parameters = 15 + 20 + 12
    assert count_parameters(sizes) == parameters
    state = 4 * parameters * (1 + 2 + 1)
    # The longest chunk of the 8 steps: 1 with the report, then 7, whose inputs are one block.
    chunk = 4 * (parameters + 2 * 7 * 10 * 2 + 7 * 10 * 4 + 10 * 8 + 15)
    evaluation = 4 * 50 * (3 + 5)
    need = training_memory(config, sizes, 100, 50, 4, saves=True)
    assert need.device == state + max(chunk, evaluation)
    assert need.host == max(8 * parameters, 2 * state)
    assert need.together == max(need.device, 12 * parameters, 3 * state)


PEAK = """
import resource, sys
from mlp_xp import TrainConfig, open_backend
from mlp_xp.memory import training_memory
from mlp_xp.training import layer_sizes, trajectory
from data_sets import on_device, synthetic
backend = open_backend(sys.argv[1])
dataset = on_device(synthetic(300, 100, 28), backend)
for event in trajectory(TrainConfig(hidden=(4,), epochs=1, batch_size=100, optimizer="adam"), dataset, backend): pass
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
config = TrainConfig(hidden=(6000,), epochs=1, batch_size=100, optimizer="adam", warm_up_steps=1, learning_rate=1e-6)
for event in trajectory(config, dataset, backend): pass
print(training_memory(config, layer_sizes(config, dataset), 300, 100, 8).together)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="getrusage has other units elsewhere")
def test_the_estimate_is_below_what_a_process_uses_but_not_far():
    # A shell in between, because a process inherits the peak of the one that starts it.
    code = ["sh", "-c", '"$0" -c "$1" numpy; exit $?', sys.executable, PEAK]
    path = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    run = subprocess.run(code, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(path)})
    estimated, measured = map(int, run.stdout.split())
    assert measured / 3 < estimated <= measured


# What is available.


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMORY = "MemTotal: 9000 kB\nMemAvailable:    4000 kB\nSwapFree: 100 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": MEMORY}, Limit(4100 * 1024, "physical memory")),
        (
            {
                "proc/meminfo": MEMORY,
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "1000000\n",
                "sys/fs/cgroup/a/memory.current": "600000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 9\ninactive_file 1000\nactive_file 500\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "5\n",
            },
            Limit(400000 + 1500 + 102400, "control group"),
        ),
        (
            {
                "proc/meminfo": MEMORY.replace("100", "0"),
                "proc/self/cgroup": "5:cpu:/x\n4:memory,hugetlb:/docker/1\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2500000\n",
            },
            Limit(0, "control group"),
        ),
        (
            {
                "proc/meminfo": MEMORY,
                "proc/self/cgroup": "5:cpu:/x\n4:memory,hugetlb:/docker/1\n",
                "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "1000000\n",
                "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes": "600000\n",
                "sys/fs/cgroup/memory/docker/1/memory.stat": "inactive_file 7\ntotal_inactive_file 1000\n",
            },
            Limit(400000 + 1000 + 102400, "control group"),
        ),
    ],
)
def test_the_lowest_limit_counts(files, expected, tmp_path):
    assert host_limit(write(tmp_path, files)) == expected


def test_units():
    expected = {0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 22 * 2**30: "22 GiB", 999 * 2**20: "999 MiB"}
    assert {number: in_units(number) for number in expected} == expected
    assert in_units(int(22.14 * 2**30)) == "22.1 GiB"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the limit on the address space of Linux")
def test_the_limit_of_the_shell_is_named(data_dir, tmp_path):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({6 * 2**30},) * 2)"
    options = ["--data-dir", data_dir, "--run-dir", tmp_path / "run", "--hidden", 20 * 10**6]
    outcome = finish(start("train", *options, first=limit))
    assert_one_line(outcome, 2, "error: training needs about ", "(limit: ")
    available = re.search(r"but (\S+) GiB are available", outcome.err)
    assert available is None or float(available[1]) < 6
    assert not (tmp_path / "run").exists()


# A library that fails.


SHORT = TrainConfig(epochs=1, hidden=(4,), report_every=100)


@pytest.mark.parametrize(
    ("error", "kind", "start"),
    [
        (MemoryError("Unable to allocate 9 TiB"), BackendOutOfMemory, "out of memory: backend foreign, in chunk: "),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), BackendOutOfMemory, "out of memory: backend foreign, "),
        (RuntimeError("[enforce fail] not enough memory: you tried"), BackendOutOfMemory, "out of memory: "),
        (RuntimeError("kernel\nlaunch " + "x" * 999), BackendFailure, "backend foreign: failed in chunk: RuntimeError"),
        (ZeroDivisionError(), BackendFailure, "backend foreign: failed in chunk: ZeroDivisionError; "),
    ],
)
def test_an_error_of_a_foreign_library_is_one_line(error, kind, start, monkeypatch, tmp_path):
    """While it computes; an error of the configuration stays what it is."""
    (tmp_path / "foreign.py").write_text("from array_api_compat.numpy import *\n")
    monkeypatch.syspath_prepend(tmp_path)
    backend = replace(open_backend("array_api_compat:numpy"), name="foreign")

    def chunk(*_: object) -> None:
        raise error

    with pytest.raises(kind) as caught:
        backend.reported(chunk)()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == (2 if kind is BackendOutOfMemory else 3)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("name", ["numpy", "array-api-strict", "jax"])
def test_a_fault_of_ours_keeps_its_traceback(name):
    backend = open_backend(name)

    def faulty(x: object) -> object:
        raise RuntimeError("dictionary changed size during iteration")

    with pytest.raises(RuntimeError, match="dictionary"):
        backend.jit(faulty)(backend.asarray(np.ones(2)))


def test_memory_that_runs_out_in_the_middle_is_one_line(data_dir, tmp_path, monkeypatch):
    """NumPy's own error, in a run that passed the check."""
    import mlp_xp.chunks

    def greedy(*_: object, **__: object) -> None:
        np.empty(2**62, dtype=np.uint8)

    monkeypatch.setitem(mlp_xp.chunks.LOSSES, "classes", mlp_xp.chunks.LOSSES["classes"]._replace(loss=greedy))
    mlp_xp.chunks.make_chunk.cache_clear()
    try:
        outcome = call("train", "--data-dir", data_dir, "--hidden", 4, "--run-dir", tmp_path / "run")
    finally:
        mlp_xp.chunks.make_chunk.cache_clear()
    assert_one_line(outcome, 2, "error: out of memory: backend numpy, in chunk: ", "Unable to allocate 4.00 EiB")


def test_jax_reports_what_it_cannot_allocate():
    jax = pytest.importorskip("jax")
    backend = open_backend("jax")
    with pytest.raises(BackendFailure) as caught:
        backend.to_numpy(backend.jit(lambda x: jax.numpy.zeros(2**45) + x)(backend.asarray(np.ones(1))))
    assert isinstance(caught.value.__cause__, jax.errors.JaxRuntimeError)
    assert caught.value.exit_code == 2, caught.value


def test_torch_reports_what_it_cannot_allocate():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    backend = open_backend("torch")

    def huge(x: object) -> object:
        return torch.empty(2**50)

    run, x = backend.jit(huge), backend.asarray(np.ones(1))
    with pytest.raises(BackendOutOfMemory, match=r"^out of memory: backend torch, in huge: "):
        run(x)


def test_an_evaluation_that_fails_is_named():
    backend = open_backend("array_api_compat:numpy")
    dataset = on_device(TINY, backend)

    def prepare(images: object, *, dtype: object, xp: object) -> None:
        raise OSError("lost the device")

    with pytest.raises(BackendFailure, match=r"failed in \w+, at mlp_xp/\w+\.py:\d+ \(.*\): OSError: lost the device"):
        list(trajectory(SHORT, dataset._replace(prepare=Preparation(prepare)), backend))


PAGES = """
import resource, numpy as np
from mlp_xp import TrainConfig, open_backend
from mlp_xp.chunks import make_chunk
from mlp_xp.features import flatten_and_scale
make_chunk(TrainConfig().of_steps(), open_backend(), flatten_and_scale)
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(3 * 2**17) for _ in range(4)]
    del arrays
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep freed memory in other ways")
def test_memory_of_a_step_is_kept_for_the_next_one():
    """Twelve megabytes, freed and allocated again, are the same pages; else they would be 3000 new ones each time."""
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    _, *later = map(int, done.stdout.split())
    assert max(later) < 100
