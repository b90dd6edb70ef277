"""The probe: faults that training does not show, one in each library here, and what it
says about them.
"""

import re

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from data_sets import TINY
from helpers import Namespace

from mlp_xp import TrainConfig
from mlp_xp.backends import _requirements as requirements
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_namespace
from mlp_xp.parity import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.operations import SYMBOLS
from mlp_xp.parity.tracing import probe

CONFIG = TrainConfig(hidden=(8,), report_every=50)
LONG = 1000


def last_of_equals(x, /, *, axis):
    return x.shape[axis] - 1 - numpy.argmax(numpy.flip(x, axis=axis), axis=axis)


def without_nan(condition, x, y, /):
    chosen = numpy.where(condition, x, y)
    return numpy.where(numpy.isnan(chosen), numpy.zeros_like(chosen), chosen)


def all_but_the_last(x, indices, /, *, axis):
    return numpy.take(
        x, numpy.minimum(indices, numpy.asarray(x.shape[axis] - 2)), axis=axis
    )


def of_the_first_thousand(x, /, *, axis=None, keepdims=False):
    cut = x[..., :LONG] if axis in (-1, x.ndim - 1) else x
    return numpy.sum(cut, axis=axis, keepdims=keepdims)


def lowest(x, /, *, axis=None, keepdims=False):
    return numpy.min(x, axis=axis, keepdims=keepdims)


def all_but_one(x, /):
    return numpy.all(x.reshape(-1)[:-1])


def all_but_the_first(x, /):
    return numpy.all(x.reshape(-1)[1:])


def finite_max(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    return numpy.where(numpy.isinf(found), numpy.zeros_like(found), found)


def at_least_0_in_long_rows(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    return (
        numpy.maximum(found, numpy.zeros_like(found))
        if axis == -1 and x.shape[-1] > LONG
        else found
    )


def itself(x, /, *, dtype=None, copy=None):
    return (
        x
        if x.shape == (4099,) and dtype is None
        else numpy.asarray(x, dtype=dtype, copy=copy)
    )


class Narrow(np.ndarray):
    """An array that rounds Python's numbers to float32, and compares the low bytes of
    integers.
    """

    def __rmul__(self, other):
        return np.ndarray.__rmul__(
            self, float(np.float32(other)) if isinstance(other, float) else other
        )

    def __eq__(self, other):
        return (
            np.asarray(self) % 256 == other % 256
            if self.dtype.kind == "i"
            else np.ndarray.__eq__(self, other)
        )

    __hash__ = None


def narrow(x, /, *, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=copy).view(Narrow)


def narrow_range(stop, /, *, dtype):
    return numpy.arange(stop, dtype=dtype).view(Narrow)


def of_positive(x, /, *, axis):
    return numpy.argmax(numpy.where(x > 0, x, numpy.zeros_like(x)), axis=axis)


def shared(x, /, *, dtype=None, copy=None):
    return numpy.asarray(
        x, dtype=dtype, copy=copy if numpy.asarray(x).size <= LONG else None
    )


# A library for each, and what is said about it: the operation, and what it returned.
BLIND_SPOTS = {
    "argmax with ties": (
        Namespace(argmax=last_of_equals),
        r"xp.argmax\(float64 \(4099, 10\), axis=1\) deviates by",
    ),
    "isfinite of infinity": (
        Namespace(isfinite=lambda x: x == x),
        r"xp.isfinite\(.*: 1.0 instead of 0.0",
    ),
    "where at NaN": (Namespace(where=without_nan), r"xp.where\(.*: 0.0 instead of nan"),
    "maximum at NaN": (Namespace(maximum=numpy.fmax), r"xp.maximum\(.* instead of nan"),
    "the last index": (
        Namespace(take=all_but_the_last),
        r"xp.take\(uint8 \(4099, 10\), int64 \(4,\), axis=0\) deviates",
    ),
    "lengths above 1000": (
        Namespace(sum=of_the_first_thousand),
        r"xp.sum\(float64 \(5, 4099\), axis=-1",
    ),
    "asarray of large arrays": (
        Namespace(asarray=shared),
        "does not copy: an array of 100001 uint8 changes",
    ),
    "max of infinity": (
        Namespace(max=finite_max),
        r"xp.max\(float64 \(5, 4099\), axis=-1.* 0.0 instead of inf",
    ),
    "max of negative numbers": (
        Namespace(max=at_least_0_in_long_rows),
        r"xp.max\(float64 \(5, 4099\), axis=-1.* 0.0 instead of -9",
    ),
    "a copy of its own array": (
        Namespace(asarray=itself),
        r"xp.asarray\(.*copy=True\) changes its argument 1",
    ),
    "large integers": (
        Namespace(arange=narrow_range),
        r"int64 \(4099,\) == int64 \(4099,\) deviates by 1 eps",
    ),
    "numbers beside float64": (
        Namespace(asarray=narrow),
        r"0.1 \* float64 \(4099,\) deviates by .*e\+07 eps",
    ),
    "max of anything": (
        Namespace(max=lowest),
        r"xp.max\(float64 \(5, 4099\).* deviates by",
    ),
    "all at the first index": (
        Namespace(all=all_but_the_first),
        r"xp.all\(bool \(4099,\)\) deviates by",
    ),
    "all at the last index": (
        Namespace(all=all_but_one),
        r"xp.all\(bool \(4099,\)\) deviates by",
    ),
    "argmax of negative numbers": (
        Namespace(argmax=of_positive),
        r"xp.argmax\(float64 \(5, 4099\), axis=1\) deviates by",
    ),
    "matmul as a function": (
        Namespace(matmul=lambda a, b: numpy.matmul(a, b) + 1e-7),
        r"xp.matmul\(.* deviates by",
    ),
}


@pytest.mark.parametrize("name", BLIND_SPOTS)
def test_what_training_does_not_show_is_found_and_named(name):
    """All these libraries agree in every step of training."""
    library, said = BLIND_SPOTS[name]
    with pytest.raises((AssertionError, BackendError)) as caught:
        assert_parity(library, config=CONFIG, dataset=TINY, steps=10)
    first, *others = str(caught.value).splitlines()
    assert re.search(said, first)
    assert "operation" in first or not others
    assert not [line for line in others if "above the tolerance" in line]


def test_every_backend_passes_and_all_that_is_asked_of_it_is_called(backend):
    run = probe(backend)
    assert (run.deviating, run.failure) == ({}, None)
    signs = SYMBOLS | {"getitem": "x[]", "neg": "-x"}
    assert {signs.get(name, name) for name in run.verdicts} >= {
        *requirements.FUNCTIONS,
        *requirements.OPERATORS,
    }


def test_every_backend_passes_in_float32(backend32):
    run = probe(backend32)
    assert (run.deviating, run.failure) == ({}, None)


def test_an_approximation_may_have_half_of_the_digits():
    """The standard says nothing of the error of these functions. That of a whole run
    has its own tolerance.
    """
    for error, deviating in (1e-9, set()), (1e-7, {"tanh"}):
        backend = open_namespace(
            Namespace(tanh=lambda x, error=error: numpy.tanh(x) * (1 + error))
        )
        assert probe(backend).deviating.keys() == deviating


def test_a_library_that_raises_in_the_probe_fails_with_its_operation():
    def lost(x, indices, /, *, axis):
        if x.shape[0] > LONG:
            raise RuntimeError("too long")
        return numpy.take(x, indices, axis=axis)

    with pytest.raises(
        AssertionError,
        match=r"operation \d+, in the probe: xp.take\(.* raised RuntimeError: too long",
    ):
        assert_parity(Namespace(take=lost), config=CONFIG, dataset=TINY, steps=1)


@pytest.mark.parametrize(
    ("tanh", "said"),
    [
        (
            lambda x: numpy.tanh(x) * (1 + 1e-6),
            "loss above the tolerance, first at step 1",
        ),
        (
            lambda x: numpy.tanh(x) if x.shape[-1] > LONG else x.tanh(),
            "has no attribute 'tanh'",
        ),
    ],
)
def test_what_the_probe_found_is_said_of_a_library_whose_run_differs_or_fails(
    tanh, said
):
    with pytest.raises(AssertionError) as caught:
        assert_parity(
            Namespace(isfinite=lambda x: x == x, tanh=tanh),
            config=CONFIG,
            dataset=TINY,
            steps=10,
        )
    for each in ("in step 1", "xp.tanh", "in the probe: xp.isfinite", said):
        assert each in str(caught.value)


def test_a_tolerance_that_is_given_allows_everything():
    library = open_namespace(Namespace(isfinite=lambda x: x == x))
    results = [
        result.agrees
        for tolerance in (None, 1e-3)
        for result in check(CONFIG, TINY, [library], 1, tolerance)
    ]
    assert results == [True, False, True, True]


def test_a_tolerance_of_0_allows_no_deviation():
    library = open_namespace(Namespace(tanh=lambda x: numpy.tanh(x) * (1 + 1e-15)))
    itself, result = check(CONFIG, TINY, [library], 1, 0.0)
    assert itself.agrees
    assert not result.agrees
    assert result.head_room == 0
