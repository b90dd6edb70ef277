"""Ask a namespace itself, by programs with operands that few programs have.

Ordinary data have no NaN, no infinities and no ties. Its arrays are contiguous, of one
dtype, and have hundreds of rows. A library may be wrong elsewhere, and still agree with
NumPy on them. Each call below is a program for `lockstep`, and every function of the
standard with a bound is called.

Results that the standard leaves open are not judged: the sign of a zero in a sum or a
maximum, `argmax` of NaN, floats beyond the range of an integer dtype, and integers
together with floats. Subnormal numbers may count as zero.
"""

import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from array_lockstep.allowances import Allow, Allowances
from array_lockstep.answers import replacements
from array_lockstep.bounds import EXACT, ULPS, Verdict, words_of
from array_lockstep.judge import numpy_result
from array_lockstep.libraries import Library, open_library
from array_lockstep.operations import Operation
from array_lockstep.operators import kind_of
from array_lockstep.programs import ProgramTracer, run_under
from array_lockstep.quiet import quiet
from array_lockstep.records import Record
from array_lockstep.running import replacing

# The standard: "calculates an implementation-dependent approximation".
APPROXIMATIONS = ULPS.keys() - words_of("add subtract multiply divide square sqrt")
_SIGNED = EXACT | ULPS.keys() | {"abs"}
_SIGNED -= words_of("""
    max maximum min minimum sort clip unique_values empty empty_like sign
""")
"""Operations with a defined sign of a zero."""
FINDINGS = ("deviations", "error", "differs")
"""The findings that `assert_namespace` refuses."""

Program = Callable[..., Any]
Programs = tuple[Program, ...]


class Probe(NamedTuple):
    """Programs with the same operands. A program gets the namespace, too."""

    name: str
    operands: tuple[np.ndarray, ...]
    programs: Programs
    view: Program | None = None
    """Makes the operands of the programs from these, such as by slices."""
    may_refuse: bool = False
    """Whether a library may raise, as for negative steps or a change in place."""
    kinds: tuple[str, ...] = ("deviations", "error")
    """The findings that count. Subnormal numbers make other results differ."""


def assert_namespace(
    library: Any, *, dtype: str = "float64", allow: Allow | None = None
) -> None:
    """Assert that a namespace computes as NumPy on unusual operands.

    They are infinities, NaN, ties, strided and transposed views, empty arrays, several
    dtypes, three axes and 262148 elements. Every function of the standard with a bound
    is called, also of the extensions `linalg` and `fft`, if the namespace has them.

    Args:
        library: A library, as for `lockstep`.
        dtype: "float64" or "float32".
        allow: Expected findings, as for `assert_lockstep`, by their kind:
            `deviations`, `error` or `differs`.

    Raises:
        AssertionError: There are other findings, or a word of `allow` matches nothing
            any more. Each has a line, with the call.
        LockstepError: The library is not available.

    Examples:
        >>> import array_api_compat.numpy
        >>> assert_namespace(array_api_compat.numpy)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    allowances = Allowances(allow, FINDINGS)
    lines = [
        f"{name}: {record}"
        for name, kind, record in findings(library, dtype)
        if not allowances.allow(kind, record)
    ]
    lines += allowances.unneeded()
    if lines:
        raise AssertionError("\n".join(lines))


def findings(library: Any, dtype: str) -> list[tuple[str, str, Record]]:
    """Return the name of the probe, the kind and the record of each finding."""

    def ask() -> list[tuple[str, str, Record]]:
        opened = open_library(library)
        with quiet, np.errstate(all="ignore"):  # of the library itself
            return [
                (probe.name, kind, record)
                for probe in probes(dtype)
                for kind, record in _ask(opened, probe)
            ]

    return replacing(replacements, ask)


def _ask(library: Library, probe: Probe) -> Iterator[tuple[str, Record]]:
    """Run all programs of a probe, or each alone if one of them raises."""
    extension = probe.name if probe.name in ("linalg", "fft") else "asarray"
    names = {extension, *(x.dtype.name for x in probe.operands)}
    if not all(hasattr(library.xp, name) for name in names):
        return

    def program(*operands: Any) -> Any:
        xp = array_namespace(*operands)
        parts = probe.view(*operands) if probe.view else operands
        results = [asked(xp, *parts) for asked in probe.programs]
        return results if "differs" in probe.kinds else None

    run = run_under(_ProbeTracer(library, program), program, probe.operands)
    if run.error and len(probe.programs) > 1:
        for each in probe.programs:
            yield from _ask(library, probe._replace(programs=(each,)))
    elif not (run.error and probe.may_refuse) or run.deviations:
        for kind in probe.kinds:
            for record in run.findings(kind):
                yield kind, record


class _ProbeTracer(ProgramTracer):
    """A tracer that compares the signs of zeros, too.

    The standard leaves the error of APPROXIMATIONS open, so half of their digits are
    enough.
    """

    def _compare(self, operation: Operation) -> Verdict:
        verdict = super()._compare(operation)
        kind, result = kind_of(operation.name), operation.result
        is_float = isinstance(result, np.ndarray) and result.dtype.kind == "f"
        if not is_float or verdict.problem:
            return verdict
        if kind in APPROXIMATIONS:
            half = float(np.finfo(result.dtype).eps) ** -0.5
            verdict = verdict._replace(bound=max(verdict.bound, half))
        if verdict.deviates or kind not in _SIGNED or result.all():
            return verdict
        expected = numpy_result(operation)
        zeros = (result == 0) & (expected == 0)
        zeros &= np.signbit(result) != np.signbit(expected)
        if not zeros.any():
            return verdict
        at = tuple(map(int, np.argwhere(zeros)[0]))
        values = float(result[at]), float(expected[at])
        return Verdict(math.inf, verdict.bound, at, values)


def _named(name: str, operands: int = 1, *more: Any, **kwargs: Any) -> Program:
    """Return a program that calls a function with its first operands."""

    def program(xp: Any, *all_operands: Any) -> Any:
        return operator.attrgetter(name)(xp)(*all_operands[:operands], *more, **kwargs)

    return program


def _each(names: str, operands: int = 1, *more: Any, **kwargs: Any) -> Programs:
    return tuple(_named(name, operands, *more, **kwargs) for name in names.split())


def _over(names: str, *axes: Any, **kwargs: Any) -> Programs:
    """Return programs that call functions over each of several axes."""
    return tuple(
        program for axis in axes for program in _each(names, axis=axis, **kwargs)
    )


def _in_place(change: Program) -> Program:
    def program(xp: Any, a: Any, b: Any, *_: Any) -> Any:
        return change(xp.asarray(a, copy=True), b)

    return program


# Elements.

UNARY = _each("""
    abs ceil floor trunc round sign signbit negative positive square reciprocal sqrt
    exp expm1 log log1p log2 log10 isfinite isinf isnan
    ones_like zeros_like empty_like asarray
    asin acos atan sinh cosh tanh asinh acosh atanh
""")
PERIODIC = _each("sin cos tan")
ARITHMETIC = (
    lambda xp, a, b, *_: a + b,
    lambda xp, a, b, *_: a - b,
    lambda xp, a, b, *_: a * b,
    lambda xp, a, b, *_: a / b,
)
COMPARISONS = _each("equal not_equal less less_equal greater greater_equal", 2)
BINARY = (
    *_each("add subtract multiply divide maximum minimum copysign nextafter", 2),
    *_each("atan2 hypot", 2),
    *COMPARISONS,
)
INEXACT = _each("pow remainder floor_divide logaddexp", 2)
NUMBERS = (
    lambda xp, a, *_: -a,
    lambda xp, a, *_: 1 - a,
    lambda xp, a, *_: 0.1 * a,
    lambda xp, a, *_: a + 0.1,
    lambda xp, a, *_: a > 0.5,
    lambda xp, a, *_: xp.clip(a, -1.0, 1.5),
    lambda xp, a, *_: xp.full_like(a, 2.5),
    lambda xp, a, *_: xp.asarray(a, copy=True),
)
ORDERS = (
    *ARITHMETIC,
    lambda xp, a, b, *_: a == b,
    lambda xp, a, b, *_: a > b,
)
CHOICES = (
    lambda xp, a, b, t, *_: xp.where(t, a, b),
    lambda xp, a, b, t, *_: xp.where(t, b, a),
)


def _add(x: Any, y: Any) -> Any:
    x += y
    return x


def _subtract(x: Any, y: Any) -> Any:
    x -= y
    return x


def _multiply(x: Any, y: Any) -> Any:
    x *= y
    return x


def _divide(x: Any, y: Any) -> Any:
    x /= y
    return x


CHANGES = (_add, _subtract, _multiply, _divide)
IN_PLACE = tuple(map(_in_place, CHANGES))


def _reversed(program: Program) -> Program:
    return lambda xp, a, b, *others: program(xp, b, a, *others)


ELEMENTS = (*UNARY, *NUMBERS, *BINARY, *ORDERS, *map(_reversed, ORDERS), *CHOICES)

# Axes.

FOLDS = "sum mean max min any all count_nonzero"
AXES = (None, 0, -1)
FEW = _over(f"{FOLDS} prod var std", *AXES)
FEW += _over(f"{FOLDS} prod var std argmax argmin", *AXES, keepdims=True)
FEW += _over("argmax argmin", 0, 1) + _over("std var", 0, correction=1)
ALONG = _over("sort argsort cumulative_sum cumulative_prod diff flip unstack", 0, -1)
ALONG += _over("sort argsort", -1, descending=True)
ALONG += _over("cumulative_sum cumulative_prod", 1, include_initial=True)
ALONG += (_named("flip"), _named("roll", 1, 2, axis=1), _named("roll", 1, -3))
MOVES = (
    lambda xp, a, b, t, i: xp.concat([a, b], axis=0),
    lambda xp, a, b, t, i: xp.concat([b, a], axis=1),
    lambda xp, a, b, t, i: xp.concat([a, b], axis=None),
    lambda xp, a, b, t, i: xp.stack([a, b, a - b]),
    lambda xp, a, b, t, i: xp.stack([a, b, a - b], axis=1),
    lambda xp, a, b, t, i: xp.stack([a, b, a - b], axis=-1),
    lambda xp, a, b, t, i: xp.reshape(a, (-1,)),
    lambda xp, a, b, t, i: xp.reshape(a, (3, -1)),
    lambda xp, a, b, t, i: xp.astype(t, a.dtype),
    lambda xp, a, b, t, i: xp.astype(t, xp.int64),
    lambda xp, a, b, t, i: xp.astype(a, xp.int64),
    lambda xp, a, b, t, i: xp.astype(a, xp.bool),
    lambda xp, a, b, t, i: xp.take(a, i, axis=0),
    lambda xp, a, b, t, i: xp.take(a, i, axis=1),
    lambda xp, a, b, t, i: xp.take(a, i[::2], axis=0),
    lambda xp, a, b, t, i: xp.take_along_axis(a, i[:, None], axis=1),
    lambda xp, a, b, t, i: xp.permute_dims(a, (1, 0)),
    lambda xp, a, b, t, i: xp.moveaxis(a, 0, 1),
    lambda xp, a, b, t, i: xp.expand_dims(a, axis=1),
    lambda xp, a, b, t, i: xp.squeeze(a[:, :1], axis=1),
    lambda xp, a, b, t, i: xp.repeat(a, 2, axis=1),
    lambda xp, a, b, t, i: xp.repeat(a, i, axis=0),
    lambda xp, a, b, t, i: xp.tile(a, (2, 3)),
    lambda xp, a, b, t, i: xp.tril(a, k=1),
    lambda xp, a, b, t, i: xp.triu(a, k=-1),
    lambda xp, a, b, t, i: xp.broadcast_to(a[1, ...], (3, *a.shape)),
    lambda xp, a, b, t, i: xp.broadcast_arrays(a, b[:1, :]),
    lambda xp, a, b, t, i: xp.meshgrid(a[0, ...], b[:, 0], indexing="ij"),
    lambda xp, a, b, t, i: xp.matrix_transpose(a),
    lambda xp, a, b, t, i: a[1, ...],
    lambda xp, a, b, t, i: a[:, 2],
    lambda xp, a, b, t, i: a[1:3, ::2],
    lambda xp, a, b, t, i: a[..., None],
    lambda xp, a, b, t, i: a[t],
)
SETS = (
    lambda xp, a, b, t, i: xp.nonzero(t),
    lambda xp, a, b, t, i: xp.isin(i, i[1:3]),
    lambda xp, a, b, t, i: xp.searchsorted(xp.sort(a[0, ...]), b[0, ...]),
    lambda xp, a, b, t, i: xp.searchsorted(i[1:], i, side="right"),
    *(
        lambda xp, a, b, t, i, name=name: getattr(xp, name)(i)
        for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values")
    ),
    lambda xp, a, b, t, i: xp.from_dlpack(a),
)
FLAGS = (
    *_over("any all count_nonzero", *AXES),
    *_each("logical_and logical_or logical_xor", 2),
    *_each("bitwise_and bitwise_or bitwise_xor", 2),
    *_each("logical_not bitwise_invert"),
)
PRODUCTS = (
    lambda xp, a, *_: a @ a.T,
    lambda xp, a, *_: a.T @ a[:, :3],
    lambda xp, a, *_: a[0, ...] @ a.T,
    lambda xp, a, *_: a[0, ...] @ a[0, ...],
    lambda xp, a, *_: xp.matmul(a, a.T),
    lambda xp, a, *_: xp.vecdot(a, a),
    lambda xp, a, *_: xp.tensordot(a, a, axes=2),
    lambda xp, a, *_: xp.tensordot(a, a.T, axes=1),
)
PAIRS = (
    lambda xp, a, b, *_: a.T @ b,
    lambda xp, a, b, *_: b @ a.T,
    lambda xp, a, b, *_: xp.vecdot(a, b, axis=-2),
)
CUBE = (
    *_over(FOLDS, (0, 2), (0, 1, 2), 1),
    *_over(f"{FOLDS} prod var std", (2, -2), (-1, 0), keepdims=True),
    *_over("argmax argmin sort argsort cumulative_sum", 1, -2),
    lambda xp, a, i: xp.take(a, i[1:3], axis=-1),
    lambda xp, a, i: xp.concat([a, a[:, :1, :]], axis=1),
    lambda xp, a, i: xp.concat([a, a], axis=-1),
    lambda xp, a, i: xp.permute_dims(a, (1, 0, 2)),
    lambda xp, a, i: xp.permute_dims(a, (0, 2, 1)),
    lambda xp, a, i: xp.permute_dims(a, (2, 0, 1)),
    lambda xp, a, i: xp.reshape(xp.permute_dims(a, (2, 0, 1)), (4, -1)),
    lambda xp, a, i: xp.stack([a, a + 1], axis=-1),
    lambda xp, a, i: xp.all(a > -9.0, axis=(0, 2)),
    lambda xp, a, i: a[:, 1, :],
    lambda xp, a, i: a[..., 0],
    lambda xp, a, i: a[:, :-1, -1],
    lambda xp, a, i: a[-1, ...],
    lambda xp, a, i: a[:, 1:, ::3],
)

# Sizes and dtypes.

ENDS = (
    lambda xp, a, last: xp.take(a, last, axis=0),
    lambda xp, a, last: xp.concat([a, xp.take(a, last, axis=0)], axis=0),
    lambda xp, a, last: a[4098, ...],
    lambda xp, a, last: a[4096:4099, ...],
)
EMPTY = (
    lambda xp, a, n, i: xp.concat([a, n], axis=0),
    lambda xp, a, n, i: xp.take(n, i[:0], axis=0),
    lambda xp, a, n, i: xp.permute_dims(a, (1, 0)),
    lambda xp, a, n, i: xp.reshape(a, (2, 0, 3)),
    lambda xp, a, n, i: a.T @ a,
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
    lambda xp, a, b, far: xp.sort(a),
    lambda xp, a, b, far: xp.arange(262148, dtype=xp.int64),
)
BOTH = (*ARITHMETIC[:3], *ORDERS[4:])
PROMOTION = (
    *BOTH,
    *map(_reversed, BOTH),
    lambda xp, a, b: xp.concat([a, b], axis=0),
    lambda xp, a, b: xp.concat([b, a], axis=0),
    lambda xp, a, b: xp.stack([a, b, a]),
    lambda xp, a, b: xp.where(a > b, a, b),
    lambda xp, a, b: xp.where(a > b, b, a),
    lambda xp, a, b: xp.astype(a, b.dtype),
    lambda xp, a, b: xp.sum(a, dtype=b.dtype),
    lambda xp, a, b: IN_PLACE[0](xp, b, a),
    lambda xp, a, b: IN_PLACE[2](xp, b, a),
)
FLOATS = (
    *(ARITHMETIC[3], _reversed(ARITHMETIC[3])),
    lambda xp, a, b: xp.concat([a, b[:0, :]], axis=0),
    lambda xp, a, b: a @ b.T,
)
INTEGERS = (
    *_each("abs sign square sum prod max min cumulative_sum sort argsort"),
    *_each("bitwise_and bitwise_or bitwise_xor floor_divide remainder maximum", 2),
    *_each("bitwise_left_shift bitwise_right_shift", 2),
    *_each("bitwise_invert negative unique_values"),
)
COUNTS = (
    lambda xp, a, count, scores: a + count,
    lambda xp, a, count, scores: a == a + 256,
    lambda xp, a, count, scores: a[:-1] == a[1:],
    lambda xp, a, count, scores: xp.astype(count, scores.dtype),
    lambda xp, a, count, scores: xp.arange(4099, dtype=xp.int64),
)
CREATION = (
    lambda xp, a: xp.arange(2, 11, 3),
    lambda xp, a: xp.arange(0.0, 1.0, 0.25, dtype=a.dtype),
    lambda xp, a: xp.linspace(0.0, 1.0, 7, dtype=a.dtype),
    lambda xp, a: xp.linspace(-1.0, 2.0, 6, endpoint=False),
    lambda xp, a: xp.eye(3, 4, k=1, dtype=a.dtype),
    lambda xp, a: xp.full((2, 3), 2.5, dtype=a.dtype),
    lambda xp, a: xp.full((2, 3), 7),
    lambda xp, a: (xp.ones((2, 3)), xp.ones(3, dtype=a.dtype)),
    lambda xp, a: (xp.zeros((2, 0)), xp.zeros(3, dtype=xp.int64)),
    lambda xp, a: xp.empty((2, 3), dtype=a.dtype),
    lambda xp, a: xp.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=a.dtype),
)
COMPLEX = (
    *_each("abs conj real imag exp sqrt log sin cos square reciprocal sum prod mean"),
    *_each("add subtract multiply divide equal", 2),
    lambda xp, z, w: z @ w,
)

# Extensions.

LINALG = (
    *_each("linalg.cholesky linalg.det linalg.slogdet linalg.inv linalg.pinv"),
    *_each("linalg.eigh linalg.eigvalsh linalg.svd linalg.svdvals linalg.qr"),
    *_each("linalg.matrix_norm linalg.vector_norm linalg.trace linalg.diagonal"),
    *_each("linalg.solve linalg.matmul linalg.vecdot", 2),
    _named("linalg.cholesky", upper=True),
    _named("linalg.matrix_power", 1, 3),
    _named("linalg.vector_norm", axis=-1, keepdims=True),
    _named("linalg.vector_norm", ord=1),
    _named("linalg.diagonal", offset=1),
    _named("linalg.svd", full_matrices=False),
    _named("linalg.matrix_transpose"),
    lambda xp, s, _: xp.linalg.outer(s[0, 0, :], s[1, :, 1]),
    lambda xp, s, _: xp.linalg.tensordot(s[0, ...], s[1, ...], axes=1),
    lambda xp, s, _: xp.linalg.cross(s[..., :3], s[..., 1:]),
    lambda xp, s, _: xp.linalg.qr(s[..., :2], mode="complete"),
    lambda xp, s, _: xp.linalg.pinv(s[..., :2]),
    lambda xp, s, _: xp.linalg.solve(s, s[0, :, 0]),
)
FFT = (
    *_each("fft.rfft fft.ihfft fft.fftshift fft.ifftshift fft.rfftn"),
    *(
        lambda xp, x, z, name=name: operator.attrgetter(name)(xp.fft)(z)
        for name in words_of("fft ifft irfft hfft fftn ifftn irfftn")
    ),
    lambda xp, x, z: xp.fft.fft(z, n=8, axis=0, norm="ortho"),
    lambda xp, x, z: xp.fft.rfft(x, axis=0, norm="forward"),
    lambda xp, x, z: xp.fft.fftshift(x, axes=(0,)),
    lambda xp, x, z: (xp.fft.fftfreq(5), xp.fft.rfftfreq(6, d=0.5)),
)

# Copies.


def _is_kept(change: Program) -> Program:
    """Return a program that changes a copy of its first operand in place.

    The second operand has the same values in other memory.
    """

    def program(xp: Any, m: Any, same: Any) -> Any:
        z = change(xp, m)
        z += 1
        return m == same

    return program


def _is_shared(change: Program) -> Program:
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
)
SHARES = (
    _is_kept(lambda xp, m: xp.astype(m, m.dtype, copy=True)),
    _is_kept(lambda xp, m: xp.reshape(m, (-1,), copy=True)),
    _is_shared(lambda xp, m: xp.astype(m, m.dtype, copy=False)),
    _is_shared(lambda xp, m: xp.asarray(m, copy=False)),
    _is_shared(lambda xp, m: xp.reshape(m, (-1,), copy=False)),
)
OVERLAPS = (
    lambda xp, m, _: _add(m[1:, :], m[:-1, :]),
    lambda xp, m, _: _subtract(m[:-1, :], m[1:, :]),
    lambda xp, m, _: _multiply(m[1:, :], m[:-1, :]),
    lambda xp, m, _: _divide(m[:-1, :], m[1:, :]),
)
VIEWS = {
    "steps": lambda m: m[::2, ::2],
    "transposed": lambda m: m[:6, :4].T,
    "backwards": lambda m: m[::-2, ::-2],
}
"""Parts of a matrix of 8 rows and 12 columns, with 4 rows and 6 columns."""


def _parts(view: Program, m: Any, n: Any, flags: Any, i: Any) -> tuple[Any, ...]:
    return view(m), n, view(flags), i


def _sum_of_short(xp: Any, short: Any, long: Any) -> Any:
    """Return whether a sum of int32 has the default integer dtype."""
    return xp.sum(short) == xp.sum(xp.astype(short, xp.asarray(0).dtype))


def probes(dtype: str) -> Iterator[Probe]:
    """Yield the programs with their operands, for a dtype of floats."""
    yield from _of_special_numbers(dtype)
    yield from _of_rows(dtype)
    yield from _of_matrices(dtype)
    yield from _of_dtypes()
    yield from _of_sizes(dtype)


def _of_special_numbers(dtype: str) -> Iterator[Probe]:
    tiny = np.finfo(dtype).smallest_normal
    special: list[Any] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5]
    special += [1e30, -1e30, 1e-30, 100.0, -100.0]
    special += [tiny, -tiny, tiny / 4, -tiny / 4]
    # 4099 is a prime: neither a vector instruction nor a block ends at the last
    # element.
    x = np.resize(special, 4099).astype(dtype)
    y = np.resize(np.repeat(x[:17], 17), 4099)
    yield Probe("special numbers", (x, y, x > y), ELEMENTS + IN_PLACE)
    wild = np.array([np.inf], dtype)
    yield Probe("special numbers, where", (x, wild, x > wild), CHOICES)
    some = (np.arange(40.0) / 7 - 2.9).astype(dtype)
    yield Probe("numbers", (some, some[::-1].copy()), PERIODIC + INEXACT)
    last = np.array([4098, 0, 4097, 4098])
    yield Probe("ends", (x, last), ENDS)
    short = np.array([3, 0, 2, 2], "int32")
    yield Probe("int32 indices", (x, short), (_named("take", 2, axis=0),))


def _of_rows(dtype: str) -> Iterator[Probe]:
    rows = (2 * np.sin(np.arange(5 * 4099.0))).reshape(5, 4099).astype(dtype)
    rows[0, -1] = 9.0
    wild = rows.copy()
    wild[1, -1], wild[2, 0], wild[3, 0], wild[3, -1] = np.nan, np.inf, -np.inf, np.inf
    wild[4] = 1e15
    maxima = _over("max min", *AXES) + _over("max min", -1, keepdims=True)
    sums = _over("sum mean", *AXES) + _over("sum", -1, keepdims=True)
    places = _over("argmax argmin", 1)
    for name, each in (("rows", rows), ("negative rows", rows - 100)):
        yield Probe(name, (each,), sums + maxima + PRODUCTS + places)
    yield Probe("rows with infinities", (wild,), sums + PRODUCTS[:5])
    # XLA on a CPU has another maximum where there is a NaN (JAX 0.10.2).
    yield Probe("rows with infinities", (wild[2:],), maxima)
    yield Probe("rows with infinities", (wild[2:4],), places)
    # In row 1, only the last value is False; in row 2, only the first.
    finite = np.isfinite(wild)
    for each in (finite, *finite[:3]):
        yield Probe("flags", (each, ~each), FLAGS[:1] + FLAGS[3:])
    yield Probe("flags", (finite, ~finite), FLAGS)


def _of_matrices(dtype: str) -> Iterator[Probe]:
    m = (np.arange(96) * 37 % 96 / 16 - 2.4).reshape(8, 12).astype(dtype)
    n = (np.arange(24) * 7 % 24 / 4 + 0.3).reshape(4, 6).astype(dtype)
    flags = np.arange(96).reshape(8, 12) % 5 > 1
    i = np.array([3, 0, 2, 2])
    on_elements = ELEMENTS + PERIODIC + INEXACT
    programs = on_elements + FEW + ALONG + MOVES + PRODUCTS + PAIRS
    ordinary = m[:4, :6], n, flags[:4, :6], i
    yield Probe("rows and columns", ordinary, programs + SETS + IN_PLACE)
    for name, view in VIEWS.items():
        is_odd = name == "backwards"
        parts, operands = partial(_parts, view), (m, n, flags, i)
        yield Probe(name, operands, programs, parts, may_refuse=is_odd)
        yield Probe(
            f"{name}, in place",
            (m, n),
            tuple(_on_view(change, view) for change in CHANGES),
            may_refuse=is_odd,
        )
    sums = _over("sum mean any all prod", *AXES) + _over("sum", -1, keepdims=True)
    none = m[:0, :6], m[:0, 6:], flags[:0, :6], i
    yield Probe("no rows", none, ELEMENTS + sums + MOVES[:4] + MOVES[8:12])
    yield Probe("no rows", (m[:0, :6], n, i), EMPTY)
    # The maximum over a full axis of an array without columns is empty.
    products = (PRODUCTS[0], _named("max", axis=0))
    yield Probe("no columns", (m[:4, :0],), sums + products)
    cube = (np.arange(24) * 7 % 24 - 11.5).reshape(2, 3, 4).astype(dtype)
    yield Probe("three axes", (cube, i), CUBE)
    yield Probe("creation", (m,), CREATION)
    takes = _named("take", 2, axis=0), _named("take", 2, axis=1)
    yield Probe("int32 indices", (m, i.astype("int32")), takes)
    root = np.concatenate([m[:4, :4], m[4:, 4:8]]).reshape(2, 4, 4)
    square = (root @ root.transpose(0, 2, 1) / 8 + np.eye(4)).astype(dtype)
    yield Probe("linalg", (square, square + root), LINALG)
    waves = m[:6, :5] + 1j * m[2:, 6:11]
    waves = waves.astype("complex64" if dtype == "float32" else "complex128")
    yield Probe("fft", (m[:6, :5], waves), FFT)
    yield Probe("complex numbers", (waves[:5], waves[1:]), COMPLEX)


def _on_view(change: Program, view: Program) -> Program:
    def program(xp: Any, m: Any, n: Any) -> Any:
        return change(view(xp.asarray(m, copy=True)), n)

    return program


def _of_dtypes() -> Iterator[Probe]:
    single = (np.arange(24) / 10 + 0.1).reshape(4, 6).astype("float32")
    double = (np.arange(24) / 10 + 0.1).reshape(4, 6)
    yield Probe("float32 and float64", (single, double), PROMOTION + FLOATS)
    small = np.array([3, 0, 2_000_000_000, 1_900_000_000], "int32")
    large = np.array([3, 2**32, -4_000_000_000, 7])
    yield Probe("int32 and int64", (small, large), PROMOTION)
    yield Probe("default integers", (small, large), (_sum_of_short,), kinds=FINDINGS)
    bytes_, i = np.array([0, 2, 1, 255], "uint8"), np.array([3, 0, 2, 2])
    yield Probe("uint8 and int64", (bytes_, i), BOTH + tuple(map(_reversed, BOTH)))
    for name in ("int8", "int32", "int64", "uint8"):
        numbers = np.array([9, 7, 0, 100, 2]), np.array([4, 3, 2, 5, 1])
        signed = numbers[0] * (1 if name == "uint8" else np.array([1, -1, 1, 1, -1]))
        programs = INTEGERS[:-2] if name == "uint8" else INTEGERS
        operands = signed.astype(name), numbers[1].astype(name)
        yield Probe("integers", operands, programs + COMPARISONS)


def _of_sizes(dtype: str) -> Iterator[Probe]:
    levels = (np.arange(40990) % 7 % 3).reshape(4099, 10).astype("uint8")
    scores, count = levels.astype(dtype), np.arange(4099)
    # Three values in ten columns: every row has ties.
    flat = lambda xp, a: xp.reshape(a.T, (-1,))  # noqa: E731
    places = _over("argmax argmin argsort", 0, 1)
    yield Probe("ties", (scores,), (*places, flat, *_each("unique_counts")))
    high = (scores + 1.25).astype(dtype)
    for each in (high[:, :1], high[0], high[0].sum(dtype=dtype, keepdims=True)[0:1]):
        yield Probe("broadcasting", (high, each), ARITHMETIC)
    last = np.array([4098, 0, 4097, 4098])
    for each in (levels, count):
        yield Probe("ends", (each, last), ENDS)
    # up to 1.2e10, beyond int32 and the whole numbers of float32
    large_counts = count * 3_000_000 + 1
    yield Probe("large integers", (large_counts, count, scores), COUNTS)
    as_int = lambda xp, a: xp.astype(a, xp.int64)  # noqa: E731
    yield Probe("integers of floats", ((scores + 0.75).astype(dtype),), (as_int,))

    # 65537, the prime above 2**16, is the length of a side.
    wide = np.sin(np.arange(4 * 65537.0)).astype(dtype)
    wide[-1] = 9.0
    # A float32 sum of it may be off by 1.6 %, and its last element is 3.7 % of the sum.
    long = (2 + np.cos(np.arange(4 * 65537.0))).astype(dtype)
    long[-1] = 2e4
    true, far = np.arange(wide.size) < wide.size - 1, np.array([262147, 65536, 0, 9])
    yield Probe("long", (wide, long, true), UNARY + NUMBERS + ORDERS + CHOICES)
    yield Probe("long", (wide, long, far), LARGE)
    m = (np.arange(96) * 37 % 96 / 16 - 2.4).reshape(8, 12).astype(dtype)
    # These change their operands.
    for change in COPIES + SHARES:
        for each in (m, wide):
            is_odd = change in SHARES
            yield Probe("copies", (each, each), (change,), None, is_odd, FINDINGS)
    for change in OVERLAPS:
        yield Probe("overlapping rows", (m, m), (change,), may_refuse=True)
