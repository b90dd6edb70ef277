"""`parity --trace`: what it says, and the reproducers that it writes and runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import NAMESPACE, assert_one_line, call

import mlp_xp
from mlp_xp.backends.opening import BackendError, open_backend
from mlp_xp.parity import compare
from mlp_xp.parity.bounds import Verdict
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.trace import tracing

PACKAGE = Path(mlp_xp.__file__).parent


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
rare = Namespace(log1p=lambda x: numpy.log1p(x) + 1e-9)
raising = Namespace(exp=lost)
sometimes = Namespace(tanh=Sometimes(), argmax=numpy.argmin)
"""
)


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
    outcome = traced(data_dir, "--backends", f"{stranger}:right")
    assert (outcome.code, outcome.err) == (0, "")
    assert "the 27 operations of the last step:" in outcome.out
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["xp.tanh(float64", "(1,", "8)),", "mlp_xp/core/functional.py:27"] in [row[1:] for row in rows]
    assert {"tanh", "argmax", "astype"} <= {row[0] for row in rows if row}
    assert "reproducer" not in outcome.out
    assert not Path("reproducers").exists()


def test_the_command_names_the_operation_and_offers_a_reproducer_that_was_run(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:wrong")
    assert_one_line(outcome, 1, f"deviates: {stranger}:wrong: operation ", ", in step 1 (of the warm-up): ",
                    "xp.tanh(float64 (1, 8)) on cpu deviates by ", " eps at [0, ", "where 5 are allowed",
                    "called at mlp_xp/core/functional.py:27: y = xp.tanh(0.5 * z)")  # fmt: skip
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


def test_a_finding_is_not_lost_with_its_reproducer(data_dir, stranger, tmp_path):
    (tmp_path / "file").touch()
    outcome = traced(data_dir, "--backends", f"{stranger}:wrong", "--report-dir", "file")
    assert outcome.code == 1
    deviates, error = outcome.err.splitlines()
    assert deviates.startswith(f"deviates: {stranger}:wrong: operation ")
    assert error.startswith("error: 'file/")


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
    assert_one_line(outcome, 1, f"materialise(float64 (36, 8)) on cpu {said}", "called at mlp_xp/core/job.py:")
    assert "reproducer: none, because the hook's function is not one of the namespace" in outcome.out


def test_arrays_that_do_not_change_need_no_operators_in_place(data_dir, stranger, tmp_path):
    text = HOOK.replace('(name, f"r{name}", f"i{name}")', '(name, f"r{name}")')
    (tmp_path / "immutable.py").write_text(text)
    assert call("parity", "--data-dir", data_dir, "--steps", "5", "--backends", "immutable:").code == 0


def test_a_reproducer_of_an_operation_that_raises(data_dir, stranger):
    outcome = traced(data_dir, "--backends", f"{stranger}:raising")
    assert_one_line(outcome, 3, f"error: backend {stranger}:raising: operation ", " xp.exp(float64 (1, 10)) at "
                    "mlp_xp/core/losses.py:", "raised RuntimeError: device lost")  # fmt: skip
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
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("also deviates: ")]
    assert "xp.argmax(float64 (60, 10), axis=1) on cpu deviates by" in line
    assert "in step" not in outcome.err


def test_an_operation_that_only_a_small_run_uses(data_dir, stranger, tmp_path):
    arguments = ["--backends", f"{stranger}:rare", "--all-operations", "--report-dir", tmp_path / "new"]
    outcome = traced(data_dir, *arguments)
    assert_one_line(outcome, 1, f"deviates: {stranger}:rare: operation ", "xp.log1p(float64 ")
    lines = outcome.out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("small run")] == [
        "small run for classes",
        "small run for labels",
        "small run for regression",
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["small-run-for-labels"]


def test_one_that_is_not_usable_is_code_2_and_the_others_are_traced(data_dir, stranger, monkeypatch):
    def unusable(device):
        raise BackendError("backend torch: it is broken here; mend it")

    monkeypatch.setattr("mlp_xp.backends._torch.open_library", unusable)
    outcome = traced(data_dir, "--backends", "torch", "numpy", "--dtype", "float32", "--batch-size", "7")
    assert_one_line(outcome, 2, "error: backend torch: it is broken here; mend it")
    assert "on cpu, float32: " in outcome.out, "the others are traced all the same"
    outcome = traced(data_dir, "--backends", "numpy", "--tolerance", "1")
    assert_one_line(outcome, 2, "--tolerance: it has no meaning with --trace")


def test_parity_names_the_command_that_traces(data_dir, stranger, monkeypatch):
    monkeypatch.setattr(compare, "ROUNDING_RUNS", 1)  # three take long
    arguments = ["--data-dir", str(data_dir), "--hidden", "8", "--steps", "20", "--batch-size", "7"]
    outcome = call("parity", *arguments, "--backends", f"{stranger}:right", f"{stranger}:wrong")
    assert outcome.code == 1
    (line,) = [line for line in outcome.out.splitlines() if "--trace" in line]
    prefix, _, words = line.partition(": ")
    assert prefix == "to find the first operation that deviates, add"
    assert words.split() == ["--trace", "--backends", f"{stranger}:wrong", "--steps", "1"]
    outcome = call("parity", *arguments, *words.split())
    assert outcome.code == 1
    assert "xp.tanh(float64 (1, 8))" in outcome.err, "the warm-up is on single samples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "torch", "array-api-strict"])
def test_a_reproducer_runs_on_every_known_library(name, tmp_path):
    """The deviation is made up, so the library must be found not to show it.

    PyTorch's own max returns two arrays: that it differs must not count.
    """
    backend = open_backend(name, dtype="float32")
    traced_backend, tracer = tracing(backend)
    x = traced_backend.asarray(np.ones((2, 3), np.float32))
    tracer._in_step = True
    traced_backend.xp.max(x, axis=-1, keepdims=True)
    made_up = tracer.last_step[0]._replace(verdict=Verdict(9, 1, (0, 0), (1, 2)))
    made = write_reproducer(backend, made_up, tmp_path)
    assert not made.shows
    assert made.said == "float32 (2, 1) 1.0 NumPy: float32 (2, 1) 1.0"


def test_data_of_another_task_are_evaluated_as_such(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(tmp_path / "reg.npz", X=X, y=np.stack([X.sum(axis=1), X[:, 0]], axis=1))
    outcome = traced(tmp_path / "reg.npz", "--backends", "numpy")
    assert (outcome.code, outcome.err) == (0, "")
    assert "no operation deviates" in outcome.out
