"""Trace training: find the first operation of a library that deviates from NumPy's.

Training is an ordinary program for `array_lockstep`, a distribution of its own: its
arrays are those of the library under trace, and its operations are compared one by one.
The core runs unchanged, eagerly also where the library compiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.opening import as_backend
from mlp_xp.backends.threads import LIMITS
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import Array
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import MlpXpError, check_type, not_installed
from mlp_xp.parity._steps import start

if TYPE_CHECKING:
    from array_lockstep import Run

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


class _Traced(LibraryBackend):
    """A backend on the namespace of a program under trace.

    The library's own functions, such as PyTorch's sigmoid, are replaced by operations
    of the standard, which NumPy can repeat. Copies to the host are not operations.

    Args:
        inner: The backend of the library.
        xp: The traced namespace, or NumPy's.
    """

    errors = ()

    def __init__(self, inner: Backend, xp: Any) -> None:
        self.inner = inner
        device = inner.device if xp == inner.xp else None
        super().__init__(inner.name, inner.version, xp, device, inner.dtype_name)

    def like(self, array: Any) -> Backend:
        """Return this backend, whatever the array."""
        return self

    def _copy_to_host(self, array: Array) -> np.ndarray:
        from array_lockstep.tracer import unwrapped

        own = unwrapped(array)
        if isinstance(own, np.ndarray | np.generic):
            return np.array(own)
        return self.inner.to_numpy(own)


def lockstep() -> ModuleType:
    """Import array_lockstep. Raises MlpXpError if it is not installed."""
    try:
        import array_lockstep
    except ModuleNotFoundError as error:
        place = not_installed("./packages/array-lockstep")
        raise MlpXpError(f"array_lockstep {place}") from error
    return array_lockstep


def trace(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend | str,
    steps: int,
    reproducers: str | Path | None = None,
) -> Run:
    """Train, predict for the test set, and compare every operation with NumPy.

    Args:
        config: The settings of training.
        dataset: The data, with arrays on the host.
        backend: The backend under test, or the name of a library.
        steps: The number of steps after the warm-up.
        reproducers: A folder for a script that shows the first deviation with only
            NumPy and the library.

    Returns:
        The findings, as of `array_lockstep.lockstep`.

    Raises:
        DatasetError: The data cannot be trained on, and no operation deviated before.
        ConfigError: A setting does not fit, and no operation deviated before.
        MlpXpError: array_lockstep is not installed.

    Examples:
        >>> from mlp_xp.parity import trace
        >>> run = trace(TrainConfig(), dataset, open_backend("numpy"), steps=2)
        >>> run.deviations, run.error
        ([], None)
    """
    check_type(config, TrainConfig, "config", "give a TrainConfig")
    check_type(dataset, Dataset, "dataset", "make a Dataset by from_arrays")
    check_type(steps, Integral, "steps", "give a number of steps")
    opened = as_backend(backend)

    def train_and_predict(inputs: Array) -> list[Array]:
        traced = _Traced(opened, array_namespace(inputs))
        train = replace(dataset.train, inputs=inputs)
        return _train(config, replace(dataset, train=train), traced, steps)

    inputs = dataset.train.inputs
    if inputs.dtype.kind == "f":
        inputs = inputs.astype(opened.dtype_name)
    with LIMITS.at():
        run: Run = lockstep().lockstep(
            train_and_predict,
            (inputs,),
            library=_library(opened),
            reproducers=reproducers,
        )
    error = run.exception
    is_usage = isinstance(error, MlpXpError) and not isinstance(error, BackendFailure)
    if error is not None and is_usage and not run.deviations:
        raise error
    return run


def _library(backend: Backend) -> Any:
    """Return what `array_lockstep.lockstep` takes for a backend."""
    name, hooks = backend.name, known_hooks()
    if name in hooks:
        name = hooks[name].value
        return name if ":" in name else f"{name}:"
    is_foreign = not getattr(backend, "imports", "")
    return name if is_foreign and ":" in name else backend


def _train(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> list[Array]:
    """Train for some steps after the warm-up, predict, and return the weights."""
    job, events = start(config, dataset, backend, steps)
    for event in events:
        network = event.position.state.network
    test = job.dataset.test
    if test is not None:
        job.model(network).predict(test.inputs)
    return [array for layer in network for array in layer]


def small_runs(
    backend: Backend, reproducers: str | Path | None = None
) -> Iterator[tuple[str, Run]]:
    """Trace a short run for each task, and yield its name and its findings.

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
        run = trace(config, dataset, backend, 40, reproducers)
        yield f"small run for {task}", run
