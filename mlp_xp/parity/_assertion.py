"""Parity as an assertion, for the tests of an array library."""

from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import load_dataset
from mlp_xp.parity.compare import Failure, check


def assert_parity(
    library: Any,
    *,
    dtype: str = "float64",
    steps: int = 200,
    config: TrainConfig | None = None,
    dataset: Dataset | None = None,
) -> None:
    """Train on an array library and on NumPy, and assert that every step agrees.

    To find the first operation that deviates, use `trace`. To ask the library itself,
    with unusual operands, use `array_lockstep.assert_namespace`.

    Args:
        library: An array namespace, a hook (see docs/libraries.md), a name for
            `open_backend` such as "my_library:xp", or a backend. A backend keeps its
            own dtype.
        dtype: "float64" or "float32".
        steps: The number of steps after the warm-up, at least 1.
        config: The settings of training; by default the notebook's network, with
            batches of one.
        dataset: The data, with arrays on the host; by default the first images of
            MNIST.

    Raises:
        AssertionError: A step deviates, or the library fails. The error names each
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
    if isinstance(result, Failure):
        raise AssertionError(result.reason)
    if not result.agrees:
        faults = list(result.mismatches())
        if result.predictions_differ:
            faults.append(str(result))
        raise AssertionError("\n".join(faults))


def _first_images() -> Dataset:
    """Return enough of MNIST to have every class in reports."""
    mnist, host = load_dataset(), open_backend()
    train = mnist.train.take(np.arange(2000), host)
    test = mnist.test and mnist.test.take(np.arange(500), host)
    return replace(mnist, train=train, test=test)
