"""Lockstep of any program: a healthy library gives no alarm, a planted fault is named
first, and a traced program takes the same branches as without the trace.
"""

import contextlib
import functools
import importlib
import operator
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from array_api_compat import array_namespace, is_torch_array

from array_lockstep import Run, assert_lockstep, command, lockstep
from array_lockstep.libraries import open_library
from array_lockstep.programs import ProgramTracer
from array_lockstep.tracer import Namespace

LIBRARIES = ("torch", "array-api-strict", "jax")
each_library = pytest.mark.parametrize("library", LIBRARIES)
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


# A healthy library.


@each_dtype
@pytest.mark.parametrize("library", ["numpy", "torch", "array-api-strict"])
def test_a_healthy_library_gives_no_alarm(library, dtype):
    run = lockstep(everything, inputs(dtype), library=library)
    clean(run)
    assert (run.transfers, run.outside, run.unjudged) == ([], [], [])
    assert {each.name for each in run.syncs} == {"nonzero", "unique_values"}
    assert run.operations > 70
    assert run.end.endswith("eps from NumPy's whole run")


@pytest.mark.needs("jax")
@pytest.mark.slow
def test_a_healthy_jax_gives_no_alarm():
    def without_assignment(x: Any, square: Any) -> Any:
        xp = array_namespace(x)
        values = xp.linalg.eigh(square)[0]
        total = x + 1
        total += x
        return values, xp.std(x, axis=0), xp.fft.rfft(x), xp.unique_counts(x), total

    run = lockstep(without_assignment, inputs(), library="jax")
    clean(run)
    assert run.operations == 6


@pytest.mark.needs("torch")
@pytest.mark.parametrize(("seed", "scale"), [(0, 1e-3), (3, 20)])
@each_dtype
def test_rounding_stays_within_the_derived_bounds(dtype, seed, scale):
    rows, columns = np.random.default_rng(seed).integers(12, 40, 2)
    x, square = inputs(dtype, seed, rows, columns)
    scale = np.asarray(scale, dtype)
    run = lockstep(everything, (x * scale, square * scale), library="torch")
    assert [str(each) for each in run.deviations] == []
    assert run.error is None


# Planted faults, one operation each.


OPERATORS = {
    "__iadd__": "iadd",
    "__isub__": "isub",
    "__matmul__": "matmul",
    "__neg__": "neg",
    "__mod__": "mod",
    "__rsub__": "sub",
}


@pytest.mark.needs("torch")
@each_dtype
def test_faulty_functions_are_named_and_no_other(dtype, monkeypatch):
    """No fault is passed on: NumPy gets the operands of the library."""
    import array_api_compat.torch as xp

    for name, change in FUNCTIONS.items():
        *parents, last = name.split(".")
        owner = operator.attrgetter(*parents)(xp) if parents else xp
        monkeypatch.setattr(owner, last, change(getattr(owner, last)))
    run = lockstep(everything, inputs(dtype))
    assert {each.name for each in run.deviations} == FUNCTIONS.keys()
    assert run.deviations[0].name == "exp"
    assert all("test_lockstep.py:" in str(each.place) for each in run.deviations)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method", [*OPERATORS, "__setitem__"])
def test_a_faulty_operator_comes_first(method, monkeypatch):
    import torch

    right = getattr(torch.Tensor, method)

    def wrong(self, *others):
        if method == "__setitem__":
            key, value = others
            return right(self, key, value + 1)
        result = right(self, *others)
        if method.startswith("__i"):
            return result.mul_(1 + 1e-4)
        return result * (1 + 1e-4)

    def program(x: Any) -> Any:
        y = x + 1
        y -= x
        y += x
        y[0, :] = x[0, :]
        return -y + (2 - x) % 3, x @ x.T

    monkeypatch.setattr(torch.Tensor, method, wrong)
    run = lockstep(program, inputs()[:1])
    expected = {**OPERATORS, "__setitem__": "setitem"}[method]
    assert [each.name for each in run.deviations][:1] == [expected]


# Programs.


@pytest.mark.needs("torch")
def test_operators_indices_and_assignments_have_the_same_bits_as_without_the_trace():
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        y = 2.0**x - 1 / (1 + abs(x)) + (3 - x) * (x // 2) % 3
        n = xp.astype(xp.round(x * 5), xp.int64)
        n = (n & 7 | 1 ^ n) << 1 >> 1
        y[1:3, ...] = 0.25
        y[y > 1] = 1.0
        y += x
        y **= 2
        n //= 2
        part = y[:, 0]
        y[:, 0] = part * 2
        rows = [float(row[0]) for row in y]
        return y, n, ~(y == x), y.T, y[::2, 1], y[..., None], rows, +y <= -x

    for library in ("torch", "numpy"):
        x = inputs()[0]
        run = lockstep(program, (x,), library=library)
        clean(run)
        xp = open_library(library).xp
        for got, wanted in zip(run.result, program(xp.asarray(x)), strict=True):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


@pytest.mark.parametrize("library", ["torch", "numpy", "array-api-strict"])
def test_a_change_through_a_view_is_no_fault(library):
    def program(x: Any) -> Any:
        row = x[0, :]
        x[0, 0] = 5.0
        other = x[1, :]
        x += 1
        return row * 2 + other

    clean(lockstep(program, inputs()[:1], library=library))


@pytest.mark.needs("torch")
def test_arguments_stay_as_they_are():
    def program(x: Any, more: Any, *, scale: Any) -> Any:
        x += more["y"][0]
        return x * scale

    x, y = np.ones(3), np.full(3, 2.0)
    run = lockstep(program, (x, {"y": [y]}), {"scale": np.asarray(2.0)})
    assert (x == 1).all()
    assert run.result.tolist() == [6, 6, 6]
    assert run.end == "0 eps from NumPy's whole run"


def test_an_argument_that_keeps_an_array_stays_as_it_is():
    def fit(x: Any, estimator: SimpleNamespace) -> Any:
        estimator.seen = x
        return x

    estimator = SimpleNamespace()
    lockstep(fit, (np.ones(3), estimator), library="numpy")
    assert vars(estimator) == {}


@each_library
def test_questions_are_answered_as_for_the_librarys_own_array(library):
    names = ("", "scipy._lib.", "sklearn.externals.")
    # A copy that is imported while a run is traced is answered from the next run on.
    copies = [pytest.importorskip(f"{name}array_api_compat") for name in names]

    def answers(x: Any) -> list[Any]:
        found: list[Any] = []
        for compat in copies:
            xp = compat.array_namespace(x)
            found += [xp.__name__, str(compat.device(x)), compat.size(x)]
            for each in ("array", "namespace"):
                for kind in ("numpy", "torch", "jax", "dask", "cupy"):
                    ask = getattr(compat, f"is_{kind}_{each}")
                    found.append(ask(x if each == "array" else xp))
            found += [compat.is_writeable_array(x), compat.is_lazy_array(x)]
            found.append(compat.is_array_api_obj(x))
        own = type(xp.asarray(x))
        found += [isinstance(x, own), issubclass(type(x), own), type(x).__name__]
        dispatch = functools.singledispatch(lambda x: "other")
        dispatch.register(own)(lambda x: "own")
        found.append(dispatch(x))
        found += [type(x) is type(x + 1), str(x.dtype), tuple(x.shape)]
        names = ("sum", "at", "nothing", "__array_namespace__")
        found += [hasattr(x, name) for name in names]
        return found

    host = np.ones((3, 2))
    run = lockstep(answers, (host,), library=library)
    clean(run)
    with_trace = run.result
    xp = open_library(library).xp
    assert with_trace == answers(xp.asarray(host))


OLD_COPY = """
import sys


def is_torch_array(x):
    return isinstance(x, sys.modules["torch"].Tensor)


def array_namespace(*xs, api_version=None, use_compat=None):
    namespaces = set()
    for x in xs:
        if is_torch_array(x):
            import array_api_compat.torch as xp

            namespaces.add(xp)
        else:
            namespaces.add(x.__array_namespace__(api_version=api_version))
    (xp,) = namespaces
    return xp
"""


@pytest.mark.needs("torch")
@pytest.mark.parametrize("library", ["torch", "array-api-strict"])
def test_old_copies_of_array_api_compat_are_answered_too(library, monkeypatch):
    name = "package.array_api_compat.common._helpers"
    helpers = ModuleType(name)
    exec(OLD_COPY, vars(helpers))
    monkeypatch.setitem(sys.modules, name, helpers)
    imported = helpers.array_namespace

    def program(x: Any) -> Any:
        xp = imported(x, x + 1, use_compat=None)
        return xp.exp(xp.asarray(2.0)), xp.__name__

    x = inputs()[0]
    own = open_library(library).xp.asarray(x)
    run = lockstep(program, (x,), library=library)
    clean(run)
    assert (run.outside, run.operations) == ([], 3)
    assert run.result[1] == imported(own).__name__
    assert not isinstance(imported(own), Namespace)
    assert lockstep(lambda x: x + 1, (x,), library=library).escaped == []


@pytest.mark.needs("torch")
def test_functions_of_the_library_itself_are_outside():
    def program(x: Any) -> Any:
        import torch

        xp = array_namespace(x)
        total = torch.sin(x) + xp.relu(x) + x.cumsum(0) + torch.stack([x, x])[0]
        return total + xp.sub(x, x) + xp.einsum("ij->ij", x)

    run = lockstep(program, inputs()[:1])
    clean(run)
    calls = [each.call for each in run.outside]
    calls_of_torch = ["torch.sin", "xp.relu", "array.cumsum()", "torch.stack"]
    assert calls == [*calls_of_torch, "xp.sub", "xp.einsum"]
    assert run.end == "NumPy's own run raises " + run.end.partition("raises ")[2]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", ["asarray", "as_tensor", "tensor"])
def test_c_code_does_not_take_a_traced_array_for_a_tensor(name):
    import torch

    def program(x):
        match x:
            case torch.Tensor():
                return getattr(torch, name)(x) * 2

    run = lockstep(program, (np.ones(3),))
    assert run.error is None
    assert run.result.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.needs("torch")
def test_what_c_code_refuses_is_an_error_of_the_program():
    import torch

    run = lockstep(torch.vmap(lambda row: row * 2), (np.ones(3),))
    assert run.error.call.startswith("raised TypeError")


@pytest.mark.needs("jax")
def test_jax_functions_escape_with_the_right_result():
    def program(x: Any) -> Any:
        import jax

        y = jax.scipy.special.logsumexp(x) + jax.jit(lambda y: y * 2)(x)
        return array_namespace(x, y).sum(y)

    run = lockstep(program, inputs()[:1], library="jax")
    assert (run.error, run.deviations) == (None, [])
    assert all("test_lockstep.py" in str(each.place) for each in run.escaped)
    assert len(run.escaped) >= 1


@pytest.mark.needs("jax")
def test_functions_of_jax_may_transform_a_function_of_a_traced_array():
    def program(x: Any) -> Any:
        import jax

        xp = array_namespace(x)
        gradient = jax.grad(lambda w: xp.sum((x @ w) ** 2))(xp.ones(5))
        return gradient, jax.vmap(lambda i: x[i, 0] + i)(xp.arange(3))

    (x, _), xp = inputs(), open_library("jax").xp
    run = lockstep(program, (x,), library="jax")
    assert (run.error, run.deviations) == (None, [])
    for got, wanted in zip(run.result, program(xp.asarray(x)), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))
    assert {"matmul", "getitem", "sum"} <= {each.name for each in run.escaped}


@pytest.mark.needs("torch")
def test_a_shape_keeps_its_class():
    run = lockstep(lambda x: (x + 1).size(), inputs()[:1])
    assert run.result.numel() == 60


@each_library
def test_copies_to_the_host_and_waits_are_found(library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        np.asarray(x)
        host = np.from_dlpack(x)
        if library == "torch":
            assert type(x.numpy()) is np.ndarray
        if xp.any(x > 0) and float(x[0, 0]) and int(x[0, 0]) < 9:
            return list(range(9))[xp.argmax(x[:, 0])], host.sum()
        return None

    run = lockstep(program, inputs()[:1], library=library)
    clean(run)
    calls = ["numpy.asarray(array)", "array.__dlpack__()"]
    if library == "torch":
        calls.append("array.numpy()")
    assert [each.call for each in run.transfers] == calls
    assert [each.name for each in run.syncs] == ["bool", "float", "int", "index"]
    assert str(run.transfers[0].place).endswith("(np.asarray(x))")


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("name", "wrong", "take"),
    [
        ("__float__", lambda _: -1.0, float),
        ("__bool__", lambda _: False, bool),
        ("__len__", lambda _: 2, len),
        ("item", lambda _: 3.0, lambda x: x.item()),
        ("tolist", lambda _: [0.0], lambda x: x.tolist()),
    ],
)
def test_a_wrong_value_of_an_array_deviates(name, wrong, take, monkeypatch):
    torch = importlib.import_module("torch")
    assert not lockstep(take, (np.ones(1),), library="torch").deviations
    monkeypatch.setattr(torch.Tensor, name, wrong)
    run = lockstep(take, (np.ones(1),), library="torch")
    assert [each.name for each in run.deviations] == [name.strip("_")]


@pytest.mark.needs("torch")
def test_upcasts_are_found():
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        return x * xp.ones(5, dtype=xp.float64)

    run = lockstep(program, inputs("float32")[:1])
    (found,) = run.upcasts
    assert found.name == "mul"
    assert found.call == "float32 (12, 5) * float64 (5,)"


@pytest.mark.needs("jax")
def test_an_operation_that_raises_is_an_error_of_the_program():
    def assigns(x: Any) -> Any:
        x[0, 0] = 1.0

    run = lockstep(assigns, inputs()[:1], library="jax")
    assert run.error.name == "setitem"
    assert run.error.call == "float64 (12, 5)[0, 0] = 1.0"
    assert str(run.error.place).endswith("(x[0, 0] = 1.0)")
    assert isinstance(run.exception, TypeError)


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_error_or_an_exit_of_the_program_is_the_programs(kind):
    def refuses(x: Any) -> Any:
        raise kind("too small")

    run = lockstep(refuses, inputs()[:1], library="numpy")
    assert run.error.name == kind.__name__
    assert str(run.error.place).endswith('(raise kind("too small"))')


@pytest.mark.needs("torch")
def test_an_error_that_the_program_catches_is_none():
    def recovers(x: Any) -> Any:
        try:
            return array_namespace(x).reshape(x, (7, 7))
        except (ValueError, RuntimeError):
            return x

    assert lockstep(recovers, inputs()[:1]).error is None


@pytest.mark.needs("torch")
def test_what_has_no_bound_is_not_judged():
    run = lockstep(lambda x: array_namespace(x).linalg.eigvals(x), inputs()[1:])
    (found,) = run.unjudged
    assert (found.name, found.detail) == ("linalg.eigvals", "(no bound is known)")


@pytest.mark.needs("torch")
def test_what_the_standard_leaves_open_is_no_deviation():
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        whole = xp.astype(x, xp.int32)
        return (
            xp.zeros(3) + xp.asarray([1.5, 2.0, 3.0]),
            whole / whole,
            xp.mean(xp.linspace(0, 1, 5)),
            xp.unique_all(xp.round(x)) if not is_torch_array(x) else x,
            xp.argsort(xp.round(x[:, 0]), stable=False),
            xp.sort(x[:, 0], stable=False),
            xp.linspace(x[0, 0], x[1, 0], 3),
            xp.empty(3),
            x + whole,
        )

    run = lockstep(program, inputs()[:1])
    assert run.deviations == []
    assert {each.name for each in run.outside} == {"truediv", "linspace"}


def test_a_namespace_needs_no_function_that_a_network_needs():
    few = SimpleNamespace(asarray=np.asarray, float64=np.float64, sum=np.sum)
    run = lockstep(lambda x: x.__array_namespace__().sum(x), (np.ones(3),), library=few)
    assert (run.deviations, float(run.result)) == ([], 3.0)


class Linalg:
    """An extension that is an object, with a fault."""

    def __init__(self, original):
        self.inv = lambda x: original.inv(x) + 1


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("base", "namespace"),
    [
        ("array_api_compat.torch", array_namespace),
        ("array_api_compat.numpy", lambda x: x.__array_namespace__()),
    ],
)
def test_a_namespace_that_wraps_a_library_is_the_one_under_test(base, namespace):
    original = importlib.import_module(base)
    wrapper = ModuleType("my_wrapper")
    vars(wrapper).update(
        {name: own for name, own in vars(original).items() if name[:2] != "__"}
    )
    wrapper.exp = lambda x: original.exp(x) * 2
    wrapper.linalg = Linalg(original.linalg)
    for call in (
        lambda x: namespace(x).exp(x),
        lambda x: namespace(x).linalg.inv(x),
    ):
        run = lockstep(call, (np.eye(2),), library=wrapper)
        assert "my-wrapper" in run.verdict or "my_wrapper" in run.verdict
        assert "deviates: " in run.verdict
        assert not run.transfers


@pytest.mark.parametrize("base", ["numpy", "torch"])
def test_a_wrapper_with_the_name_of_its_library_is_the_one_under_test(base):
    original = importlib.import_module(f"array_api_compat.{base}")
    wrapper = ModuleType(base)
    vars(wrapper).update(vars(original))
    wrapper.__name__ = base
    wrapper.exp = scaled(original.exp)
    run = lockstep(lambda x: array_namespace(x).exp(x), (np.ones(2),), library=wrapper)
    assert [each.name for each in run.deviations] == ["exp"]


@pytest.mark.needs("torch")
def test_a_function_outside_the_standard_alone_does_not_pass():
    sin, allow = importlib.import_module("torch").sin, {"outside": {"*": "?"}}
    with pytest.raises(AssertionError, match="nothing was compared"):
        assert_lockstep(sin, (np.ones(3),), library="torch", allow=allow)


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_special_methods_are_the_librarys(library):
    run = lockstep(lambda x: divmod(x, 2.0), (np.asarray([5.0]),), library=library)
    assert run.error is None
    np.testing.assert_array_equal(np.asarray(run.result), [[2.0], [1.0]])


@pytest.mark.needs("torch")
def test_a_namespace_equals_the_librarys():
    own = importlib.import_module("array_api_compat.torch")

    def program(x: Any) -> bool:
        xp = array_namespace(x)
        return xp == own and {own: True}[xp] and xp != np

    assert lockstep(program, (np.ones(3),), library="torch").result is True


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_an_array_of_numpy_as_an_operand_is_outside(library):
    weights = np.asarray([1.0, 2.0])
    for program in (lambda x: x * weights, lambda x: weights * x):
        run = lockstep(program, (np.ones(2),), library=library)
        assert [each.call for each in run.outside] == ["array * numpy.ndarray"]
    assert not lockstep(program, (np.ones(2),), library="numpy").outside


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_what_is_left_of_a_run_behaves_as_the_librarys_own(library):
    left = []

    def leave(x):
        left.append(array_namespace(x).linspace(0.0, 1.0, 3, dtype=x.dtype))
        return left[0] * x

    def use(x):
        xp = array_namespace(x)
        return [x * left[0], left[0] * x, xp.sum(x) + left[0][1]]

    expected = [[0.0, 0.5, 1.0], [0.0, 0.5, 1.0], 3.5]
    ones = np.ones(3, "float32")
    own = lockstep(leave, (ones,), library=library).result
    own = own - own + 1
    results = use(own)
    assert [np.asarray(each).tolist() for each in results] == expected
    assert all(type(each) is type(own) for each in results)
    array_namespace(left[0])
    run = lockstep(use, (ones,), library=library)
    assert run.operations == 5
    assert [np.asarray(each).tolist() for each in run.result] == expected


@pytest.mark.needs("torch")
def test_a_generator_that_is_left_does_not_spoil_the_next_run():
    def squares(x):
        xp = array_namespace(x)
        for i in range(x.shape[0]):
            yield xp.sum(x[i] ** 2)

    left = lockstep(squares, (np.ones((2, 3)),)).result
    assert [float(each) for each in left] == [3.0, 3.0]
    assert lockstep(lambda x: array_namespace(x).exp(x), (np.ones(3),)).error is None


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("leaf", "end"),
    [
        (lambda x: x, "0 eps from NumPy's whole run"),
        (lambda x: [x, None], "0 eps from NumPy's whole run; 1 of 2 values not"),
        (lambda x: (each for each in x), "not compared, without numbers"),
        (lambda x: str(type(x)), "not compared, without numbers"),
    ],
)
def test_the_end_says_what_is_not_compared(leaf, end):
    run = lockstep(lambda x: leaf(x + 1), (np.ones(3),))
    assert run.end.startswith(end)


@pytest.mark.parametrize("library", ["numpy", *LIBRARIES])
def test_a_float64_of_numpy_counts_as_for_the_library(library):
    def program(x):
        return [x * np.float64(2), np.float64(2) * x]

    run = lockstep(program, (np.ones(3, "float32"),), library=library)
    assert not run.deviations


@pytest.mark.needs("torch")
def test_an_integer_of_numpy_counts_as_for_the_library():
    x = np.arange(3, dtype="int32")
    run = lockstep(lambda x: [x + np.int64(2), np.uint8(2) * x], (x,))
    assert not run.deviations
    assert run.operations == 2
    run = lockstep(lambda x: x + np.int64(2**40), (x,))
    assert not run.deviations
    assert [each.name for each in run.outside] == ["add"]


@pytest.mark.needs("torch")
def test_an_array_without_rows_unstacks_to_no_arrays():
    run = lockstep(lambda x: array_namespace(x).unstack(x[:0, :]), (np.ones((2, 3)),))
    assert (run.deviations, run.operations) == ([], 2)


@pytest.mark.needs("torch")
def test_an_output_argument_is_outside():
    def program(x):
        xp = array_namespace(x)
        out = xp.zeros_like(x)
        xp.add(x, x, out=out)
        return out

    run = lockstep(program, (np.ones(3),))
    assert not run.deviations
    assert [each.call for each in run.outside] == ["xp.add"]


@pytest.mark.parametrize("library", ["jax", "array-api-strict", "torch"])
def test_a_ufunc_of_numpy_is_a_copy(library):
    run = lockstep(lambda x: np.add(x, x), (np.ones(2),), library=library)
    assert [each.call for each in run.transfers] == ["numpy.asarray(array)"]


def test_a_program_in_the_package_of_its_library_has_its_lines(tmp_path, monkeypatch):
    folder = tmp_path / "own_library"
    folder.mkdir()
    (folder / "__init__.py").write_text("from array_api_compat.numpy import *\n")
    (folder / "own_program.py").write_text("def program(x):\n    return x.missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    library = importlib.import_module("own_library")
    program = importlib.import_module("own_library.own_program").program
    run = lockstep(program, (np.ones(2),), library=library)
    assert str(run.error.place).endswith("own_program.py:2 (return x.missing)")


def test_a_neighbour_of_a_library_of_one_file_is_part_of_the_program(
    tmp_path, monkeypatch
):
    (tmp_path / "one_file.py").write_text("from array_api_compat.numpy import *\n")
    (tmp_path / "neighbour.py").write_text("def total(x):\n    return x.sum() + x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "one_file", raising=False)
    monkeypatch.delitem(sys.modules, "neighbour", raising=False)
    neighbour = importlib.import_module("neighbour")
    run = lockstep(lambda x: neighbour.total(x) + 1, (np.ones(3),), library="one_file:")
    assert [str(each.place) for each in run.outside] == [
        "neighbour.py:2 (return x.sum() + x)"
    ]


@pytest.mark.needs("torch")
def test_a_package_does_not_hide_one_whose_name_begins_alike():
    tracer = ProgramTracer(open_library("torch"), None)
    folder = Path(importlib.import_module("torch").__file__).parent
    assert tracer.is_go_between(str(folder / "functional.py"))
    assert not tracer.is_go_between(str(folder.with_name("torchvision") / "ops.py"))
    assert tracer.is_go_between(r"C:\site-packages\array_api_compat\torch\_aliases.py")


@pytest.mark.needs("jax")
def test_a_method_of_an_object_with_an_array_is_shown_with_the_array():
    def program(x: Any) -> Any:
        y = x.at[0].get()
        return y + x.at[0].set(5.0, mode="bad")

    run = lockstep(program, (np.ones(3),), library="jax")
    assert "at[...].set(5.0, mode='bad')" in run.error.call
    assert run.error.call.startswith("float64 (3,).")


class Checked(NamedTuple):
    """A pair, and its subclass checks what it gets."""

    x: Any
    y: Any


class Positive(Checked):
    """Refuses None and anything without numbers."""

    def __new__(cls, x, y):
        if float(x.sum()) <= 0:
            raise ValueError("not positive")
        return super().__new__(cls, x, y)


class Attributes(dict):
    """A dictionary whose keys are attributes."""

    __getattr__ = dict.__getitem__


class Layers(list):
    """A list with a method."""

    def last(self):
        return self[-1]


@pytest.mark.needs("torch")
def test_arguments_keep_their_classes():
    def program(pair: Positive, parts: Attributes, layers: Layers) -> Any:
        return pair.x * pair.y + parts.weights + layers.last()

    ones = np.ones(3)
    args = (Positive(ones, ones), Attributes(weights=ones), Layers([ones]))
    clean(lockstep(program, args))


class Quantity:
    """A number with a unit, which has its own operators."""

    __array_ufunc__ = None

    def __init__(self, value: Any) -> None:
        self.value = value

    def __rmul__(self, other: Any) -> "Quantity":
        return Quantity(other * self.value)


@pytest.mark.needs("torch")
def test_an_operand_of_another_class_is_outside():
    run = lockstep(lambda x: (x * Quantity(x)).value + 1, (np.ones(3),))
    assert not run.deviations
    assert "mul" in {each.name for each in run.outside}


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    "change",
    [
        lambda x, xp, b: np.asarray(x).__setitem__(0, 5.0),
        lambda x, xp, b: b.__setitem__(0, 5.0),
    ],
)
def test_a_change_through_numpys_memory_is_no_fault_of_an_operation(change):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        b = np.zeros(3)
        t = xp.asarray(b)
        before = xp.sum(t) + xp.sum(x)
        change(x, xp, b)
        return before + xp.sum(t) + xp.sum(x)

    assert not lockstep(program, (np.ones(3),)).deviations


class Centred:
    """It keeps the mean of the first array."""

    mean: Any = None

    def __call__(self, x: Any) -> Any:
        return self.apply(x)

    def apply(self, x: Any) -> Any:
        if self.mean is None:
            self.mean = array_namespace(x).mean(x)
        return x - self.mean


@pytest.mark.needs("torch")
@pytest.mark.parametrize("program", [Centred(), Centred().apply])
def test_an_object_that_keeps_arrays_is_copied_for_numpys_run(program):
    run = lockstep(program, (np.arange(3.0),))
    assert run.end == "0 eps from NumPy's whole run"


@pytest.mark.parametrize(
    ("library", "names"),
    [("torch", {"__torch_function__"}), ("jax", {"__jax_array__"}), ("numpy", set())],
)
def test_an_array_has_the_hooks_of_its_library_alone(library, names):
    hooks = ("__torch_function__", "__jax_array__")
    run = lockstep(
        lambda x: [name for name in hooks if hasattr(x, name)],
        (np.ones(2),),
        library=library,
    )
    assert {*run.result} == names


@pytest.mark.needs("torch")
def test_an_error_of_its_own_after_a_caught_one_has_no_reproducer(tmp_path):
    def program(x: Any) -> Any:
        with contextlib.suppress(RuntimeError):
            x @ x[:2]
        raise KeyError("its own")

    run = lockstep(program, (np.ones(3),), reproducers=tmp_path)
    assert run.error.name == "KeyError"
    assert not run.reproducer


@pytest.mark.needs("torch")
def test_an_error_before_the_first_line_names_the_program():
    def program():
        return 0

    run = lockstep(program, (np.ones(2),))
    assert "(def program():)" in str(run.error.place)


@each_library
def test_a_pickled_array_is_the_librarys_own(library):
    run = lockstep(lambda x: pickle.dumps(x + 1), (np.ones(2),), library=library)
    assert run.error is None
    assert np.asarray(pickle.loads(run.result)).tolist() == [2.0, 2.0]
    assert len(run.escaped) == 1


def test_a_device_is_chosen_by_its_name():
    def program(x: Any) -> Any:
        return str(x.device), np.asarray(x)

    run = lockstep(program, (np.ones(3),), library="array-api-strict", device="device1")
    assert "device1" in str(run.exception)
    assert run.error is not None


@pytest.mark.needs("jax")
def test_the_precision_of_jax_is_restored():
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        run = lockstep(lambda x: x * 2, (np.ones(3),), library="jax")
        assert run.result.dtype == np.float64
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", before)


def test_the_flags_of_array_api_strict_are_restored():
    import array_api_strict as strict

    def changes(x: Any) -> Any:
        strict.set_array_api_strict_flags(boolean_indexing=False)
        return x

    flags = strict.get_array_api_strict_flags()
    lockstep(changes, (np.ones(3),), library="array-api-strict")
    assert strict.get_array_api_strict_flags() == flags


def test_the_functions_of_python_are_restored():
    before = issubclass
    lockstep(lambda x: x * 2, (np.ones(3),), library="numpy")
    assert issubclass is before
    assert sys.gettrace() is None


@pytest.mark.needs("sklearn", "torch")
def test_estimators_run_with_the_same_results(monkeypatch):
    import sklearn
    from sklearn.decomposition import PCA

    monkeypatch.setenv("SCIPY_ARRAY_API", "1")

    def program(x: Any) -> Any:
        with sklearn.config_context(array_api_dispatch=True):
            return PCA(2, svd_solver="full").fit_transform(x)

    for library in ("torch", "array-api-strict"):
        run = lockstep(program, inputs()[:1], library=library)
        clean(run)
        opened = open_library(library)
        own = program(opened.xp.asarray(inputs()[0]))
        np.testing.assert_array_equal(*map(opened.to_numpy, (run.result, own)))
        assert any(each.place.file.startswith("sklearn/") for each in run.syncs)


STRANGE = """
import numpy
from numpy import *


def tanh(x):
    return numpy.tanh(x) + 1e-9
"""


def test_a_reproducer_shows_the_deviation(tmp_path, monkeypatch):
    (tmp_path / "strange.py").write_text(STRANGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def program(x: Any) -> Any:
        return x.__array_namespace__().tanh(x)

    run = lockstep(program, (np.ones(3),), library="strange:", reproducers="folder")
    del sys.modules["strange"]
    assert run.deviations[0].name == "tanh"
    start, script = run.reproducer.split()
    assert start == "python"
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith("DEVIATES\n")


# Assertions and the command.


@pytest.mark.needs("torch")
def test_an_assertion_begins_with_the_verdict():
    def program(x: Any) -> Any:
        return np.asarray(x) if bool(x[0, 0] < 9) else x

    args = inputs()[:1]
    with pytest.raises(AssertionError) as caught:
        assert_lockstep(program, args)
    first, second, *_ = str(caught.value).splitlines()
    assert first.startswith("torch ")
    assert ": copy to the host: numpy.asarray(array); at " in first
    assert ": wait for a value: bool(array); at " in second
    allow = {"syncs": {"*": "?"}, "transfers": {"numpy.asarray": "?"}}
    assert_lockstep(program, args, allow=allow)
    with pytest.raises(AssertionError):
        assert_lockstep(program, args, allow={**allow, "transfers": {"scipy": "?"}})


@pytest.mark.needs("torch")
def test_expected_deviations_are_allowed_by_operation(monkeypatch):
    import array_api_compat.torch as xp

    monkeypatch.setattr(xp, "exp", scaled(xp.exp))
    program = lambda x: array_namespace(x).exp(x)  # noqa: E731
    reason = "its exp has half of the digits"
    assert_lockstep(program, inputs()[:1], allow={"deviations": {"exp": reason}})
    with pytest.raises(AssertionError, match=r"^torch \S+: deviates: xp.exp\(float64"):
        assert_lockstep(program, inputs()[:1], allow={"deviations": {"log": reason}})


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("own", "words"),
    [
        (lambda x: x[:2, :], "it has shape (2, 5) instead of (12, 5)"),
        (lambda x: array_namespace(x).astype(x > 0, x.dtype) > 2, "integers or"),
        (lambda x: array_namespace(x).astype(x > 0, x.dtype), "it is float64 instead"),
        (lambda x: (x + 1, x), "2 values or keys other than NumPy's 1"),
    ],
)
def test_an_assertion_compares_the_shapes_and_integers_of_the_result(own, words):
    """Each operation is right, but the program takes another branch."""

    def program(x: Any) -> Any:
        if is_torch_array(x):
            return own(x)
        return x > 0 if words.startswith(("integers", "it is")) else x

    with pytest.raises(AssertionError, match=f": the result: {re.escape(words)}"):
        assert_lockstep(program, inputs()[:1])
    assert_lockstep(program, inputs()[:1], allow={"differs": {"*": "they branch"}})


PROGRAM = """
import numpy as np
from array_api_compat import array_namespace

def root(x):
    xp = array_namespace(x)
    return xp.sqrt(x)

def program():
    return root, (np.ones(3),)

def failing():
    return root, (-np.ones(3), 2)
"""


@pytest.mark.needs("torch", "array_api_strict")
def test_the_command_has_a_report_for_each_library(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["my_program:program", "--backends", "torch", "array-api-strict"]
    assert command.main(words) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.count("no operation deviates, of 1") == 2
    assert command.main(["my_program:failing", "--backends", "torch"]) == 3
    assert "raised TypeError" in capsys.readouterr().out
    assert command.main(["my_program:other"]) == 2
    assert capsys.readouterr().err.startswith("error: my_program:other gives no")
    del sys.modules["my_program"]


# Faults of operations.


def scaled(function):
    return lambda *args, **kwargs: function(*args, **kwargs) * (1 + 1e-4)


def coarse(function):
    return lambda *args, **kwargs: function(*args, **kwargs) * (1 + 1e-3)


def last_part(function):
    def faulty(*args, **kwargs):
        *parts, last = function(*args, **kwargs)
        return (*parts, last * (1 + 3e-2))

    return faulty


def shifted(function):
    def faulty(x, *args, **kwargs):
        import torch

        return torch.roll(function(x, *args, **kwargs), 1)

    return faulty


def negated(function):
    return lambda *args, **kwargs: ~function(*args, **kwargs)


def truncated(function):
    def faulty(x, y):
        import torch

        return torch.trunc(x / y)

    return faulty


def double(function):
    def faulty(*args, **kwargs):
        import torch

        return function(*args, **kwargs).to(torch.complex64)

    return faulty


SCALED = """
    exp tanh sin sum mean std var prod cumulative_sum matmul tensordot clip linspace
    unique_values linalg.solve linalg.inv linalg.cholesky fft.rfft
"""
FUNCTIONS = {
    **dict.fromkeys(SCALED.split(), scaled),
    **dict.fromkeys(("argmax", "argsort", "sort", "take"), shifted),
    **dict.fromkeys(("linalg.svd", "linalg.qr", "linalg.eigh"), last_part),
    "isfinite": negated,
    "floor_divide": truncated,
    "linalg.svdvals": coarse,
    "fft.fft": double,
}


# A program of many operations.


def inputs(
    dtype: str = "float64", seed: int = 1, rows: int = 12, columns: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """A matrix with ties, and a positive definite one."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns)).astype(dtype)
    x[3] = x[7]
    return x, (x.T @ x + np.eye(columns)).astype(dtype)


OPERATIONS = """
xp.exp(positive)
xp.log(positive)
xp.sqrt(positive)
xp.tanh(positive)
xp.sin(positive)
xp.atan(positive)
xp.log1p(positive)
xp.sinh(positive)
xp.sum(x, axis=0)
xp.mean(x, axis=0)
xp.max(x, axis=0)
xp.min(x, axis=0)
xp.prod(x, axis=0)
xp.prod(x, axis=1)
xp.std(x, axis=0)
xp.std(x, correction=1)
xp.var(x, axis=0)
xp.var(x * 1e-3 + 5, axis=0)
xp.vecdot(x, x)
xp.cumulative_sum(x, axis=0)
xp.logaddexp(x, -x)
xp.hypot(x, x * 1e3) + xp.atan2(x, -x)
z * 1j + xp.exp(z * 1j)
xp.argmax(xp.round(x), axis=0)
xp.argsort(x, axis=0)
xp.sort(x, axis=0)
xp.clip(x, -1, 1)
xp.where(x > 0, x, -x)
xp.take(x, xp.asarray([0, 11]), axis=0)
xp.unique_values(xp.round(x))
xp.floor(x)
xp.floor_divide(x, positive)
xp.remainder(x, positive)
xp.sign(x)
xp.isfinite(x)
xp.nonzero(x > 0)[0]
xp.searchsorted(xp.sort(positive[:, 0]), positive[0, :3])
xp.concat([x, x], axis=1)
xp.permute_dims(x, (1, 0))
xp.astype(x * 10, xp.int32)
xp.linspace(0.0, 1.0, 7, dtype=x.dtype)
xp.matmul(x, square)
xp.tensordot(x, square, axes=1)
xp.linalg.solve(square, square[0, :])
xp.linalg.inv(square)
xp.linalg.cholesky(square)
xp.linalg.svd(x, full_matrices=False)
xp.linalg.svd(x)
xp.linalg.qr(x)
xp.linalg.eigh(square)
xp.linalg.svdvals(x)
xp.linalg.vector_norm(x, axis=0)
xp.linalg.matrix_norm(x)
xp.linalg.trace(square)
xp.linalg.outer(x[0, :], x[0, :])
xp.fft.fft(xp.astype(x, xp.complex128), axis=0)
xp.fft.fftn(z)
xp.fft.rfft(x, axis=0)
xp.fft.irfft(xp.fft.rfft(x))
x @ square
x**2
-x
x % positive
x == positive
"""


def everything(x: Any, square: Any) -> list[Any]:
    """A program of many operations, each once."""
    xp = array_namespace(x, square)
    names = {"xp": xp, "x": x, "z": xp.astype(x, xp.complex64), "square": square}
    names["positive"] = xp.abs(x) + 0.5
    lines = OPERATIONS.strip().splitlines()
    results = [eval(compile(line, __file__, "eval"), names) for line in lines]
    total = x + 1
    total -= x
    total = 2 - total * 3 / names["positive"] // 0.5
    total[0, :] = x[0, :]
    return [*results, total]


def clean(run: Run) -> None:
    assert (run.deviations, run.error, run.escaped) == ([], None, [])
