"""The probe finds faults that training does not show."""

import operator
import re
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from blind_spots import BLIND_SPOTS, LONG
from data_sets import TINY
from helpers import Namespace

from mlp_xp import TrainConfig
from mlp_xp.backends import _requirements as requirements
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_namespace
from mlp_xp.parity import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.operations import SYMBOLS
from mlp_xp.parity.tracing import TracingBackend, probe

CONFIG = TrainConfig(hidden=(8,), report_every=50)


def fault_of(library: Any, steps: int = 10) -> str:
    """Return the message of `assert_parity` for a library that must not pass."""
    with pytest.raises((AssertionError, BackendError)) as caught:
        assert_parity(library, config=CONFIG, dataset=TINY, steps=steps)
    return str(caught.value)


@pytest.mark.parametrize("name", BLIND_SPOTS)
def test_a_fault_that_training_does_not_show_is_found_and_named(name):
    function, replacement, said = BLIND_SPOTS[name]
    library = Namespace(**{function: replacement})
    first, *others = fault_of(library).splitlines()
    assert re.search(said, first)
    assert "operation" in first or not others
    assert not [line for line in others if "above the tolerance" in line]


def test_every_backend_passes_and_all_required_operations_are_called(backend):
    run = probe(backend)
    assert (run.deviating, run.failure) == ({}, None)
    signs = SYMBOLS | {"getitem": "x[]", "neg": "-x"}
    called = {signs.get(name, name) for name in run.verdicts}
    assert called >= {*requirements.FUNCTIONS, *requirements.OPERATORS}


def test_every_backend_passes_in_float32(backend32):
    run = probe(backend32)
    assert (run.deviating, run.failure) == ({}, None)


@pytest.mark.parametrize(("error", "deviating"), [(1e-9, set()), (1e-7, {"tanh"})])
def test_an_approximation_may_have_half_of_the_digits(error, deviating):
    """The standard says nothing of the error of these functions. The error of a whole
    run has its own tolerance.
    """
    library = Namespace(tanh=lambda x: numpy.tanh(x) * (1 + error))
    assert probe(open_namespace(library)).deviating.keys() == deviating


def half(x: Any, y: Any) -> Any:
    return numpy.astype(x + y, numpy.float32)


def keyword(x: Any, **_: Any) -> Any:
    return numpy.sum(x)


@pytest.mark.parametrize(
    ("name", "function", "args", "said"),
    [
        ("add", half, (2.5, 1), "is float32 instead of float64"),
        ("sum", keyword, (1.0,), "returns something where NumPy raises TypeError"),
        ("pinv", operator.neg, (1.0,), "returns something where no bound is known"),
    ],
)
def test_what_a_program_may_leave_open_is_a_fault_of_the_probe(
    name, function, args, said
):
    run = TracingBackend(open_namespace(Namespace())).tracer
    operands = tuple(run.wrap(np.asarray(x), np.asarray(x)) for x in args)
    reference = getattr(numpy, name, np.sum)
    settings = {"nothing": 1} if name == "sum" else {}
    run.call(name, function, reference, operands, settings)
    assert said in str(run.deviating[name].verdict)


def test_a_library_that_raises_in_the_probe_fails_with_its_operation():
    def lost(x, indices, /, *, axis):
        if x.shape[0] > LONG:
            raise RuntimeError("too long")
        return numpy.take(x, indices, axis=axis)

    said = r"operation \d+, in the probe: xp.take\(.* raised RuntimeError: too long"
    assert re.search(said, fault_of(Namespace(take=lost), steps=1))


def off(x):
    return numpy.tanh(x) * (1 + 1e-6)


def failing(x):
    return numpy.tanh(x) if x.shape[-1] > LONG else x.tanh()


@pytest.mark.parametrize(
    ("tanh", "said"),
    [
        (off, "loss above the tolerance, first at step 1"),
        (failing, "has no attribute 'tanh'"),
    ],
)
def test_the_findings_of_the_probe_are_added_to_a_run_that_differs_or_fails(tanh, said):
    found = fault_of(Namespace(isfinite=lambda x: x == x, tanh=tanh))
    for each in ("in step 1", "xp.tanh", "in the probe: xp.isfinite", said):
        assert each in found


@pytest.mark.parametrize(
    ("tolerance", "expected"), [(None, [True, False]), (1e-3, [True, True])]
)
def test_a_tolerance_that_is_given_allows_findings_of_the_probe(tolerance, expected):
    library = open_namespace(Namespace(isfinite=lambda x: x == x))
    results = check(CONFIG, TINY, [library], 1, tolerance)
    assert [result.agrees for result in results] == expected


def test_a_tolerance_of_0_allows_no_deviation():
    library = open_namespace(Namespace(tanh=lambda x: numpy.tanh(x) * (1 + 1e-15)))
    itself, result = check(CONFIG, TINY, [library], 1, 0.0)
    assert itself.agrees
    assert not result.agrees
    assert result.head_room == 0
