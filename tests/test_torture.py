"""The torture tools run, find no fault in the program, and find each fault that is planted in it.

`make torture` runs them for longer; docs/reliability.md says what they do.
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
        not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler, cc"
    ),
]


def torture(part: str, *words: str) -> subprocess.CompletedProcess:
    """Run one part on NumPy."""
    command = [sys.executable, str(TOOL), part, "--backends", "numpy", "--minutes", "4", *words]
    env = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("kills", "--rounds 2"),
        ("calls", "--rounds 5"),
        ("calls", "--only overwrite:kill:9"),
        ("power", "--rounds 20"),  # also proves that the shim's log gives what a run has left
        ("pairs", "--only resume:overwrite:12"),
    ],
)
def test_finds_no_fault(part: str, words: str) -> None:
    outcome = torture(part, *words.split())
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.endswith(", faults 0\n")


@pytest.mark.parametrize(
    ("part", "plant", "words", "found"),
    [
        ("kills", "skip-steps", "--rounds 3", "fault: kills "),
        ("calls", "in-place", "--only new:kill:19", "JSONDecodeError"),
        ("calls", "swallow", "--only new:ENOSPC+:30", "exit code "),
        ("power", "no-folder-sync", "--only new:25:nothing:0", "was complete"),
        ("pairs", "no-lock", "--only new:resume:30", "is not refused"),
    ],
)
def test_finds_a_planted_fault(part: str, plant: str, words: str, found: str) -> None:
    outcome = torture(part, "--plant", plant, *words.split())
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert found in outcome.stdout
