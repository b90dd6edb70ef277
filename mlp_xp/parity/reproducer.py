"""Write a folder that shows a deviation with NumPy and the library alone: the inputs,
and a script of ten lines.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from mlp_xp.backends.foreign import find
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.core.backend import Backend
from mlp_xp.errors import escaped
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity._bounds import INPLACE, expect, refer
from mlp_xp.parity.tracing import Operation, expression
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
close = result.shape == expected.shape and np.allclose(result, 1.0 * expected, 0, allowed, equal_nan=True)
got, wanted = (x.ravel()[{at}:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", {dtype!r}, expected.shape, *wanted)
sys.exit(0 if close and result.dtype == {dtype!r} else "DEVIATES")
"""
# CuPy's arrays have get, PyTorch's cpu; NumPy reads what is on the host.
TO_NUMPY = (
    'lambda x: np.from_dlpack(x) if not hasattr(x, "__array__") else '
    'np.asarray(x.get() if hasattr(x, "get") else x.cpu() if hasattr(x, "cpu") else x)'
)


def write_reproducer(backend: Backend, operation: Operation, folder: Path) -> str:
    """Write the reproducer of an operation that deviates or raised, run it, and return
    what it shows, in a sentence.

    It is a folder in `folder` with `reproduce.py` and `inputs.npz`. If a script is not
    possible, return why. It uses the backend's device, or the default device of a
    foreign namespace, and finds modules of the current folder if it is started there.
    Raises FileError if the folder cannot be written.
    """
    inputs: dict[str, np.ndarray] = {}

    def word(x: np.ndarray) -> str:
        inputs[name := f"x{len(inputs)}"] = x
        return name

    name, args, kwargs, problem = (
        operation.name,
        operation.args,
        operation.kwargs,
        operation.verdict.problem,
    )
    try:
        expected = expect(name, operation.reference, args, kwargs)
    except Exception:  # whatever NumPy raises
        return "none, because NumPy has no result to compare with"
    if name == "materialise":
        return "none, because the hook's function is not one of the namespace"
    imports = getattr(backend, "imports", "")
    if not (imports or ":" in backend.name or backend.name in known_hooks()):
        return "none, because the library has no name by which it is imported"
    text, shown = expression(name, args, kwargs, word), operation.result
    body = f"{text}; return x0" if name in INPLACE else f"return {text}"
    # Also for a wrong dtype or shape, so that the script is content with a library that
    # was repaired.
    allowed = refer(name, operation.reference, args, kwargs).allowed
    allowed = (
        allowed.max() if allowed.size and allowed.max() == allowed.min() else allowed
    )
    dtype = (expected if problem else shown).dtype
    if operation.verdict.changed:
        changed = f"x{operation.verdict.changed - 1}"
        body, shown, allowed = (
            f"{text}; return {changed}",
            inputs[changed],
            np.asarray(0.0),
        )
        dtype = shown.dtype
    shape, at = operation.result.shape, operation.verdict.at
    imports, to_numpy = _imports(backend)
    text = _SCRIPT.format(
        title=escaped(f"{backend.name} {backend.version}: {operation} {operation.what}"), imports=imports,
        names=", ".join(inputs), body=body, to_numpy=to_numpy, dtype=dtype.name,
        at=0 if problem or not shape else int(np.ravel_multi_index(at, shape)),
    )  # fmt: skip
    folder /= re.sub(r"\W+", "-", f"{backend.name}-{backend.dtype_name}-{name}")
    file = io.BytesIO()
    np.savez(file, **inputs, allowed=allowed)  # type: ignore[arg-type]
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "inputs.npz", file.getvalue())
    script = folder / "reproduce.py"
    write_whole(script, text.encode(errors="backslashreplace"))
    done = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    said, last = done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]
    shows = last == "DEVIATES" and said.startswith(f"{shown.dtype} {shown.shape} ")
    if problem.startswith("raised"):
        kind = problem.removeprefix("raised ").partition(":")[0]
        found = re.search(rf"^(\w+\.)*{re.escape(kind)}\b.*", done.stderr, re.MULTILINE)
        shows, last = found is not None, found[0] if found else last
    why = (
        ""
        if shows
        else "; the fault may depend on earlier calls, on chance, or on an array's layout in memory"
    )
    says = f"{'shows' if shows else 'does NOT show'} it in a process of its own: {said} {last}".rstrip()
    return f"{command_line(['python', str(script)])} {says}{why}"


def _imports(backend: Backend) -> tuple[str, str]:
    """Return a line that imports the namespace of a backend as `xp`, and a function
    from its arrays to NumPy's.
    """
    if imports := getattr(backend, "imports", ""):
        return imports, TO_NUMPY
    hook = find(backend.name)
    name = (
        backend.name if ":" in backend.name else f"{known_hooks()[backend.name].value}:"
    )
    module, _, attributes = f"{name}{'.xp' * (hook is not backend.xp)}".replace(
        ":.", ":"
    ).partition(":")
    first, _, others = attributes.partition(".")
    line = f"from {module} import {first} as xp" if first else f"import {module} as xp"
    line += f"; xp = xp.{others}" * bool(others)
    if isinstance(hook, ModuleType) and hasattr(hook, "to_numpy"):
        return f"import {hook.__name__}; {line}", f"{hook.__name__}.to_numpy"
    return line, TO_NUMPY
