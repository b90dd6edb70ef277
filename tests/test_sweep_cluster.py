"""A sweep on a real Dask scheduler with two real workers, of which one is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import PATIENCE, assert_one_line, call, finish, start, wait_until
from test_sweep import GOOD, arguments, assert_as_trained, run_of, state_of_files

from mlp_xp.sweeps.folder import read_endings

pytest.importorskip("distributed")


class Cluster(NamedTuple):
    """A scheduler and its workers."""

    address: str
    scheduler: subprocess.Popen
    workers: tuple[subprocess.Popen, ...]


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    """Processes of their own, which know nothing of the sweep's folder, and work in an empty one."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    file, place = tmp_path / "scheduler.json", tmp_path / "elsewhere"
    place.mkdir()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place, "env": env}
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([sys.executable, "-m", "dask", "scheduler", *common, "--port", "0"], **quiet)]
    try:
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), processes[0])
        for _ in range(2):
            command = [sys.executable, "-m", "dask", "worker", *common, "--nthreads", "1", "--no-nanny"]
            processes.append(subprocess.Popen(command, **quiet))
        address = json.loads(file.read_text())["address"].replace("tcp", "dask")
        yield Cluster(address, processes[0], tuple(processes[1:]))
    finally:
        for process in processes:
            process.kill()
            process.wait(PATIENCE)


def test_a_worker_is_killed_and_the_members_have_the_bits_of_train(cluster, data_dir, tmp_path):
    folder = tmp_path / "s"
    words = ["--hidden", "4", "5,3", "--learning-rate", "0.05", "1e200", "--seed", "0..1", "--cluster", cluster.address]
    process = start("sweep", *arguments(data_dir, folder, *words, epochs=10))
    wait_until(lambda: [*folder.glob("members/*/result.json")], process)
    cluster.workers[0].send_signal(signal.SIGKILL)
    outcome = finish(process)
    assert outcome.code == 1, outcome
    assert {*read_endings(folder)} == {"0004", "0005", "0006", "0007"}
    assert_as_trained(folder, data_dir, tmp_path / "trained", *GOOD)
    assert cluster.workers[0].returncode is None or cluster.workers[0].returncode == -signal.SIGKILL
    assert not [path for path in (folder / "members").iterdir() if path.name.startswith(".")]

    before = state_of_files(folder)
    again = call("sweep", *arguments(data_dir, folder, *words, epochs=10))
    assert again.code == 1, again
    assert state_of_files(folder) == before


def test_a_member_that_was_interrupted_here_goes_on_there(cluster, data_dir, tmp_path):
    folder = tmp_path / "s"
    words = arguments(data_dir, folder, "--hidden", 4, epochs=10)
    process = start("sweep", *words, start_new_session=True, stdout=subprocess.DEVNULL)
    wait_until((run_of(folder, "0000") / "checkpoint.safetensors").exists, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process).code == 143
    outcome = finish(start("sweep", *words, "--cluster", cluster.address))
    assert outcome.code == 0, outcome
    assert_as_trained(folder, data_dir, tmp_path / "trained", "0000")


def test_ctrl_c_ends_the_command_and_keeps_what_is_done(cluster, data_dir, tmp_path):
    folder = tmp_path / "s"
    words = ["--hidden", 4, "--epochs", 5, 1_000_000, "--cluster", cluster.address]
    process = start("sweep", *arguments(data_dir, folder, *words, epochs=None))
    wait_until((run_of(folder, "0000") / "result.json").exists, process)
    process.send_signal(signal.SIGINT)
    assert_one_line(
        finish(process), 130, "interrupted before the end; what is done is kept, and the same command goes on"
    )
    assert_as_trained(folder, data_dir, tmp_path / "trained", "0000")


def test_without_its_scheduler_the_command_ends_and_trains_nothing_here(cluster, data_dir, tmp_path):
    folder = tmp_path / "s"
    words = ["--hidden", 4, "--seed", "0..1", "--epochs", 5, 1_000_000, "--cluster", cluster.address]
    process = start("sweep", *arguments(data_dir, folder, *words, epochs=None))
    wait_until((run_of(folder, "0000") / "result.json").exists, process)
    cluster.workers[0].kill()
    cluster.scheduler.kill()
    outcome = finish(process)
    assert_one_line(outcome, 2, "--cluster: ", "the same command goes on")
    assert not [path for path in (folder / "members").glob("*/config.json") if path.parent.name in ("0002", "0003")]


def test_a_cluster_that_does_not_answer_is_refused_before_anything_is_written(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.sweeps.cluster.TIMEOUT", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"dask://127.0.0.1:{taken.getsockname()[1]}"
        outcome = call("sweep", *arguments(data_dir, Path(tmp_path / "s"), "--cluster", address))
    assert_one_line(outcome, 2, "--cluster: no Dask scheduler answers at ")
    assert not (tmp_path / "s").exists()


def test_the_example_for_slurm_makes_a_job_script(monkeypatch):
    """Of the documentation's code; it submits nothing."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    text = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text()
    code = text[text.index("from dask_jobqueue") :].partition("```")[0]

    class Cluster(jobqueue.SLURMCluster):
        """A cluster without a scheduler."""

        def __init__(self, **settings: object) -> None:
            self.script = self.job_cls("tcp://host:8786", "name", **settings).job_script()

        def adapt(self, minimum: int, maximum: int) -> None:
            """Start no job."""
            assert minimum == maximum == 16  # Dask would start too few, or none

        def wait_for_workers(self, number: int) -> None:
            """Start none."""
            assert number == 1

        scheduler_address = "tcp://host:8786"

        def __del__(self) -> None:
            """Close nothing."""

    monkeypatch.setattr(jobqueue, "SLURMCluster", Cluster)
    names: dict = {"input": str}
    exec(code, names)
    script = names["cluster"].script
    for line in ("#SBATCH -p short", "#SBATCH -t 04:00:00", "#SBATCH --mem=2G", "export OMP_NUM_THREADS=1"):
        assert line in script.splitlines()
    assert "distributed.cli.dask_worker tcp://host:8786 " in script
    assert "--nthreads 1 " in script
