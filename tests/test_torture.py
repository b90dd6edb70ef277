"""The torture tools run, find no fault in the program, and find each planted fault.

`make torture` runs them for longer. docs/reliability.md describes them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent / "tools" / "torture.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or not shutil.which("cc"),
        reason="needs Linux and a C compiler, cc",
    ),
]


@pytest.mark.parametrize(
    ("part", "words", "found"),
    [
        ("kills", "--rounds 2", ""),
        ("calls", "--rounds 5", ""),
        ("calls", "--only overwrite:kill:9", ""),
        # also proves that the shim's log gives the files of the run
        ("power", "--rounds 20", ""),
        ("pairs", "--only resume:overwrite:12", ""),
        ("kills", "--plant skip-steps --rounds 3", "fault: kills "),
        ("calls", "--plant in-place --only new:kill:23", "JSONDecodeError"),
        ("calls", "--plant swallow --only new:ENOSPC+:30", "metrics.jsonl"),
        ("power", "--plant no-folder-sync --only new:29:nothing:0", "was complete"),
        ("pairs", "--plant no-lock --only new:resume:30", "is not refused"),
    ],
)
def test_finds_planted_faults_and_no_others(part: str, words: str, found: str) -> None:
    command = [
        sys.executable,
        str(TOOL),
        part,
        "--backends",
        "numpy",
        "--minutes",
        "4",
        *words.split(),
    ]
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "PYTHONPATH")
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == bool(found), done.stdout + done.stderr
    assert found in done.stdout if found else done.stdout.endswith(", faults 0\n")
