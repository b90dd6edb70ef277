"""A sweep on a real Dask scheduler with two real workers, of which one is killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers import PATIENCE, assert_one_line, call, finish, start, wait_until
from sweeping import (
    BAD,
    GOOD,
    WORDS,
    arguments,
    assert_as_trained,
    run_of,
    state_of_files,
    sweep,
)

from mlp_xp.runs.sweep_folder import SweepFolder

DASK = pytest.mark.needs("distributed")
ENDLESS = 1_000_000


@DASK
@pytest.mark.slow
def test_a_worker_is_killed_and_the_members_have_the_bits_of_train(
    dask, processes, data_dir, tmp_path
):
    folder = tmp_path / "s"
    words = f"{WORDS} --cluster {dask}"
    with killed(
        processes[1:2], lambda: [*folder.glob("members/*/result.json")], processes[0]
    ):
        outcome = sweep(data_dir, folder, words, epochs=5)
    assert outcome.code == 1, outcome
    assert {*SweepFolder(folder).failures()} == {*BAD}
    assert_as_trained(folder, tmp_path / "trained", *GOOD)
    before = state_of_files(folder)
    again = sweep(data_dir, folder, words, epochs=5)
    assert again.code == 1, again
    assert state_of_files(folder) == before


@DASK
@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_ctrl_c_saves_the_members_on_the_cluster_and_they_go_on_here(
    dask, data_dir, tmp_path
):
    folder = tmp_path / "s"
    words = arguments(data_dir, folder, "--hidden 4 --seed 0..3", epochs=15)
    process = start("sweep", *words, "--cluster", dask)
    wait_until((run_of(folder, "0000") / "checkpoint.safetensors").exists, process)
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert_one_line(outcome, 130, "interrupted after ", "run the same command again")
    assert not [*folder.glob("members/*/.lock")]
    assert call("sweep", *words).code == 0
    assert_as_trained(folder, tmp_path / "trained", "0000", "0003")


@DASK
@pytest.mark.slow
def test_without_its_scheduler_the_command_ends_and_trains_nothing_here(
    dask, processes, data_dir, tmp_path, monkeypatch
):
    folder = tmp_path / "s"
    monkeypatch.setattr("mlp_xp.sweeps._workers.SAVING", 1)
    words = f"--hidden 4 --seed 0..1 --epochs 5 {ENDLESS} --cluster {dask}"
    with killed(
        processes[::-1], (run_of(folder, "0000") / "result.json").exists, processes[0]
    ):
        outcome = sweep(data_dir, folder, words, epochs=None)
    assert_one_line(outcome, 2, "--cluster: ", "run the same command again")


@DASK
@pytest.mark.slow
def test_a_member_that_ends_every_worker_has_failed_and_stops_no_other(
    data_dir, tmp_path, monkeypatch
):
    """As one that needs more memory than there is."""
    import distributed

    import mlp_xp
    from mlp_xp.runs.settings import Settings
    from mlp_xp.sweeps import _workers as workers

    monkeypatch.setattr(workers, "train_member", die_or_train)
    values = {"seed": [0, 1, 2], "epochs": 1, "hidden": [4]}
    base = Settings(data_dir=str(data_dir))
    quiet = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, **quiet) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        places = {"sweep_dir": tmp_path / "s", "cluster": address}
        endings = mlp_xp.sweep(values, base, **places)
        states = {ending.name: ending.state for ending in endings}
    assert states == {"0000": "finished", "0001": "failed", "0002": "finished"}
    assert (
        "its process was killed"
        in SweepFolder(tmp_path / "s").failures()["0001"]["reason"]
    )


def die_or_train(work):
    """Train a member in a worker; 0001 kills it."""
    import os
    import signal

    from mlp_xp.sweeps.member import train_member

    if work.name == "0001":
        os.kill(os.getpid(), signal.SIGKILL)
    return train_member(work)


@DASK
def test_a_cluster_that_does_not_answer_is_refused_before_anything_is_written(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr("mlp_xp.sweeps._workers.TIMEOUT", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"dask://127.0.0.1:{taken.getsockname()[1]}"
        outcome = sweep(data_dir, tmp_path / "s", f"--cluster {address}")
    said = "--cluster: no Dask scheduler with a worker answers at "
    assert_one_line(outcome, 2, said)
    assert not (tmp_path / "s").exists()


# Clusters.


@pytest.fixture
def processes(tmp_path) -> Iterator[list[subprocess.Popen]]:
    """A scheduler and two workers of Dask, which work in another folder.

    They see the sweep's folder.
    """
    place = tmp_path / "elsewhere"
    place.mkdir()
    common = ["--scheduler-file", str(tmp_path / "scheduler.json")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for kind in ("scheduler --port 0", *2 * ["worker --nthreads 1 --no-nanny"]):
        words = f"-m dask {kind} --host 127.0.0.1 --no-dashboard".split()
        command = [sys.executable, *words, *common]
        found.append(subprocess.Popen(command, env=env, **quiet))
    yield found
    for process in found:
        process.kill()
        process.wait(PATIENCE)


@pytest.fixture
def dask(processes, tmp_path) -> str:
    file = tmp_path / "scheduler.json"
    wait_until(lambda: file.exists() and file.read_text().endswith("}"), processes[0])
    return json.loads(file.read_text())["address"].replace("tcp", "dask")


@contextlib.contextmanager
def killed(
    doomed: list[subprocess.Popen], when: Callable[[], Any], other: subprocess.Popen
) -> Iterator[None]:
    """Kill processes as soon as a condition is true.

    Meanwhile this process works, and another one runs.
    """

    def kill() -> None:
        wait_until(when, other)
        for process in doomed:
            process.kill()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(kill)
        yield
        future.result()
