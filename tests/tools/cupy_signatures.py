"""Write what the stand-in for CuPy may have: `python tests/tools/cupy_signatures.py`.

It needs CuPy, but no GPU. A test holds the file against the CuPy that is installed.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "stand_in" / "cupy" / "signatures.txt"


def read_lines() -> Iterator[str]:
    """Yield a line for each name of CuPy and of its array class.

    A function stands with its parameters, as in `take(a, indices, axis=..., out=...)`.
    A default is `...`. Other values, and classes, stand alone.
    """
    import cupy

    for prefix, owner in (("", cupy), ("ndarray.", cupy.ndarray)):
        for name in sorted(vars(owner) if owner is cupy else dir(owner)):
            if name.startswith("_"):
                continue
            yield prefix + name + read_parameters(getattr(owner, name))


def read_parameters(value: Any) -> str:
    """Return the parameters of a function in parentheses."""
    if isinstance(value, type) or not callable(value):
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:
        signature = read_documented(value.__doc__ or "")
    parameters = [
        each.replace(
            annotation=each.empty,
            default=each.empty if each.default is each.empty else ...,
        )
        for each in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters)).replace("Ellipsis", "...")


def read_documented(documentation: str) -> inspect.Signature:
    """Return the signature with which the documentation begins.

    `inspect` knows no signature of ufuncs and of compiled functions.
    """
    match = re.match(r"[\w.]+\((.*?)\)( -> \w+)?$", documentation, re.MULTILINE)
    assert match, documentation
    inside = match[1].replace("\\", "")
    inside = inside.replace("[, out1, out2], / [, out=(None, None)]", ", /, out=None")
    inside = re.sub(r"\b\w+ (?=\w)", "", inside)  # types, as in `int axis`
    return inspect.signature(eval(f"lambda {inside}: None"))


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in read_lines()), encoding="utf-8")
