"""scripts/libraries.py on planted libraries; the real ones take too long here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import NAMESPACE, SCRIPTS

from scripts import libraries

DOCS = libraries.DOCS


@pytest.mark.slow
def test_the_cause_in_a_planted_library(tmp_path: Path) -> None:
    docs, fault = (
        tmp_path / "docs",
        "tanh=lambda x: numpy.tanh(x) * (1 + numpy.asarray(1e-9, dtype=x.dtype))",
    )
    (tmp_path / "planted_hook.py").write_text(f"{NAMESPACE}\nxp = Namespace({fault})\n")
    (tmp_path / "venv").symlink_to(sys.prefix)
    libraries.write_part(tmp_path / "data")
    library = {"name": "Planted", "backend": "planted_hook:", "steps": 12, "env": {}}
    outcome = libraries.check(library, "float64", tmp_path, docs)
    assert outcome.verdict == "differs"
    assert "| differs | `tanh` | 1 | 2 |" in libraries.row(
        library, "1", [outcome], ("1", "2")
    )
    microseconds, ratio = libraries.speed(library, "float64", tmp_path)
    assert float(microseconds) > 0
    assert float(ratio) > 0
    assert "xp.tanh(" in outcome.note
    # which change with the source
    assert not re.search(r"\.py:\d|operation \d", outcome.note)
    moved = (
        tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
        / "docs/reproducers/planted-float64"
    )
    done = subprocess.run(
        [sys.executable, moved / "reproduce.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.rstrip().endswith("DEVIATES")


def test_a_function_or_an_operator_is_a_cause() -> None:
    notes = (
        "`` in step 1: xp.exp(float64 (1, 10)) is",
        "`` in the probe: float64 (9,) == float64 (9,) deviates",
    )
    library, found = (
        {"name": "A", "backend": "a:", "steps": 9},
        [libraries.Outcome("differs", note) for note in notes],
    )
    assert "| differs | differs | `exp`; `==` |" in libraries.row(
        library, "1", found, ("1", "2")
    )


def test_the_page_keeps_the_rows_of_libraries_that_were_not_checked(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{libraries.BEGIN}\n{libraries.END}\nafter\n")
    order = ["one", "two", "three"]
    libraries.update(page, "three", ["| three | 1 |"], order)
    libraries.update(page, "one", ["| one | 1 |", "- one, float64: a"], order)
    libraries.update(page, "two", ["| two | 2 |", "- two, float32: b"], order)
    lines = page.read_text().splitlines()
    kept = [
        "| one | 1 |",
        "| two | 2 |",
        "| three | 1 |",
        "- one, float64: a",
        "- two, float32: b",
    ]
    assert [
        line for line in lines if line.startswith(("| one", "| two", "| three", "- "))
    ] == kept
    assert (lines[0], lines[-1]) == ("before", "after")


def test_every_library_and_reproducer_is_on_the_page() -> None:
    text = (DOCS / "libraries.md").read_text("utf-8")
    names = re.findall(
        r'name = "(.*?)"', (SCRIPTS / "libraries.toml").read_text("utf-8")
    )
    assert [
        line.split(" | ")[0][2:]
        for line in text.splitlines()
        if re.match(r"\| .* 20\d\d-", line)
    ] == names
    linked = {*re.findall(r"\]\((reproducers/[^)]+)\)", text)}
    assert linked == {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.glob("reproducers/*/reproduce.py")
    }
