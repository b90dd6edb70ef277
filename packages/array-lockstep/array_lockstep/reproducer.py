"""Write a script that shows a deviation with only NumPy and the library."""

import itertools
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

from array_lockstep.bounds import Unjudged
from array_lockstep.errors import escaped, one_line
from array_lockstep.judge import numpy_result, reference_of
from array_lockstep.libraries import Library
from array_lockstep.operations import Operation
from array_lockstep.operators import INPLACE

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
close = same and (np.array_equal(result, expected) or result.dtype.kind in "fc" and np.allclose(result, expected, 0, allowed, equal_nan=True))
got, wanted = (x.ravel()[{at}:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", {dtype!r}, expected.shape, *wanted)
sys.exit(0 if close and result.dtype == {dtype!r} else "DEVIATES")
"""
# CuPy's arrays have get, PyTorch's cpu. NumPy reads arrays on the host.
TO_NUMPY = (
    'lambda x: np.from_dlpack(x) if not hasattr(x, "__array__") else '
    'np.asarray(x.get() if hasattr(x, "get") else x.cpu() if hasattr(x, "cpu") else x)'
)


def write_reproducer(library: Library, operation: Operation, folder: Path) -> str:
    """Write a script for an operation that deviates or raised.

    `reproduce.py` and `inputs.npz` are written to a new folder in `folder`, whole or
    not at all. The script uses the device of the library. If it is started in the
    current folder, it finds the modules there.

    Return the command that runs it, or why no script is possible.
    """
    try:
        expected = numpy_result(operation)
    except Exception:  # whatever NumPy raises
        return "none, because NumPy has no result to compare with"
    if isinstance(expected, tuple):
        return "none, because it has several results"
    if "descending" in operation.kwargs:
        return "none, because NumPy's own function has no such keyword"
    imports = _imports(library)
    if not imports:
        return "none, because the library has no name by which it is imported"
    try:
        text, inputs = _make(library, operation, expected, imports)
    except Unjudged:
        return "none, because its elements have no bounds of their own"
    name = re.sub(r"\W+", "-", f"{library.name}-{operation.name}")
    try:
        made = _write(folder, name, text, inputs)
    except OSError as error:
        return f"none, because it cannot be written: {one_line(error)}"
    return f"python {shlex.quote(str(made / 'reproduce.py'))}"


def _write(folder: Path, name: str, text: str, inputs: dict[str, np.ndarray]) -> Path:
    """Write the files to a folder of this name, or with the first number not taken."""
    folder.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    try:
        np.savez(hidden / "inputs.npz", **inputs)  # type: ignore[arg-type]
        script = text.encode(errors="backslashreplace")
        (hidden / "reproduce.py").write_bytes(script)
        hidden.chmod(0o755)
        names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
        made = next(folder / each for each in names if not (folder / each).exists())
        return hidden.rename(made)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _make(
    library: Library, operation: Operation, expected: np.ndarray, imports: str
) -> tuple[str, dict[str, np.ndarray]]:
    """Return the script for an operation, and its inputs. `expected` is NumPy's result.

    The last input is the allowed absolute deviation.
    """
    verdict, result = operation.verdict, operation.result
    inputs: dict[str, np.ndarray] = {}

    def word(array: np.ndarray) -> str:
        variable = f"x{len(inputs)}"
        inputs[variable] = array
        return variable

    source = operation.source(word)
    if verdict.changed:
        # the argument must stay as it is
        returned = f"x{verdict.changed - 1}"
        body = f"{source}; return {returned}"
        dtype, allowed = inputs[returned].dtype, np.asarray(0.0)
    else:
        in_place = operation.name in INPLACE
        body = f"{source}; return x0" if in_place else f"return {source}"
        # NumPy's dtype where the library's may be wrong, so that a repaired library
        # passes.
        dtype = expected.dtype if verdict.problem else result.dtype
        allowed = reference_of(operation, expected).allowed
        if allowed.size and allowed.max() == allowed.min():
            allowed = allowed.max()
    at = 0
    if result.shape and not verdict.problem:
        at = int(np.ravel_multi_index(verdict.at, result.shape))
    script = _SCRIPT.format(
        title=escaped(f"{library}: {operation} {verdict}"),
        imports=imports,
        names=", ".join(inputs),
        body=body,
        to_numpy=_to_numpy(library),
        dtype=dtype.name,
        at=at,
    )
    return script, inputs | {"allowed": allowed}


def _to_numpy(library: Library) -> str:
    """Return the source of a function that converts the library's arrays to NumPy's."""
    hook = library.hook
    if isinstance(hook, ModuleType) and hasattr(hook, "to_numpy"):
        return f"__import__({hook.__name__!r}, fromlist=['xp']).to_numpy"
    return TO_NUMPY


def _imports(library: Library) -> str:
    """Return the source that imports the namespace as `xp`, or an empty string."""
    if library.imports:
        return library.imports
    module, _, attributes = library.name.partition(":")
    if ":" not in library.name and (library.hook or module not in sys.modules):
        return ""
    path = attributes.split(".") if attributes else []
    if library.hook is not None:
        path.append("xp")
    if not path:
        return f"import {module} as xp"
    first, *others = path
    line = f"from {module} import {first} as xp"
    return f"{line}; xp = xp.{'.'.join(others)}" if others else line
