"""Verdicts on any operation of the standard, with right and wrong results by hand."""

from math import inf, nan
from typing import Any

import array_api_compat.numpy as xp
import array_api_strict as strict
import numpy as np
import pytest
from array_api_strict import _fft, _linalg

from mlp_xp.parity._bounds import RULES, Verdict
from mlp_xp.parity._judge import STANDARD, judge

pytestmark = pytest.mark.needs("array_api_strict")
TIES = np.array([1.0, 1.0, 2.0])
GAP = np.array([[1.0, nan], [1.0, 2.0]])
INFINITE = np.array([complex(inf, 0), 1j])
PARTLY = np.array([complex(nan, 1), 1j])


def verdict_of(name: str, result: Any, *args: Any, **kwargs: Any) -> Verdict:
    function: Any = xp
    for part in name.split("."):
        function = getattr(function, part)
    return judge(name, function, args, kwargs, result)


def test_the_standards_functions_are_those_of_its_own_library():
    """An alias, such as xp.mod, or a function in another place is outside."""
    own = {name: getattr(strict, name, None) for name in strict.__all__}
    names = {name for name, x in own.items() if callable(x) and "flags" not in name}
    names -= {name for name, x in own.items() if isinstance(x, type)}
    names |= {f"linalg.{name}" for name in _linalg.__all__}
    names |= {f"fft.{name}" for name in _fft.__all__}
    assert names | {"linalg.eig", "linalg.eigvals"} == STANDARD


@pytest.mark.parametrize(
    ("name", "result", "args", "kwargs", "is_wrong"),
    [
        # The indices of a sort are a permutation.
        ("argsort", [1, 0, 2], (TIES,), {"stable": False}, False),
        ("argsort", [0, 0, 2], (TIES,), {"stable": False}, True),
        ("argsort", [0, 2, 1], (TIES,), {"stable": False}, True),
        # A complex number that is not finite, moved and rounded.
        ("take", INFINITE, (INFINITE, np.arange(2)), {}, False),
        ("take", [0, 1j], (INFINITE, np.arange(2)), {}, True),
        ("take", [complex(nan, 2), 1j], (PARTLY, np.arange(2)), {}, True),
        ("multiply", [complex(inf, inf), 1j], (INFINITE, 1 + 0j), {}, False),
        ("multiply", [0, 1j], (INFINITE, 1 + 0j), {}, True),
        # The maximum of a NaN is NaN, and its place is left to the library.
        ("max", 2.0, (GAP,), {}, True),
        ("max", [nan, 2.0], (GAP, 1), {}, False),
        ("max", [2.0, 2.0], (GAP, 1), {}, True),
        ("argmax", [0, 1], (GAP, 1), {}, False),
        ("argmax", [1, 0], (GAP, 1), {}, True),
        ("diff", [0.0, 1.0], (TIES, 1), {}, False),
        ("diff", [0.0, 1.1], (TIES, 1), {}, True),
    ],
)
def test_a_result_is_right_or_wrong(name, result, args, kwargs, is_wrong):
    verdict = verdict_of(name, np.asarray(result), *args, **kwargs)
    assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")


@pytest.mark.parametrize(
    ("name", "result", "args", "kwargs", "reason"),
    [
        ("diff", [1.1], (TIES, 2), {}, "repeated differences"),
        ("diff", [1.1], (TIES,), {"n": 2}, "repeated differences"),
    ],
)
def test_a_result_is_not_judged(name, result, args, kwargs, reason):
    verdict = verdict_of(name, np.asarray(result), *args, **kwargs)
    assert reason in verdict.unjudged


def test_a_bug_of_a_rule_is_no_verdict(monkeypatch):
    def broken(_: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setitem(RULES, "prod", broken)
    with pytest.raises(ValueError, match="a bug"):
        verdict_of("prod", np.asarray(1.0), TIES)


def test_numpy_computes_a_right_result_once():
    calls = []

    def function(x: np.ndarray) -> np.ndarray:
        calls.append(x)
        return np.sum(x)

    assert judge("sum", function, (TIES,), {}, np.asarray(4.0)) == Verdict()
    assert len(calls) == 1
