"""Parity as an assertion, for the tests of an array library."""

from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import MlpXpError, with_colon
from mlp_xp.parity.compare import Failure, check
from mlp_xp.parity.tracing import trace


def assert_parity(
    library: Any,
    *,
    dtype: str = "float64",
    steps: int = 200,
    config: TrainConfig | None = None,
    dataset: Dataset | None = None,
) -> None:
    """Train on an array library and on NumPy, and assert that every step agrees.

    Args:
        library: An array namespace, a hook (see docs/libraries.md), a name for
            `open_backend` such as "my_library:xp", or a backend, which has its own
            dtype.
        dtype: "float64" or "float32".
        steps: The number of steps after the warm-up, at least 1.
        config: The settings of training; by default the notebook's network, with
            batches of one.
        dataset: The data, with arrays on the host; by default the first images of
            MNIST.

    Raises:
        AssertionError: A step does not agree, or the library fails. The error names the
            operations that deviate in a trace up to this step. Then it names each
            deviating quantity and its first step, or the library's own error.
        BackendError: The library lacks something.
        ConfigError: The settings do not fit the data.

    Examples:
        >>> import array_api_compat.numpy
        >>> assert_parity(array_api_compat.numpy, steps=20)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if isinstance(library, Backend):
        backend = library
    elif isinstance(library, str):
        backend = open_backend(library, None, dtype)
    else:
        backend = open_namespace(library, dtype)
    config = config or TrainConfig(report_every=100)
    if dataset is None:
        dataset = _first_images()
    _, result = check(config, dataset, [backend], steps)
    lines: list[str] = []
    if isinstance(result, Failure):
        lines.append(_find_operations(config, dataset, backend, steps))
        lines += [*result.deviating, result.reason]
    elif not result.agrees:
        firsts = [
            each.first_step for each in result.quantities.values() if each.first_step
        ]
        if firsts:
            until = max(1, min(firsts) - config.warm_up_steps)
            lines.append(_find_operations(config, dataset, backend, until))
        lines += [*result.mismatches(), str(result)]
    if lines:
        raise AssertionError("\n".join(lines))


def _first_images() -> Dataset:
    """Return enough of MNIST to have every class in reports."""
    mnist, host = load_dataset(), open_backend()
    train = mnist.train.take(np.arange(2000), host)
    test = mnist.test and mnist.test.take(np.arange(500), host)
    return replace(mnist, train=train, test=test)


def _find_operations(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> str:
    """Trace a run, and return a line for each operation that deviates or raises."""
    name = with_colon(backend.name)
    try:
        tracer = trace(config, dataset, backend, steps)
    except MlpXpError as error:
        # such as an infinite loss, from right operations
        return f"{name} the trace ends, and no operation deviates: {error}"
    lines = [f"{name} {operation.report}" for operation in tracer.deviating.values()]
    if tracer.raised:
        lines.append(str(tracer.failure))
    if lines:
        return "\n".join(lines)
    return (
        f"{name} no operation deviates in a trace of the first steps; the fault may be "
        "in compiled code, or depend on earlier calls"
    )
