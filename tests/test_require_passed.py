"""A GPU job is green only when its tests ran and passed: the reports here are pytest's own."""

from pathlib import Path

import pytest
import require_passed
from helpers import call_main

pytest_plugins = ["pytester"]

PASSING = "def test_passes(): pass\n"
SKIPPED = "import pytest\ndef test_needs_a_gpu(): pytest.skip('no usable GPU')\n"
SETUP_SKIPS = "import pytest\n@pytest.fixture\ndef gpu(): pytest.skip('no usable GPU')\ndef test_with_gpu(gpu): pass\n"
FAILING = "def test_fails(): assert False\n"
BROKEN = "import pytest\n@pytest.fixture\ndef gpu(): raise OSError('broken')\ndef test_with_gpu(gpu): pass\n"


def report(pytester: pytest.Pytester, source: str) -> Path:
    pytester.makepyfile(source)
    pytester.runpytest("--junit-xml=report.xml", "-p", "no:cacheprovider")
    return pytester.path / "report.xml"


def test_all_passed(pytester):
    outcome = call_main(require_passed.main, "require_passed.py", report(pytester, PASSING))
    assert outcome == (0, "tests: 1, not passed: 0\n", "")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (SKIPPED, "test_needs_a_gpu: skipped: no usable GPU"),
        (SETUP_SKIPS, "test_with_gpu: skipped: no usable GPU"),
        (FAILING, "test_fails: failure: assert False"),
        (BROKEN, 'test_with_gpu: error: failed on setup with "OSError: broken"'),
    ],
)
def test_one_that_did_not_pass_is_named(source, line, pytester):
    outcome = call_main(require_passed.main, "require_passed.py", report(pytester, PASSING + source))
    assert outcome.code == 1
    assert outcome.out == "tests: 2, not passed: 1\n"
    assert outcome.err.startswith("not passed: ")
    assert outcome.err.endswith(f"::{line}\n")
    assert outcome.err.count("\n") == 1


def test_no_tests_are_no_success(pytester):
    assert call_main(require_passed.main, "require_passed.py", report(pytester, "")) == (
        1,
        "tests: 0, not passed: 0\n",
        "",
    )


@pytest.mark.parametrize("content", [None, "", "<testsuite>", "1 passed"])
def test_what_is_no_report_is_one_line(content, tmp_path):
    path = tmp_path / "report.xml"
    if content is not None:
        path.write_text(content)
    outcome = call_main(require_passed.main, "require_passed.py", path)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {path}: cannot read the report (")
    assert outcome.err.count("\n") == 1
