"""The torture tools run, find no fault in the program, and find each fault that is planted in it.

`make torture` runs them for longer; docs/reliability.md says what they do.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torture

TOOL = Path(torture.__file__)
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler, cc"
)


def run(tmp_path: Path, part: str, *arguments: object, code: int) -> dict:
    """Run one part on NumPy with the given exit code, and return its record."""
    path = tmp_path / "report.json"
    words = [part, "--backends", "numpy", "--minutes", "2", "--keep", tmp_path / "kept", "--report", path, *arguments]
    env = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "FORCE_COLOR")}
    outcome = subprocess.run(
        [sys.executable, str(TOOL), *map(str, words)], check=False, capture_output=True, text=True, env=env
    )
    assert outcome.returncode == code, outcome.stdout + outcome.stderr
    record = json.loads(path.read_text())["parts"][0]
    assert not record["skipped"], record
    assert f"| {part} | numpy |" in outcome.stdout
    return record


@pytest.mark.parametrize(("part", "rounds"), [("kills", 2), ("calls", 12), ("power", 30), ("disks", 3), ("pairs", 8)])
def test_finds_no_fault(part, rounds, tmp_path):
    record = run(tmp_path, part, "--rounds", rounds, code=0)
    assert record["counts"]["rounds"] == rounds
    assert record["faults"] == []


@pytest.mark.parametrize(("part", "only"), [("calls", "overwrite:9:kill"), ("pairs", "resume:overwrite:12")])
def test_finds_no_fault_in_replacing_a_run(part, only, tmp_path):
    record = run(tmp_path, part, "--only", only, code=0)
    assert record["counts"]["rounds"] == 1
    assert record["faults"] == []


@pytest.mark.parametrize(
    ("part", "plant", "arguments", "found"),
    [
        ("kills", "skip-steps", ["--rounds", 3], "no chunk of the run's epochs ends there"),
        ("calls", "in-place", ["--rounds", 60], "not whole"),
        ("calls", "swallow", ["--only", "new:30:ENOSPC+"], "exit code 0, but"),
        ("power", "no-sync", ["--rounds", 300], "was complete"),
        ("power", "no-folder-sync", ["--rounds", 300], "was complete"),
        ("disks", "swallow", ["--rounds", 3], "exit code 0, but"),
        ("pairs", "no-lock", ["--only", "new:resume:30"], "is not refused"),
    ],
)
def test_finds_a_planted_fault(part, plant, arguments, found, tmp_path):
    record = run(tmp_path, part, "--plant", plant, *arguments, code=1)
    fault = record["faults"][0]
    assert found in fault["what"]
    assert f"--plant {plant}" in fault["command"]
    assert Path(fault["kept"]).is_dir()


def test_the_table_is_written_between_the_marks(tmp_path):
    document = tmp_path / "reliability.md"
    document.write_text(f"# Title\n\n{torture.BEGIN}\nold\n{torture.END}\n\nend\n")
    run(tmp_path, "disks", "--rounds", 1, "--update-docs", document, code=0)
    text = document.read_text()
    assert text.startswith(f"# Title\n\n{torture.BEGIN}\n\nMeasured on ")
    assert "| disks | numpy |" in text
    assert "old" not in text
    assert text.endswith(f"{torture.END}\n\nend\n")


def test_the_log_gives_what_the_run_has_left(tmp_path):
    """A call that the shim does not know, such as sendfile, would make the model of the disk wrong: `power` stops."""
    assert run(tmp_path, "power", "--only", "resume:1:nothing:0", code=0)["faults"] == []
