"""`make gpu` on stand-ins for nvidia-smi and Python."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import SCRIPTS

pytestmark = pytest.mark.posix
CUDA = "echo '|  CUDA Version: 12.8  |'"


def test_make_gpu_says_in_one_line_that_there_is_no_gpu(make_gpu, tmp_path) -> None:
    done = make_gpu("exit 9", "")
    assert done.returncode == 2
    assert done.stdout.startswith("no usable GPU: nvidia-smi shows")
    done = make_gpu(CUDA, "exit 1", "INSTALL=no")
    lacks = f"CuPy is missing in {tmp_path}/python, or finds none"
    assert done.stdout == f"no usable GPU: {lacks}\n"


@pytest.mark.slow
def test_make_gpu_runs_all_parts_and_fails_if_one_fails(make_gpu, tmp_path) -> None:
    fails = 'case "$*" in *"--dtype float32"*) exit 1;; esac'
    done = make_gpu(CUDA, fails, "INSTALL=no")
    assert done.returncode
    assert done.stdout == (tmp_path / "log").read_text()
    parts = re.findall(r"^\$ python (.*)$", done.stdout, re.MULTILINE)
    parity, bench = ["scripts/parity.py"] * 2, ["scripts/bench.py"] * 2
    assert [part.split()[0] for part in parts] == ["-m", *parity, *bench]
    failed = re.findall(r"^FAILED: python (.*)$", done.stdout, re.MULTILINE)
    assert failed == [parts[2]]
    assert make_gpu(CUDA, "exit 0", "INSTALL=no").returncode == 0


@pytest.fixture
def make_gpu(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function for `make gpu` with shell scripts in place of the two programs."""
    makes_own = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if name not in makes_own}
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    places = (f"PYTHON={tmp_path}/python", f"GPU_LOG={tmp_path}/log")

    def make(smi: str, python: str, *words: str) -> subprocess.CompletedProcess[str]:
        for name, lines in (("nvidia-smi", smi), ("python", python)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
            (tmp_path / name).chmod(0o755)
        return subprocess.run(
            ["make", "--no-print-directory", "gpu", *places, *words],
            capture_output=True,
            text=True,
            check=False,
            env=env,
            cwd=SCRIPTS.parent,
        )

    return make
