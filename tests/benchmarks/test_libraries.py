"""scripts/libraries.py on planted libraries; the real ones take too long here."""

import re
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from helpers import NAMESPACE, SCRIPTS

DOCS = SCRIPTS.parent / "docs"
DEVIATES = "tanh=lambda x: numpy.tanh(x) * (1 + numpy.asarray(1e-9, dtype=x.dtype))"
RAISES = "take=lambda x, i, axis: numpy.nothing(x)"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        spec = util.spec_from_file_location("libraries_script", SCRIPTS / "libraries.py")
        assert spec
        assert spec.loader
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "verdict", "operation"),
    [(DEVIATES, "differs", "tanh"), (RAISES, "fails", "take")],
    ids=["deviates", "raises"],
)
def test_the_cause_in_a_planted_library(
    script: ModuleType, tmp_path: Path, fault: str, verdict: str, operation: str
) -> None:
    hooks, kept = tmp_path / "docs" / "hooks", tmp_path / "docs" / "reproducers"
    hooks.mkdir(parents=True)
    (hooks / "planted_hook.py").write_text(f"{NAMESPACE}\nxp = Namespace({fault})\n")
    (tmp_path / "venv").symlink_to(sys.prefix)
    library = {"name": "Planted", "backend": "planted_hook:", "steps": 12, "env": {}}
    outcome = script.check(library, "float64", tmp_path, kept, 300, hooks)
    assert outcome.verdict == verdict
    assert f"| {verdict} | `{operation}` | 1 | 2 |" in script.row(library, "1", [outcome], ("1", "2"))
    if verdict == "differs":
        microseconds, ratio = script.speed(library, "float64", tmp_path, 300, hooks)
        assert float(microseconds) > 0
        assert float(ratio) > 0
    assert f"xp.{operation}(" in outcome.note
    assert not re.search(r"\.py:\d|operation \d", outcome.note)  # which change with the source
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved")) / "docs/reproducers/planted-float64"
    done = subprocess.run([sys.executable, moved / "reproduce.py"], capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith("DEVIATES" if fault == DEVIATES else "has no attribute 'nothing'")


def test_the_page_keeps_the_rows_of_libraries_that_were_not_checked(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{script.BEGIN}\n{script.END}\nafter\n")
    order = ["one", "two", "three"]
    script.update(page, {"three": ["| three | 1 |"], "one": ["| one | 1 |", "- one, float64: a"]}, order)
    script.update(page, {"two": ["| two | 2 |", "- two, float32: b"]}, order)
    lines = page.read_text().splitlines()
    kept = ["| one | 1 |", "| two | 2 |", "| three | 1 |", "- one, float64: a", "- two, float32: b"]
    assert [line for line in lines if line.startswith(("| one", "| two", "| three", "- "))] == kept
    assert (lines[0], lines[-1]) == ("before", "after")


def test_every_library_and_reproducer_is_on_the_page(script: ModuleType) -> None:
    text = (DOCS / "libraries.md").read_text("utf-8")
    names = re.findall(r'name = "(.*?)"', (SCRIPTS / "libraries.toml").read_text("utf-8"))
    assert [line.split(" | ")[0][2:] for line in text.splitlines() if re.match(r"\| .* 20\d\d-", line)] == names
    linked = {*re.findall(r"\]\((reproducers/[^)]+)\)", text)}
    assert linked == {path.relative_to(DOCS).as_posix() for path in DOCS.glob("reproducers/*/reproduce.py")}
