"""Trace training: find the first operation of a library that deviates from NumPy's.

The code of the package runs unchanged on a `TracingBackend`: eagerly, also where the
library compiles. Its operations are compared one by one (see `tracer`).
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

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
from mlp_xp.parity._probe import operate
from mlp_xp.parity._steps import start
from mlp_xp.parity.operations import SYMBOLS as SYMBOLS  # noqa: PLC0414
from mlp_xp.parity.operations import Operation
from mlp_xp.parity.tracer import ATTRIBUTES, PACKAGE, Traced, Tracer
from mlp_xp.parity.tracer import Namespace as Namespace  # noqa: PLC0414

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

    After a step come the preparation of more steps, the losses, and the evaluation.
    """

    when: str = "before the first step"
    steps: int = 0
    """The number of steps begun, warm-up included."""
    go_betweens = (*Tracer.go_betweens, __file__, str(PACKAGE / "backends"))
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

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """See `Tracer.call`. Raises BackendFailure if the library raises."""
        try:
            return super().call(*args, **kwargs)
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
        """See `Tracer`. Training and the probe ask only for what has one answer."""
        verdict = super()._compare(operation)
        if not verdict.unjudged:
            return verdict
        judged = verdict._replace(unjudged="")
        if judged.deviates:
            return judged
        return Verdict(problem=f"returns something where {verdict.unjudged}")

    def notice(self, kind: str, what: str) -> None:
        """Refuse it: the network uses the standard, and `Backend.to_numpy`."""
        raise TypeError(f"{what}: arrays leave the library only by Backend.to_numpy")

    def attribute(self, array: Traced, name: str) -> Any:
        """Return an attribute that every library has."""
        if name in ATTRIBUTES:
            return getattr(array.array, name)
        raise AttributeError(f"{name}: not every library has it; use a function of xp")


class TracingBackend(LibraryBackend):
    """A backend that lets another one compute, and compares every operation.

    Functions of a library's own, such as PyTorch's sigmoid, are replaced by operations
    of the standard. NumPy can repeat these.

    Args:
        inner: The backend under test.
    """

    errors = ()  # the tracer reports them

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.tracer = StepTracer(inner)
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
        host = np.array(array, order="C")
        return self.tracer.call(
            "from_numpy", self.inner.asarray, np.array, (host, dtype)
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
            return self.tracer.call("materialise", compute, np.array, (array,))

        return lambda *args: rebuild(eager(*args), traced)


@np.errstate(all="ignore")
def probe(backend: Backend) -> StepTracer:
    """Compare operations on inputs that training never has (see `_probe`).

    The standard leaves the error of APPROXIMATIONS open, so half of their digits are
    enough. If the library raises, the `failure` of the tracer is the BackendFailure.
    """
    traced = TracingBackend(backend)
    tracer = traced.tracer
    tracer.when = "in the probe"
    tracer.least_bound = float(np.finfo(backend.dtype_name).eps) ** -0.5
    try:
        with LIMITS.at(), warnings.catch_warnings(action="ignore"):
            operate(traced)
    except BackendFailure as error:
        tracer.failure = error
    else:
        tracer.raised = None  # in an optional function
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
