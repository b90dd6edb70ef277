"""Calls on operands that training never has, as tables of Python text.

Training has no NaN, no infinities and no ties. Its arrays are contiguous, of one dtype,
and have hundreds of rows. A library may be wrong elsewhere, and still agree with NumPy
in every step. `tracing.probe` evaluates these calls on the library, and compares each
operation with NumPy's. The text of a call is its description in reports, and the source
of its reproducer.

The standard specifies the results of these calls. Results that it leaves open are not
judged: the sign of a zero in a sum or a maximum, `argmax` of NaN, floats beyond the
range of an integer dtype, and integers together with floats. Subnormal numbers may
count as zero.
"""

import re
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend

# 4099 is a prime: neither a vector instruction nor a block ends at the last element.
# 65537, the prime above 2**16, is the length of a side of `large`. A float32 sum of
# `other` may be off by 1.6 %, and its last element is 3.7 % of the sum.
OPERANDS = """
tiny = np.finfo(DTYPE).smallest_normal
x = np.resize([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1e30, -1e30, 1e-30, 100.0, -100.0, tiny, -tiny, tiny / 4, -tiny / 4], 4099).astype(DTYPE)
y = np.resize(np.repeat(x[:17], 17), 4099)
rows = (2 * np.sin(np.arange(5 * 4099.0))).reshape(5, 4099).astype(DTYPE)
rows[0, -1] = 9.0
wild = rows.copy()
wild[1, -1] = np.nan
wild[2, 0] = np.inf
wild[3, [0, -1]] = -np.inf, np.inf
wild[4] = 1e15
levels = (np.arange(40990) % 7 % 3).reshape(4099, 10).astype("uint8")
scores = levels.astype(DTYPE)
last = np.array([4098, 0, 4097, 4098])
count = np.arange(4099)
m = (np.arange(96) * 37 % 96 / 16 - 2.4).reshape(8, 12).astype(DTYPE)
n = (np.arange(24) * 7 % 24 / 4 + 0.3).reshape(4, 6).astype(DTYPE)
flags = np.arange(96).reshape(8, 12) % 5 > 1
cube = (np.arange(24) * 7 % 24 - 11.5).reshape(2, 3, 4).astype(DTYPE)
single = (np.arange(24) / 10 + 0.1).reshape(4, 6).astype("float32")
double = (np.arange(24) / 10 + 0.1).reshape(4, 6)
short = np.array([3, 0, 2_000_000_000, 1_900_000_000], "int32")
long = np.array([3, 2**32, -4_000_000_000, 7])
i = np.array([3, 0, 2, 2])
j = np.array([3, 0, 2, 2], "int32")
large = np.sin(np.arange(4 * 65537.0)).astype(DTYPE)
large[-1] = 9.0
other = (2 + np.cos(np.arange(4 * 65537.0))).astype(DTYPE)
other[-1] = 2e4
true = np.arange(4 * 65537) < 4 * 65537 - 1
far = np.array([262147, 65536, 0, 131072])
"""
"""Statements that make arrays on the host.

DTYPE stands for the name of the dtype under test.
"""

FUNCTION_CALLS = """
xp.abs(a)
xp.exp(a)
xp.isfinite(a)
xp.log(a)
xp.log1p(a)
xp.ones_like(a)
xp.sqrt(a)
xp.tanh(a)
xp.zeros_like(a)
xp.where(t, a, b)
xp.asarray(a, copy=True)
-a
a == b
a > b
z = xp.asarray(a, copy=True); z += b; z
"""
MORE_OPERATORS = """
z = xp.asarray(a, copy=True); z -= b; z
z = xp.asarray(a, copy=True); z *= b; z
z = xp.asarray(a, copy=True); z /= b; z
1 - a
0.1 * a
a + 0.1
a > 0.5
? xp.maximum(a, b)
"""
ARITHMETIC = """
a + b
a - b
a * b
a / b
"""
REVERSED = """
b + a
b - a
b * a
b / a
b == a
b > a
xp.where(t, b, a)
"""
MOVES = """
xp.all(t)
xp.astype(t, a.dtype)
xp.astype(t, xp.int64)
xp.concat([a, b], axis=0)
xp.stack([a, b])
xp.reshape(a, (-1,))
"""
SUM_CALLS = """
xp.sum(a)
xp.sum(a, axis=0)
xp.sum(a, axis=-1, keepdims=True)
xp.mean(a, axis=0)
xp.mean(a, axis=-1)
"""
HIGHEST = """
xp.max(a)
xp.max(a, axis=0)
xp.max(a, axis=-1, keepdims=True)
"""
PRODUCTS = """
a @ a.T
a.T @ a[:, :3]
a[0, ...] @ a.T
a[0, ...] @ a[0, ...]
? xp.matmul(a, a.T)
"""
ENDS = """
xp.take(a, last, axis=0)
xp.concat([a, xp.take(a, last, axis=0)], axis=0)
a[4098, ...]
a[4096:4099, ...]
"""
MATRIX = """
xp.argmax(a, axis=0)
xp.argmax(a, axis=1)
b @ a.T
a.T @ b
xp.take(a, i, axis=0)
xp.take(a, i, axis=1)
xp.take(a, i[::2], axis=0)
xp.astype(a, xp.int64)
xp.concat([b, a], axis=1)
xp.reshape(a, (3, -1))
xp.permute_dims(a, (1, 0))
a[1, ...]
a[:, 2]
a[1:3, ::2]
a[..., None]
? xp.all(t, axis=0)
"""
IN_PLACE = """
z = xp.asarray(m, copy=True)[::2, ::2]; z += n; z
z = xp.asarray(m, copy=True)[::2, ::2]; z -= n; z
z = xp.asarray(m, copy=True)[::2, ::2]; z *= n; z
z = xp.asarray(m, copy=True)[::2, ::2]; z /= n; z
z = xp.asarray(m, copy=True)[:6, :4].T; z += n; z
z = xp.asarray(m, copy=True)[:6, :4].T; z -= n; z
z = xp.asarray(m, copy=True)[:6, :4].T; z *= n; z
z = xp.asarray(m, copy=True)[:6, :4].T; z /= n; z
? z = xp.asarray(m, copy=True)[::-2, ::-2]; z += n; z
? z = xp.asarray(m, copy=True)[::-2, ::-2]; z -= n; z
? z = xp.asarray(m, copy=True)[::-2, ::-2]; z *= n; z
? z = xp.asarray(m, copy=True)[::-2, ::-2]; z /= n; z
"""
EMPTY = """
xp.concat([a, n], axis=0)
xp.take(n, i[:0], axis=0)
xp.permute_dims(a, (1, 0))
xp.reshape(a, (2, 0, 3))
a.T @ a
"""
AXES = """
xp.sum(a, axis=(0, 2))
xp.sum(a, axis=(-1, 0), keepdims=True)
xp.sum(a, axis=(0, 1, 2))
xp.sum(a, axis=1)
xp.max(a, axis=(0, 1))
xp.max(a, axis=(2, -2), keepdims=True)
xp.mean(a, axis=(0, 2))
xp.mean(a, axis=(-2, -1))
xp.argmax(a, axis=1)
xp.argmax(a, axis=-2)
xp.take(a, i[1:3], axis=-1)
xp.concat([a, a[:, :1, :]], axis=1)
xp.concat([a, a], axis=-1)
xp.permute_dims(a, (1, 0, 2))
xp.permute_dims(a, (0, 2, 1))
xp.permute_dims(a, (2, 0, 1))
xp.reshape(xp.permute_dims(a, (2, 0, 1)), (4, -1))
a[:, 1, :]
a[..., 0]
a[:, :-1, -1]
a[-1, ...]
a[:, 1:, ::3]
? xp.all(a > -9.0, axis=(0, 2))
? xp.all(a > -9.0, axis=-2)
? xp.stack([a, a], axis=-1)
"""
PROMOTION = """
a + b
b + a
a - b
b - a
a * b
b * a
a == b
b == a
a > b
b > a
xp.concat([a, b], axis=0)
xp.concat([b, a], axis=0)
xp.stack([a, b])
xp.where(a > b, a, b)
xp.where(a > b, b, a)
xp.astype(a, b.dtype)
z = xp.asarray(b, copy=True); z += a; z
z = xp.asarray(b, copy=True); z *= a; z
? xp.sum(a, dtype=b.dtype)
"""
FLOATS = """
a / b
b / a
xp.concat([a, b[:0, :]], axis=0)
? a @ b.T
"""
LARGE = """
xp.sum(b)
xp.mean(b, axis=0)
xp.max(a)
xp.argmax(a, axis=0)
b @ b
xp.take(a, far, axis=0)
a[65535:65539]
a[262147]
xp.sum(xp.reshape(b, (4, -1)), axis=-1, keepdims=True)
xp.argmax(xp.reshape(a, (4, -1)), axis=-1)
xp.sum(xp.reshape(b, (-1, 4)), axis=0)
xp.reshape(b, (4, -1)) @ b[:65537]
"""

OPERATORS = MORE_OPERATORS + ARITHMETIC
OF_VIEWS = FUNCTION_CALLS + OPERATORS + REVERSED + MOVES + SUM_CALLS + HIGHEST + MATRIX

CALLS = (
    ("a = x; b = y; t = x > y", FUNCTION_CALLS + OPERATORS + MOVES),
    ("a = x; b = wild[:1, 0]; t = x > b", "xp.where(t, a, b)\nxp.where(t, b, a)"),
    ("a = rows", SUM_CALLS + HIGHEST + PRODUCTS),
    ("a = rows - 100", SUM_CALLS + HIGHEST + PRODUCTS + "xp.argmax(a, axis=1)"),
    ("a = wild", SUM_CALLS + PRODUCTS + "xp.argmax(a[2:4, ...], axis=1)"),
    # XLA on a CPU has another maximum where there is a NaN (JAX 0.10.2).
    ("a = wild[2:, ...]", HIGHEST),
    # In row 1, only the last value is False; in row 2, only the first.
    ("t = xp.isfinite(wild)", "xp.all(t)"),
    ("t = xp.isfinite(wild)[0, ...]", "xp.all(t)"),
    ("t = xp.isfinite(wild)[1, ...]", "xp.all(t)"),
    ("t = xp.isfinite(wild)[2, ...]", "xp.all(t)"),
    # Three values in ten columns: every row has ties.
    (
        "a = scores",
        "xp.argmax(a, axis=1)\nxp.argmax(a, axis=0)\nxp.reshape(a.T, (-1,))",
    ),
    ("a = scores + 1.25; b = a[:, :1]", ARITHMETIC),
    ("a = scores + 1.25; b = a[0, ...]", ARITHMETIC),
    ("a = scores + 1.25; b = xp.sum(a[0, ...])", ARITHMETIC),
    ("a = levels", ENDS),
    ("a = count", ENDS),
    ("a = x", ENDS),
    # up to 1.2e10, beyond int32 and the whole numbers of float32
    ("a = count * 3_000_000 + 1", "a + count\na == a + 256\na[:-1] == a[1:]"),
    ("a = count", "xp.astype(a, scores.dtype)\nxp.arange(4099, dtype=xp.int64)"),
    ("a = scores + 0.75", "xp.astype(a, xp.int64)"),
    ("a = cube", AXES),
    ("a = m[:4, :6]; b = n; t = flags[:4, :6]", OF_VIEWS),
    ("a = m[::2, ::2]; b = n; t = flags[::2, ::2]", OF_VIEWS),
    ("a = m[:6, :4].T; b = n; t = flags[:6, :4].T", OF_VIEWS),
    ("a = ? m[::-2, ::-2]; b = n; t = ? flags[::-2, ::-2]", OF_VIEWS),
    ("a = m", IN_PLACE),
    (
        "a = m[:0, :6]; b = m[:0, 6:]; t = flags[:0, :6]",
        FUNCTION_CALLS + ARITHMETIC + MOVES + SUM_CALLS + EMPTY,
    ),
    (
        "a = m[:4, :0]; t = flags[:4, :0]",
        SUM_CALLS + "a @ a.T\nxp.all(t)\nxp.max(a, axis=0)",
    ),
    ("a = ? single; b = ? double", PROMOTION + FLOATS),
    ("a = ? short; b = long", PROMOTION),
    ("a = levels[:4, 0]; b = i", "a + b\nb * a\na == b\nxp.concat([a, b], axis=0)"),
    ("a = m; b = ? j", "xp.take(a, b, axis=0)\nxp.take(a, b, axis=1)"),
    ("a = x; b = ? j", "xp.take(a, b, axis=0)"),
    (
        "a = ? large; b = ? other; t = ? true",
        FUNCTION_CALLS + ARITHMETIC + MOVES + LARGE,
    ),
    ("a = m", "xp.arange(262148, dtype=xp.int64)"),
)
"""Names for operands, and calls with these names.

A library may refuse a line that begins with `?`. It may lack an optional function or
dtype, negative steps, or arrays of some megabytes.
"""

PROGRAMS = """
z = xp.asarray(m, copy=True); z += 1; m
? z = xp.asarray(large, copy=True); z += 1; large
z = xp.astype(m, m.dtype); z += 1; m
? z = xp.astype(large, large.dtype); z += 1; large
? z = xp.astype(m, m.dtype, copy=True); z += 1; m
? z = xp.reshape(m, (-1,), copy=True); z += 1; m
? z = xp.reshape(large, (4, -1), copy=True); z += 1; large
? z = xp.astype(m, m.dtype, copy=False); v = m; v += 1; z == m
? z = xp.asarray(m, copy=False); v = m; v += 1; z == m
? z = xp.reshape(m, (-1,), copy=False); v = m; v += 1; z == xp.reshape(m, (-1,))
? xp.sum(short) == xp.sum(xp.astype(short, xp.asarray(0).dtype))
? v = m[1:, :]; v += m[:-1, :]; v
? v = m[:-1, :]; v -= m[1:, :]; v
? v = m[1:, :]; v *= m[:-1, :]; v
? v = m[:-1, :]; v /= m[1:, :]; v
"""
"""Calls that are compared as a whole, because of shared memory or a default dtype.

Their values are the same for immutable arrays, where `v += 1` makes another array.
"""


class Operands(dict[str, np.ndarray]):
    """The arrays of OPERANDS on the host, by name, for a dtype under test."""

    def __init__(self, dtype: str) -> None:
        text = OPERANDS.replace("DTYPE", repr(dtype))
        exec(text, {"np": np}, self)
        self.lines = text.strip().splitlines()


class Call:
    """A line of CALLS or PROGRAMS.

    Args:
        line: The line.
        hosts: The operands on the host.
        bound: Other names in the line, as Python text.
    """

    def __init__(self, line: str, hosts: Operands, bound: dict[str, str]) -> None:
        self.line = line.removeprefix("? ")
        self.may_raise = line != self.line
        self.hosts = hosts
        self._bound = bound

    @property
    def bindings(self) -> list[str]:
        """The statements that bind the names of the call to operands."""
        source = self.line
        used: list[str] = []
        for name, text in reversed(self._bound.items()):
            if _uses(source, name):
                used.insert(0, f"{name} = {text}")
                source = f"{used[0]}; {source}"
        return used

    @property
    def source(self) -> str:
        """The statements of the call, with the operands as names."""
        return "; ".join([*self.bindings, self.line])

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The operands of the call on the host."""
        source = self.source
        return {name: x for name, x in self.hosts.items() if _uses(source, name)}

    def evaluate(self, names: dict[str, Any]) -> Any:
        """Return the value of the last statement."""
        *statements, last = self.line.split("; ")
        exec("; ".join(statements), {}, names)
        return eval(last, {}, names)

    def __str__(self) -> str:
        """Return the call and operands: `xp.sum(a) with a = m[::2, ::2], m = ...`."""
        lines, inputs = self.hosts.lines, self.inputs
        operands = [each for each in lines if re.split(r"\W", each)[0] in inputs]
        used = ", ".join(self.bindings + operands)
        return f"{self.line} with {used}" if used else self.line


class Names(dict[str, Any]):
    """The names in calls: operands are copied to a library at their first use.

    Args:
        hosts: The operands on the host.
        backend: The library.
    """

    def __init__(self, hosts: "Operands", backend: Backend) -> None:
        super().__init__(xp=backend.xp)
        self.hosts = hosts
        self.backend = backend

    def __missing__(self, name: str) -> Any:
        host = self.hosts[name]
        # The name of the dtype bool is not needed, and MLX lacks it.
        is_bool = host.dtype == np.bool
        dtype = None if is_bool else getattr(self.backend.xp, host.dtype.name)
        self[name] = self.backend.asarray(host, dtype)
        return self[name]


def _uses(source: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", source) is not None
