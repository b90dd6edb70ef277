"""Trace: a healthy library gives no report, and every planted fault is named with its operation and its step."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from data_sets import TINY
from helpers import NAMESPACE, assert_one_line, call
from hypothesis import given
from hypothesis import strategies as st
from planted import FAULTS, HEADER, Library, off_by, planted, without_keepdims

import mlp_xp
from mlp_xp.backend import BACKENDS, BackendError, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.parity import bounds
from mlp_xp.parity.bounds import EXACT, KNOWN, SUMS, ULPS, check, gamma
from mlp_xp.parity.compare import record
from mlp_xp.parity.coverage import small_runs
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.trace import LibraryError, Tracer, trace, tracing
from mlp_xp.training import DivergenceError

CONFIG = TrainConfig(hidden=(8,), report_every=50)
PACKAGE = Path(mlp_xp.__file__).parent


def assert_healthy(run: Tracer) -> None:
    first = run.first and (str(run.first), run.first.what, run.first.place)
    assert (first, run.failure) == (None, None)
    assert sum(totals.deviating for totals in run.totals.values()) == 0
    assert all(totals.used <= 1 for totals in run.totals.values())


# A healthy library.


def test_every_backend_is_healthy(backend):
    run = trace(replace(CONFIG, warm_up_steps=1), TINY, backend, 26)
    assert_healthy(run)
    assert run.steps == 27
    assert sum(totals.calls for totals in run.totals.values()) == run.calls
    assert {"tanh", "matmul", "isub", "getitem", "argmax", "mean", "take", "float", "from_numpy"} <= run.totals.keys()


def test_every_backend_is_healthy_in_float32(backend32):
    run = trace(replace(CONFIG, warm_up_steps=0, batch_size=7), TINY, backend32, 5)
    assert_healthy(run)
    assert run.totals["matmul"].bytes > 0


@pytest.mark.parametrize(
    ("activation", "optimizer", "update_order", "batch_size"),
    [
        ("sigmoid", "sgd", "simultaneous", 1),
        ("sigmoid", "momentum", "layerwise", 7),
        ("sigmoid", "adam", "simultaneous", 128),
        ("tanh", "sgd", "layerwise", 128),
        ("tanh", "momentum", "simultaneous", 1),
        ("tanh", "adam", "layerwise", 7),
        ("relu", "sgd", "simultaneous", 7),
        ("relu", "momentum", "layerwise", 128),
        ("relu", "adam", "simultaneous", 1),
    ],
)
@pytest.mark.parametrize(("name", "dtype"), [("numpy", "float32"), ("array-api-strict", "float64")])
def test_every_configuration_is_healthy(name, activation, optimizer, update_order, batch_size, dtype):
    config = replace(
        CONFIG, hidden=(8, 5), init="glorot", activation=activation, optimizer=optimizer, update_order=update_order,
        batch_size=batch_size, weight_decay=1e-3, schedule="cosine", warm_up_steps=2, validation=40,
    )  # fmt: skip
    assert_healthy(trace(config, TINY, open_backend(name, dtype=dtype), 12))


def test_a_traced_run_has_the_same_bits(backend):
    """Eager libraries take the same operations; JAX's compiler does not."""
    if backend.name == "jax":
        pytest.skip("compiled, it rounds differently")
    config = replace(CONFIG, warm_up_steps=2)
    traced = record(config, TINY, tracing(backend)[0], 27)
    np.testing.assert_array_equal(traced.losses, record(config, TINY, replace(backend, functions=()), 27).losses)


def test_a_step_is_listed_with_all_its_operations():
    """Of a network without hidden layers, in batches of 2, with the operations counted by hand in the source."""
    run = trace(TrainConfig(hidden=(), batch_size=2, defer_updates=False), TINY, open_backend(), 3)
    names = [operation.name for operation in run.last_step]
    # forward; softmax; error; gradient; update
    assert names == [
        *("matmul", "iadd", "max", "sub", "exp", "sum", "itruediv", "sub", "imul", "T", "matmul", "matmul"),
        *("isub", "isub"),
    ]
    assert str(run.last_step[0]) == "float64 (2, 36) @ float64 (36, 10)"
    assert str(run.last_step[2]) == "xp.max(float64 (2, 10), axis=-1, keepdims=True)"
    numbers = [operation.number for operation in run.last_step]
    assert numbers == [*range(numbers[0], numbers[0] + len(names))]
    for operation in run.last_step:
        file, _, line = operation.place.partition(":")
        text = (PACKAGE.parent / file).read_text().splitlines()[int(line) - 1].strip()
        assert operation.source == text
    assert "xp.max(" in run.last_step[2].source
    assert run.totals["exp"].calls >= 13
    assert run.totals["sub"].bytes > 0


def test_every_function_of_the_source_has_a_bound():
    used = {
        name
        for path in PACKAGE.glob("*.py")
        for name in re.findall(r"\bxp\.([a-z]\w*)\(", path.read_text(encoding="utf-8"))
    }
    assert {"tanh", "sum", "take", "astype"} <= used
    assert used - KNOWN == {"finfo", "from_dlpack", "Device", "set_default_device"} & used
    assert not (EXACT & ULPS.keys()) | (EXACT & SUMS)


def test_a_function_without_a_bound_is_refused():
    traced, _ = tracing(open_backend())
    with pytest.raises(mlp_xp.errors.MlpXpError, match=r"xp\.cos, called at .*test_trace.py:\d+, has no bound"):
        traced.xp.cos(traced.asarray(np.ones(2)))


def test_arrays_leave_the_library_only_by_to_numpy():
    traced, _ = tracing(open_backend())
    x = traced.asarray(np.ones(2))
    for convert in (np.asarray, np.sum):
        with pytest.raises(TypeError):
            convert(x)
    with pytest.raises(AttributeError, match="method"):
        x.sum()
    np.testing.assert_array_equal(traced.to_numpy(np.float64(2) * x), [2, 2])


# Planted faults.


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_operation_and_its_step(fault):
    """In which step it strikes is counted by the faulty library itself, in a run without the tracer."""
    name, _, _, _, what, file = FAULTS[fault]
    struck, run = planted(fault)
    assert struck, "the fault changes nothing"
    assert run.first is not None
    assert run.first.name == name
    assert run.first.when.startswith(f"{struck} ")
    assert what in run.first.what
    assert file in run.first.place
    assert run.first.devices[0] == "cpu"
    assert run.totals[name].deviating >= 1
    assert all(totals.deviating == 0 for other, totals in run.totals.items() if other != name)


def test_the_table_of_planted_faults_has_a_row_for_each():
    """The rest of the table is written by `python tests/tools/planted.py --update-docs docs/parity.md`."""
    text = (PACKAGE.parent / "docs" / "parity.md").read_text()
    rows = text[text.index(HEADER[0]) :].partition("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*FAULTS]
    for row, (name, *_) in zip(rows, FAULTS.values(), strict=True):
        _, planted_in, operation, found_in, _, verdict = row.strip("| ").split(" | ")
        assert (operation.strip("`"), found_in, verdict) == (name, planted_in, "found")


def test_an_unchanged_library_is_healthy():
    """Else the planting itself would be what is found above."""
    for name in ("tanh", "matmul", "isub"):
        assert_healthy(trace(CONFIG, TINY, Library(name, off_by, lambda n: False).backend(), 20))


def test_the_deviation_is_measured_from_the_same_inputs():
    """A tanh that is always off by 1e-9 is off by as much at the end as at the start."""
    run = trace(CONFIG, TINY, Library("tanh", lambda f, x: f(x) * (1 + 1e-9), lambda n: True).backend(), 60)
    assert run.totals["tanh"].deviation == pytest.approx(1e-9 / np.finfo(np.float64).eps, rel=0.01)
    assert run.first.verdict.deviation == pytest.approx(run.totals["tanh"].deviation, rel=0.01)
    got, expected = run.first.verdict.values
    assert got == pytest.approx(expected * (1 + 1e-9), rel=1e-15)


def test_a_library_that_raises_is_one_line_with_code_3():
    def lost(function, x):
        raise RuntimeError("device lost\n  badly")

    run = trace(replace(CONFIG, warm_up_steps=2), TINY, Library("exp", lost, lambda n: n == 1).backend(), 20)
    assert run.first is None
    assert isinstance(run.failure, LibraryError)
    assert run.failure.exit_code == 3
    assert re.fullmatch(
        r"backend faulty: operation \d+, in step 1 \(of the warm-up\), xp\.exp\(float64 \(1, 10\)\) at "
        r"mlp_xp/losses\.py:\d+ raised RuntimeError: device lost badly",
        str(run.failure),
    )


def test_a_library_that_lacks_a_function_is_one_line_with_code_3():
    class Lacking(Library):
        def __getattr__(self, name):
            if name == "take":
                raise AttributeError(name)
            return super().__getattr__(name)

    run = trace(CONFIG, TINY, Lacking("exp", off_by, lambda n: False).backend(), 2)
    assert isinstance(run.failure, LibraryError)
    assert re.fullmatch(r"backend faulty: it lacks take, called at mlp_xp/chunks\.py:\d+", str(run.failure))


def test_what_fails_after_a_deviation_does_not_hide_it():
    run = trace(replace(CONFIG, batch_size=7), TINY, Library("max", without_keepdims, lambda n: n > 3).backend(), 20)
    assert run.first.name == "max"
    assert isinstance(run.failure, LibraryError)
    run = trace(CONFIG, TINY, Library("exp", lambda f, x: f(x) * math.nan, lambda n: n > 40).backend(), 60)
    assert run.first.name == "exp"
    assert isinstance(run.failure, DivergenceError)


def test_a_run_that_diverges_by_itself_raises():
    with pytest.raises(DivergenceError):
        trace(replace(CONFIG, learning_rate=1e300), TINY, open_backend(), 20)


# Bounds.


def verdict_of(name: str, result: Any, *args: Any, **kwargs: Any) -> bounds.Verdict:
    function = getattr(numpy_xp, name, None) or getattr(__import__("operator"), name)
    return check(name, function, args, kwargs, np.asarray(result))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*ULPS, "iadd"])
def test_an_elementwise_operation_may_deviate_by_its_ulps_and_no_more(name, dtype):
    x, y = np.array([0.3, 1.7, 2.9], dtype), np.array([0.9, 0.2, 1.1], dtype)
    args = (x, y) if name in ("add", "sub", "mul", "truediv", "pow", "iadd") else (x,)
    function = getattr(np, name, None) or getattr(__import__("operator"), name)
    right = np.asarray(function(*(each.copy() for each in args)))
    assert not verdict_of(name, right, *args).deviates
    # What is rounded correctly may not be off by two, unless the reference itself may be, without a wider dtype.
    exact = name in ("add", "sub", "mul", "square", "iadd")
    wider = dtype == "float32" or bool(np.finfo(np.longdouble).eps < np.finfo(dtype).eps)
    for ulps, deviates in ((0 if exact else 1, False), (2, exact and wider), (40, True)):
        result = right.copy()
        result[1] += ulps * np.spacing(right[1])
        verdict = verdict_of(name, result, *args)
        assert verdict.deviates is deviates
        if ulps:
            assert verdict.at == (1,)
    np.testing.assert_array_equal(x, np.array([0.3, 1.7, 2.9], dtype), err_msg="the inputs are not changed")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_a_sum_in_any_order_is_within_its_bound(dtype, seed, n):
    """The error bound is Higham's: a sum in the worst of orders stays below it, one of half the digits does not."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=(2, n)) * 10 ** random.uniform(-6, 6, (2, n))).astype(dtype)
    one_by_one = np.zeros(2, dtype)
    for i in np.argsort(random.random(n)):
        one_by_one += x[:, i]
    assert not verdict_of("sum", one_by_one, x, axis=1).deviates
    assert not verdict_of("matmul", one_by_one, x, np.ones(n, dtype)).deviates
    assert not verdict_of("mean", one_by_one / dtype_number(dtype, n), x, axis=1).deviates
    scale = np.abs(x.astype(np.float64)).sum(axis=1)
    far = (one_by_one + 4 * gamma(n + 1, np.finfo(dtype).eps) * scale).astype(dtype)
    for name, args in (("sum", (x,)), ("matmul", (x, np.ones(n, dtype)))):
        verdict = verdict_of(name, far, *args, **({"axis": 1} if name == "sum" else {}))
        assert verdict.deviates
        assert verdict.bound >= n / 2


def dtype_number(dtype: str, n: int) -> Any:
    return np.dtype(dtype).type(n)


def test_gamma_is_highams():
    assert gamma(1, 2.0**-53) == pytest.approx(2.0**-53)
    assert gamma(1000, 2.0**-24) == pytest.approx(1000 * 2.0**-24 / (1 - 1000 * 2.0**-24), rel=1e-15)


def test_all_other_operations_are_exact():
    x = np.array([1.0, 2.0, 3.0])
    assert not verdict_of("concat", [1.0, 2, 3, 1, 2, 3], [x, x]).deviates
    assert verdict_of("concat", [1.0, 2, 3, 1, 2, np.nextafter(3, 4)], [x, x]).at == (5,)
    assert verdict_of("take", x, x, np.array([0, 1, 1]), axis=0).deviates
    assert verdict_of("astype", x.astype(np.float32).astype(np.float64), x + 0.1, np.dtype("float64")).deviates
    assert verdict_of("lt", [True, True, False], x, 2.0).deviates
    assert not verdict_of("lt", [True, False, False], x, 2.0).deviates
    assert verdict_of("sum", 7, np.array([1, 2, 3]), axis=0).deviates


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_beyond_every_bound(value):
    for name in ("tanh", "exp", "sqrt"):
        verdict = verdict_of(name, [value, math.nan], np.array([0.5, math.nan]))
        assert verdict.deviates
        assert (verdict.deviation, verdict.at) == (math.inf, (0,))
    assert verdict_of("sum", value, np.ones(3), axis=0).deviates
    assert not verdict_of("exp", [math.inf], np.array([1e5])).deviates
    assert not verdict_of("exp", np.array([math.inf], np.float32), np.array([100], np.float32)).deviates


def test_a_python_float_becomes_a_number_of_the_arrays_dtype_first():
    x = np.array([1.7, 2.3], np.float32)
    assert verdict_of("mul", np.float32(0.9) * x, 0.9, x) == bounds.Verdict()
    verdict = verdict_of("mul", (0.9 * x.astype(np.float64) * (1 + 3e-7)).astype(np.float32), 0.9, x)
    assert verdict.deviates
    assert verdict.values[1] == float(np.float32(0.9)) * float(x[verdict.at])


def test_subnormal_numbers_may_be_zero_and_normal_ones_not():
    tiny = np.finfo(np.float64).smallest_normal
    small, normal = np.array([tiny / 8, 1.0]), np.array([tiny * 8, 1.0])
    assert not verdict_of("gt", [False, True], small, 0.0).deviates
    assert verdict_of("gt", [False, True], normal, 0.0).deviates
    assert not verdict_of("sqrt", [0.0, 1.0], small).deviates
    assert verdict_of("sqrt", [0.0, 1.0], normal).deviates
    assert not verdict_of("mul", [0.0, 1e10], small, 1e10).deviates
    assert verdict_of("mul", [0.0, 1e10], normal, 1e10).deviates


def test_only_the_integer_dtype_of_argmax_is_free():
    x = np.array([[1.0, 3, 3], [5, 2, 1]])
    for dtype in (np.int32, np.int64, np.uint32):
        assert not verdict_of("argmax", np.array([1, 0], dtype), x, axis=1).deviates
    assert verdict_of("argmax", np.array([2, 0]), x, axis=1).deviates, "the first of equals, says the standard"
    assert verdict_of("argmax", np.array([1.0, 0.0]), x, axis=1).problem == "is float64 instead of int64"
    assert verdict_of("eq", np.array([1, 0, 0]), x[0], 1.0).problem == "is int64 instead of bool"


# The command, and the reproducer.


LIBRARY = (
    NAMESPACE
    + """

def lost(x):
    raise RuntimeError("device lost")


class Sometimes:
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return numpy.tanh(x) + 1e-9 * (self.calls == 12)


right = Namespace()
wrong = Namespace(tanh=lambda x: numpy.tanh(x) + 1e-9)
wrong_twice = Namespace(tanh=wrong.tanh, mean=lambda x, **k: numpy.asarray(numpy.mean(x, **k), dtype=numpy.float32))
narrow = Namespace(max=lambda x, axis=None, keepdims=False: numpy.max(x, axis=axis))
raising = Namespace(exp=lost)
sometimes = Namespace(tanh=Sometimes())
"""
)
CORE = """
from array_api_compat.numpy import *


def tanh(x):
    return (exp(x) - exp(-x)) / (exp(x) + exp(-x)) + 1e-9
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> str:
    """The name of an importable module with the namespaces above."""
    (tmp_path / "strange_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_library", raising=False)
    monkeypatch.chdir(tmp_path)
    return "strange_library"


def traced(data_dir: Path, *arguments: Any):
    return call("parity", "--data-dir", data_dir, "--hidden", "8", "--steps", "20", "--trace", *arguments)


def test_the_command_on_libraries_that_are_healthy(data_dir, stranger):
    outcome = traced(data_dir, "--backends", "numpy", f"{stranger}:right")
    assert (outcome.code, outcome.err) == (0, "")
    assert "on cpu, float64: " in outcome.out
    assert outcome.out.count("the 27 operations of the last step:") == 2
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["xp.tanh(float64", "(1,", "8))", "mlp_xp/functional.py:27"] in [row[1:] for row in rows]
    assert {"tanh", "argmax", "astype"} <= {row[0] for row in rows if row}
    assert "reproducer" not in outcome.out
    assert not Path("reproducers").exists()


def test_the_command_names_the_operation_and_offers_a_reproducer_that_was_run(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:wrong")
    assert_one_line(outcome, 1, f"deviates: {stranger}:wrong: operation ", ", in step 1 (of the warm-up): ",
                    "xp.tanh(float64 (1, 8)) on cpu deviates by ", " eps at [0, ", "where 5 are allowed",
                    "called at mlp_xp/functional.py:27: y = xp.tanh(0.5 * x)")  # fmt: skip
    script = Path("reproducers") / "strange_library-wrong-float64-tanh" / "reproduce.py"
    assert f"reproducer: python {script} shows it in a process of its own: " in outcome.out
    text = script.read_text()
    assert "mlp_xp" not in text
    assert len(text.splitlines()) <= 12
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "DEVIATES\n")
    healthy = text.replace("import wrong as xp", "import right as xp")
    assert healthy != text
    script.write_text(healthy)
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reproducer_needs_the_library_alone_where_the_namespace_only_adapts_it(data_dir, stranger, tmp_path):
    (tmp_path / "strange_core.py").write_text(CORE)
    (tmp_path / "strange_adapter.py").write_text(
        f"import strange_core, {stranger}\nxp = {stranger}.Namespace(tanh=strange_core.tanh)\n"
    )
    outcome = traced(data_dir, "--backends", "strange_adapter:xp")
    assert outcome.code == 1
    assert "reproduce.py shows it" in outcome.out
    text = Path("reproducers/strange_adapter-xp-float64-tanh/reproduce.py").read_text()
    assert "import strange_core as xp\n" in text
    assert "import strange_adapter" not in text


def test_a_reproducer_of_a_shape(data_dir, stranger, tmp_path):
    outcome = traced(data_dir, "--backends", f"{stranger}:narrow", "--report-dir", tmp_path / "new")
    assert outcome.code == 1
    assert_one_line(outcome, 1, "deviates: ", "has shape (1,) instead of (1, 1)")
    script = tmp_path / "new" / "strange_library-narrow-float64-max" / "reproduce.py"
    assert f"reproducer: python {script} shows it" in outcome.out


HOOK = """
import array_api_compat.numpy as numpy


class Array:
    '''An array that NumPy cannot read, and whose in-place operators return a new object for the same memory.'''

    __array_ufunc__ = None

    def __init__(self, x):
        self.x = x

    def __getattr__(self, name):
        value = getattr(self.x, name)
        return Array(value) if isinstance(value, numpy.ndarray) else value

    def __getitem__(self, key):
        return Array(self.x[key])


def bare(x):
    return x.x if isinstance(x, Array) else [*map(bare, x)] if isinstance(x, (list, tuple)) else x


def wrapped(function):
    return lambda *args, **kwargs: Array(numpy.asarray(function(*map(bare, args), **kwargs)))


for name in ("add", "sub", "mul", "truediv", "matmul", "eq", "lt", "gt", "pow", "neg"):
    for each in (name, f"r{name}", f"i{name}"):
        if hasattr(numpy.ndarray, f"__{each}__"):
            setattr(Array, f"__{each}__", wrapped(getattr(numpy.ndarray, f"__{each}__")))
for name in ("float", "int", "bool"):
    setattr(Array, f"__{name}__", lambda self, name=name: getattr(self.x, f"__{name}__")())


class Namespace:
    def __getattr__(self, name):
        value = getattr(numpy, name)
        return wrapped(value) if callable(value) and not isinstance(value, type) and name != "finfo" else value

    def tanh(self, x):
        return Array(numpy.tanh(x.x) + FAULT)


FAULT = 0.0
xp = Namespace()


def to_numpy(x):
    return numpy.array(x.x, copy=True)
"""


def test_a_reproducer_of_a_hook_uses_its_namespace_and_its_copy(data_dir, stranger, tmp_path):
    module = tmp_path / "strange_hook.py"
    module.write_text(HOOK)
    outcome = traced(data_dir, "--backends", "strange_hook:")
    assert (outcome.code, outcome.err) == (0, ""), "an in-place operator may return a new object"
    assert "no operation deviates" in outcome.out
    module.write_text(HOOK.replace("FAULT = 0.0", "FAULT = 1e-9"))
    del sys.modules["strange_hook"]
    outcome = traced(data_dir, "--backends", "strange_hook:")
    assert outcome.code == 1
    assert "/reproduce.py shows it in a process of its own: float64 (1, 8) " in " ".join(outcome.out.split())


@pytest.fixture
def entry_point(stranger, tmp_path) -> str:
    """A name that an installed package has for a hook without a colon, with a namespace whose tanh is wrong."""
    (tmp_path / "far_hook.py").write_text(f"import {stranger}\nxp = {stranger}.wrong\n")
    info = tmp_path / "far-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mlp_xp.backends]\nfar-library = far_hook\n")
    return "far-library"


def test_a_reproducer_of_an_entry_point(data_dir, entry_point):
    outcome = traced(data_dir, "--backends", entry_point)
    assert_one_line(outcome, 1, "deviates: far-library: operation ", "xp.tanh(float64 (1, 8))")
    assert "reproduce.py shows it in a process of its own: float64 (1, 8) " in outcome.out


def test_a_finding_is_not_lost_with_its_reproducer(data_dir, stranger, tmp_path):
    (tmp_path / "file").touch()
    outcome = traced(data_dir, "--backends", f"{stranger}:wrong", "--report-dir", "file")
    assert outcome.code == 1
    deviates, error = outcome.err.splitlines()
    assert deviates.startswith(f"deviates: {stranger}:wrong: operation ")
    assert error.startswith("error: 'file/")


PECULIAR = (
    NAMESPACE
    + """

class Array(numpy.ndarray):
    def __matmul__(self, other):
        return numpy.ndarray.__matmul__(self, other) * (1 + 1e-9 * (not other.flags.c_contiguous))


class Bare:
    def __init__(self, x):
        self.x, self.dtype, self.shape = x, x.dtype, x.shape

    def __dlpack__(self, **options):
        return self.x.copy().__dlpack__(**options)

    def __dlpack_device__(self):
        return (1, 0)


# A wrong product with an array in Fortran's order; a result without elements; arrays that NumPy reads by DLPack alone.
layout = Namespace(asarray=lambda x, dtype=None, copy=None: numpy.array(x, dtype=dtype).view(Array))
nothing = Namespace(max=lambda x, **options: numpy.max(x, **options)[:0])
bare = Namespace(
    asarray=lambda x, dtype=None, copy=None: Bare(numpy.array(x, dtype=dtype)),
    tanh=lambda x: Bare(numpy.tanh(x.x) + 1e-9),
)
# No copy: of an array of the library, and of a large one of NumPy.
astype = Namespace(astype=lambda x, dtype: numpy.astype(x, dtype, copy=False))
asarray = Namespace(asarray=lambda x, dtype=None, copy=None: numpy.asarray(x, dtype=dtype, copy=x.size < 9 or None))
"""
)


@pytest.mark.parametrize(
    ("name", "use", "said", "printed"),
    [
        ("layout", lambda b, x: x @ x.T, "deviates by", "float64 (9, 9) 9.000000009 NumPy: float64 (9, 9) 9.0"),
        (
            "nothing", lambda b, x: b.xp.max(x, axis=-1, keepdims=True), "has shape (0, 1) instead of (9, 1)",
            "float64 (0, 1) NumPy: float64 (9, 1) 1.0",
        ),
        ("bare", lambda b, x: b.xp.tanh(x), "deviates by", "float64 (9, 9) 0.76159415"),
        ("astype", lambda b, x: b.xp.astype(x, b.dtype), "shares memory", "float64 (9, 9) 2.0 NumPy: "),
        ("asarray", lambda b, x: x, "shares memory", "float64 (9, 9) 2.0 NumPy: float64 (9, 9) 1.0"),
    ],
)  # fmt: skip
def test_a_reproducer_shows_what_depends_on_memory(name, use, said, printed, tmp_path, monkeypatch):
    (tmp_path / "peculiar.py").write_text(PECULIAR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "peculiar", raising=False)
    backend = open_backend(f"peculiar:{name}")
    with_trace, tracer = tracing(backend)
    ones = np.ones((9, 9))
    use(with_trace, with_trace.asarray(ones))
    assert ones.all()
    assert tracer.first is not None
    assert said in tracer.first.what
    made = write_reproducer(backend, tracer.first, tmp_path)
    assert made.shows
    assert made.said.startswith(printed)


MATERIALISE = """
from array_api_compat import numpy as xp


def materialise(*arrays):
    return [xp.asarray(x, dtype="float32").astype(x.dtype) for x in arrays]
"""


IN_PLACE = """
from array_api_compat import numpy as xp


def materialise(*arrays):
    for x in arrays:
        if x.ndim == 2:
            x *= 1.0000001
    return arrays
"""


@pytest.mark.parametrize(("text", "said"), [(MATERIALISE, "deviates by "), (IN_PLACE, "changes its argument 1")])
def test_a_fault_in_materialise_is_found(text, said, data_dir, stranger, tmp_path):
    (tmp_path / f"wrong_{len(text)}.py").write_text(text)
    outcome = traced(data_dir, "--backends", f"wrong_{len(text)}:")
    assert_one_line(outcome, 1, f"materialise(float64 (36, 8)) on cpu {said}", "called at mlp_xp/training.py:")
    assert "reproducer: none, because the hook's function is not one of the namespace" in outcome.out


def test_arrays_that_do_not_change_need_no_operators_in_place(data_dir, stranger, tmp_path):
    text = HOOK.replace('(name, f"r{name}", f"i{name}")', '(name, f"r{name}")')
    (tmp_path / "immutable.py").write_text(text)
    assert traced(data_dir, "--backends", "immutable:").code == 0
    text += "\n\ndef refuse(self, other):\n    raise TypeError('immutable')\n\n\nArray.__imul__ = refuse\n"
    (tmp_path / "refusing.py").write_text(text)
    outcome = call("parity", "--data-dir", data_dir, "--steps", "5", "--backends", "refusing:")
    assert_one_line(outcome, 3, "mlp_xp/features.py:", " (x *= 1 / 255): TypeError: immutable")


def test_all_that_is_required_can_be_traced(data_dir, stranger):
    """Small runs use what the run leaves out."""
    outcome = traced(data_dir, "--backends", "array-api-strict", "--all-operations")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("no operation deviates") == 4


def test_an_operation_that_only_a_small_run_uses_is_found(stranger, tmp_path):
    (tmp_path / "rare.py").write_text(
        f"import {stranger} as s\nxp = s.Namespace(log1p=lambda x: s.numpy.log1p(x) + 1e-9)\n"
    )
    found = {name: run.first and run.first.name for name, run in small_runs(open_backend("rare:xp"))}
    assert found == {"small run for classes": None, "small run for labels": "log1p", "small run for regression": None}


def test_an_array_that_another_operation_overwrites_is_found():
    """The library returns the same buffer for all results of a shape."""
    buffers: dict[Any, np.ndarray] = {}

    def reused(function, x):
        buffer = buffers.setdefault(x.shape, np.empty(x.shape).view(type(x)))
        buffer[...] = function(x)
        return buffer

    config = replace(CONFIG, hidden=(8, 8), activation="tanh", init="glorot", defer_updates=False)
    run = trace(config, TINY, Library("tanh", reused, lambda n: True).backend(), 5)
    assert run.first is not None
    assert "changed since its last use" in run.first.what or "changes its argument" in run.first.what


def test_a_reproducer_of_an_operation_that_raises(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:raising")
    assert outcome.code == 3
    script = Path("reproducers") / "strange_library-raising-float64-exp" / "reproduce.py"
    said = f"reproducer: python {script} shows it in a process of its own: RuntimeError: device lost"
    assert said in " ".join(outcome.out.split())
    script.write_text(script.read_text().replace("import raising as xp", "import right as xp"))
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reproducer_that_does_not_show_it_says_so(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:sometimes")
    assert outcome.code == 1
    assert "reproduce.py does NOT show it in a process of its own: float64 (60, 8) " in outcome.out
    assert "; the fault may depend on earlier calls, on chance, or on an array's layout in memory" in outcome.out
    assert "DEVIATES" not in outcome.out
    assert "in step" not in outcome.err


def test_a_library_that_raises_is_code_3(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:raising")
    assert_one_line(outcome, 3, f"error: backend {stranger}:raising: operation ", " xp.exp(float64 (1, 10)) at "
                    "mlp_xp/losses.py:", "raised RuntimeError: device lost")  # fmt: skip
    assert traced(data_dir, "--backends", f"{stranger}:raising", f"{stranger}:wrong").code == 1


def test_in_a_narrow_terminal_no_number_is_cut(data_dir, stranger, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    narrow = traced(data_dir, "--backends", "numpy").out
    monkeypatch.setenv("COLUMNS", "120")
    wide = traced(data_dir, "--backends", "numpy").out
    (row,) = [line.split() for line in wide.splitlines() if line.startswith("argmax ")]
    (line,) = [line for line in narrow.splitlines() if line.startswith("argmax: ")]
    assert line.startswith(f"argmax: calls {row[1]}, in a step {row[2]}, deviation in eps {row[3]}, time ")
    assert "\u2026" not in narrow + wide
    assert " float64 (1, 10)[0, ...] " in wide
    assert ": float64 (1, 10)[0, ...], mlp_xp/network.py:" in narrow


def test_other_operations_that_deviate_follow(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:wrong_twice")
    assert_one_line(outcome, 1, "xp.tanh(float64 (1, 8)) on cpu deviates by")
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("also deviates: ")]
    assert "xp.mean(float64 (1, 1), axis=-1) on cpu is float32 instead of float64" in line


def test_by_default_all_usable_are_traced_and_the_others_are_listed(data_dir, stranger, monkeypatch):
    def unusable(device):
        raise BackendError("backend torch: it is broken here; mend it")

    for name in ("jax", "cupy"):
        monkeypatch.delitem(BACKENDS, name)
    monkeypatch.setitem(BACKENDS, "torch", unusable)
    outcome = traced(data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("\nnot run: backend torch: it is broken here; mend it\n")
    assert "array-api-strict" in outcome.out
    outcome = traced(data_dir, "--backends", "torch", "numpy")
    assert_one_line(outcome, 2, "error: backend torch: it is broken here; mend it")
    assert "on cpu, float64: " in outcome.out, "the others are traced all the same"
    assert_one_line(traced(data_dir, "--backends", "torch"), 2, "error: backend torch: it is broken here; mend it")


def test_in_float32_and_in_batches(data_dir, stranger):
    arguments = ["--dtype", "float32", "--batch-size", "7"]
    assert traced(data_dir, "--backends", f"{stranger}:right", *arguments).code == 0
    outcome = call("parity", "--data-dir", data_dir, "--trace", *arguments, "--tolerance", "1", "--steps", "2")
    assert_one_line(outcome, 2, "--tolerance: it has no meaning with --trace")


def test_parity_names_the_command_that_traces(data_dir, stranger):
    arguments = ["--data-dir", str(data_dir), "--hidden", "8", "--steps", "20", "--batch-size", "7"]
    outcome = call("parity", *arguments, "--backends", f"{stranger}:right", f"{stranger}:wrong")
    assert outcome.code == 1
    (line,) = [line for line in outcome.out.splitlines() if "--trace" in line]
    prefix, _, words = line.partition(": ")
    assert prefix == "to find the first operation that deviates"
    _, script, *words = words.split()
    assert script.endswith("parity.py")
    assert words[:5] == ["--trace", "--backends", f"{stranger}:wrong", "--steps", "1"]
    outcome = call("parity", *words)
    assert outcome.code == 1
    assert "xp.tanh(float64 (1, 8))" in outcome.err, "the warm-up is on single samples"
    assert "--trace" not in call("parity", *arguments, "--backends", f"{stranger}:right").out
    outcome = call("parity", *arguments, "--backends", f"{stranger}:raising")
    assert outcome.code == 3
    assert f" --trace --backends {stranger}:raising --steps 20 " in outcome.out


@pytest.mark.parametrize("name", ["jax", "torch", "array-api-strict"])
def test_a_reproducer_runs_on_every_known_library(name, tmp_path):
    """The deviation is made up, so the library must be found not to show it.

    PyTorch's own max returns two arrays: that it differs must not count.
    """
    if name == "torch":
        pytest.importorskip("torch")
    backend = open_backend(name, dtype="float32")
    traced_backend, tracer = tracing(backend)
    x = traced_backend.asarray(np.ones((2, 3), np.float32))
    tracer._in_step = True
    traced_backend.xp.max(x, axis=-1, keepdims=True)
    made_up = tracer.last_step[0]._replace(verdict=bounds.Verdict(9, 1, (0, 0), (1, 2)))
    made = write_reproducer(backend, made_up, tmp_path)
    assert not made.shows
    assert made.said == "float32 (2, 1) 1.0 NumPy: float32 (2, 1) 1.0"


def test_no_library_is_named_in_the_reproducers_source():
    text = (PACKAGE / "parity" / "reproducer.py").read_text()
    assert [name for name in ("cupy", "torch", "jax", "array_api", "array-api") if name in text] == []


def test_a_reproducer_uses_the_device_of_the_run(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "item", lambda x: 2.0)  # meta tensors have no values; opening reads one
    assert open_backend("torch", "meta").imports[0] == "import torch as xp; xp.set_default_device('meta')"
    assert open_backend("torch").imports[0] == "import torch as xp"


MADE_UP = """
import sys
from pathlib import Path
import numpy as np
from mlp_xp import open_backend
from mlp_xp.parity.bounds import Verdict
from mlp_xp.parity.coverage import small_runs
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.trace import tracing

backend = open_backend("jax", "cpu:1", "float32")
traced, tracer = tracing(backend)
x = traced.asarray(np.ones((2, 3), np.float32))
tracer._in_step = True
traced.xp.max(x, axis=-1, keepdims=True)
operation = tracer.last_step[0]._replace(verdict=Verdict(9, 1, (0, 0), (1, 2)))
made = write_reproducer(backend, operation, Path(sys.argv[1]))
script = made.script.read_text().replace("result = ", "print(xp.zeros(1).devices()); result = ")
made.script.write_text(script)
print(operation.devices, made.said)
"""


def test_a_reproducer_on_the_second_device_runs_there(tmp_path):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}

    def run(*words: Any) -> str:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=PACKAGE.parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "float32 (2, 1) 1.0 NumPy: float32 (2, 1) 1.0" in run("-c", MADE_UP, tmp_path)
    assert "id=1" in run(tmp_path / "reproduce.py")
