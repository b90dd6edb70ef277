"""The summary of skipped tests: every reason once, with all of its tests counted, with and without processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("i", range(5))
def test_some(i):
    pytest.skip("no GPU here")

@pytest.mark.skipif(True, reason="no such\\n  file")
def test_other():
    pass

def test_that_runs():
    pass
"""


@pytest.mark.parametrize("processes", [[], ["-n2"]])
def test_every_reason_is_a_line_with_its_number(processes: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    here = str(Path(__file__).parent)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "skip_summary",
        "-rfE",
        "-o",
        "addopts=",
        *processes,
        str(tmp_path),
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    summary = re.split(r"=+ skipped, by reason =+\n", done.stdout)[1].splitlines()
    assert summary[:2] == ["    5 no GPU here", "    1 no such file"]
    assert summary[2].strip("= ").startswith("1 passed, 6 skipped in")
    assert "SKIPPED" not in done.stdout


def test_this_suite_ends_with_it() -> None:
    """The hook is registered for the suite itself."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "pytest", "tests/test_functional.py", "-k", "cupy or strict", "-q"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert "SKIPPED" not in done.stdout
    assert bool(re.search(r"\d+ skipped", done.stdout)) == ("skipped, by reason" in done.stdout)
