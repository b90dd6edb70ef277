"""scripts/libraries.py: its list, how it reads a check, and what it does to the page. The checks take too long here."""

import argparse
import json
import subprocess
import sys
import tomllib
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from helpers import SCRIPTS

from mlp_xp.commands.data import load_data

ROOT = SCRIPTS.parent
DOCS = ROOT / "docs" / "libraries.md"
LIBRARIES = tomllib.loads((SCRIPTS / "libraries.toml").read_text("utf-8"))["library"]
OPTIONS = argparse.Namespace(steps=200, timeout=300)


@pytest.fixture(scope="module")
def script():
    spec = util.spec_from_file_location("libraries_script", SCRIPTS / "libraries.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_is_complete_and_its_hooks_are_there():
    names = [each["name"] for each in LIBRARIES]
    assert len({*names}) == len(names) >= 20
    for each in LIBRARIES:
        assert {"name", "requires", "backend"} <= {*each} <= {"name", "requires", "backend", "env"}
        module = each["backend"].partition(":")[0]
        if module.endswith("_hook"):
            assert (ROOT / "docs" / "hooks" / f"{module}.py").is_file()


def test_every_library_is_a_row_of_the_page_once(script):
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| ")]
    for each in LIBRARIES:
        mine = [row for row in rows if row.startswith(f"| {each['name']} |")]
        assert len(mine) == 1, each["name"]
        assert f"`{each['backend']}`" in mine[0]


def test_the_part_of_the_data_is_a_data_set(script, tmp_path):
    dataset = load_data(script.write_part(tmp_path))
    whole = load_data("mnist")
    np.testing.assert_array_equal(dataset.train_images, whole.train_images[:1000])
    np.testing.assert_array_equal(dataset.test_labels, whole.test_labels[:200])


def report(path: Path, room: float | None, mismatches: list[str]) -> Path:
    quantities = {name: {"head_room": room} for name in ("loss", "logits", "weights")}
    backends = [{"microseconds": 50.0}, {"microseconds": 100.0, **quantities}]
    path.write_text(json.dumps({"backends": backends, "mismatches": mismatches}))
    return path


def test_the_outcome_of_a_check(script, tmp_path):
    path = tmp_path / "parity.json"
    judge = script.judge
    assert judge("x:", None, "", path, OPTIONS)[:2] == ("too slow", "200 steps take more than 300 s")
    assert judge("x:", 0, "", report(path, 92.55, []), OPTIONS) == ("agrees, 92.5 x", "", (100.0, 50.0))
    assert judge("x:", 0, "", report(path, None, []), OPTIONS).verdict == "agrees, equal"
    assert judge("x:", 1, "", report(path, 0.1, ["x:: the loss"]), OPTIONS) == ("differs", "the loss", (100.0, 50.0))
    path.unlink()
    error = "warning: w\nerror: backend x:: it lacks | take\n"
    assert judge("x:", 2, error, path, OPTIONS)[:2] == ("refused", "it lacks / take")
    error = "Traceback\n  File\npkg.SomeError: first\nsecond\n"
    assert judge("x:", 1, error, path, OPTIONS)[:2] == ("fails", "pkg.SomeError: first")
    assert judge("x:", -11, "", path, OPTIONS)[:2] == ("fails", "exit code -11")


def test_the_page_keeps_the_rows_of_libraries_that_were_not_checked(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{script.BEGIN}\n{script.END}\nafter\n")
    order = ["one", "two", "three"]
    script.update(
        page, {"three": "| three | 1 |", "one": "| one | 1 |"}, {"one": ["- one, float64: a"], "three": []}, order
    )
    script.update(page, {"two": "| two | 2 |"}, {"two": ["- two, float32: b"]}, order)
    lines = page.read_text().splitlines()
    assert [line for line in lines if line.startswith(("| one", "| two", "| three", "- "))] == [
        "| one | 1 |", "| two | 2 |", "| three | 1 |", "- one, float64: a", "- two, float32: b",
    ]  # fmt: skip
    assert (lines[0], lines[-1]) == ("before", "after")


def test_a_process_that_takes_too_long_is_ended_with_its_children(script):
    command = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"]
    reader = f"import os; r, w = os.pipe(); os.dup2(r, 0); os.set_inheritable(0, True); exec({command[2]!r})"
    assert script.run([sys.executable, "-c", reader], {}, 1) == (None, "")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["nonsense"], "nonsense: not known; choose from NumPy"), (["--update-docs", "no.md"], "--update-docs: no.md")],
)
def test_wrong_arguments_are_one_line(arguments, part):
    command = [sys.executable, str(SCRIPTS / "libraries.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert part in done.stderr
