"""An operation of a traced program, and its Python source."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.parity._bounds import Verdict
from mlp_xp.parity._operators import SYMBOLS, UNARY
from mlp_xp.parity._probe import Call

FORMATS = {
    **{name: f"{{}} {symbol} {{}}" for name, symbol in SYMBOLS.items()},
    **{name: f"{symbol}{{}}" for name, symbol in UNARY.items()},
    "T": "{}.T",
    "mT": "{}.mT",
    "materialise": "materialise({})",
    "from_numpy": "xp.asarray({}, dtype={}, copy=True)",
}
"""The Python source of operations that are no calls of a function or a method."""


class Operation(NamedTuple):
    """An operation of a traced program.

    Arrays are host copies from before the operation, and dtypes are NumPy's.
    """

    number: int
    """From 1."""
    when: str
    """The state of the program in words, such as `in step 3`."""
    name: str
    """The name of a function of the namespace, or of an operator.

    `xp.matmul` is the function whose operator is `matmul`. `T`, `mT`, `getitem`,
    `setitem`, `to_device`, `from_numpy` and `materialise` are no functions of the
    namespace. `array.sum` is a method outside the standard.
    """
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: str
    """The line of the program with the call, as `file:line (text)`."""
    reference: Callable[..., Any]
    """NumPy's operation."""
    result: Any = np.empty(0)
    """A host array, or a tuple of them."""
    verdict: Verdict = Verdict()
    call: Call | None = None
    """The call of the probe with the operation: see `_probe`."""

    def __str__(self) -> str:
        """Return it with shapes and dtypes, as in `xp.tanh(float64 (1, 64))`."""

        def describe(array: np.ndarray) -> str:
            return f"{array.dtype} {array.shape}"

        return expression(self.name, self.args, self.kwargs, describe)

    @property
    def report(self) -> str:
        """One line: number, time, operation, deviation and place."""
        place = f"in {self.call}" if self.call else f"called at {self.place}"
        return f"operation {self.number}, {self.when}: {self} {self.verdict}; {place}"


def first_of_each_name(operations: Iterable[Operation]) -> list[Operation]:
    """Return the first operation of each name."""
    firsts: dict[str, Operation] = {}
    for operation in operations:
        firsts.setdefault(operation.name, operation)
    return list(firsts.values())


def expression(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    word: Callable[[np.ndarray], str],
) -> str:
    """Return an operation as Python source, such as `x -= y` or `xp.tanh(x)`.

    `word` returns the name of an array. It is called once for each.
    """

    def text(x: Any) -> str:
        if isinstance(x, np.ndarray):
            return word(x)
        if isinstance(x, np.dtype):
            return f"xp.{x.name}"
        if isinstance(x, slice):
            ends = [x.start, x.stop]
            if x.step is not None:
                ends.append(x.step)
            return ":".join("" if end is None else text(end) for end in ends)
        if isinstance(x, float | complex | np.inexact) and not np.isfinite(x):
            kind = "complex" if np.iscomplexobj(x) else "float"
            return f"{kind}({str(x)!r})"
        if isinstance(x, list):
            return f"[{joined(x)}]"
        if isinstance(x, tuple):
            return f"({joined(x)},)" if len(x) == 1 else f"({joined(x)})"
        return "..." if x is Ellipsis else repr(x)

    def joined(values: Iterable[Any]) -> str:
        return ", ".join(map(text, values))

    if name in ("getitem", "setitem"):
        array, index, *values = args
        keys = index if isinstance(index, tuple) and index else (index,)
        source = f"{text(array)}[{joined(keys)}]"
        return f"{source} = {text(values[0])}" if values else source
    words = [text(each) for each in args]
    words += [f"{key}={text(value)}" for key, value in kwargs.items()]
    if name in FORMATS:
        return FORMATS[name].format(*words)
    method = name.removeprefix("array.")
    if method != name or name == "to_device":
        return f"{words[0]}.{method}({', '.join(words[1:])})"
    if not name.startswith(("numpy.", "torch.")):
        name = f"xp.{name.removeprefix('xp.')}"
    return f"{name}({', '.join(words)})"
