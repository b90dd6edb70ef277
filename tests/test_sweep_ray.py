"""A sweep on a real Ray cluster on this machine. It is slow, so that it runs only with MLP_XP_TEST_RAY=1."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PATIENCE, call, finish, start, wait_until
from test_sweep import GOOD, arguments, assert_as_trained

from mlp_xp.runs.sweep_index import FAILURES
from mlp_xp.sweeps.folder import read_endings

pytestmark = pytest.mark.skipif("MLP_XP_TEST_RAY" not in os.environ, reason="slow; MLP_XP_TEST_RAY=1 runs it")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


@pytest.fixture
def address(tmp_path_factory):
    """The address of a Ray head with two processors, in processes of its own."""
    pytest.importorskip("ray")
    port = free_port()
    words = ["--head", "--block", "--num-cpus=2", "--include-dashboard=false", f"--port={free_port()}"]
    words += [f"--ray-client-server-port={port}", "--disable-usage-stats", "--object-store-memory=200000000"]
    ray = Path(sys.executable).with_name("ray")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("ray") / "log"
    with log.open("w") as file:
        head = subprocess.Popen([ray, "start", *words], stdout=file, stderr=file, env=env, start_new_session=True)
    try:
        wait_until(lambda: "Ray runtime started" in log.read_text(), head)
        yield f"ray://127.0.0.1:{port}"
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(PATIENCE)


def test_members_have_the_bits_of_train_and_failures_are_recorded(address, data_dir, tmp_path):
    folder = tmp_path / "s"
    words = ["--hidden", "4", "5,3", "--learning-rate", "0.05", "1e200", "--seed", "0..1", "--cluster", address]
    outcome = finish(start("sweep", *arguments(data_dir, folder, *words)))
    assert outcome.code == 1, outcome
    assert {*read_endings(folder, FAILURES)} == {"0004", "0005", "0006", "0007"}
    assert_as_trained(folder, data_dir, tmp_path / "trained", *GOOD)
    assert call("runs", folder, "--where", "state=finished", "--csv").out.count("\n") == 1 + len(GOOD)
