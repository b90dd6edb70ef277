"""Trace a run: find the first operation of an array library that deviates from NumPy's.

The arrays of a `TracingBackend` are of the class `Traced`. All that is done with them,
functions and operators alike, is done by the library under test and by NumPy, from the
same inputs, and compared (see `bounds`). The code of the package runs unchanged on such
a backend: eagerly, also where the library compiles.
"""

import contextlib
import linecache
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import array_api_compat.numpy as numpy_xp
import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.foreign import rebuild
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.threads import LIMITS
from mlp_xp.core.backend import Backend, Carry
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import Array
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import one_line, with_colon
from mlp_xp.parity._bounds import INPLACE, Verdict, check
from mlp_xp.parity._probe import operate
from mlp_xp.parity._steps import start

PACKAGE = Path(__file__).resolve().parent.parent
# Code that calls operations only on behalf of others, NumPy's errstate around it
# included.
_GO_BETWEENS = (
    __file__,
    str(PACKAGE / "backends"),
    str(Path(np.__file__).parent),
    contextlib.__file__,
)
_BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "matmul": "@",
    "pow": "**",
}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
SYMBOLS = (
    _BINARY
    | COMPARISONS
    | {name: f"{_BINARY[plain]}=" for name, plain in INPLACE.items()}
)
# The standard: "calculates an implementation-dependent approximation".
_APPROXIMATIONS = {"exp", "log", "log1p", "tanh"}
ATTRIBUTES = ("shape", "dtype", "device", "ndim", "size")
DTYPES = (
    "float64",
    "float32",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
SMALL = TrainConfig(hidden=(3,), warm_up_steps=0, report_every=40)
_SMALL_RICH = replace(
    SMALL, batch_size=8, report_every=8, activation="relu", optimizer="adam", update_order="simultaneous",
    clip_norm=1.0, weight_decay=0.01, dropout=0.2, deform=True,
)  # fmt: skip


class Operation(NamedTuple):
    """One operation of the run. Arrays are host copies from before the operation;
    dtypes are NumPy's.
    """

    number: int
    """From 1."""
    when: str
    """The step in words, warm-up included, and whether it is part of the step or comes
    after it: preparation of a block of steps, loss, evaluation.
    """
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: str
    """The line of our source that called it, as `file:line (text)`."""
    reference: Callable[..., Any]
    """NumPy's operation."""
    result: np.ndarray = np.empty(0)
    verdict: Verdict = Verdict()

    def __str__(self) -> str:
        """Return the operation with shapes and dtypes, as in `xp.tanh(float64 (1,
        64))`.
        """
        return expression(
            self.name, self.args, self.kwargs, lambda x: f"{x.dtype} {tuple(x.shape)}"
        )

    @property
    def what(self) -> str:
        """The deviation in words."""
        deviation, bound, at, (got, expected), problem, _ = self.verdict
        where = f"at {[*at]}, where {bound:.3g} are allowed: {got!r} instead of {expected!r}"
        return problem or f"deviates by {deviation:.3g} eps {where}"

    @property
    def report(self) -> str:
        """One line: number, time, operation, deviation and place."""
        return f"operation {self.number}, {self.when}: {self} {self.what}; called at {self.place}"


class Traced:
    """An array of the library under test, with a copy of its last known content on the
    host.
    """

    __slots__ = ("_tracer", "array", "host")
    __array_ufunc__ = None  # NumPy's scalars leave operators to this class
    __hash__ = __bool__ = None  # type: ignore[assignment]

    def __init__(self, array: Array, tracer: "Tracer", host: np.ndarray) -> None:
        self.array, self._tracer, self.host = array, tracer, host

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self._tracer.xp

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("a traced array becomes a NumPy array only by Backend.to_numpy")

    def __getattr__(self, name: str) -> Any:
        if name == "T":
            return self._tracer.call("T", operator.attrgetter("T"), None, (self,))
        if name in ATTRIBUTES:
            return getattr(self.array, name)
        raise AttributeError(f"{name}: not every library has it; use a function of xp")


def _operator(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    def call(self: Traced, *others: Any) -> Any:
        args = (*others, self) if reflected else (self, *others)
        return self._tracer.call(name, getattr(operator, name), None, args)

    return call


for _name in (*SYMBOLS, "getitem", "neg"):
    setattr(Traced, f"__{_name}__", _operator(_name))
for _name in _BINARY:
    setattr(Traced, f"__r{_name}__", _operator(_name, reflected=True))


class Namespace:
    """The namespace of the library under test, with recording functions."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        tracer = self._tracer
        function = getattr(tracer.backend.xp, name)
        if name in DTYPES or not callable(function):
            return function

        # xp.matmul is not the operator
        recorded = f"xp.{name}" * (name in SYMBOLS) or name

        def call(*args: Any, **kwargs: Any) -> Any:
            return tracer.call(
                recorded, function, getattr(numpy_xp, name), args, kwargs
            )

        self.__dict__[name] = call
        return call


@dataclass
class Tracer:
    """Calls the operations of a backend, compares each with NumPy's, and keeps what was
    found.

    verdicts: of all calls, by the name of the operation. deviating: the first operation
    of each name that is beyond its bound, in the order in which they were found.
    failure: what ended the run early. raised: the operation that did, if the library
    raised in one. steps, calls: the numbers of steps begun, warm-up included, and of
    operations. before: what it is called before the first step. least: the smallest
    bound of _APPROXIMATIONS, in eps.
    """

    backend: Backend
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    deviating: dict[str, Operation] = field(default_factory=dict)
    failure: Exception | None = None
    raised: Operation | None = None
    steps: int = 0
    calls: int = 0
    before: str = "before the first step"
    least: float = 0.0

    def __post_init__(self) -> None:
        self.xp = Namespace(self)
        self._in_step = False
        xp = self.backend.xp
        self._dtypes = [
            (np.dtype(name), getattr(xp, name)) for name in DTYPES if hasattr(xp, name)
        ]

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Count a step, which lasts as long as this context."""
        self.steps += 1
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    def call(
        self,
        name: str,
        function: Callable[..., Any],
        reference: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call an operation of the library, and check it. reference: NumPy's, if it is
        another function.

        Raises BackendFailure if the library raises.
        """
        kwargs = kwargs or {}
        self.calls += 1
        when = (
            f"{'in' if self._in_step else 'after'} step {self.steps}"
            if self.steps
            else self.before
        )
        operation = Operation(
            self.calls, when, name, args, kwargs, _place(), reference or function
        )
        operands: list[Traced] = []

        def on_host(x: Any) -> Any:
            if not isinstance(x, Traced):
                return self._numpy_dtype(x)
            operands.append(x)
            return x.host

        on_hosts = {
            key: _map(on_host, value)
            for key, value in kwargs.items()
            if key != "device"
        }
        operation = operation._replace(args=_map(on_host, args), kwargs=on_hosts)
        try:
            result = function(
                *_map(_own, args),
                **{key: _map(_own, value) for key, value in kwargs.items()},
            )
            is_array = hasattr(result, "shape") and hasattr(result, "dtype")
            host_result = (
                self.backend.to_numpy(result) if is_array else np.asarray(result)
            )
            changed = []
            for i, x in enumerate(operands, 1):
                before, x.host = x.host, self.backend.to_numpy(x.array)
                # An operation in place may return a new object for the memory that it
                # has changed.
                in_place = name in INPLACE and (
                    x.array is result or (i == 1 and _equal(host_result, x.host))
                )
                changed += [] if in_place or _equal(before, x.host) else [i]
        except (Exception, SystemExit) as error:  # a library may raise anything
            # `Backend.to_numpy` and `from_numpy` report the library's own error as the
            # cause.
            cause = (
                error.__cause__
                if isinstance(error, BackendFailure) and error.__cause__
                else error
            )
            said = one_line(cause)
            self.raised = operation._replace(verdict=Verdict(problem=f"raised {said}"))
            raise BackendFailure(
                f"backend {with_colon(self.backend.name)} operation {self.calls}, {operation.when}, {operation} at "
                f"{operation.place} raised {said}"
            ) from error
        if not is_array:
            verdict = Verdict(problem=f"is a {type(result).__name__}, not an array")
        elif changed:
            problem = (
                f"changes its argument {changed[0]}, unless an earlier operation did"
            )
            verdict = Verdict(problem=problem, changed=changed[0])
        else:
            verdict = check(
                name, operation.reference, operation.args, operation.kwargs, host_result
            )
            if name in _APPROXIMATIONS:
                verdict = verdict._replace(bound=max(verdict.bound, self.least))
        self._add(operation._replace(result=host_result, verdict=verdict))
        if not is_array:
            return result
        # An operator in place returns the array that it changed. A copy is another
        # array, whatever the library returns.
        own = (x for x in operands if x.array is result and not kwargs.get("copy"))
        traced = next(own, Traced(result, self, host_result))
        traced.host = host_result
        return traced

    def _numpy_dtype(self, x: Any) -> Any:
        """Return NumPy's dtype for a dtype of the library, and anything else as it is."""
        if (
            x is None
            or isinstance(x, (bool, int, float, slice, np.ndarray))
            or x is Ellipsis
        ):
            return x
        return next((dtype for dtype, own in self._dtypes if own == x), x)

    def _add(self, operation: Operation) -> None:
        self.verdicts.setdefault(operation.name, []).append(operation.verdict)
        if operation.verdict.deviates:
            self.deviating.setdefault(operation.name, operation)


class TracingBackend(LibraryBackend):
    """A backend that computes with another one, operation by operation, and checks each.

    What a library computes by a function of its own, such as PyTorch's sigmoid, is
    computed by operations of the standard here, which NumPy can repeat.

    Args:
        inner: The backend under test.
    """

    errors = ()  # the tracer reports them

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.tracer = Tracer(inner)
        super().__init__(
            inner.name, inner.version, self.tracer.xp, inner.device, inner.dtype_name
        )
        self.on_gpu = inner.on_gpu
        self.threads = inner.threads
        self.compiles = inner.compiles
        self.block_bytes = inner.block_bytes

    def scan(
        self,
        step: Callable[..., tuple[Carry, Array]],
        carry: Carry,
        xs: tuple[Array, ...],
    ) -> tuple[Carry, Array]:
        """Scan eagerly, and count the steps: nothing else is scanned."""

        def counted(carry: Carry, x: tuple[Array, ...]) -> tuple[Carry, Array]:
            with self.tracer.in_step():
                return step(carry, x)

        return super().scan(counted, carry, xs)

    def like(self, array: Any) -> Backend:
        """Return this backend, whatever the array."""
        return self

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> Any:
        args = np.array(array, order="C"), dtype
        return self.tracer.call("from_numpy", self.inner.asarray, np.array, args)

    def _copy_to_host(self, array: Any) -> np.ndarray:
        # Not checked, because this is what everything is checked with.
        return self.inner.to_numpy(_own(array))

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        """Return the function itself, with each array that it returns computed by the
        hook's `materialise`, if there is one.
        """
        eager = super()._compile(function, donate, most_steps)
        materialise = getattr(self.inner, "materialise", None)
        if materialise is None:
            return eager

        def compute(array: Array) -> Array:
            (computed,) = materialise(array)
            return computed

        def computed(array: Any) -> Any:
            return self.tracer.call("materialise", compute, np.array, (array,))

        return lambda *args: rebuild(eager(*args), computed)


@np.errstate(all="ignore")
def probe(backend: Backend) -> Tracer:
    """Check operations on inputs that training never has; see `parity.probe`.

    The standard says nothing of the error of _APPROXIMATIONS, so half of their digits
    do. If the library raises, the tracer has the BackendFailure as its `failure`.
    """
    traced = TracingBackend(backend)
    tracer = traced.tracer
    tracer.before = "in the probe"
    tracer.least = float(np.finfo(backend.dtype_name).eps) ** -0.5
    try:
        with LIMITS.at(), warnings.catch_warnings(action="ignore"):
            operate(traced)
    except BackendFailure as error:
        tracer.failure = error
    else:
        tracer.raised = None  # a function that is not asked for
    return tracer


def trace(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> Tracer:
    """Train, predict for the test set, and check every operation against NumPy.

    Args:
        config: The settings of training.
        dataset: The data, with arrays on the host.
        backend: The backend under test.
        steps: The number of steps after the warm-up.

    Returns:
        The tracer. If the library raises, its `failure` is the BackendFailure, and
        after an operation that deviates any other exception.

    Raises:
        DatasetError: No operation deviated before, and the data cannot be trained on.
        ConfigError: No operation deviated before, and a setting does not fit.

    Examples:
        >>> from mlp_xp.parity import trace
        >>> tracer = trace(TrainConfig(), dataset, open_backend("numpy"), steps=2)
        >>> tracer.deviating, tracer.failure
        ({}, None)
    """
    traced = TracingBackend(backend)
    tracer = traced.tracer
    try:
        with LIMITS.at():
            train_and_predict(config, dataset, traced, steps)
    except Exception as error:
        if not tracer.deviating and not isinstance(error, BackendFailure):
            raise
        tracer.failure = error
    return tracer


def train_and_predict(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> None:
    """Train for `steps` steps after the warm-up, with reports, and predict for the test
    set, if any.
    """
    job, events = start(config, dataset, backend, steps)
    for event in events:
        network = event.position.state.network
    test = job.dataset.test
    if test is not None:
        job.model(network).predict(test.inputs)


def small_runs(backend: Backend) -> Iterator[tuple[str, Tracer]]:
    """Trace a short run for each task, with their names: together they use all that is
    asked of a library.
    """
    random = np.random.default_rng(0)
    images, features = (
        random.integers(0, 256, (60, 4, 4), np.uint8),
        random.standard_normal((60, 3)),
    )
    for task, X, y, config in (
        ("classes", images, np.arange(60) % 3, _SMALL_RICH),
        ("labels", features, features > 0, SMALL),
        ("regression", features, features, SMALL),
    ):
        yield (
            f"small run for {task}",
            trace(config, from_arrays(X, y, 0.3, task=task), backend, 40),
        )


def expression(
    name: str, args: Any, kwargs: dict[str, Any], word: Callable[[Any], str]
) -> str:
    """Return an operation as Python source, such as `a -= b` or `xp.astype(a,
    xp.float32)`; `word` names an array.
    """

    def text(x: Any) -> str:
        if isinstance(x, (np.ndarray, Traced)):
            return word(x)
        if isinstance(x, np.dtype):
            return f"xp.{x.name}"
        if isinstance(x, slice):
            return ":".join("" if i is None else str(i) for i in (x.start, x.stop))
        if isinstance(x, (tuple, list)):
            words = ", ".join(map(text, x)) + "," * (
                isinstance(x, tuple) and len(x) == 1
            )
            return f"({words})" if isinstance(x, tuple) else f"[{words}]"
        return "..." if x is Ellipsis else repr(x)

    words = [
        *map(text, args),
        *(f"{key}={text(value)}" for key, value in kwargs.items()),
    ]
    if name in SYMBOLS:
        return f"{words[0]} {SYMBOLS[name]} {words[1]}"
    if name == "getitem":
        return f"{words[0]}[{', '.join(map(text, args[1])) if isinstance(args[1], tuple) else words[1]}]"
    others = {
        "neg": f"-{words[0]}",
        "T": f"{words[0]}.T",
        "materialise": f"materialise({words[0]})",
    }
    if name == "from_numpy":
        others[name] = f"xp.asarray({words[0]}, dtype={words[1]}, copy=True)"
    return others.get(name) or f"xp.{name.removeprefix('xp.')}({', '.join(words)})"


def _place() -> str:
    """Return the line that called an operation, as `file:line (text)`."""
    frame = sys._getframe(2)
    while (
        frame.f_code.co_filename.startswith(_GO_BETWEENS) and frame.f_back is not None
    ):
        frame = frame.f_back
    name, line = frame.f_code.co_filename, frame.f_lineno
    path = Path(name)
    shown = path.relative_to(PACKAGE.parent) if PACKAGE in path.parents else path
    return f"{shown.as_posix()}:{line} ({linecache.getline(name, line).strip()})"


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    return (
        type(tree)([_map(function, x) for x in tree])
        if type(tree) in (tuple, list)
        else function(tree)
    )


def _own(x: Any) -> Any:
    return x.array if isinstance(x, Traced) else x


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b) or a.tobytes() == b.tobytes()
