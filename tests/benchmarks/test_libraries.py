"""scripts/libraries.py on planted libraries; the real ones take too long here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import NAMESPACE, SCRIPTS

from scripts import libraries

DOCS = libraries.DOCS


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, object]:
    """A library whose tanh is a little off, and the data for its check."""
    off = "numpy.tanh(x) * (1 + numpy.asarray(1e-9, dtype=x.dtype))"
    code = f"{NAMESPACE}\nxp = Namespace(tanh=lambda x: {off})\n"
    (tmp_path / "planted_hook.py").write_text(code)
    (tmp_path / "venv").symlink_to(sys.prefix)
    libraries.write_part(tmp_path / "data")
    return {"name": "Planted", "backend": "planted_hook:", "steps": 12, "env": {}}


@pytest.mark.slow
def test_the_cause_in_a_planted_library(planted, tmp_path: Path) -> None:
    outcome = libraries.check(planted, "float64", tmp_path, tmp_path / "docs")
    assert outcome.verdict == "differs"
    row = libraries.row(planted, "1", [outcome], ("1", "2"))
    assert "| differs | `tanh` | 1 | 2 |" in row
    assert "xp.tanh(" in outcome.note
    # places change with the source
    assert not re.search(r"\.py:\d|operation \d", outcome.note)

    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    reproducer = moved / "docs" / "reproducers" / "planted-float64" / "reproduce.py"
    command = [sys.executable, reproducer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith("DEVIATES")


@pytest.mark.slow
def test_the_speed_of_a_library_is_measured(planted, tmp_path: Path) -> None:
    figures = libraries.speed(planted, "float64", tmp_path)
    assert len(figures) == 2
    assert all(float(figure) > 0 for figure in figures)


def test_a_function_or_an_operator_is_a_cause() -> None:
    notes = (
        "`` in step 1: xp.exp(float64 (1, 10)) is",
        "`` in the probe: float64 (9,) == float64 (9,) deviates",
    )
    library = {"name": "A", "backend": "a:", "steps": 9}
    found = [libraries.Outcome("differs", note) for note in notes]
    row = libraries.row(library, "1", found, ("1", "2"))
    assert "| differs | differs | `exp`; `==` |" in row


def test_the_page_keeps_the_rows_of_libraries_that_were_not_checked(
    tmp_path: Path,
) -> None:
    page, order = tmp_path / "page.md", ["one", "two", "three"]
    page.write_text(f"before\n{libraries.BEGIN}\n{libraries.END}\nafter\n")
    libraries.update(page, "three", ["| three | 1 |"], order)
    libraries.update(page, "one", ["| one | 1 |", "- one, float64: a"], order)
    libraries.update(page, "two", ["| two | 2 |", "- two, float32: b"], order)
    lines = page.read_text().splitlines()
    rows = ("| one | 1 |", "| two | 2 |", "| three | 1 |")
    notes = ("- one, float64: a", "- two, float32: b")
    assert [line for line in lines if line in (*rows, *notes)] == [*rows, *notes]
    assert (lines[0], lines[-1]) == ("before", "after")


def test_every_library_and_reproducer_is_on_the_page() -> None:
    text = (DOCS / "libraries.md").read_text("utf-8")
    listed = (SCRIPTS / "libraries.toml").read_text("utf-8")
    rows = re.findall(r"^\| (.*?) \| .* 20\d\d-", text, re.MULTILINE)
    assert rows == re.findall(r'name = "(.*?)"', listed)
    linked = {*re.findall(r"\]\((reproducers/[^)]+)\)", text)}
    paths = DOCS.glob("reproducers/*/reproduce.py")
    assert linked == {path.relative_to(DOCS).as_posix() for path in paths}
