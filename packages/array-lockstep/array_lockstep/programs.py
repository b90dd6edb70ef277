"""Run any array program on a library and, in lockstep, on NumPy."""

import contextlib
import copy
import importlib
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from array_lockstep.allowances import Allow, Allowances, refuse_unexpected
from array_lockstep.answers import class_of, copies_of_compat, replacements
from array_lockstep.bounds import Bound, Reference, Verdict
from array_lockstep.errors import LockstepError, check_type, kind_of, one_line
from array_lockstep.judge import has_own_dtype, mismatch
from array_lockstep.libraries import KNOWN, Library, find, open_library
from array_lockstep.operations import Operation
from array_lockstep.operators import SYMBOLS
from array_lockstep.places import Place, place_of
from array_lockstep.quiet import quiet
from array_lockstep.records import Record, Run, record_of
from array_lockstep.reproducer import write_reproducer
from array_lockstep.running import active, replacing, run_traced
from array_lockstep.tracer import (
    LibraryCall,
    Namespace,
    Traced,
    Tracer,
    caller,
    calls_library,
    is_array,
    leaves,
    map_tree,
    sources,
    unwrapped,
)

_UNIQUE = ("all", "counts", "inverse", "values")
_IN_COMPAT = re.compile(r"[\\/]array_api_compat[\\/]")
_SHAPED_BY_VALUES = {
    "getitem": "array[mask]",
    "repeat": "xp.repeat(array, array)",
    "nonzero": "xp.nonzero(array)",
    **{f"unique_{kind}": f"xp.unique_{kind}(array)" for kind in _UNIQUE},
}
"""Operations with a result whose shape depends on values of an array."""
_ON_HOST = (np.ndarray, np.generic, bool, int, float, complex)


class ProgramTracer(Tracer):
    """A tracer of any program. It keeps the findings by kind."""

    def __init__(self, library: Library, program: Any) -> None:
        super().__init__(library)
        self.program: CodeType | None = getattr(program, "__code__", None)
        """The code of the program. Its file may belong to the library."""
        self.records: dict[str, dict[tuple[str, Place], Record]] = {}
        self.judged = 0
        """The number of judged operations."""
        self.chosen: set[np.dtype[Any]] = set()
        """Dtypes of results that the standard leaves to the library."""
        zero = library.xp.asarray(0.0)
        self._kind = type(zero)
        self.names_another = _is_another(library.xp, zero)  # type: ignore[misc]
        names = (self._kind.__module__, self.xp.__name__)
        modules = {name.partition(".")[0] for name in names}
        for module in modules & sys.modules.keys():
            own_sources = sources(sys.modules[module])
            self.go_betweens += own_sources  # type: ignore[misc]

    def is_go_between(self, file: str) -> bool:
        """See `Tracer.is_go_between`."""
        if self.program and file == self.program.co_filename:
            return False
        return super().is_go_between(file) or bool(_IN_COMPAT.search(file))

    def wrap(self, array: Any) -> Traced:
        """Return an array that answers as the library's own."""
        own: Any = type(array)
        if own not in self.kinds:
            self.kinds[own] = class_of(own)
        return self.kinds[own](array, self)

    def namespace_of(self, array: Traced, api_version: str | None) -> Namespace:
        """Return the namespace from an array, as of the library's own array."""
        own = getattr(array.array, "__array_namespace__", None)
        xp = own(api_version=api_version) if own else self.library.xp
        return xp if self.is_over else self.answer(xp)

    def notice(self, kind: str, event: str, name: str = "") -> None:
        """Keep an event, unless array_api_compat or the library itself causes it."""
        if kind == "outside" and event.startswith("array."):
            frame = caller(lambda file: file.startswith(ProgramTracer.go_betweens))
            if self.is_go_between(frame.f_code.co_filename):
                return
        self.is_shared |= kind == "transfers"
        own_name = event.removeprefix("array.").partition("(")[0].removeprefix("xp.")
        self._keep(kind, Record(name or own_name, event, self.place()))

    def call(self, call: LibraryCall) -> Any:
        """See `Tracer.call`. Questions of the library itself are not answered."""
        tracer = active()
        # An array or a namespace may be of another run, of this library or another.
        if tracer not in (self, None) and tracer.library.xp is self.library.xp:
            return tracer.call(call)
        if self.is_over:
            return call.untraced()
        if any(map(self._is_abstract, leaves((call.args, call.kwargs)))):
            self.notice("escaped", call.name)
            return call.untraced()
        if any(type(x) is np.ndarray for x in call.args):
            self.is_shared = True
            if call.name in SYMBOLS and self._kind is not np.ndarray:
                self.notice("outside", f"array {SYMBOLS[call.name]} numpy.ndarray")
            if call.name == "asarray" and self._kind is not np.ndarray:
                self.notice("transfers", "xp.asarray(numpy.ndarray)")
        if _depends_on_values(call):
            self.notice("syncs", _SHAPED_BY_VALUES[call.name], call.name)
        with self.lock:
            before = calls_library.get()
            try:
                calls_library.set(True)
                return super().call(call)
            finally:
                calls_library.set(before)

    def _is_abstract(self, x: Any) -> bool:
        """Return whether x stands for an array, as in a function transformed by JAX."""
        known = (Traced, np.ndarray, np.generic, self._kind)
        return is_array(x) and not issubclass(type(x), known)

    def _compare(self, operation: Operation) -> Verdict:
        """See `Tracer`. A scalar of NumPy may count as a Python number.

        Of all numbers, the standard defines only Python's as operands.
        """
        verdict, args = super()._compare(operation), operation.args
        if not (verdict.deviates and any(isinstance(x, np.generic) for x in args)):
            return verdict
        plain = tuple(x.item() if isinstance(x, np.generic) else x for x in args)
        again = super()._compare(operation._replace(args=plain))
        if not (again.deviates and verdict.problem):
            return again
        reason = "the standard defines Python numbers, not NumPy's, as operands"
        return verdict._replace(unjudged=reason, outside=True)

    def owns(self, x: Any) -> bool:
        """See `Tracer`. NumPy's arrays, such as `x.numpy()`, are not the library's."""
        return is_array(x) and (type(x) is not np.ndarray or self._kind is np.ndarray)

    def _add(self, operation: Operation) -> None:
        super()._add(operation)
        if has_own_dtype(operation):
            parts = [x for x in operation.results if isinstance(x, np.ndarray)]
            self.chosen |= {x.real.dtype for x in parts}
        verdict, record = operation.verdict, record_of(operation)
        if verdict.unjudged:
            kind = "outside" if verdict.outside else "unjudged"
            self._keep(kind, record._replace(detail=f"({verdict.unjudged})"))
        else:
            self.judged += 1
        if verdict.deviates:
            self._keep("deviations", record._replace(detail=str(verdict)))
        operands, results = _dtypes(operation.args), _dtypes(operation.result)
        single = operands & {"float32", "complex64"}
        double = results & {"float64", "complex128"}
        # these return each array in its own dtype
        if single and double and record.name not in ("broadcast_arrays", "meshgrid"):
            given = leaves((operation.args, operation.kwargs))
            is_asked = any(isinstance(x, np.dtype) for x in given)
            self._keep("conversions" if is_asked else "upcasts", record)

    def add_findings(self, run: Run) -> None:
        """Add all findings so far to a run."""
        for kind, records in self.records.items():
            setattr(run, kind, list(records.values()))
        run.operations = self.judged

    def _keep(self, kind: str, record: Record) -> None:
        key = (record.name, record.place)
        with self.lock:
            records = self.records.setdefault(kind, {})
            known = records.get(key)
            if known:
                record = known._replace(times=known.times + 1)
            records[key] = record


def _depends_on_values(call: LibraryCall) -> bool:
    """Return whether the shape of a result depends on values of an array."""
    if call.name not in _SHAPED_BY_VALUES:
        return False
    others = [x for x in leaves((call.args[1:], dict(call.kwargs))) if is_array(x)]
    if call.name == "repeat":
        return bool(others)
    return call.name != "getitem" or any("bool" in str(x.dtype) for x in others)


def lockstep(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    library: Any = "torch",
    device: str | None = None,
    reproducers: str | Path | None = None,
) -> Run:
    """Run a program on an array library, and repeat each operation on NumPy.

    NumPy repeats every function and operator of the standard on the same operands. So
    errors do not add up, and the first deviation is the cause. Bounds are derived: see
    `array_lockstep.bounds`. Global settings of the library, such as 64-bit floats of
    JAX, are restored at the end.

    Args:
        function: The program. It gets the namespace from its arrays. It is called
            twice, the second time on NumPy with copies of its arguments.
        args: Its arguments. NumPy arrays, also in lists, tuples and dictionaries,
            become arrays of the library.
        kwargs: Its keyword arguments, likewise.
        library: A name that `--backends` takes, such as "torch" or "my_library:xp", or
            an array namespace.
        device: The library's own name of a device, by default its default device.
        reproducers: A folder for a script that shows the first deviation with only
            NumPy and the library. Earlier scripts stay.

    Returns:
        The findings. `print` shows the verdict in the first line.

    Raises:
        LockstepError: The library or the device is not available, or the library lacks
            the dtype of an argument.

    Examples:
        >>> import array_api_compat
        >>> def center(x):
        ...     xp = array_api_compat.array_namespace(x)
        ...     return x - xp.mean(x, axis=0)
        >>> run = lockstep(center, (np.ones((3, 2)),), library="numpy")
        >>> print(run)
        numpy ...: no operation deviates, of 2
          the result: 0 eps from NumPy's whole run
        >>> run.result.shape
        (3, 2)
    """
    check_type(args, Sequence, "args", "give a tuple, as in (x,)")
    check_type(kwargs, Mapping | None, "kwargs", "give a dictionary")
    if reproducers and Path(reproducers).exists() and not Path(reproducers).is_dir():
        raise LockstepError(f"{reproducers} is no folder; name another")
    _load(library)

    def run() -> Run:
        opened = open_library(library, device)
        tracer = ProgramTracer(opened, function)
        return run_under(tracer, function, args, kwargs or {}, reproducers)

    return replacing(replacements, run)


def _load(library: Any) -> None:
    """Import a library that has a name, so that its settings are restored."""
    if isinstance(library, str) and library in KNOWN:
        with contextlib.suppress(Exception):  # opening it reports the fault
            importlib.import_module(library.replace("-", "_"))


def run_under(
    tracer: ProgramTracer,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] = MappingProxyType({}),
    reproducers: str | Path | None = None,
) -> Run:
    """Run a program under a tracer, and then as a whole on NumPy."""
    library, given, raised = tracer.library, (tuple(args), dict(kwargs)), None
    run = Run(str(library))
    own_function, own_args = _copied((function, given))
    positional, named = _moved(given, library, tracer.wrap)
    copies_of_compat()
    start = time.perf_counter()
    try:
        result = run_traced(tracer, lambda: function(*positional, **named))
    except (Exception, SystemExit) as error:
        run.exception = error
        raised = _operation_behind(error, tracer)
        run.error = _error_record(error, tracer, raised)
    copies_of_compat()
    run.seconds = time.perf_counter() - start
    tracer.add_findings(run)
    if run.error is None:
        run.result = map_tree(unwrapped, result)
        run.end, is_fault = _compare_ends(own_function, own_args, run.result, tracer)
        if is_fault:
            end = place_of(tracer.program) if tracer.program else Place()
            run.differs.append(Record("result", run.end, end))
    shown = next(iter(tracer.deviating.values()), raised)
    if reproducers is not None and shown:
        run.reproducer = write_reproducer(library, shown, Path(reproducers))
    return run


def assert_lockstep(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    library: Any = "torch",
    device: str | None = None,
    allow: Allow | None = None,
) -> None:
    """Run a program in lockstep with NumPy, and assert that nothing was found.

    Args:
        function: The program, as for `lockstep`.
        args: Its arguments.
        kwargs: Its keyword arguments.
        library: The library, as for `lockstep`.
        device: The device.
        allow: Expected findings, by their kind: `deviations`, `error`, `transfers`,
            `syncs`, `upcasts`, `outside`, `escaped` or `differs`. Each kind has a
            dictionary with a reason for each word. A word is the name of an operation,
            a function such as `Lasso.fit`, a file, the whole text of a line, or `*` for
            all findings of the kind.

    Raises:
        AssertionError: There are other findings, no judged operation, or a word of
            `allow` matches nothing any more.
        LockstepError: The library or the device is not available, or `allow` has an
            unknown kind or a word without a reason.

    Examples:
        >>> def root(x):
        ...     return x**0.5 if bool((x >= 0).all()) else x
        >>> allow = {
        ...     "syncs": {"root": "one decision in each call"},
        ...     "outside": {"all": "arrays of NumPy have this method"},
        ... }
        >>> assert_lockstep(root, (np.ones(3),), library="numpy", allow=allow)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    allowances = Allowances(allow)
    run = lockstep(function, args, kwargs, library=library, device=device)
    refuse_unexpected(run, allowances)
    if not run.operations and not run.error:
        raise AssertionError(run.verdict)
    allowances.refuse_unneeded()


def _is_another(xp: Any, array: Any) -> bool:
    """Return whether an array names a namespace other than `xp`.

    A namespace under test may wrap another library, and use the arrays of that library.
    """
    try:
        named = array_namespace(array)
    except TypeError:
        return False
    own = str(getattr(xp, "__name__", ""))
    is_module = xp is sys.modules.get(own)  # a wrapper may have the name of its library
    name = own.removeprefix("array_api_compat.")
    return not is_module or name != named.__name__.removeprefix("array_api_compat.")


def _copied(tree: Any) -> Any:
    """Copy arguments for a run. An object that cannot be copied is shared."""

    def copied(x: Any) -> Any:
        with contextlib.suppress(Exception):
            return copy.deepcopy(x)
        return x

    return map_tree(copied, tree)


def _moved(tree: Any, library: Library, wrap: Callable[[Any], Any]) -> Any:
    """Copy NumPy arrays to the library, and copy other objects."""
    place = {} if library.device is None else {"device": library.device}

    def move(x: Any) -> Any:
        if isinstance(x, np.ma.MaskedArray):
            raise LockstepError(
                f"{library.name} takes no masked array; give a plain array"
            )
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "biufc":
            return _copied(x)
        dtype = getattr(library.xp, x.dtype.name, None)
        if dtype is None or not x.dtype.isnative:
            raise LockstepError(
                f"{library.name} takes no argument of dtype {x.dtype}; convert it "
                "first, such as by x.astype('float64')"
            )
        host = np.array(x, order="C")
        return wrap(library.xp.asarray(host, dtype=dtype, copy=True, **place))

    return map_tree(move, tree)


def _operation_behind(error: BaseException, tracer: Tracer) -> Operation | None:
    """Return the operation whose error ended the program, if any."""
    cause: BaseException | None = error
    while cause is not None and cause is not tracer.error:
        cause = cause.__cause__ or cause.__context__
    return None if cause is None else tracer.raised


def _error_record(
    error: BaseException, tracer: ProgramTracer, raised: Operation | None
) -> Record:
    """Return the operation that raised, or the line of the program that did."""
    if raised:
        return record_of(raised)._replace(detail=raised.verdict.problem)
    place = place_of(tracer.program) if tracer.program else Place()
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not tracer.is_go_between(frame.f_code.co_filename):
            place = place_of(frame.f_code, line)
    return Record(type(error).__name__, f"raised {one_line(error)}", place)


def _compare_ends(
    function: Callable[..., Any], args: Any, result: Any, tracer: ProgramTracer
) -> tuple[str, bool]:
    """Say how far a result lies from NumPy's whole run, and whether it is wrong."""
    library, (positional, named) = tracer.library, args
    try:
        with quiet, np.errstate(all="ignore"):
            expected = run_traced(None, lambda: function(*positional, **named))
    except (Exception, SystemExit) as error:
        return f"NumPy's own run raises {one_line(error)}", False
    got, wanted = dict(_numbers(result, library)), dict(_numbers(expected, library))
    if got.keys() != wanted.keys():
        return f"{len(got)} values or keys other than NumPy's {len(wanted)}", True
    # the least precise argument decides how many digits there are
    given = [x.dtype for x in leaves(args) if isinstance(x, np.ndarray)]
    floats = [np.finfo(dtype).eps for dtype in given if dtype.kind in "fc"]
    eps = float(max(floats, default=0.0))
    largest, skipped = 0.0, 0
    for path, x in got.items():
        y = wanted[path]
        if x is None or y is None:
            skipped += 1
            continue
        fault, distance = _distance(x, y, eps, tracer.chosen)
        if fault:
            return fault, True
        largest = max(largest, distance)
    if skipped == len(got):
        return "not compared, without numbers", False
    but = f"; {skipped} of {len(got)} values not compared" if skipped else ""
    return f"{largest:.3g} eps from NumPy's whole run{but}", False


def _numbers(
    tree: Any, library: Library, path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], np.ndarray | None]]:
    """Yield the numbers in a result with their keys, and None for anything else."""
    if isinstance(tree, tuple | list):
        tree = dict(enumerate(tree))
    if isinstance(tree, dict):
        for key, each in tree.items():
            yield from _numbers(each, library, (*path, key))
        return
    try:
        host = tree if isinstance(tree, _ON_HOST) else library.to_numpy(tree)
        array = np.asarray(host)
    except Exception:  # it is no array
        array = np.asarray(None)
    yield path, array if array.dtype.kind in "biufc" else None


def _dtypes(tree: Any) -> set[str]:
    return {x.dtype.name for x in leaves(tree) if isinstance(x, np.ndarray)}


@np.errstate(all="ignore")
def _distance(
    got: np.ndarray, wanted: np.ndarray, eps: float, chosen: Set[np.dtype[Any]]
) -> tuple[str, float]:
    """Return a fault in words, or the distance in eps of the largest element.

    The unit is `eps` or, if it is larger, the eps of the results. Dtypes in `chosen`
    may differ from NumPy's.
    """
    problem = mismatch(got, wanted)
    is_free = got.real.dtype in chosen and got.dtype.kind == wanted.dtype.kind
    if problem and not (is_free and got.shape == wanted.shape):
        return f"it {problem}", 0.0
    if wanted.dtype.kind not in "fc":
        is_equal = np.array_equal(got, wanted)
        return "" if is_equal else "integers or booleans differ", 0.0
    eps = max(eps, *(float(np.finfo(x.dtype).eps) for x in (got, wanted)))
    size = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
    bound = Bound(np.where(size == 0, 1, size), 0.0, 0)
    deviations = Reference(wanted, bound, eps).deviations(got)
    return "", float(np.max(deviations, initial=0))


def load_program(
    name: str,
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Import `module:function`, and call it for a function and its arguments.

    Modules of the current folder are found too. The program returns `(function, args)`
    or `(function, args, kwargs)`. Raises LockstepError if there is no such program.
    """
    try:
        if ":" not in name:
            raise ValueError("it has no colon")
        function, args, *named = find(name)()
        if not isinstance(args, tuple | list):
            raise TypeError(f"its arguments are {kind_of(args)}")
        return function, tuple(args), dict(*named)
    except Exception as error:  # a program may raise anything
        raise LockstepError(
            f"{name} gives no program: {one_line(error)}; name a function that returns "
            "a program and a tuple of arguments"
        ) from error
