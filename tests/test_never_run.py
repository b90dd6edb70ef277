"""What the first run of CI skips for a library must run in the second; the reports here are pytest's own."""

from pathlib import Path

import never_run
import pytest
from helpers import call_main

pytest_plugins = ["pytester"]

TESTS = """
import pytest
def test_plain(): pass
def test_with_sys(): pytest.importorskip({library!r})
def test_other(): pytest.importorskip({library!r})
def test_of_a_backend(): pytest.skip({reason!r})
"""
MODULE = "import pytest\npytest.importorskip({library!r})\ndef test_in_a_module(): pass\n"
NOT_INSTALLED = "backend torch: torch is not installed; install it with: pip install torch"


def report(pytester: pytest.Pytester, name: str, select: str, **words: str) -> Path:
    pytester.makepyfile(test_one=TESTS.format(**words), test_two=MODULE.format(**words))
    path = pytester.path / name
    pytester.runpytest_subprocess(f"--junit-xml={path}", "-p", "no:cacheprovider", "-k", select)
    return path


@pytest.mark.parametrize(
    ("select", "never"),
    [
        ("test", []),
        ("test and not other", ["test_one::test_other"]),
        ("plain", ["test_one::test_with_sys", "test_one::test_other", "test_one::test_of_a_backend", "test_two::"]),
    ],
)
def test_what_the_second_run_does_not_select_is_named(select, never, pytester):
    first = report(pytester, "first.xml", "test", library="no_such_library", reason=NOT_INSTALLED)
    second = report(pytester, "second.xml", select, library="sys", reason="finds no usable GPU")
    outcome = call_main(never_run.main, "never_run.py", first, second)
    assert outcome.code == (1 if never else 0)
    assert outcome.out == f"skipped for a library: 4, run later: {4 - len(never)}, never run: {len(never)}\n"
    assert sorted(line.split(": ")[1] for line in outcome.err.splitlines()) == sorted(never)


def test_a_library_may_be_missing_in_both(pytester):
    first = report(pytester, "first.xml", "test", library="no_such_library", reason=NOT_INSTALLED)
    assert call_main(never_run.main, "never_run.py", first, first, "--without", "no_such_library", "torch").code == 0
    assert call_main(never_run.main, "never_run.py", first, first, "--without", "torch").code == 1
