"""Tests that create their arrays from a traced namespace: by a context, and in pytest."""

import builtins
import sys

import numpy as np
import pytest
from array_api_compat import array_namespace

from array_lockstep import assert_watched, watch

pytest_plugins = ["pytester"]


def standardise(x):
    xp = array_namespace(x)
    return (x - xp.mean(x)) / xp.std(x)


@pytest.mark.parametrize("library", ["numpy", "torch", "array-api-strict", "jax"])
def test_code_with_arrays_of_its_own_is_watched(library):
    before = builtins.isinstance
    with watch(library) as seen:
        y = standardise(seen.xp.asarray([1.0, 2.0, 4.0]))
        if bool(y[0] < 0):
            np.testing.assert_allclose(np.asarray(y)[0], -1.069045, rtol=1e-6)
    assert builtins.isinstance is before
    assert seen.run.deviations == []
    assert [each.name for each in seen.run.syncs] == ["bool"]
    assert [each.name for each in seen.run.transfers] == ["numpy.asarray"]
    assert seen.run.operations > 5


@pytest.mark.needs("torch", "array_api_strict")
def test_two_libraries_in_one_thread_have_findings_of_their_own():
    with watch("torch") as one, watch("array-api-strict") as two:
        x, y = one.xp.asarray([1.0, 4.0]), two.xp.asarray([1.0, 4.0])
        assert array_namespace(x) == one.xp
        assert array_namespace(y) == two.xp
        standardise(x)
        bool(standardise(standardise(y))[0] < 0)
    assert one.run.operations == 5  # asarray, mean, -, std, /
    assert two.run.operations == 11
    assert one.run.syncs == []
    assert [each.name for each in two.run.syncs] == ["bool"]


def waits(then=lambda: None):
    with assert_watched("numpy") as seen:
        bool(seen.xp.asarray(1.0))
        then()


def test_findings_are_asserted_at_the_end_of_the_block():
    with assert_watched("numpy", allow={"syncs": {"bool": "one decision"}}) as seen:
        bool(seen.xp.asarray(1.0))
    with pytest.raises(AssertionError, match="wait for a value: bool"):
        waits()
    with pytest.raises(ZeroDivisionError):
        waits(lambda: 1 // 0)


CODE = """
from array_api_compat import array_namespace

def root(x):
    xp = array_namespace(x)
    return xp.sqrt(x) if bool(xp.all(x >= 0)) else x

def clean(x):
    return array_namespace(x).exp(x)
"""
TESTS = """
import numpy as np
import pytest
from code_under_test import clean, root

@pytest.fixture(params=["numpy", "array-api-strict"])
def xp(request, lockstep_xp):
    return lockstep_xp(request.param)

@pytest.mark.parametrize("values", [[4.0, 9.0], [1.0, 0.0]])
def test_root(xp, values):
    y = root(xp.asarray(values))
    assert float(y[1]) in (3.0, 0.0)
    np.testing.assert_allclose(np.asarray(y), np.sqrt(values))

def test_clean(xp):
    assert clean(xp.asarray([1.0])).shape == (1,)

def test_without_arrays():
    pass
"""
ALLOWED = '[tool.array-lockstep.allow.syncs]\n"root" = "one decision in each call"\n'


@pytest.fixture
def run_tests(pytester):
    """Return a function that runs TESTS in a process, with a table of allowances."""
    pytester.makeconftest('pytest_plugins = ["array_lockstep.plugin"]')
    pytester.makepyfile(code_under_test=CODE, test_code=TESTS)

    def run(allowed, *words):
        (pytester.path / "pyproject.toml").write_text(allowed)
        words = ("-p", "no:cacheprovider", "--strict-markers", *words)
        result = pytester.run(sys.executable, "-m", "pytest", *words)
        return result.ret, result.stdout.str(), result.parseoutcomes()

    return run


@pytest.mark.needs("array_api_strict")
@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_findings_of_tests_are_asserted_and_allowed(run_tests, words):
    if words:
        pytest.importorskip("xdist")
    code, shown, outcomes = run_tests("", *words)
    assert (code, outcomes["failed"], outcomes["passed"]) == (1, 4, 3)
    assert ": wait for a value: bool(array); at code_under_test.py:5" in shown
    assert ": copy to the host" not in shown, "a test's own file may read results"
    code, shown, outcomes = run_tests(ALLOWED, *words)
    assert (code, outcomes) == (0, {"passed": 7})
    more = f'{ALLOWED}"fit" = "no more"\n'
    code, shown, outcomes = run_tests(more, *words)
    assert (code, outcomes) == (1, {"passed": 7})
    assert "nothing in syncs matches 'fit' any more" in shown
    assert run_tests(more, "-k", "clean", *words)[0] == 0, "no whole run"
    assert run_tests(more, "test_code.py", *words)[0] == 0


LATE = """
import pytest
from code_under_test import root

@pytest.fixture
def xp(lockstep_xp):
    return lockstep_xp("numpy")

@pytest.fixture
def used(xp):
    yield xp.asarray([4.0])
    root(xp.asarray([4.0]))

def test_root(used):
    pass

def test_that_fails(used):
    assert False
"""


def test_findings_of_fixtures_at_their_end_are_asserted(run_tests, pytester):
    pytester.makepyfile(test_code=LATE)
    code, shown, outcomes = run_tests("")
    assert (code, outcomes) == (1, {"passed": 1, "failed": 1, "errors": 1})
    assert ": wait for a value: bool(array); at code_under_test.py:5" in shown
    assert run_tests(ALLOWED, "-k", "root")[::2] == (0, {"passed": 1, "deselected": 1})
