"""Ask a namespace itself, by programs with operands that few programs have.

Ordinary data have no NaN, no infinities and no ties. Its arrays are contiguous, of one
dtype, and have hundreds of rows. A library may be wrong elsewhere, and still agree with
NumPy on them. Each call below is a program for `lockstep`. Its source is the place in
reports.

The standard specifies the results of these calls, the sign of a zero included. Results
that it leaves open are not judged: the sign of a zero in a sum or a maximum, `argmax`
of NaN, floats beyond the range of an integer dtype, and integers together with floats.
Subnormal numbers may count as zero.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from array_lockstep.answers import replacements
from array_lockstep.bounds import Verdict
from array_lockstep.judge import numpy_result
from array_lockstep.libraries import open_library
from array_lockstep.operations import Operation
from array_lockstep.operators import kind_of
from array_lockstep.programs import (
    ProgramTracer,
    Record,
    checked,
    is_allowed,
    run_under,
)
from array_lockstep.quiet import quiet
from array_lockstep.rules import SUMS
from array_lockstep.running import replacing

# The standard: "calculates an implementation-dependent approximation".
APPROXIMATIONS = {"exp", "log", "log1p", "tanh"}
_UNSIGNED = SUMS.keys() | {"max", "maximum"}
"""Operations for which the standard leaves the sign of a zero open."""
FINDINGS = ("deviations", "error", "differs")
"""The findings that `assert_namespace` refuses."""

Calls = tuple[Callable[..., Any], ...]
_optional: set[Callable[..., Any]] = set()
"""Calls that a library may refuse.

It may lack an optional function or dtype, negative steps, or arrays of some megabytes.
"""


def optional(call: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a call that a library may refuse."""
    _optional.add(call)
    return call


class Probe(NamedTuple):
    """Calls on the same operands. A call gets the namespace and the operands."""

    name: str
    operands: tuple[np.ndarray, ...]
    calls: tuple[Callable[..., Any], ...]
    parts: Callable[..., tuple[Any, ...]] | None = None
    """Makes the operands of the calls from these, such as by slices."""
    kinds: tuple[str, ...] = ("deviations", "error")
    """The findings that count. Subnormal numbers make other results differ."""


def assert_namespace(
    library: Any,
    *,
    dtype: str = "float64",
    allow: Mapping[str, Any] | None = None,
) -> None:
    """Assert that a namespace computes as NumPy on unusual operands.

    They are infinities, NaN, ties, strided and transposed views, empty arrays, several
    dtypes, three axes and 262148 elements.

    Args:
        library: A library, as for `lockstep`.
        dtype: "float64" or "float32".
        allow: Expected findings, as for `assert_lockstep`, by their kind:
            `deviations`, `error` or `differs`.

    Raises:
        AssertionError: There are other findings. Each has a line, with the call.
        LockstepError: The library is not available.

    Examples:
        >>> import array_api_compat.numpy
        >>> assert_namespace(array_api_compat.numpy)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    allow = checked(allow, FINDINGS)
    lines = [
        f"{name}: {record}"
        for name, kind, record in findings(library, dtype)
        if not is_allowed(record, allow.get(kind, ()))
    ]
    if lines:
        raise AssertionError("\n".join(lines))


def findings(library: Any, dtype: str) -> list[tuple[str, str, Record]]:
    """Return the name of the probe, the kind and the record of each finding."""

    def ask() -> list[tuple[str, str, Record]]:
        found = []
        opened = open_library(library)
        with quiet, np.errstate(all="ignore"):  # of the library itself
            for name, operands, calls, parts, kinds in probes(dtype):
                if not all(hasattr(opened.xp, x.dtype.name) for x in operands):
                    continue
                for asked in calls:
                    program = _program(asked, parts)
                    run = run_under(_ProbeTracer(opened, _program), program, operands)
                    if run.error and asked in _optional and not run.deviations:
                        continue
                    for kind in kinds:
                        found += [(name, kind, each) for each in run.findings(kind)]
        return found

    return replacing(replacements, ask)


def _program(
    call: Callable[..., Any], parts: Callable[..., tuple[Any, ...]] | None
) -> Callable[..., Any]:
    def program(*operands: Any) -> Any:
        xp = array_namespace(*operands)
        return call(xp, *(parts(*operands) if parts else operands))

    return program


class _ProbeTracer(ProgramTracer):
    """A tracer that compares the signs of zeros, too.

    The standard leaves the error of APPROXIMATIONS open, so half of their digits are
    enough.
    """

    def _compare(self, operation: Operation) -> Verdict:
        verdict = super()._compare(operation)
        name, result = operation.name, operation.result
        is_float = isinstance(result, np.ndarray) and result.dtype.kind == "f"
        if not is_float or verdict.problem:
            return verdict
        if name in APPROXIMATIONS:
            half = float(np.finfo(result.dtype).eps) ** -0.5
            verdict = verdict._replace(bound=max(verdict.bound, half))
        if verdict.deviates or kind_of(name) in _UNSIGNED or result.all():
            return verdict
        expected = numpy_result(operation)
        zeros = (result == 0) & (expected == 0)
        zeros &= np.signbit(result) != np.signbit(expected)
        if not zeros.any():
            return verdict
        at = tuple(map(int, np.argwhere(zeros)[0]))
        values = float(result[at]), float(expected[at])
        return Verdict(math.inf, verdict.bound, at, values)


def _iadd(xp: Any, a: Any, b: Any, *_: Any) -> Any:
    z = xp.asarray(a, copy=True)
    z += b
    return z


def _isub(xp: Any, a: Any, b: Any, *_: Any) -> Any:
    z = xp.asarray(a, copy=True)
    z -= b
    return z


def _imul(xp: Any, a: Any, b: Any, *_: Any) -> Any:
    z = xp.asarray(a, copy=True)
    z *= b
    return z


def _itruediv(xp: Any, a: Any, b: Any, *_: Any) -> Any:
    z = xp.asarray(a, copy=True)
    z /= b
    return z


ELEMENTWISE = (
    lambda xp, a, b, t: xp.abs(a),
    lambda xp, a, b, t: xp.exp(a),
    lambda xp, a, b, t: xp.isfinite(a),
    lambda xp, a, b, t: xp.log(a),
    lambda xp, a, b, t: xp.log1p(a),
    lambda xp, a, b, t: xp.ones_like(a),
    lambda xp, a, b, t: xp.sqrt(a),
    lambda xp, a, b, t: xp.tanh(a),
    lambda xp, a, b, t: xp.zeros_like(a),
    lambda xp, a, b, t: xp.where(t, a, b),
    lambda xp, a, b, t: xp.asarray(a, copy=True),
    lambda xp, a, b, t: -a,
    lambda xp, a, b, t: a == b,
    lambda xp, a, b, t: a > b,
    _iadd,
)
ARITHMETIC = (
    lambda xp, a, b, *_: a + b,
    lambda xp, a, b, *_: a - b,
    lambda xp, a, b, *_: a * b,
    lambda xp, a, b, *_: a / b,
)
OPERATORS = (
    *(_isub, _imul, _itruediv),
    lambda xp, a, b, t: 1 - a,
    lambda xp, a, b, t: 0.1 * a,
    lambda xp, a, b, t: a + 0.1,
    lambda xp, a, b, t: a > 0.5,
    optional(lambda xp, a, b, t: xp.maximum(a, b)),
    *ARITHMETIC,
)
REVERSED = (
    lambda xp, a, b, t: b + a,
    lambda xp, a, b, t: b - a,
    lambda xp, a, b, t: b * a,
    lambda xp, a, b, t: b / a,
    lambda xp, a, b, t: b == a,
    lambda xp, a, b, t: b > a,
    lambda xp, a, b, t: xp.where(t, b, a),
)
MOVES = (
    lambda xp, a, b, t: xp.all(t),
    lambda xp, a, b, t: xp.astype(t, a.dtype),
    lambda xp, a, b, t: xp.astype(t, xp.int64),
    lambda xp, a, b, t: xp.concat([a, b], axis=0),
    lambda xp, a, b, t: xp.stack([a, b]),
    lambda xp, a, b, t: xp.reshape(a, (-1,)),
)
REDUCTIONS = (
    lambda xp, a, *_: xp.sum(a),
    lambda xp, a, *_: xp.sum(a, axis=0),
    lambda xp, a, *_: xp.sum(a, axis=-1, keepdims=True),
    lambda xp, a, *_: xp.mean(a, axis=0),
    lambda xp, a, *_: xp.mean(a, axis=-1),
)
MAXIMA = (
    lambda xp, a, *_: xp.max(a),
    lambda xp, a, *_: xp.max(a, axis=0),
    lambda xp, a, *_: xp.max(a, axis=-1, keepdims=True),
)
PRODUCTS = (
    lambda xp, a: a @ a.T,
    lambda xp, a: a.T @ a[:, :3],
    lambda xp, a: a[0, ...] @ a.T,
    lambda xp, a: a[0, ...] @ a[0, ...],
    optional(lambda xp, a: xp.matmul(a, a.T)),
)
ENDS = (
    lambda xp, a, last: xp.take(a, last, axis=0),
    lambda xp, a, last: xp.concat([a, xp.take(a, last, axis=0)], axis=0),
    lambda xp, a, last: a[4098, ...],
    lambda xp, a, last: a[4096:4099, ...],
)
MATRIX = (
    lambda xp, a, b, t, i: xp.argmax(a, axis=0),
    lambda xp, a, b, t, i: xp.argmax(a, axis=1),
    lambda xp, a, b, t, i: b @ a.T,
    lambda xp, a, b, t, i: a.T @ b,
    lambda xp, a, b, t, i: xp.take(a, i, axis=0),
    lambda xp, a, b, t, i: xp.take(a, i, axis=1),
    lambda xp, a, b, t, i: xp.take(a, i[::2], axis=0),
    lambda xp, a, b, t, i: xp.astype(a, xp.int64),
    lambda xp, a, b, t, i: xp.concat([b, a], axis=1),
    lambda xp, a, b, t, i: xp.reshape(a, (3, -1)),
    lambda xp, a, b, t, i: xp.permute_dims(a, (1, 0)),
    lambda xp, a, b, t, i: a[1, ...],
    lambda xp, a, b, t, i: a[:, 2],
    lambda xp, a, b, t, i: a[1:3, ::2],
    lambda xp, a, b, t, i: a[..., None],
    optional(lambda xp, a, b, t, i: xp.all(t, axis=0)),
)
EMPTY = (
    lambda xp, a, b, t, n, i: xp.concat([a, n], axis=0),
    lambda xp, a, b, t, n, i: xp.take(n, i[:0], axis=0),
    lambda xp, a, b, t, n, i: xp.permute_dims(a, (1, 0)),
    lambda xp, a, b, t, n, i: xp.reshape(a, (2, 0, 3)),
    lambda xp, a, b, t, n, i: a.T @ a,
)
AXES = (
    lambda xp, a, i: xp.sum(a, axis=(0, 2)),
    lambda xp, a, i: xp.sum(a, axis=(-1, 0), keepdims=True),
    lambda xp, a, i: xp.sum(a, axis=(0, 1, 2)),
    lambda xp, a, i: xp.sum(a, axis=1),
    lambda xp, a, i: xp.max(a, axis=(0, 1)),
    lambda xp, a, i: xp.max(a, axis=(2, -2), keepdims=True),
    lambda xp, a, i: xp.mean(a, axis=(0, 2)),
    lambda xp, a, i: xp.mean(a, axis=(-2, -1)),
    lambda xp, a, i: xp.argmax(a, axis=1),
    lambda xp, a, i: xp.argmax(a, axis=-2),
    lambda xp, a, i: xp.take(a, i[1:3], axis=-1),
    lambda xp, a, i: xp.concat([a, a[:, :1, :]], axis=1),
    lambda xp, a, i: xp.concat([a, a], axis=-1),
    lambda xp, a, i: xp.permute_dims(a, (1, 0, 2)),
    lambda xp, a, i: xp.permute_dims(a, (0, 2, 1)),
    lambda xp, a, i: xp.permute_dims(a, (2, 0, 1)),
    lambda xp, a, i: xp.reshape(xp.permute_dims(a, (2, 0, 1)), (4, -1)),
    lambda xp, a, i: a[:, 1, :],
    lambda xp, a, i: a[..., 0],
    lambda xp, a, i: a[:, :-1, -1],
    lambda xp, a, i: a[-1, ...],
    lambda xp, a, i: a[:, 1:, ::3],
    optional(lambda xp, a, i: xp.all(a > -9.0, axis=(0, 2))),
    optional(lambda xp, a, i: xp.all(a > -9.0, axis=-2)),
    optional(lambda xp, a, i: xp.stack([a, a], axis=-1)),
)
PROMOTION = (
    *(lambda xp, a, b: a + b, lambda xp, a, b: b + a),
    *(lambda xp, a, b: a - b, lambda xp, a, b: b - a),
    *(lambda xp, a, b: a * b, lambda xp, a, b: b * a),
    *(lambda xp, a, b: a == b, lambda xp, a, b: b == a),
    *(lambda xp, a, b: a > b, lambda xp, a, b: b > a),
    lambda xp, a, b: xp.concat([a, b], axis=0),
    lambda xp, a, b: xp.concat([b, a], axis=0),
    lambda xp, a, b: xp.stack([a, b]),
    lambda xp, a, b: xp.where(a > b, a, b),
    lambda xp, a, b: xp.where(a > b, b, a),
    lambda xp, a, b: xp.astype(a, b.dtype),
    lambda xp, a, b: _iadd(xp, b, a),
    lambda xp, a, b: _imul(xp, b, a),
    optional(lambda xp, a, b: xp.sum(a, dtype=b.dtype)),
)
FLOATS = (
    *(lambda xp, a, b: a / b, lambda xp, a, b: b / a),
    lambda xp, a, b: xp.concat([a, b[:0, :]], axis=0),
    optional(lambda xp, a, b: a @ b.T),
)
LARGE = (
    lambda xp, a, b, far: xp.sum(b),
    lambda xp, a, b, far: xp.mean(b, axis=0),
    lambda xp, a, b, far: xp.max(a),
    lambda xp, a, b, far: xp.argmax(a, axis=0),
    lambda xp, a, b, far: b @ b,
    lambda xp, a, b, far: xp.take(a, far, axis=0),
    lambda xp, a, b, far: a[65535:65539],
    lambda xp, a, b, far: a[262147],
    lambda xp, a, b, far: xp.sum(xp.reshape(b, (4, -1)), axis=-1, keepdims=True),
    lambda xp, a, b, far: xp.argmax(xp.reshape(a, (4, -1)), axis=-1),
    lambda xp, a, b, far: xp.sum(xp.reshape(b, (-1, 4)), axis=0),
    lambda xp, a, b, far: xp.reshape(b, (4, -1)) @ b[:65537],
)


def _is_kept(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return a program that changes a copy of its first operand in place.

    The second operand has the same values in other memory.
    """

    def program(xp: Any, m: Any, same: Any) -> Any:
        z = change(xp, m)
        z += 1
        return m == same

    return program


def _is_shared(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return a program that changes its operand after it was shared.

    For immutable arrays, the change makes another array.
    """

    def program(xp: Any, m: Any, _: Any) -> Any:
        z = change(xp, m)
        v = m
        v += 1
        return z == change(xp, m)

    return program


COPIES = (
    _is_kept(lambda xp, m: xp.asarray(m, copy=True)),
    _is_kept(lambda xp, m: xp.astype(m, m.dtype)),
    optional(_is_kept(lambda xp, m: xp.astype(m, m.dtype, copy=True))),
    optional(_is_kept(lambda xp, m: xp.reshape(m, (-1,), copy=True))),
    optional(_is_shared(lambda xp, m: xp.astype(m, m.dtype, copy=False))),
    optional(_is_shared(lambda xp, m: xp.asarray(m, copy=False))),
    optional(_is_shared(lambda xp, m: xp.reshape(m, (-1,), copy=False))),
)


def _moved(change: Callable[..., None], *, down: bool) -> Callable[..., Any]:
    """Return a program that changes rows of an operand by their neighbours."""

    def program(xp: Any, m: Any, _: Any) -> Any:
        v, other = (m[1:, :], m[:-1, :]) if down else (m[:-1, :], m[1:, :])
        return change(v, other)

    return optional(program)


def _added(v: Any, other: Any) -> Any:
    v += other
    return v


def _subtracted(v: Any, other: Any) -> Any:
    v -= other
    return v


def _multiplied(v: Any, other: Any) -> Any:
    v *= other
    return v


def _divided(v: Any, other: Any) -> Any:
    v /= other
    return v


OVERLAPS = (
    _moved(_added, down=True),
    _moved(_subtracted, down=False),
    _moved(_multiplied, down=True),
    _moved(_divided, down=False),
)
IN_PLACE = (_added, _subtracted, _multiplied, _divided)


def _in_place(change: Callable[..., Any], view: Callable[..., Any]) -> Any:
    def program(xp: Any, m: Any, n: Any) -> Any:
        return change(view(xp.asarray(m, copy=True)), n)

    return program


VIEWS = {
    "steps": lambda m: m[::2, ::2],
    "transposed": lambda m: m[:6, :4].T,
    "backwards": lambda m: m[::-2, ::-2],
}
"""Parts of a matrix of 8 rows and 12 columns, with 4 rows and 6 columns."""


def probes(dtype: str) -> Iterator[Probe]:
    """Yield the programs with their operands, for a dtype of floats."""
    tiny = np.finfo(dtype).smallest_normal
    special: list[Any] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5]
    special += [1e30, -1e30, 1e-30, 100.0, -100.0]
    special += [tiny, -tiny, tiny / 4, -tiny / 4]
    # 4099 is a prime: neither a vector instruction nor a block ends at the last
    # element.
    x = np.resize(special, 4099).astype(dtype)
    y = np.resize(np.repeat(x[:17], 17), 4099)
    rows = (2 * np.sin(np.arange(5 * 4099.0))).reshape(5, 4099).astype(dtype)
    rows[0, -1] = 9.0
    wild = rows.copy()
    wild[1, -1], wild[2, 0], wild[3, 0], wild[3, -1] = np.nan, np.inf, -np.inf, np.inf
    wild[4] = 1e15
    levels = (np.arange(40990) % 7 % 3).reshape(4099, 10).astype("uint8")
    scores = levels.astype(dtype)
    last, count = np.array([4098, 0, 4097, 4098]), np.arange(4099)
    i = np.array([3, 0, 2, 2])
    short = i.astype("int32")

    yield Probe("special numbers", (x, y, x > y), ELEMENTWISE + OPERATORS + MOVES)
    other = wild[:1, 0]
    choices = (ELEMENTWISE[9], REVERSED[6])
    yield Probe("special numbers, where", (x, other, x > other), choices)
    for name, each in (("rows", rows), ("negative rows", rows - 100)):
        yield Probe(name, (each,), REDUCTIONS + MAXIMA + PRODUCTS + (_argmax,))
    yield Probe("rows with infinities", (wild,), REDUCTIONS + PRODUCTS)
    # XLA on a CPU has another maximum where there is a NaN (JAX 0.10.2).
    yield Probe("rows with infinities", (wild[2:],), MAXIMA)
    yield Probe("rows with infinities", (wild[2:4],), (_argmax,))
    # In row 1, only the last value is False; in row 2, only the first.
    finite = np.isfinite(wild)
    for each in (finite, *finite[:3]):
        yield Probe("flags", (each, each, each), MOVES[:1])
    # Three values in ten columns: every row has ties.
    yield Probe("ties", (scores,), (_argmax, _argmax_of_columns, _flat))
    high = (scores + 1.25).astype(dtype)
    for each in (high[:, :1], high[0], high[0].sum(dtype=dtype, keepdims=True)[0:1]):
        yield Probe("broadcasting", (high, each), ARITHMETIC)
    for each in (levels, count, x):
        yield Probe("ends", (each, last), ENDS)
    # up to 1.2e10, beyond int32 and the whole numbers of float32
    large_counts = count * 3_000_000 + 1
    yield Probe("large integers", (large_counts, count, scores), INTEGERS)
    yield Probe("integers of floats", ((scores + 0.75).astype(dtype),), (_as_int,))
    cube = (np.arange(24) * 7 % 24 - 11.5).reshape(2, 3, 4).astype(dtype)
    yield Probe("three axes", (cube, i), AXES)

    m = (np.arange(96) * 37 % 96 / 16 - 2.4).reshape(8, 12).astype(dtype)
    n = (np.arange(24) * 7 % 24 / 4 + 0.3).reshape(4, 6).astype(dtype)
    flags = np.arange(96).reshape(8, 12) % 5 > 1
    calls: Calls = ELEMENTWISE + OPERATORS + REVERSED + MOVES + REDUCTIONS + MAXIMA
    calls = (*map(_of_three, calls), *MATRIX)
    yield Probe("rows and columns", (m[:4, :6], n, flags[:4, :6], i), calls)
    for name, view in VIEWS.items():
        changes = tuple(_in_place(change, view) for change in IN_PLACE)
        if name == "backwards":  # a library may refuse negative steps
            calls = tuple(optional(_of_all(call)) for call in calls)
            changes = tuple(map(optional, changes))
        yield Probe(name, (m, n, flags, i), calls, _parts(view))
        yield Probe(f"{name}, in place", (m, n), changes)
    none = m[:0, :6], m[:0, 6:], flags[:0, :6], n, i
    calls = ELEMENTWISE + ARITHMETIC + MOVES + REDUCTIONS
    yield Probe("no rows", none, (*map(_of_three, calls), *EMPTY))
    yield Probe("no columns", (m[:4, :0], m[:4, :0], flags[:4, :0]), NO_COLUMNS)

    single = (np.arange(24) / 10 + 0.1).reshape(4, 6).astype("float32")
    double = (np.arange(24) / 10 + 0.1).reshape(4, 6)
    yield Probe("float32 and float64", (single, double), PROMOTION + FLOATS)
    small = np.array([3, 0, 2_000_000_000, 1_900_000_000], "int32")
    large = np.array([3, 2**32, -4_000_000_000, 7])
    yield Probe("int32 and int64", (small, large), PROMOTION)
    yield Probe("default integers", (small, large), (_sum_of_short,), kinds=FINDINGS)
    bytes_ = (levels[:4, 0].copy(), i)
    calls = (PROMOTION[0], PROMOTION[5], PROMOTION[6], PROMOTION[10])
    yield Probe("uint8 and int64", bytes_, calls)
    yield Probe("int32 indices", (m, short), (_take_rows, _take_columns))
    yield Probe("int32 indices", (x, short), (_take_rows,))

    # 65537, the prime above 2**16, is the length of a side.
    wide = np.sin(np.arange(4 * 65537.0)).astype(dtype)
    wide[-1] = 9.0
    # A float32 sum of it may be off by 1.6 %, and its last element is 3.7 % of the sum.
    long = (2 + np.cos(np.arange(4 * 65537.0))).astype(dtype)
    long[-1] = 2e4
    true, far = np.arange(wide.size) < wide.size - 1, np.array([262147, 65536, 0, 9])
    yield Probe("long", (wide, long, true), ELEMENTWISE + ARITHMETIC + MOVES)
    yield Probe("long", (wide, long, far), LARGE)
    yield Probe("long", (m,), (lambda xp, m: xp.arange(262148, dtype=xp.int64),))
    for each in (m, wide):
        yield Probe("copies", (each, each), COPIES, kinds=FINDINGS)
    yield Probe("overlapping rows", (m, m), OVERLAPS)


def _argmax(xp: Any, a: Any) -> Any:
    return xp.argmax(a, axis=1)


def _argmax_of_columns(xp: Any, a: Any) -> Any:
    return xp.argmax(a, axis=0)


def _flat(xp: Any, a: Any) -> Any:
    return xp.reshape(a.T, (-1,))


def _as_int(xp: Any, a: Any) -> Any:
    return xp.astype(a, xp.int64)


def _take_rows(xp: Any, a: Any, i: Any) -> Any:
    return xp.take(a, i, axis=0)


def _take_columns(xp: Any, a: Any, i: Any) -> Any:
    return xp.take(a, i, axis=1)


INTEGERS = (
    lambda xp, a, count, scores: a + count,
    lambda xp, a, count, scores: a == a + 256,
    lambda xp, a, count, scores: a[:-1] == a[1:],
    lambda xp, a, count, scores: xp.astype(count, scores.dtype),
    lambda xp, a, count, scores: xp.arange(4099, dtype=xp.int64),
)
NO_COLUMNS = (
    *REDUCTIONS,
    lambda xp, a, b, t: a @ a.T,
    lambda xp, a, b, t: xp.all(t),
    lambda xp, a, b, t: xp.max(a, axis=0),
)


@optional
def _sum_of_short(xp: Any, short: Any, long: Any) -> Any:
    """Return whether a sum of int32 has the default integer dtype."""
    return xp.sum(short) == xp.sum(xp.astype(short, xp.asarray(0).dtype))


def _of_three(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let a call take more operands than three."""

    def asked(xp: Any, a: Any, b: Any, t: Any, *_: Any) -> Any:
        return call(xp, a, b, t)

    return optional(asked) if call in _optional else asked


def _of_all(call: Callable[..., Any]) -> Callable[..., Any]:
    return partial(call)


def _parts(view: Callable[[Any], Any]) -> Callable[..., tuple[Any, ...]]:
    def parts(m: Any, n: Any, flags: Any, i: Any) -> tuple[Any, ...]:
        return view(m), n, view(flags), i

    return parts
