"""Scripts that show a deviation with only NumPy and the library."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from own_namespaces import NAMESPACE

from array_lockstep import LockstepError, lockstep
from array_lockstep.bounds import Verdict
from array_lockstep.libraries import open_library
from array_lockstep.operations import Operation
from array_lockstep.reproducer import TO_NUMPY, write_reproducer


def shown(command: str, folder: Path) -> list[str]:
    """Return the output of a reproducer, and the last line of its errors."""
    start, script = command.split()
    assert start == "python"
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return [done.stdout, (done.stderr.splitlines() or [""])[-1]]


def found(name: str, *args: Any, library: str = "strange_library:wrong") -> str:
    """Return the command of the reproducer for a function on a matrix."""

    def program(x: Any) -> Any:
        return getattr(array_namespace(x), name)(x, *args)

    x = np.arange(6.0).reshape(2, 3)
    run = lockstep(program, (x,), library=library, reproducers="made")
    assert run.deviations or run.error
    return run.reproducer


def test_a_deviation_has_a_reproducer(tmp_path):
    command = found("tanh")
    out, end = shown(command, tmp_path)
    assert out.startswith("float64 (2, 3) ")
    assert end == "DEVIATES"
    script = Path(command.split()[1])
    text = script.read_text("utf-8")
    assert "array_lockstep" not in text
    assert len(text.splitlines()) <= 14
    repaired = text.replace("import wrong as xp", "import right as xp")
    script.write_text(repaired, "utf-8")
    assert shown(command, tmp_path)[1] == ""


def test_an_earlier_reproducer_stays(tmp_path):
    first, second = found("tanh"), found("tanh")
    assert first != second
    assert [shown(each, tmp_path)[1] for each in (first, second)] == ["DEVIATES"] * 2


def test_a_reproducer_is_whole_or_not_written(monkeypatch, tmp_path):
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space\nleft")

    monkeypatch.setattr(np, "savez", full)
    said = found("tanh")
    assert said.startswith("none, because")
    assert len(said.splitlines()) == 1
    assert list(Path("made").iterdir()) == []
    Path("file").touch()
    with pytest.raises(LockstepError):
        lockstep(np.sin, (np.ones(3),), library="numpy", reproducers="file")


def test_an_operation_that_raises_has_a_reproducer_too(tmp_path):
    _, end = shown(found("exp", library="strange_library:raising"), tmp_path)
    assert end == "RuntimeError: device lost"


def test_a_changed_argument_is_shown(tmp_path):
    _, end = shown(found("exp", library="strange_library:changing"), tmp_path)
    assert end == "DEVIATES"


@pytest.mark.needs("array_api_strict")
@pytest.mark.parametrize("name", ["strange_hook:", "strange_package:hook"])
def test_the_reproducer_of_a_hook_uses_its_namespace_and_its_copy(name, tmp_path):
    """The library is array-api-strict on a device unreadable for NumPy."""
    (tmp_path / "strange_hook.py").write_text(HOOK)
    (tmp_path / "strange_package.py").write_text("import strange_hook as hook\n")
    out, end = shown(found("tanh", library=name), tmp_path)
    assert out.startswith("float64 (2, 3) ")
    assert end == "DEVIATES"
    for module in ("strange_hook", "strange_package"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize("name", ["jax", "torch", "array-api-strict"])
def test_a_reproducer_runs_on_every_known_library(name, tmp_path):
    """The deviation is made up, so the library must be found not to show it."""
    value = Verdict(9, 1, (0, 0), (1, 2))
    x = np.ones((2, 3), np.float32)
    operation = Operation("exp", np.exp, (x,), {}, np.exp(x), verdict=value)
    made = write_reproducer(open_library(name), operation, tmp_path)
    out, end = shown(made, tmp_path)
    assert out.startswith("float32 (2, 3) 2.718")
    assert end == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pinv", "none, because its elements have no bounds of their own"),
        ("qr", "none, because it has several results"),
    ],
)
def test_an_operation_without_a_single_bound_has_no_reproducer(name, said, tmp_path):
    function = getattr(np.linalg, name)
    verdict = Verdict(problem="is wrong")
    operation = Operation(
        f"linalg.{name}", function, (np.eye(2),), {}, np.eye(2), verdict=verdict
    )
    assert write_reproducer(open_library("numpy"), operation, tmp_path) == said


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


right = Namespace()
wrong = Namespace(tanh=lambda x: numpy.tanh(x) + 1e-9)
raising = Namespace(exp=lost)
changing = Namespace(exp=doubling)
"""
)
HOOK = """
import array_api_strict as strict
import numpy as np

DEVICE = strict.Device("device1")


class Namespace:
    def __getattr__(self, name):
        return getattr(strict, name)

    def asarray(self, x, **options):
        return strict.asarray(x, **{"device": DEVICE, **options})

    def tanh(self, x):
        return strict.tanh(x) + 1e-9


def to_numpy(x):
    return np.array(strict.asarray(x, device=strict.Device("CPU_DEVICE")))


xp = Namespace()
"""


@pytest.fixture(autouse=True)
def libraries(tmp_path, monkeypatch) -> None:
    """An importable module with the namespaces above."""
    (tmp_path / "strange_library.py").write_text(LIBRARIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_library", raising=False)
    monkeypatch.chdir(tmp_path)
