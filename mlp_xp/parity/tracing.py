"""Trace training: find the first operation of a library that deviates from NumPy's.

The code of the package runs unchanged on a `TracingBackend`: eagerly, also where the
library compiles. Its operations are compared one by one (see `tracer`).
"""

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.foreign import rebuild
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.opening import as_backend
from mlp_xp.backends.threads import LIMITS
from mlp_xp.core.backend import Backend, Carry
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import Array
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import check_type, with_colon
from mlp_xp.parity._bounds import Verdict
from mlp_xp.parity._judge import numpy_result
from mlp_xp.parity._operators import INPLACE, SYMBOLS, kind_of
from mlp_xp.parity._probe import (
    CALLS,
    PROGRAMS,
    Call,
    Names,
    Operands,
)
from mlp_xp.parity._rules import SUMS
from mlp_xp.parity._steps import start
from mlp_xp.parity.operations import Operation
from mlp_xp.parity.tracer import ATTRIBUTES, BACKENDS, LibraryCall, Traced, Tracer

# The standard: "calculates an implementation-dependent approximation".
APPROXIMATIONS = {"exp", "log", "log1p", "tanh"}
_UNSIGNED = SUMS.keys() | {"max", "maximum"}
"""Operations for which the standard leaves the sign of a zero open."""
SMALL = TrainConfig(hidden=(3,), warm_up_steps=0, report_every=40)
_SMALL_RICH = replace(
    SMALL,
    batch_size=8,
    report_every=8,
    activation="relu",
    optimizer="adam",
    update_order="simultaneous",
    clip_norm=1.0,
    weight_decay=0.01,
    dropout=0.2,
    deform=True,
)


@dataclass(repr=False)
class StepTracer(Tracer):
    """A tracer of training that counts the steps.

    Operations after a step prepare more steps, collect losses or evaluate the network.
    """

    when: str = "before the first step"
    steps: int = 0
    """The number of steps begun, warm-up included."""
    go_betweens = (*Tracer.go_betweens, __file__, BACKENDS)
    has_views = False

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Count a step, which lasts as long as this context."""
        self.steps += 1
        self.when = f"in step {self.steps}"
        try:
            yield
        finally:
            self.when = f"after step {self.steps}"

    def call(self, call: LibraryCall) -> Any:
        """See `Tracer.call`. Raises BackendFailure if the library raises."""
        try:
            return super().call(call)
        except (Exception, SystemExit) as error:
            if error is not self.error or self.raised is None:
                raise
            operation = self.raised
            raise BackendFailure(
                f"backend {with_colon(self.backend.name)} operation "
                f"{operation.number}, {operation.when}, {operation} at "
                f"{operation.place} {operation.verdict.problem}"
            ) from self.cause(error)

    def _compare(self, operation: Operation) -> Verdict:
        """See `Tracer`. Training and the probe never make NumPy raise."""
        verdict = super()._compare(operation)
        judged = verdict._replace(unjudged="")
        if judged.deviates:
            return judged
        if verdict.unjudged.startswith("NumPy raises"):
            return Verdict(problem=f"returns something where {verdict.unjudged}")
        return verdict

    def notice(self, kind: str, event: str) -> None:
        """Refuse the event: the network uses the standard and `Backend.to_numpy`."""
        raise TypeError(f"{event}: arrays leave the library only by Backend.to_numpy")

    def attribute(self, array: Traced, name: str) -> Any:
        """Return an attribute that every library has."""
        if name in ATTRIBUTES:
            return getattr(array.array, name)
        raise AttributeError(f"{name}: not every library has it; use a function of xp")


@dataclass(repr=False)
class ProbeTracer(StepTracer):
    """A tracer of the calls of `_probe`."""

    when: str = "in the probe"
    current: Call | None = None
    """The call under way."""
    refused: list[str] = field(default_factory=list)
    """The optional calls that the library refuses."""
    faults: list[Operation] = field(default_factory=list)
    """All operations that deviate, or raise in a call that is not optional."""

    def attempt(self, call: Call, evaluate: Callable[[], Any]) -> Any:
        """Return the value of a call, or None if the library raises."""
        self.current, self.raised = call, None
        try:
            return evaluate()
        except Exception as error:
            if call.may_raise:
                self.refused.append(call.source)
            elif self.raised:
                self.faults.append(self.raised._replace(call=call))
                self.failure = self.failure or error
            elif not any(fault.call is call for fault in self.faults):
                raise
        return None

    def call_program(self, call: Call) -> Any:
        """Evaluate a call on the library and on NumPy, and compare only its value."""
        ((operand, host),) = call.inputs.items()

        def on_library(*_: Any) -> Any:
            return call.evaluate(Names(call.hosts, self.backend))

        def on_numpy(x: np.ndarray, *_: Any) -> Any:
            return call.evaluate({"xp": numpy_xp, operand: x.copy()})

        name = _operation_of(call.line)
        # an operator in place has two operands
        args = (host, host) if name in INPLACE else (host,)
        return self.call(LibraryCall(name, on_library, args, reference=on_numpy))

    def place(self) -> str:
        """Return the call under way."""
        return self.current.line if self.current else super().place()

    def _compare(self, operation: Operation) -> Verdict:
        """Compare also the signs of zeros, where the standard defines them.

        The standard leaves the error of APPROXIMATIONS open, so half of their digits
        are enough.
        """
        verdict = super()._compare(operation)
        name, result = operation.name, operation.result
        if name in APPROXIMATIONS:
            least_bound = float(np.finfo(self.backend.dtype_name).eps) ** -0.5
            verdict = verdict._replace(bound=max(verdict.bound, least_bound))
        is_signed = result.dtype.kind == "f" and kind_of(name) not in _UNSIGNED
        if verdict.deviates or not is_signed or result.all():
            return verdict
        expected = numpy_result(operation)
        zeros = (result == 0) & (expected == 0)
        zeros &= np.signbit(result) != np.signbit(expected)
        if not zeros.any():
            return verdict
        at = tuple(map(int, np.argwhere(zeros)[0]))
        values = float(result[at]), float(expected[at])
        return Verdict(math.inf, verdict.bound, at, values)

    def _add(self, operation: Operation) -> None:
        operation = operation._replace(call=self.current)
        super()._add(operation)
        if operation.verdict.deviates:
            self.faults.append(operation)


def _operation_of(program: str) -> str:
    """Return the name of the operation that a line of PROGRAMS is about."""
    function = re.search(r"xp\.(\w+)", program)
    if function:
        return function[1]
    return next(name for name in INPLACE if f" {SYMBOLS[name]} " in program)


class TracingBackend(LibraryBackend):
    """A backend that lets another backend compute, and compares every operation.

    The library's own functions, such as PyTorch's sigmoid, are replaced by operations
    of the standard. NumPy can repeat these operations.

    Args:
        inner: The backend under test.
        tracer: The tracer; by default a new StepTracer.
    """

    errors = ()  # the tracer reports them

    def __init__(self, inner: Backend, tracer: StepTracer | None = None) -> None:
        self.inner = inner
        self.tracer = tracer or StepTracer(inner)
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
            with self.tracer.step():
                return step(carry, x)

        return super().scan(counted, carry, xs)

    def like(self, array: Any) -> Backend:
        """Return this backend, whatever the array."""
        return self

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> Any:
        def copy_and_overwrite(host: np.ndarray, dtype: Any) -> Any:
            own = host.copy()
            copied = self.inner.asarray(own, dtype)
            self.inner.to_numpy(copied)  # JAX copies later
            own[...] = 0  # the copy must stay as it is
            return copied

        host = np.array(array, order="C")
        args = (host, dtype)
        return self.tracer.call(
            LibraryCall("from_numpy", copy_and_overwrite, args, reference=np.array)
        )

    def _copy_to_host(self, array: Any) -> np.ndarray:
        # Not compared, because every comparison needs this.
        if isinstance(array, Traced):
            array = array.array
        return self.inner.to_numpy(array)

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        """Return the function. A hook's `materialise` computes each of its results."""
        eager = super()._compile(function, donate, most_steps)
        materialise = getattr(self.inner, "materialise", None)
        if materialise is None:
            return eager

        def compute(array: Array) -> Array:
            (computed,) = materialise(array)
            return computed

        def traced(array: Any) -> Any:
            return self.tracer.call(
                LibraryCall("materialise", compute, (array,), reference=np.array)
            )

        return lambda *args: rebuild(eager(*args), traced)


@np.errstate(all="ignore")
def probe(backend: Backend) -> ProbeTracer:
    """Compare operations on operands that training never has (see `_probe`).

    If the library raises, the `failure` of the tracer is the first
    BackendFailure, and the other calls follow.
    """
    tracer = ProbeTracer(backend)
    traced = TracingBackend(backend, tracer)
    hosts = Operands(backend.dtype_name)
    with LIMITS.at(), warnings.catch_warnings(action="ignore"):
        for bindings, lines in CALLS:
            names = Names(hosts, traced)
            bound: dict[str, str] = {}
            for binding in bindings.split("; "):
                name, _, text = binding.partition(" = ")
                call = Call(text, hosts, bound)
                names[name] = tracer.attempt(call, partial(call.evaluate, names))
                bound[name] = call.line
            if any(value is None for value in names.values()):
                continue
            for line in filter(None, lines.splitlines()):
                call = Call(line, hosts, bound)
                tracer.attempt(call, partial(call.evaluate, names))
        for line in PROGRAMS.strip().splitlines():
            call = Call(line, hosts, {})
            tracer.attempt(call, partial(tracer.call_program, call))
    raised = [x for x in tracer.faults if x.verdict.problem.startswith("raised ")]
    tracer.raised = raised[0] if raised else None
    return tracer


def trace(
    config: TrainConfig, dataset: Dataset, backend: Backend | str, steps: int
) -> StepTracer:
    """Train, predict for the test set, and compare every operation with NumPy.

    Args:
        config: The settings of training.
        dataset: The data, with arrays on the host.
        backend: The backend under test, or the name of a library.
        steps: The number of steps after the warm-up.

    Returns:
        The tracer. If the library raises, its `failure` is the BackendFailure. After a
        deviating operation, it may be any exception.

    Raises:
        DatasetError: The data cannot be trained on, and no operation deviated before.
        ConfigError: A setting does not fit, and no operation deviated before.

    Examples:
        >>> from mlp_xp.parity import trace
        >>> tracer = trace(TrainConfig(), dataset, open_backend("numpy"), steps=2)
        >>> tracer.deviating, tracer.failure
        ({}, None)
    """
    check_type(config, TrainConfig, "config", "give a TrainConfig")
    check_type(dataset, Dataset, "dataset", "make a Dataset by from_arrays")
    check_type(steps, Integral, "steps", "give a number of steps")
    traced = TracingBackend(as_backend(backend))
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
    """Train for some steps after the warm-up, and predict for the test set, if any."""
    job, events = start(config, dataset, backend, steps)
    for event in events:
        network = event.position.state.network
    test = job.dataset.test
    if test is not None:
        job.model(network).predict(test.inputs)


def small_runs(backend: Backend) -> Iterator[tuple[str, StepTracer]]:
    """Trace a short run for each task, and yield its name and its tracer.

    Together, the runs use everything required of a library.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 4, 4), np.uint8)
    features = random.standard_normal((60, 3))
    for task, X, y, config in (
        ("classes", images, np.arange(60) % 3, _SMALL_RICH),
        ("labels", features, features > 0, SMALL),
        ("regression", features, features, SMALL),
    ):
        dataset = from_arrays(X, y, 0.3, task=task)
        yield f"small run for {task}", trace(config, dataset, backend, 40)
