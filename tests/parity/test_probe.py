"""The probe finds faults that training does not show."""

import importlib
import operator
import re
import sys
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from data_sets import TINY
from helpers import Namespace
from wrappers import LONG, WRAPPERS

from mlp_xp import TrainConfig
from mlp_xp.backends import _requirements as requirements
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.parity import assert_parity
from mlp_xp.parity._bounds import Verdict
from mlp_xp.parity._operators import SYMBOLS
from mlp_xp.parity._probe import Call, Operands
from mlp_xp.parity.compare import check
from mlp_xp.parity.operations import Operation
from mlp_xp.parity.tracer import LibraryCall
from mlp_xp.parity.tracing import ProbeTracer, TracingBackend, probe

CONFIG = TrainConfig(hidden=(8,), report_every=50)


def opened(library: Any, dtype: str = "float64") -> Backend:
    """Open a library by a given name, because the search for its own takes long."""
    return open_namespace(library, dtype, "wrapper")


def fault_of(library: Any, steps: int = 10) -> str:
    """Return the message of `assert_parity` for a library that must not pass."""
    with pytest.raises((AssertionError, BackendError)) as caught:
        assert_parity(opened(library), config=CONFIG, dataset=TINY, steps=steps)
    return str(caught.value)


FAULTS = {name: each for kind in WRAPPERS.values() for name, each in kind.items()}
# One of each kind, by the operation.
AT_ONCE = {
    "exp": "exp of a strided array",
    "all": "all of nothing",
    "take": "take by int32 indices",
    "concat": "concat of two dtypes",
    "astype": "astype does not copy",
    "abs": "abs of -0",
    "where": "where of many elements",
    "iadd": "+= on overlapping operands",
    "max": "max over several axes",
    "argmax": "argmax with ties",
}


def test_each_fault_of_a_wrapper_with_many_is_named():
    library = Namespace()
    for fault in AT_ONCE.values():
        vars(library).update(vars(FAULTS[fault]))
    assert probe(opened(library)).deviating.keys() == AT_ONCE.keys()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrapper_with_one_fault_is_refused(fault, dtype):
    assert probe(opened(FAULTS[fault], dtype)).faults


# What these libraries lack.
REFUSED = {
    "torch": r"::-2|v \W= m|a = single; b = double; a @ b",
    "cupy": r"copy=False",
}


def test_every_backend_passes_and_all_required_operations_are_called(backend):
    run = probe(backend)
    assert run.faults == []
    expected = REFUSED.get(backend.name, "(?!)")
    assert [call for call in run.refused if not re.search(expected, call)] == []
    signs = SYMBOLS | {"getitem": "x[]", "neg": "-x"}
    called = {signs.get(name, name) for name in run.verdicts}
    assert called >= {*requirements.FUNCTIONS, *requirements.OPERATORS}


def test_every_backend_passes_in_float32(backend32):
    assert probe(backend32).faults == []


@pytest.mark.slow
@pytest.mark.parametrize(("error", "deviating"), [(1e-9, set()), (1e-7, {"tanh"})])
def test_an_approximation_may_have_half_of_the_digits(error, deviating):
    """The standard says nothing of the error of these functions. The error of a whole
    run has its own tolerance.
    """
    library = Namespace(tanh=lambda x: numpy.tanh(x) * (1 + error))
    assert probe(opened(library)).deviating.keys() == deviating


def half(x: Any, y: Any) -> Any:
    return numpy.astype(x + y, numpy.float32)


def keyword(x: Any, **_: Any) -> Any:
    return numpy.sum(x)


@pytest.mark.parametrize(
    ("name", "function", "args", "said"),
    [
        ("add", half, (2.5, 1), "is float32 instead of float64"),
        ("sum", keyword, (1.0,), "returns something where NumPy raises TypeError"),
    ],
)
def test_what_a_program_may_leave_open_is_a_fault_of_the_probe(
    name, function, args, said
):
    run = TracingBackend(open_backend()).tracer
    operands = tuple(run.wrap(np.asarray(x)) for x in args)
    reference = getattr(numpy, name, np.sum)
    settings = {"nothing": 1} if name == "sum" else {}
    run.call(LibraryCall(name, function, operands, settings, reference))
    assert said in str(run.deviating[name].verdict)


def test_an_operation_without_a_bound_is_no_fault_of_the_probe():
    run = TracingBackend(open_backend()).tracer
    operand = run.wrap(np.asarray(1.0))
    run.call(LibraryCall("pinv", operator.neg, (operand,), {}, np.sum))
    assert not run.deviating


def skipping(name: str) -> Any:
    """Return a reduction without the last element of a long array."""

    def reduce(x: Any, /, **settings: Any) -> Any:
        long = x.ndim == 1 and x.size > 200_000
        return getattr(numpy, name)(x[:-1] if long else x, **settings)

    return reduce


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_the_last_element_of_a_long_float32_sum_counts(name):
    backend = TracingBackend(opened(Namespace(**{name: skipping(name)}), "float32"))
    operands = Operands("float32")
    getattr(backend.xp, name)(backend.asarray(operands["other"]))
    assert [*backend.tracer.deviating] == [name]


def test_a_library_that_raises_in_the_probe_fails_with_its_operation():
    def lost(x, indices, /, *, axis):
        if x.shape[0] > LONG:
            raise RuntimeError("too long")
        return numpy.take(x, indices, axis=axis)

    said = r"operation \d+, in the probe: xp.take\(.* raised RuntimeError: too long"
    assert re.search(said, fault_of(Namespace(take=lost), steps=1))


def finite(x):
    return x == x


def inexact(x):
    return numpy.tanh(x) * (1 + 1e-6)


def failing(x):
    return numpy.tanh(x) if x.shape[-1] > LONG else x.tanh()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tanh", "said"),
    [
        (inexact, "loss above the tolerance, first at step 1"),
        (failing, "has no attribute 'tanh'"),
    ],
)
def test_the_findings_of_the_probe_are_added_to_a_run_that_differs_or_fails(tanh, said):
    found = fault_of(Namespace(isfinite=finite, tanh=tanh))
    for each in ("in step 1", "xp.tanh", "in the probe: xp.isfinite", said):
        assert each in found


@pytest.mark.parametrize(
    ("tolerance", "expected"), [(None, [True, False]), (1e-3, [True, True])]
)
def test_a_tolerance_that_is_given_allows_findings_of_the_probe(tolerance, expected):
    library = opened(Namespace(isfinite=finite))
    results = check(CONFIG, TINY, [library], 1, tolerance)
    assert [result.agrees for result in results] == expected


def test_a_tolerance_of_0_allows_no_deviation():
    library = opened(Namespace(tanh=lambda x: numpy.tanh(x) * (1 + 1e-15)))
    itself, result = check(CONFIG, TINY, [library], 1, 0.0)
    assert itself.agrees
    assert not result.agrees
    assert result.head_room == 0


# What an error says, and what is allowed.


def test_a_failure_says_what_was_passed():
    library = Namespace(sum=WRAPPERS["layouts"]["sum of a transposed array"].sum)
    said = (
        r"xp.sum\(float64 \(4, 6\)\) deviates by .*; in xp.sum\(a\) "
        r"with a = m\[:6, :4\].T, m = .*\.reshape\(8, 12\)\.astype\('float64'\)$"
    )
    found = fault_of(library)
    assert re.search(said, found)
    assert "above the tolerance" not in found, "training does not show it"


@pytest.mark.parametrize(
    ("functions", "allowed"),
    [
        ({"isfinite": finite}, ["np.isfinite", "np.inf"]),
        pytest.param(
            {"isfinite": finite, "tanh": inexact}, True, marks=pytest.mark.slow
        ),
    ],
)
def test_expected_deviations_are_allowed_and_named(functions, allowed, capsys):
    allow = {"deviations": allowed}
    library = Namespace(**functions)
    assert_parity(library, config=CONFIG, dataset=TINY, steps=1, allow=allow)
    (line,) = capsys.readouterr().out.splitlines()
    _, names = line.split(": allowed deviations: ")
    assert {each.split()[0] for each in names.split(", ")} == functions.keys()
    assert_parity(Namespace(), config=CONFIG, dataset=TINY, steps=1, allow=allow)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_other_deviations_than_the_expected_ones_are_errors():
    library = Namespace(isfinite=finite, tanh=inexact)
    allow = {"deviations": {"isfinite": "infinity counts as finite"}}
    with pytest.raises(AssertionError) as caught:
        assert_parity(library, config=CONFIG, dataset=TINY, steps=1, allow=allow)
    assert "xp.tanh" in str(caught.value)
    assert "isfinite" not in str(caught.value)
    allow = {"deviations": ["a = x,", "tanh"]}  # only the first of two calls
    with pytest.raises(AssertionError, match=r"isfinite.*wild"):
        assert_parity(library, config=CONFIG, dataset=TINY, steps=1, allow=allow)


def test_an_error_is_not_excused_by_an_expected_deviation():
    def lost(x):
        raise RuntimeError("device lost")

    library = Namespace(tanh=inexact, log=lost)
    allow = {"deviations": ["tanh", "log"]}
    with pytest.raises(AssertionError, match="device lost"):
        assert_parity(library, config=CONFIG, dataset=TINY, steps=1, allow=allow)


def test_a_bug_of_the_probe_is_not_taken_for_an_earlier_deviation():
    def broken():
        raise KeyError("a bug")

    backend = open_backend()
    tracer = ProbeTracer(backend)
    hosts = Operands("float64")
    operation = Operation("exp", np.exp, (), {})
    tracer._add(operation._replace(verdict=Verdict(problem="is wrong")))
    with pytest.raises(KeyError):
        tracer.attempt(Call("xp.exp(x)", hosts, {}), broken)


MODULE = """
import array_api_compat.numpy as numpy
from array_api_compat.numpy import *


class Library:
    def __getattr__(self, name):
        return getattr(numpy, name)

    def max(self, x, /, **options):
        is_transposed = x.ndim > 1 and x.strides[0] < x.strides[-1]
        return numpy.max(x, **options) + is_transposed

    def sqrt(self, x, /):
        return numpy.sqrt(x) + 0.0


library = Library()
sqrt = library.sqrt
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attribute", "name", "shown"),
    [
        ("library", "strange_arrays:library", "max"),
        (None, "strange_arrays", "sqrt"),
    ],
)
def test_a_reproducer_keeps_the_layout_and_the_signs(
    attribute, name, shown, tmp_path, monkeypatch
):
    (tmp_path / "strange_arrays.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("strange_arrays")
    library = getattr(module, attribute) if attribute else module
    allow = {"deviations": ["sqrt"] if shown == "max" else []}
    with pytest.raises(AssertionError) as caught:
        assert_parity(
            library,
            config=CONFIG,
            dataset=TINY,
            steps=1,
            reproducers="made",
            allow=allow,
        )
    sys.modules.pop("strange_arrays")
    first, last = str(caught.value).splitlines()
    assert first.startswith(f"{name}: operation ")
    assert f"xp.{shown}(" in first
    assert f"-float64-{shown}" in last
    assert "reproduce.py shows it in a process of its own: float64 " in last
