"""The processes of a sweep on this machine: what they share, and how they end."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import PATIENCE, call, finish, start, wait_until
from test_sweep import SMALL, arguments, run_of, sample_of, worker_of

import mlp_xp
from mlp_xp.commands.sweep import where
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.lock import locked
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps import workers
from mlp_xp.sweeps.grid import make_plan, settings_of
from mlp_xp.sweeps.run import How, check
from mlp_xp.sweeps.workers import in_processes
from mlp_xp.threads import VARIABLES

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
ENDLESS = 1_000_000
NAMES = "0000", "0001"


@pytest.fixture
def spy(tmp_path, monkeypatch):
    """A module that only the caller's `sys.path` has, with a task that fails and tells of the process."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spying.py").write_text(
        textwrap.dedent("""
            import os
            from pathlib import Path

            class Spy:
                name = "0007"
                def _replace(self, **changes):
                    maps = Path(f"/proc/{os.getppid()}/maps").read_text()
                    threads = len([*Path(f"/proc/{os.getppid()}/task").iterdir()])
                    raise ValueError(f"forked from {threads} thread with NumPy: {'_multiarray_umath' in maps}")
        """)
    )
    import spying

    yield [(spying.Spy(), ())]
    del sys.modules["spying"]


@LINUX
@pytest.mark.parametrize(("threads", "shared"), [("", True), ("1", True), ("2", False)])
def test_processes_of_one_thread_share_what_they_import_and_a_bug_is_told_with_its_place(
    threads, shared, spy, monkeypatch
):
    """With more, BLAS would start its threads before the fork."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with pytest.raises(RuntimeError, match=f"ValueError: forked from 1 thread with NumPy: {shared}") as caught:
        [*in_processes(spy, 1)]
    assert "in the process of member 0007:\nTraceback" in str(caught.value)
    assert "spying.py" in str(caught.value)


def is_free(run: Path) -> bool:
    with contextlib.suppress(MlpXpError), locked(run):
        return True
    return False


@LINUX
def test_without_the_process_of_the_sweep_its_members_save_and_their_processes_end(data_dir, tmp_path):
    folder = tmp_path / "s"
    words = arguments(data_dir, folder, "--hidden", 4, "--seed", "0..1", "--jobs", 2, seed=None, epochs=ENDLESS)
    process = start("sweep", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: all(sample_of(folder, name) > 5 and worker_of(folder, name) for name in NAMES), process)
    workers = [worker_of(folder, name) for name in NAMES]
    server = parent_of(workers[0])
    assert parent_of(workers[1]) == server != process.pid
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not any(map(is_there, (*workers, server))), SimpleNamespace(poll=lambda: None))
    for name in NAMES:
        assert (run_of(folder, name) / "checkpoint.safetensors").exists()
        assert is_free(run_of(folder, name))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_there(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@LINUX
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_members_go_on_when_the_process_that_is_forked_is_killed(data_dir, tmp_path):
    folder = tmp_path / "s"
    words = arguments(
        data_dir, folder, "--hidden", 4, "--seed", "0..2", "--jobs", 2, seed=None, epochs=12, checkpoint_every=None
    )
    process = start("sweep", *words)
    wait_until(lambda: sample_of(folder, "0001") and worker_of(folder, "0001"), process)
    worker = worker_of(folder, "0001")
    os.kill(parent_of(worker), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    outcome = finish(process)
    assert outcome.code == 0, outcome
    assert "3 of 3 members finished" in outcome.out
    assert outcome.err == ""


def test_whoever_leaves_a_sweep_waits_until_its_members_have_saved(data_dir, tmp_path):
    base = settings_of(Settings(data_dir=str(data_dir)), {**SMALL, "hidden": (4,)})
    endings = mlp_xp.sweep({"epochs": [1, ENDLESS]}, base, sweep_dir=tmp_path / "s", jobs=2)
    assert next(endings).name == "0000"
    end = time.monotonic() + PATIENCE
    while sample_of(tmp_path / "s", "0001") < 3:
        assert time.monotonic() < end
    endings.close()
    assert is_free(run_of(tmp_path / "s", "0001"))
    assert (run_of(tmp_path / "s", "0001") / "checkpoint.safetensors").exists()


def test_a_system_that_cannot_fork_is_told_of_clusters(monkeypatch):
    monkeypatch.delattr(os, "fork")
    plan = make_plan(replace(Settings()), {"seed": [0, 1]})
    with pytest.raises(MlpXpError, match="cannot fork processes for the members; use a cluster"):
        check(plan, How())


def test_a_process_that_cannot_be_forked_is_told_of():
    """Such as by `ulimit -u`; the fork server goes on."""
    code = """
        import os, sys
        def fork():
            raise BlockingIOError(11, "Resource temporarily unavailable")
        os.fork = fork
        from mlp_xp.sweeps.workers import serve
        serve(int(sys.argv[1]))
    """
    ours, its = socket.socketpair()
    command = [sys.executable, "-c", textwrap.dedent(code), str(its.fileno())]
    with ours, its, subprocess.Popen(command, pass_fds=[its.fileno()], stderr=subprocess.PIPE, text=True) as server:
        its.close()
        for _ in range(2):
            mine, other = Pipe()
            with mine:
                with other:
                    socket.send_fds(ours, [b"1"], [other.fileno()])
                assert str(mine.recv()) == "[Errno 11] Resource temporarily unavailable"
        ours.close()
        _, said = server.communicate()
    assert (server.returncode, said) == (0, "")


TASKS = [(SimpleNamespace(name=name), ()) for name in NAMES]


def test_a_sweep_without_processes_stops_and_says_so(monkeypatch):
    """What the system refuses for now is no fault of a member."""
    said = r"^cannot start a process for a member: Resource .* unavailable; the same command goes on when there is room"

    @contextlib.contextmanager
    def server():
        def start():
            mine, other = Pipe()
            with other:
                other.send(BlockingIOError(11, "Resource temporarily unavailable"))
            return mine

        yield start

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_fork_server", server)
        with pytest.raises(workers.ProcessError, match=said):
            next(in_processes(TASKS, 2))

    def refuse(*args, **kwargs):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(workers.ProcessError, match=said):
        next(in_processes(TASKS, 2))


class Strange:
    """What cannot be read in another process."""

    def __reduce__(self):
        return eval, ("no_such_name",)


def test_a_task_that_cannot_be_read_is_a_bug_and_no_kill(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nowhere")])  # Python ignores what is no text
    task = SimpleNamespace(name="0000", strange=Strange())
    with pytest.raises(RuntimeError, match=r"in the process of member 0000:\n(.*\n)*NameError: name 'no_such_name'"):
        next(in_processes([(task, ())], 1))


def test_members_on_jax_compute_on_one_thread(data_dir, tmp_path):
    words = arguments(data_dir, tmp_path / "s", "--hidden", 4, "--backend", "jax", epochs=1)
    outcome = call("sweep", *words)
    assert outcome.code == 0, outcome
    assert ", in processes of one thread each" in outcome.out
    assert json.loads((run_of(tmp_path / "s", "0000") / "config.json").read_text())["threads"]["number"] == 1


@pytest.mark.parametrize(
    ("variables", "said"), [({"OMP_NUM_THREADS": "3"}, "of 3 threads each"), ({}, "of one thread")]
)
def test_the_number_of_threads_is_said_as_it_is(variables, said, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in where(How())
