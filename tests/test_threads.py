"""On how many threads libraries compute, also where several Python threads train at once, and why."""

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest
from backends import open_or_skip
from data_sets import TINY, on_device, synthetic
from helpers import assert_one_line, call, load_script, options, small_settings
from threadpoolctl import threadpool_info, threadpool_limits

from mlp_xp import threads
from mlp_xp.api import train
from mlp_xp.backend import ON_GPU, BackendError, open_backend, open_namespace
from mlp_xp.chunks import make_chunk
from mlp_xp.commands import command_line
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import BYTES
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps import member, workers
from mlp_xp.threads import LARGE_STEP, ThreadsError, idle_cpus, threads_by_work
from mlp_xp.training import trajectory

ROUNDS = 5
WORKERS = 4
PATIENCE = 60  # seconds
# Products large enough that OpenBLAS would split them, into sums of another order.
CONFIG = TrainConfig(epochs=1, batch_size=150, hidden=(96,), report_every=150, warm_up_steps=2, learning_rate=0.1)
HOST = synthetic(750, 20, 28)
eager = pytest.mark.parametrize("name", ["numpy", "torch", "array-api-strict", "array_api_compat:numpy"])


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
    # The fault of a library that is not known is reported as a BackendFailure.
    assert ZeroDivisionError in (type(results[0]), type(results[0].__cause__)) if fault else results[0] is None
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


# A chosen number.


def counts_inside(backend: Any, name: str) -> set[int]:
    """The threads of the library in a compiled function."""
    seen: list[int] = []

    def function(x: Any) -> Any:
        seen.extend(own_counts(name))
        return x

    backend.jit(function)(backend.asarray(np.ones(2)))
    return {*seen}


@eager
def test_a_number_that_is_given_overrides_a_variable(name, monkeypatch):
    open_or_skip(name)
    before = counts(name)
    for number, variable in ((3, None), (3, "1"), (1, "2")):
        if variable:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        backend = open_backend(name, threads=number)
        assert backend.threads[:2] == (number, "as given")
        assert backend.choose_threads(10**12, 4) is backend
        assert counts_inside(backend, name) == {number}
        assert counts(name) == before


@eager
def test_a_variable_overrides_the_rule_and_the_number_of_a_run_the_variable(name, monkeypatch):
    monkeypatch.setattr(threads, "idle_cpus", lambda: 2)
    backend = open_or_skip(name)
    large = backend.choose_threads(10**12)
    assert large.threads.number == 2
    assert counts_inside(large, name) == {2}
    small = backend.choose_threads(10**6)
    assert small.threads[:2] == (1, "a forward pass of 1 000 000 multiply-adds is too small for more")
    assert counts_inside(small, name) == {1}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which the libraries read when they were loaded
    chosen = backend.choose_threads(10**6)
    assert chosen.threads[:2] == (2, "OMP_NUM_THREADS=2")
    assert counts_inside(chosen, name) == {2}
    resumed = backend.choose_threads(10**6, 3)
    assert resumed.threads[:2] == (3, "as when the run began")
    assert counts_inside(resumed, name) == {3}


def test_a_variable_of_another_library_changes_nothing(monkeypatch):
    monkeypatch.setenv("NUMEXPR_NUM_THREADS", "8")
    assert open_backend().choose_threads(1).threads.number == 1


@pytest.mark.parametrize("value", ["abc", "", "0", "-1", "2 abc", "1.5"])
def test_a_variable_that_is_no_number_changes_nothing(value, monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.threads_chosen() == {}
    backend = open_backend().choose_threads(10**6)
    assert backend.threads[:2] == (1, "a forward pass of 1 000 000 multiply-adds is too small for more")
    monkeypatch.setenv("OMP_NUM_THREADS", " 04 , 2")
    assert threads.threads_chosen() == {"OMP_NUM_THREADS": " 04 , 2"}
    variables = workers._environment()
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == variables["NPROC"] == "4"


def test_what_a_lazy_library_computes_at_the_end_has_the_number_too():
    seen: list[set[int]] = []

    class Hook:
        xp = array_api_compat.numpy
        materialise = staticmethod(lambda *arrays: (seen.append({*own_counts("numpy")}), arrays)[1])

    backend = open_namespace(Hook)
    for each in (backend, backend.on_threads(3, "as given")):
        each.jit(lambda x: x)(backend.asarray(np.ones(2)))
    assert seen == [{1}, {3}]


def test_a_library_that_is_loaded_while_another_computes_is_limited_as_well():
    limits, library = threads.Limits(), Library()
    with limits.at(1):
        limits.look(library)
        entered: list[int] = []

        def enter() -> None:
            with limits.at(1):
                entered.append(library.number)

        other = threading.Thread(target=enter)
        other.start()
    other.join(PATIENCE)
    assert entered == [1]
    assert library.number == 2


class Library:
    """One with a number of threads."""

    number = 2

    def get_num_threads(self) -> int:
        return self.number

    def set_num_threads(self, number: int) -> None:
        self.number = number


def test_numbers_share_no_functions():
    one, two = (open_backend("numpy", threads=number) for number in (1, 2))
    assert one is open_backend("numpy", threads=1)
    assert one is not two
    assert open_backend("numpy") not in (one, two)
    made = [make_chunk(CONFIG.of_steps(), backend, BYTES.function) for backend in (one, two)]
    assert made[0] is not made[1]


def test_runs_with_other_numbers_at_once_wait_for_each_other():
    """BLAS has one number for all Python threads."""
    before = counts("numpy")
    backends = {number: open_backend("numpy", threads=number) for number in (1, 2, 3)}

    def work(number: int) -> Any:
        return lambda: [counts_inside(backends[number], "numpy") for _ in range(50)]

    results = at_once([work(number) for number in (1, 2, 3, 1, 2)])
    assert results == [[{number}] * 50 for number in (1, 2, 3, 1, 2)]
    assert counts("numpy") == before


def test_within_a_function_its_number_holds():
    outer, inner = (open_backend("numpy", threads=number) for number in (3, 1))
    seen: list[set[int]] = []

    def function(x: Any) -> Any:
        seen.append(counts_inside(inner, "numpy") | {*own_counts("numpy")})
        return x

    outer.jit(function)(np.ones(2))
    assert seen == [{3}]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "at least 1"),
        (-1, "at least 1"),
        (1025, "at most 1024"),
        (True, "True is not a whole number"),
        (1.5, "1.5 is not a whole number"),
        ("2", "'2' is not a whole number"),
    ],
)
def test_numbers_of_threads_that_cannot_be(number, said):
    with pytest.raises(ThreadsError, match=f"^threads: .*{said}"):
        open_backend("numpy", threads=number)
    with pytest.raises(ThreadsError, match=r"^threads: the number is out of range; it must be at most 1024$"):
        open_backend("numpy", threads=10**5000)


def test_on_a_gpu_no_number_is_taken():
    backend = replace(open_backend(), threads=ON_GPU)
    assert backend.choose_threads(10**12) is backend
    with pytest.raises(
        BackendError, match=r"^threads: backend numpy cannot compute on 2 threads: it computes on a GPU"
    ):
        backend.on_threads(2, "as given")


# The rule.


def test_the_rule_gives_large_steps_the_idle_cpus(monkeypatch):
    work = 1024 * (784 * 2048 + 2048 * 2048 + 2048 * 10)
    monkeypatch.setattr(threads, "cpus", lambda: 2)
    for idle in (1, 2):
        monkeypatch.setattr(threads, "idle_cpus", lambda idle=idle: idle)
        shown = f"a forward pass has 5 960 105 984 multiply-adds, and {idle} of 2 CPUs are available"
        assert threads_by_work(work) == (idle, shown)
    monkeypatch.setattr(threads, "idle_cpus", lambda: pytest.fail("it takes time, and decides nothing"))
    for each in (10**6, 128 * 535_818, LARGE_STEP - 1):
        assert threads_by_work(each)[0] == 1


@pytest.mark.parametrize(
    ("idle", "groups", "limits", "expected"),
    [
        ([20, 20], "", {}, 2),
        ([19, 17], "", {}, 2),
        ([20, 10], "", {}, 1),
        ([20, 0], "", {}, 1),
        ([0, 0], "", {}, 1),
        ([20, 20, 20, 0], "", {}, 3),
        ([20, 20], "0::/a/b", {"cpu.max": "max 100000"}, 2),
        ([20, 20], "0::/a/b", {"cpu.max": "150000 100000"}, 1),
        ([20, 20, 20, 20], "0::/a/b", {"a/cpu.max": "200000 100000"}, 2),
        ([20, 20], "3:cpuacct,cpu:/\n0::/", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ([20, 20], "3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_cpus_are_idle_that_do_nothing_while_they_are_watched(idle, groups, limits, expected, tmp_path, monkeypatch):
    """idle: the ticks of 0.01 s, of 20, in which each CPU had nothing to do."""
    for name, content in limits.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(content + "\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    now = [100.0]

    def watch(seconds: float = 0.0) -> None:
        since = 0 if not seconds else 1
        now[0] += seconds
        rows = [f"cpu{i} {20 - ticks} 0 0 {1000 + since * ticks} 0 0" for i, ticks in enumerate(idle)]
        (tmp_path / "proc/stat").write_text("\n".join(["cpu 0 0 0 0 0 0", *rows, "intr 1 2", ""]))

    watch()
    monkeypatch.setattr(threads.time, "sleep", watch)
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(threads.os, "sysconf", lambda name: 100, raising=False)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {*range(len(idle))}, raising=False)
    assert idle_cpus(tmp_path) == expected


def test_where_the_system_does_not_tell_the_load_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "cpus", lambda: 4)
    for load, expected in ((0.1, 4), (1.1, 3), (9.0, 1)):
        monkeypatch.setattr(threads.os, "getloadavg", lambda load=load: (load, 0, 0), raising=False)
        assert idle_cpus(tmp_path) == expected
    monkeypatch.delattr(threads.os, "getloadavg")
    assert idle_cpus(tmp_path) == 4


def test_this_machine_tells():
    assert 1 <= idle_cpus() <= threads.cpus()


# Runs.


@pytest.mark.usefixtures("no_pictures")
def test_a_run_prints_and_records_its_threads(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.library.threads_by_work", lambda work: (3, f"{work} and a rule"))
    monkeypatch.setattr("mlp_xp.runs.recording.cpus", lambda: 3)
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    settings = options(small_settings(epochs=1))
    for words, number, reason in (([], 3, "198 and a rule"), (["--threads", "2"], 2, "as given")):
        folder = tmp_path / f"run-{number}"
        outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, *settings, *words)
        assert (outcome.code, outcome.err) == (0, "")
        assert f"\nthreads  {number}: {reason}\n" in outcome.out
        record = json.loads((folder / "config.json").read_text())
        assert record["threads"] == {"number": number, "reason": reason, "cpus": threads.cpus()}
        assert "threads" not in record["settings"]
    backend = open_backend("array_api_compat:numpy", threads=2)
    config = TrainConfig(**{**small_settings(epochs=1), "hidden": (4,)})
    assert [*train(config, on_device(TINY, backend), backend, run_dir=tmp_path / "foreign")]
    record = json.loads((tmp_path / "foreign" / "config.json").read_text())["threads"]
    assert record["number"] == 2
    change(tmp_path / "foreign", {**record, "cpus": 777})
    with pytest.warns(match=f"with 2 threads on 777 CPUs and is resumed with 2 threads on {threads.cpus()} CPUs"):
        drain(train(config, on_device(TINY, backend), backend, run_dir=tmp_path / "foreign"))


@pytest.mark.usefixtures("no_pictures")
def test_the_warning_about_too_many_threads_stands_above_the_table(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.runs.recording.cpus", lambda: 1)
    words = ["--data-dir", data_dir, "--run-dir", tmp_path / "run", *options(small_settings(epochs=1)), "--threads", 2]
    monkeypatch.setattr("sys.argv", ["train", *map(str, words)])
    terminal = io.StringIO()
    with redirect_stdout(terminal), redirect_stderr(terminal), pytest.raises(SystemExit, match="0"):
        command_line.run(load_script("train").main)
    text = terminal.getvalue()
    before, found, rest = text.partition(
        "warning: the run computes on 2 threads (as given), but has 1 CPU, so it is slow"
    )
    assert found
    assert "epoch  sample" not in before
    assert re.match(r"\n+epoch  sample .*\n    0       0 ", rest), text


def drain(reports: Iterator[Any]) -> None:
    for _ in reports:
        pass


def change(folder: Any, record: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "threads": record}))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("0", "0 is out of range; it must be at least 1"),
        ("-1", "-1 is out of range; it must be at least 1"),
        ("5000", "5000 is out of range; it must be at most 1024"),
        ("many", "'many' is neither a whole number such as 2 nor auto"),
    ],
)
def test_words_that_are_no_number_of_threads(word, said, data_dir, tmp_path):
    folder = tmp_path / "run"
    outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, "--threads", word)
    assert_one_line(outcome, 2, f"error: --threads: {said}")
    assert not folder.exists()


def test_a_member_of_a_sweep_has_one_thread(tmp_path, monkeypatch):
    """Also on a worker that has no variables."""
    monkeypatch.setattr("mlp_xp.library.threads_by_work", lambda work: (2, "a rule"))
    settings = Settings(data_dir=str(tmp_path), train=TrainConfig(**{**small_settings(epochs=1), "hidden": (4,)}))
    arrays = [np.asarray(array) for array in TINY[:4]]
    facts = on_device(TINY, open_backend())._replace(**dict.fromkeys(member.ARRAYS))
    ending = member.train_member(member.Task("a", settings, None, facts), *arrays)
    assert ending.state == "finished", ending
    assert json.loads(ending.files["config.json"])["threads"]["number"] == 1


def test_jax_starts_on_the_number_that_is_given():
    code = """if True:
        import os
        from pathlib import Path
        from mlp_xp.backend import open_backend
        backend = open_backend("jax", "cpu", threads=3)
        assert backend.threads.number == 3
        assert "NPROC" not in os.environ
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        assert not names or names.count("tf_XLAEigen") == 3, names
        assert open_backend("jax", "cpu") is open_backend("jax", "cpu", threads=3)
    """
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
