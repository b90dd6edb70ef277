"""The names of CuPy, and the parameters of its functions, from signatures.txt."""

import inspect
from pathlib import Path

_LINES = Path(__file__).with_name("signatures.txt").read_text("utf-8").splitlines()


def read_signature(line: str) -> inspect.Signature:
    """Return the signature of a line such as `take(a, indices, axis=..., out=...)`.

    A line without parentheses gives one that accepts nothing.
    """
    inside = line.partition("(")[2].removesuffix(")")
    return inspect.signature(eval(f"lambda {inside}: None"))


SIGNATURES = {line.partition("(")[0]: read_signature(line) for line in _LINES}
