"""scripts/libraries.py: its list, how it reads a check, and what it does to the page; the worker on planted libraries.

The real libraries take too long here.
"""

import re
import subprocess
import sys
import tomllib
from importlib import util

import numpy as np
import pytest
from helpers import SCRIPTS

from mlp_xp.commands.data import load_data

ROOT = SCRIPTS.parent
DOCS = ROOT / "docs" / "libraries.md"
LIBRARIES = tomllib.loads((SCRIPTS / "libraries.toml").read_text("utf-8"))["library"]
REPRODUCERS = ROOT / "docs" / "reproducers"
LIBRARY = {"name": "X", "backend": "x_hook:", "steps": 200, "env": {"A": "1"}}
RESULT = {
    "verdict": "differs", "said": "the loss", "head_room": None, "microseconds": 50.0, "ratio": 2.5,
    "operation": "", "deviation": "", "whose": "", "reproducer": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    spec = util.spec_from_file_location("libraries_script", SCRIPTS / "libraries.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_is_complete_and_its_hooks_are_there():
    names = [each["name"] for each in LIBRARIES]
    assert len({*names}) == len(names) >= 20
    required, optional = {"name", "requires", "backend"}, {"env", "steps"}
    for each in LIBRARIES:
        assert required <= {*each} <= required | optional
        module = each["backend"].partition(":")[0]
        if module.endswith("_hook"):
            assert (ROOT / "docs" / "hooks" / f"{module}.py").is_file()


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_library_is_a_row_of_the_page_once(script):
    rows = [cells(line) for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| ")]
    for each in LIBRARIES:
        (mine,) = [row for row in rows if row[0] == each["name"]]
        row = dict(zip(script.COLUMNS, mine, strict=True))
        assert row["`--backends`"] == f"`{each['backend']}`"
        assert row["steps"] == str(each.get("steps", 200))


def test_the_page_gives_a_cause_for_all_that_does_not_agree(script):
    table = DOCS.read_text("utf-8").partition(script.BEGIN)[2].partition(script.END)[0]
    notes = [line for line in table.splitlines() if line.startswith("- ")]
    for row in [cells(line) for line in table.splitlines() if line.startswith("| ")][2:]:
        verdicts = dict(zip(script.COLUMNS, row, strict=True))
        for dtype in script.DTYPES:
            about = re.compile(rf"- {re.escape(row[0])}, [^:]*{dtype}")
            mine = [note for note in notes if about.match(note)]
            assert len(mine) == (not verdicts[dtype].startswith("agrees")), row
            if verdicts[dtype] in ("differs", "fails"):
                assert verdicts["cause"]
                assert re.search(r"`` (in|before) .*step.*xp\.\w+\(.* ``", mine[0])
    assert not re.search(r"\.py:\d|operation \d", table)  # which change with the source
    assert "..." not in "".join(notes).replace("`...`", "")  # a message that is cut


def test_the_reproducers_of_the_page_are_kept_and_no_others():
    linked = {*re.findall(r"\]\((reproducers/[^)]+)\)", DOCS.read_text("utf-8"))}
    assert linked == {path.relative_to(DOCS.parent).as_posix() for path in REPRODUCERS.glob("*/reproduce.py")}
    for script in REPRODUCERS.glob("*/reproduce.py"):
        assert "sys.path.append('" not in script.read_text("utf-8")  # a folder of the machine that wrote it
        assert (script.parent / "inputs.npz").stat().st_size <= 10_000


def test_the_part_of_the_data_is_a_data_set(script, tmp_path):
    dataset = load_data(script.write_part(tmp_path))
    whole = load_data("mnist")
    np.testing.assert_array_equal(dataset.train_images, whole.train_images[:1000])
    np.testing.assert_array_equal(dataset.test_labels, whole.test_labels[:200])


def test_the_outcome_of_a_check(script):
    def judge(code: int | None, errors: str = "", **result: object):
        return script.judge(LIBRARY, "float64", code, errors, RESULT | result if result else {}, 300, "x-float64")

    assert judge(None)[:3] == ("too slow", "", "200 steps take more than 300 s.")
    assert judge(0, verdict="agrees", head_room=92.55) == ("agrees, 92.5 x", "", "", (50.0, 2.5))
    assert judge(0, verdict="agrees", head_room=3215.8).verdict == "agrees, 3216 x"
    assert judge(0, verdict="agrees", microseconds=None) == ("agrees, equal", "", "", None)
    assert judge(0, verdict="refused", said="it lacks | take", ratio=None) == ("refused", "", "it lacks / take.", None)
    error = "Traceback\n  File\npkg.SomeError: first\nsecond\n"
    assert judge(1, error)[:3] == ("fails", "", "pkg.SomeError: first.")
    assert judge(-11)[:3] == ("fails", "", "exit code -11.")
    assert judge(None, said="the loss").note == "the loss; no trace: 200 steps take more than 300 s."
    assert judge(1, error, said="the loss").note == "the loss; no trace: second."


def test_the_cause_of_a_deviation(script):
    def judge(library=LIBRARY, **result: str):
        given = RESULT | {"operation": "sum", "deviation": "operation 1, xp.sum; called at mlp_xp/a.py:1: b"} | result
        return script.judge(library, "float64", 0, "", given, 300, "x-float64")

    assert judge(whose="numpy").cause == "the library's own, in `sum`"
    assert judge(operation="").cause == "the library's own"
    assert judge(whose="x_hook").cause == "our hook's own, in `sum`"
    path = "reproducers/x-float64/reproduce.py"
    assert judge(reproducer="1 DEVIATES").note == (
        f"the library's own, in `sum`: `` xp.sum ``. Alone, `A=1 python` [{path}]({path}) printed: `` 1 DEVIATES ``."
    )


def test_one_note_for_both_dtypes(script):
    same, other = script.Outcome("fails", note="a."), script.Outcome("fails", note="b.")
    assert script.list_notes("X", [same, same]) == ["- X, float64 and float32: a."]
    assert script.list_notes("X", [same, other]) == ["- X, float64: a.", "- X, float32: b."]
    assert script.list_notes("X", [script.Outcome("agrees, equal"), other]) == ["- X, float32: b."]


def test_a_long_message_is_cut_between_words(script):
    assert script.one_line("ab cd ef|gh", length=10) == "ab cd ..."


PLANTED = """
import array_api_compat.numpy as numpy


class Namespace:
    def __getattr__(self, name):
        return getattr(numpy, name)

    {method}


xp = Namespace()
"""
FAULTS = {
    "deviates": "def tanh(self, x): return numpy.tanh(x) * (1 + numpy.asarray(1e-9, dtype=x.dtype))",
    "raises": "def take(self, x, i, axis): raise ValueError('no such axis')",
    "lacks": "def __getattr__(self, name): return getattr(numpy, {'take': 'nothing'}.get(name, name))",
    "healthy": "",
}


def test_a_reproducer_is_content_with_a_library_that_was_repaired(script, tmp_path):
    hooks, kept = tmp_path / "docs" / "hooks", tmp_path / "docs" / "reproducers"
    hooks.mkdir(parents=True)
    module = hooks / "planted_hook.py"
    module.write_text(PLANTED.format(method="def tanh(self, x): return numpy.astype(numpy.tanh(x), numpy.float32)"))
    library = {"name": "X", "backend": "planted_hook:", "steps": 12, "env": {"PYTHONPATH": str(ROOT)}}
    in_64, in_32 = script.check(library, sys.executable, script.write_part(tmp_path), kept, 120, hooks)
    assert "xp.tanh(float64 (1, 64)) on cpu is float32 instead of float64" in in_64.note
    assert in_32.verdict.startswith("agrees")
    command = [sys.executable, kept / "x-float64" / "reproduce.py"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == "DEVIATES\n"
    module.write_text(PLANTED.format(method="def tanh(self, x): return numpy.tanh(x) * (1 + 2**-52)"))  # 1 ulp
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_the_worker_finds_the_cause_in_a_planted_library(script, tmp_path, fault):
    hooks, kept = tmp_path / "docs" / "hooks", tmp_path / "docs" / "reproducers"
    hooks.mkdir(parents=True)
    (hooks / "planted_hook.py").write_text(PLANTED.format(method=FAULTS[fault]))
    library = {
        "name": "Planted library", "backend": "planted_hook:", "steps": 12, "env": {"PYTHONPATH": str(ROOT)},
    }  # fmt: skip
    in_64, in_32 = script.check(library, sys.executable, script.write_part(tmp_path), kept, 120, hooks)
    if fault == "healthy":
        assert in_64.verdict == "agrees, equal"
    elif fault == "lacks":
        assert in_64 == in_32 == ("refused", "", "it does not implement the array API standard: it lacks take.", None)
    elif fault == "raises":
        assert in_64.verdict == in_32.verdict == "fails"
        assert in_64.cause == "our hook's own, in `take`"
        assert re.search(r"`` before the first step, xp\.take\(.*\) raised ValueError: no such axis ``", in_64.note)
        assert in_64.note.endswith("printed: `` ValueError: no such axis ``.")
    else:
        assert in_64[:2] == ("differs", "our hook's own, in `tanh`")
        assert "xp.tanh(float64 (1, 64)) on " in in_64.note
        assert ".py:" not in in_64.note
        assert in_64.note.endswith(" DEVIATES ``.")
    assert (in_64.speed is None) == (fault in ("lacks", "raises"))
    if fault in ("healthy", "deviates"):
        assert in_32.verdict.startswith("agrees, ")  # 1e-9 is below float32's eps
    if fault in ("healthy", "lacks"):
        assert not kept.exists()
        return
    folder = kept / "planted-library-float64"
    assert sorted(kept.iterdir()) == [kept / "planted-library-float32", folder][fault == "deviates" :]
    assert str(tmp_path) not in (folder / "reproduce.py").read_text()
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved")) / folder.relative_to(tmp_path)
    done = subprocess.run([sys.executable, moved / "reproduce.py"], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("\nValueError: no such axis\n" if fault == "raises" else "DEVIATES\n")


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
    assert script.run([sys.executable, "-c", reader], {}, 1, ROOT) == (None, "")


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
