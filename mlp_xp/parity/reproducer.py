"""Write a script that shows a deviation with only NumPy and the library."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mlp_xp.backends.foreign import find
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.core.backend import Backend
from mlp_xp.errors import escaped
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity._bounds import Unjudged
from mlp_xp.parity._judge import numpy_result, reference_of
from mlp_xp.parity._operators import INPLACE
from mlp_xp.parity.operations import Operation
from mlp_xp.system import command_line

_SCRIPT = """\
# {title}
import sys, numpy as np
sys.path.append("")
{imports}
def call(xp, {names}):
    {body}
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = ({to_numpy})(call(xp, *(xp.asarray(x.copy(order="K"), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
same = result.shape == expected.shape
close = same and (np.array_equal(result, expected) or result.dtype.kind in "fc" and np.allclose(result, expected, 0, allowed, equal_nan=True)){zeros}
got, wanted = (x.ravel()[{at}:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", {dtype!r}, expected.shape, *wanted)
sys.exit(0 if close and result.dtype == {dtype!r} else "DEVIATES")
"""
# CuPy's arrays have get, PyTorch's cpu. NumPy reads arrays on the host.
TO_NUMPY = (
    'lambda x: np.from_dlpack(x) if not hasattr(x, "__array__") else '
    'np.asarray(x.get() if hasattr(x, "get") else x.cpu() if hasattr(x, "cpu") else x)'
)


class _Reproducer(NamedTuple):
    """A script and its files."""

    script: str
    inputs: dict[str, np.ndarray]
    """The arrays of the script, and the absolute deviation `allowed`."""
    shown: np.ndarray
    """The library's result, for the script to repeat."""


def write_reproducer(backend: Backend, operation: Operation, folder: Path) -> str:
    """Write a script for an operation that deviates or raised, run it, and report.

    `reproduce.py` and `inputs.npz` are written to a new folder in `folder`. The script
    uses the device of the backend, or the default device of a foreign namespace. If it
    is started in the current folder, it finds the modules there.

    Return the outcome in a sentence, or why no script is possible. Raises FileError if
    the folder cannot be written.
    """
    try:
        expected = numpy_result(operation)
    except Exception:  # whatever NumPy raises
        return "none, because NumPy has no result to compare with"
    if isinstance(expected, tuple):
        return "none, because it has several results"
    if "descending" in operation.kwargs:
        return "none, because NumPy's own function has no such keyword"
    if operation.name == "materialise":
        return "none, because the hook's function is not one of the namespace"
    has_own_import = bool(getattr(backend, "imports", ""))
    names = {*known_hooks(), *sys.modules}
    if not (has_own_import or ":" in backend.name or backend.name in names):
        return "none, because the library has no name by which it is imported"

    try:
        made = _make(backend, operation, expected)
    except Unjudged:
        return "none, because its elements have no bounds of their own"
    name = f"{backend.name}-{backend.dtype_name}-{operation.name}"
    folder /= re.sub(r"\W+", "-", name)
    script = folder / "reproduce.py"
    file = io.BytesIO()
    np.savez(file, **made.inputs)  # type: ignore[arg-type]
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "inputs.npz", file.getvalue())
    write_whole(script, made.script.encode(errors="backslashreplace"))
    return _run(script, operation.verdict.problem, made.shown)


def _make(backend: Backend, operation: Operation, expected: np.ndarray) -> _Reproducer:
    """Make the script for an operation. `expected` is NumPy's result."""
    verdict, result = operation.verdict, operation.result
    inputs: dict[str, np.ndarray] = {}

    def word(array: np.ndarray) -> str:
        variable = f"x{len(inputs)}"
        inputs[variable] = array
        return variable

    call = operation.call
    if call is None or operation.name == "from_numpy" or verdict.changed:
        source = operation.source(word)
        in_place = operation.name in INPLACE
        body = f"{source}; return x0" if in_place else f"return {source}"
    else:
        inputs = call.inputs
        *statements, last = call.source.split("; ")
        body = "; ".join([*statements, f"return {last}"])
    if verdict.changed:
        # the argument must stay as it is
        returned = f"x{verdict.changed - 1}"
        body = f"{source}; return {returned}"
        shown = inputs[returned]
        dtype, allowed = shown.dtype, np.asarray(0.0)
    else:
        shown = result
        # NumPy's dtype where the library's may be wrong, so that a repaired library
        # passes.
        dtype = expected.dtype if verdict.problem else result.dtype
        allowed = reference_of(operation, expected).allowed
        if allowed.size and allowed.max() == allowed.min():
            allowed = allowed.max()
    at = 0
    if result.shape and not verdict.problem:
        at = int(np.ravel_multi_index(verdict.at, result.shape))
    # np.allclose takes zeros of both signs for equal
    zeros = ""
    if verdict.deviation and verdict.values == (0, 0):
        zeros = (
            " and not (np.signbit(result) ^ np.signbit(expected))[expected == 0].any()"
        )
    imports, to_numpy = _imports(backend)
    script = _SCRIPT.format(
        title=escaped(f"{backend.name} {backend.version}: {operation} {verdict}"),
        imports=imports,
        names=", ".join(inputs),
        body=body,
        to_numpy=to_numpy,
        dtype=dtype.name,
        at=at,
        zeros=zeros,
    )
    return _Reproducer(script, inputs | {"allowed": allowed}, shown)


def _run(script: Path, problem: str, shown: np.ndarray) -> str:
    """Run a script in a process of its own, and say whether it shows the fault."""
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    printed = done.stdout.strip()
    _, _, last_line = done.stderr.strip().rpartition("\n")
    start = f"{shown.dtype} {shown.shape} "
    shows = last_line == "DEVIATES" and printed.startswith(start)
    if problem.startswith("raised"):
        error, _, _ = problem.removeprefix("raised ").partition(":")
        pattern = rf"^(\w+\.)*{re.escape(error)}\b.*"
        found = re.search(pattern, done.stderr, re.MULTILINE)
        shows = found is not None
        if found:
            last_line = found[0]
    verb = "shows" if shows else "does NOT show"
    told = f"{verb} it in a process of its own: {printed} {last_line}".rstrip()
    if not shows:
        told += (
            "; the fault may depend on earlier calls, on chance, or on an array's "
            "layout in memory"
        )
    return f"{command_line(['python', str(script)])} {told}"


def _imports(backend: Backend) -> tuple[str, str]:
    """Return the source of an import and of a function, for a script.

    The import names the namespace of a backend `xp`. The function converts arrays of
    this namespace to NumPy's.
    """
    own = getattr(backend, "imports", "")
    if own:
        return own, TO_NUMPY
    name = backend.name
    if ":" not in name and name not in known_hooks():
        name = f"{name}:"
    hook = find(name)
    if ":" not in name:
        name = known_hooks()[name].value
    module, _, attributes = name.partition(":")
    path = attributes.split(".") if attributes else []
    if hook is not backend.xp:
        path.append("xp")
    if not path:
        line = f"import {module} as xp"
    else:
        first, *others = path
        line = f"from {module} import {first} as xp"
        if others:
            line += f"; xp = xp.{'.'.join(others)}"
    if isinstance(hook, ModuleType) and hasattr(hook, "to_numpy"):
        return f"import {hook.__name__}; {line}", f"{hook.__name__}.to_numpy"
    return line, TO_NUMPY
