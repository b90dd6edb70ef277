"""The reproducers of `parity --trace`, which it writes and runs."""

import contextlib
import math
import runpy
import sys
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from helpers import NAMESPACE, SCRIPTS, Outcome, assert_one_line, call, native

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.opening import open_backend
from mlp_xp.parity._bounds import Verdict
from mlp_xp.parity.operations import Operation
from mlp_xp.parity.reproducer import TO_NUMPY, write_reproducer
from mlp_xp.parity.tracer import LibraryCall
from mlp_xp.parity.tracing import TracingBackend

# How far long double's eps is below the eps of float64; 1 where it is no wider, as on
# Windows.
WIDER = float(np.finfo(np.longdouble).eps / np.finfo(np.float64).eps)
SHOWN = "shows it in a process of its own: "
NOT_SHOWN = "reproduce.py does NOT show it in a process of its own: "


def traced(data_dir: Path, backend: str, **options: Any) -> Outcome:
    command = f"parity --hidden 8 --steps 20 --trace --backends {backend}"
    return call(command, data_dir=data_dir, **options)


def script_of(name: str) -> Path:
    return Path("reproducers", f"strange_library-{name}", "reproduce.py")


def test_a_deviation_has_a_reproducer_that_was_run(data_dir):
    outcome = traced(data_dir, "strange_library:wrong")
    assert_one_line(
        outcome,
        1,
        "deviates: strange_library:wrong: operation ",
        ", in step 1: xp.tanh(float64 (1, 8)) deviates by ",
        " eps at [0, ",
        f"where {5 * (1 + WIDER):.3g} are allowed",
        "called at mlp_xp/core/functional.py:",
        "(y = xp.tanh(0.5 * z))",
    )
    script = script_of("wrong-float64-tanh")
    assert f"reproducer: python {script} {SHOWN}" in outcome.out
    text = script.read_text()
    assert "mlp_xp" not in text
    assert len(text.splitlines()) <= 14
    script.write_text(text.replace("import wrong as xp", "import right as xp"))
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(script))


def test_an_operation_that_raises_has_a_reproducer_too(data_dir):
    outcome = traced(data_dir, "strange_library:raising")
    place = ", in step 1, xp.exp(float64 (1, 10)) at mlp_xp/core/losses.py:"
    begin = "error: backend strange_library:raising: operation "
    assert_one_line(outcome, 3, begin, place, "raised RuntimeError: device lost")
    script = script_of("raising-float64-exp")
    said = f"reproducer: python {script} {SHOWN}RuntimeError: device lost"
    assert said in " ".join(outcome.out.split())


@pytest.mark.slow
def test_a_changed_argument_is_shown(data_dir):
    outcome = traced(data_dir, "strange_library:changing")
    said = "xp.exp(float64 (1, 10)) changes its array 1, unless an earlier operation"
    assert_one_line(outcome, 1, said)
    assert f"reproduce.py {SHOWN}float64 (1, 10) " in outcome.out


@pytest.mark.slow
def test_a_reproducer_that_does_not_show_the_fault_says_so(data_dir):
    outcome = traced(data_dir, "strange_library:sometimes")
    assert outcome.code == 1
    assert f"{NOT_SHOWN}float64 (60, 8) " in outcome.out
    assert "; the fault may depend on earlier calls, on chance, or on" in outcome.out
    (line,) = [line for line in outcome.out.splitlines() if "also deviates: " in line]
    assert "xp.argmax(float64 (60, 10), axis=1) deviates by" in line


@pytest.mark.slow
@pytest.mark.parametrize("entry_point", ["strange_hook", "strange_package:hook"])
def test_the_reproducer_of_a_hook_uses_its_namespace_and_its_copy(
    entry_point, data_dir, monkeypatch
):
    """The library is array-api-strict on a device unreadable for NumPy."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS.parent / "tests" / "tools"))
    fault = "xp = adapted(xp, tanh=lambda x: strict.tanh(x) + 1e-9)\n"
    info = Path("strange-1.dist-info")
    info.mkdir()
    for path, text in {
        Path("strange_hook.py"): f"from device_hook import *\n{fault}",
        Path("strange_package.py"): "import strange_hook as hook\n",
        info / "METADATA": "Metadata-Version: 2.1\nName: strange\nVersion: 1\n",
        info / "entry_points.txt": f"[mlp_xp.backends]\nstrange = {entry_point}\n",
    }.items():
        path.write_text(text, encoding="utf-8")
    outcome = traced(data_dir, "strange")
    assert outcome.code == 1
    said = f"reproduce.py {SHOWN}float64 (1, 8) "
    assert said in " ".join(outcome.out.split())
    for module in ("strange_hook", "strange_package", "device_hook"):
        sys.modules.pop(module, None)


def test_a_fault_in_materialise_is_found_and_has_no_reproducer(data_dir):
    outcome = traced(data_dir, "strange_library:Hook")
    operation = "materialise(float64 (36, 8)) deviates by "
    assert_one_line(outcome, 1, operation, "called at mlp_xp/core/")
    reason = "none, because the hook's function is not one of the namespace"
    assert f"reproducer: {reason}" in outcome.out


@pytest.mark.slow
def test_the_reproducer_of_another_run_is_in_a_folder_of_its_own(data_dir):
    options = {"all_operations": True, "report_dir": "new"}
    outcome = traced(data_dir, "strange_library:rare", **options)
    begin = "deviates: strange_library:rare: operation "
    assert_one_line(outcome, 1, begin, "xp.log1p(float64 ")
    assert [path.name for path in Path("new").iterdir()] == ["probe"]


def test_a_finding_is_not_lost_where_no_reproducer_can_be_written(data_dir):
    Path("file").touch()
    outcome = traced(data_dir, "strange_library:wrong", report_dir="file")
    assert outcome.code == 1
    deviates, error = outcome.err.splitlines()
    assert deviates.startswith("deviates: strange_library:wrong: operation ")
    assert error.startswith(native("error: 'file/"))


def test_optional_calls_that_a_library_refuses_are_told(data_dir):
    outcome = traced(data_dir, "strange_library:refusing")
    assert outcome.code == 0
    (line,) = [x for x in outcome.out.splitlines() if "that it refuses" in x]
    count = int(line.partition(": ")[2].partition(":")[0])
    assert count == line.count("xp.maximum(a, b)`") >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "torch", "array-api-strict"])
def test_a_reproducer_runs_on_every_known_library(name, tmp_path):
    """The deviations are made up, so the library must be found not to show them."""
    backend, operations = open_backend(name, dtype="float32"), []
    traced_backend = TracingBackend(backend)
    traced_backend.tracer._add = operations.append
    x = traced_backend.asarray(np.ones((2, 3), np.float32))
    traced_backend.xp.max(x, axis=-1, keepdims=True)
    x -= x
    copied, highest, lowered = operations
    value = Verdict(9, 1, (0, 0), (1, 2))
    change = Verdict(problem="changes its array 1", changed=1)
    for operation, verdict, shown in (
        (copied, value, "float32 (2, 3) 1.0"),
        (highest, value, "float32 (2, 1) 1.0"),
        (highest, change, "float32 (2, 3) 1.0"),
        (lowered, value, "float32 (2, 3) 0.0"),
    ):
        made = write_reproducer(backend, operation._replace(verdict=verdict), tmp_path)
        assert f"{NOT_SHOWN}{shown} NumPy: {shown}; " in made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-math.inf, "float('-inf')"),
        (np.float32("nan"), "float('nan')"),
        (complex(math.nan, 1), "complex('(nan+1j)')"),
        (0.5, "0.5"),
    ],
)
def test_an_infinite_number_is_python_text(value, text):
    source = Operation("add", np.add, (np.ones(2), value), {}).source(lambda _: "x")
    assert source == f"x + {text}"
    np.testing.assert_equal(eval(text), value)


def raises(*_: Any) -> Any:
    raise RuntimeError("device lost")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pinv", "none, because its elements have no bounds of their own"),
        ("qr", "none, because it has several results"),
    ],
)
@pytest.mark.parametrize("function", [raises, lambda x: np.ones(2)])
def test_an_operation_without_a_single_bound_has_no_reproducer(
    name, said, function, tmp_path
):
    backend, operations = open_backend("array-api-strict"), []
    tracer = TracingBackend(backend).tracer
    tracer._add = operations.append
    x = TracingBackend(backend, tracer).asarray(np.eye(2))
    reference = getattr(numpy.linalg, name)
    with contextlib.suppress(BackendFailure):
        tracer.call(LibraryCall(f"linalg.{name}", function, (x,), {}, reference))
    operation = tracer.raised or operations[-1]
    assert write_reproducer(backend, operation, tmp_path) == said


def test_arrays_that_only_dlpack_reads_are_read():
    array = np.arange(3.0)

    class Sealed:
        def __dlpack__(self, **_: Any) -> Any:
            return array.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return array.__dlpack_device__()

    np.testing.assert_array_equal(eval(TO_NUMPY)(Sealed()), array)


# The libraries.

LIBRARIES = (
    NAMESPACE
    + """

def lost(x):
    raise RuntimeError("device lost")


def doubling(x):
    result = numpy.exp(x)
    x *= 2
    return result


class Sometimes:
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return numpy.tanh(x) + 1e-9 * (self.calls == 12)


class Hook:
    xp = numpy

    def materialise(*arrays):
        return [numpy.astype(numpy.astype(x, "float32"), x.dtype) for x in arrays]


right = Namespace()
wrong = Namespace(tanh=lambda x: numpy.tanh(x) + 1e-9)
rare = Namespace(log1p=lambda x: numpy.log1p(x) + 1e-9)
raising = Namespace(exp=lost)
changing = Namespace(exp=doubling)
refusing = Namespace(maximum=lost)
sometimes = Namespace(tanh=Sometimes(), argmax=numpy.argmin)
"""
)


@pytest.fixture(autouse=True)
def libraries(tmp_path, monkeypatch) -> None:
    """An importable module with the namespaces above."""
    (tmp_path / "strange_library.py").write_text(LIBRARIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_library", raising=False)
    monkeypatch.chdir(tmp_path)
