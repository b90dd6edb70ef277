"""The probe finds faults in a namespace that ordinary programs do not show."""

import re
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from own_namespaces import Namespace
from wrappers import LONG, WRAPPERS

from array_lockstep import assert_namespace
from array_lockstep.judge import INSPECTION, STANDARD
from array_lockstep.probe import findings


def deviating(library: Any, dtype: str = "float64") -> set[str]:
    """Return the names of the operations with a finding."""
    return {record.name for _, _, record in findings(library, dtype)}


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
    # A copy that is none shows in the result.
    assert deviating(library) >= AT_ONCE.keys() - {"astype"} | {"result"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrapper_with_one_fault_is_refused(fault, dtype):
    assert findings(FAULTS[fault], dtype)


UNBOUNDED = {"linalg.matrix_rank", "linalg.eig", "linalg.eigvals"}


def test_every_function_with_a_bound_is_asked():
    """A library in which all of them are wrong has a finding for each."""
    assert deviating(all_wrong("", numpy)) >= STANDARD - INSPECTION - UNBOUNDED


def all_wrong(prefix: str, right: Any) -> Any:
    """Return a namespace whose functions with a bound are wrong."""
    functions = {}
    for name in STANDARD - INSPECTION:
        if name.startswith(prefix):
            first, _, rest = name.removeprefix(prefix).partition(".")
            own = getattr(right, first)
            functions[first] = all_wrong(f"{first}.", own) if rest else wrong(own)
    return Namespace(**functions)


def wrong(function: Any) -> Any:
    def spoil(x: Any) -> Any:
        if isinstance(x, tuple | list):
            return tuple(map(spoil, x))
        if function.__name__.startswith("empty"):
            return x.astype("int8")
        return ~x if x.dtype.kind == "b" else np.asarray(x + 3, x.dtype)

    return lambda *args, **kwargs: spoil(function(*args, **kwargs))


KNOWN: dict[str, dict[str, dict[str, str]]] = {
    "numpy": {},
    "array-api-strict": {},
    "torch": {
        "error": {
            "unique_all": "it is not written yet",
            "matmul": "it takes operands of one dtype",
        },
        "deviations": {
            "sum": "unsigned sums are signed",
            "prod": "unsigned sums are signed",
            "cumulative_sum": "unsigned sums are signed",
        },
    },
    "jax": {"deviations": {"atan2": "of a subnormal number and a negative one"}},
}


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        ("numpy", "float64"),
        ("torch", "float32"),
        ("array-api-strict", "float64"),
        pytest.param("torch", "float64", marks=pytest.mark.slow),
        pytest.param("array-api-strict", "float32", marks=pytest.mark.slow),
        pytest.param("jax", "float64", marks=pytest.mark.slow),
        pytest.param("jax", "float32", marks=pytest.mark.slow),
    ],
)
def test_a_healthy_library_has_no_other_findings(library, dtype):
    allow = {kind: dict(words) for kind, words in KNOWN[library].items()}
    if (library, dtype) == ("jax", "float32"):
        allow["deviations"]["asin"] = "of a subnormal number"
    assert_namespace(library, dtype=dtype, allow=allow)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "names"), [(1e-9, set()), (1e-7, {"tanh"})])
def test_an_approximation_may_have_half_of_the_digits(error, names):
    """The standard says nothing of the error of these functions."""
    library = Namespace(tanh=lambda x: numpy.tanh(x) * (1 + error))
    assert deviating(library) == names


def finite(x):
    return x == x


def test_a_library_that_raises_is_named_with_the_call():
    def lost(x, indices, /, *, axis):
        if x.shape[0] > LONG:
            raise RuntimeError("too long")
        return numpy.take(x, indices, axis=axis)

    said = r"ends: xp.take\(.* raised RuntimeError: too long; at .*probe.py:\d+ \("
    with pytest.raises(AssertionError, match=said):
        assert_namespace(Namespace(take=lost))


def test_expected_deviations_are_allowed():
    library = Namespace(isfinite=finite)
    assert_namespace(library, allow={"deviations": {"isfinite": "infinity counts"}})
    with pytest.raises(AssertionError) as caught:
        assert_namespace(library, allow={"deviations": {"tanh": "coarse"}})
    *lines, unneeded = str(caught.value).splitlines()
    assert all("xp.isfinite(" in line for line in lines)
    assert "'tanh'" in unneeded
    assert re.match(r"special numbers: ", str(caught.value))
