"""An operation of an array library, and its Python source."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from array_lockstep.bounds import Verdict
from array_lockstep.operators import SYMBOLS, UNARY
from array_lockstep.places import Place

FORMATS = {
    **{name: f"{{}} {symbol} {{}}" for name, symbol in SYMBOLS.items()},
    **{name: f"{symbol}{{}}" for name, symbol in UNARY.items()},
    **{name: f"{name}({{}})" for name in ("bool", "float", "int", "len")},
    **{name: f"{{}}.{name}()" for name in ("item", "tolist")},
    "T": "{}.T",
    "mT": "{}.mT",
}
"""The Python source of operations that are not calls of a function or method."""


class Operation(NamedTuple):
    """An operation of an array library, which NumPy can repeat.

    Arrays are host copies from before the operation, and dtypes are NumPy's.
    """

    name: str
    """The name of a function of the namespace, or of an operator.

    `xp.matmul` is a function, and `matmul` is the operator. `T`, `mT`, `getitem`,
    `setitem` and `to_device` are not functions of the namespace. `array.sum` is a
    method outside the standard.
    """
    reference: Callable[..., Any]
    """NumPy's operation."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    """The keyword arguments, without the device."""
    result: Any = np.empty(0)
    """A host array, or a tuple of host arrays."""
    place: Place = Place()
    """The line of the program with the call."""
    verdict: Verdict = Verdict()

    def __str__(self) -> str:
        """Return the call with shapes and dtypes: `xp.tanh(float64 (1, 64))`."""

        def describe(array: np.ndarray) -> str:
            return f"{array.dtype} {array.shape}"

        return self.source(describe)

    @property
    def results(self) -> tuple[Any, ...]:
        """All results, in a tuple even for a single result."""
        return self.result if isinstance(self.result, tuple) else (self.result,)

    def source(self, word: Callable[[np.ndarray], str]) -> str:
        """Return the operation as Python source, such as `x -= y` or `xp.tanh(x)`.

        `word` is called once for each array, and returns its name.
        """
        name = self.name
        if name in ("getitem", "setitem"):
            array, index, *values = self.args
            keys = index if isinstance(index, tuple) and index else (index,)
            source = f"{_text(array, word)}[{_joined(keys, word)}]"
            return f"{source} = {_text(values[0], word)}" if values else source
        words = [_text(each, word) for each in self.args]
        words += [f"{key}={_text(each, word)}" for key, each in self.kwargs.items()]
        if name in FORMATS:
            return FORMATS[name].format(*words)
        method = name.removeprefix("array.")
        if method != name or name == "to_device":
            return f"{words[0]}.{method}({', '.join(words[1:])})"
        if not name.startswith(("numpy.", "torch.")):
            name = f"xp.{name.removeprefix('xp.')}"
        return f"{name}({', '.join(words)})"


def _text(x: Any, word: Callable[[np.ndarray], str]) -> str:
    """Return an argument as Python source."""
    if isinstance(x, np.ndarray):
        return word(x)
    if isinstance(x, np.dtype):
        return f"xp.{x.name}"
    if isinstance(x, slice):
        ends = [x.start, x.stop]
        if x.step is not None:
            ends.append(x.step)
        return ":".join("" if end is None else _text(end, word) for end in ends)
    if isinstance(x, float | complex | np.inexact) and not np.isfinite(x):
        kind = "complex" if np.iscomplexobj(x) else "float"
        return f"{kind}({str(x)!r})"
    if isinstance(x, list):
        return f"[{_joined(x, word)}]"
    if isinstance(x, tuple):
        return f"({_joined(x, word)},)" if len(x) == 1 else f"({_joined(x, word)})"
    return "..." if x is Ellipsis else repr(x)


def _joined(values: Iterable[Any], word: Callable[[np.ndarray], str]) -> str:
    return ", ".join(_text(each, word) for each in values)
