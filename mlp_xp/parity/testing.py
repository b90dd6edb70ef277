"""The parity check as an assertion, for the tests of an array library."""

from typing import Any

from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.data.datasets import load_dataset
from mlp_xp.parity.compare import Comparison, check


def assert_parity(
    library: Any,
    *,
    dtype: str = "float64",
    steps: int = 200,
    config: TrainConfig | None = None,
    dataset: Dataset | None = None,
) -> None:
    """Train on an array library and on NumPy, and raise AssertionError unless every step agrees.

    library: an array namespace, a hook (see docs/libraries.md), a name for `open_backend` such as "my_library:xp", or
    a backend, which has its own dtype. dtype: float64 or float32. steps: at least 1, after the warm-up. config: by
    default the notebook's network, with batches of one. dataset: arrays on the host; by default the first images of
    MNIST.

    The error names each quantity that deviates and its first step, or the library's own error. Raises BackendError for
    a library that lacks something, and ConfigError for settings that do not fit the data.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if isinstance(library, Backend):
        backend = library
    else:
        backend = open_backend(library, None, dtype) if isinstance(library, str) else open_namespace(library, dtype)
    config = config or TrainConfig(report_every=100)
    dataset = dataset or first_images()
    _, result = check(config, dataset, [backend], steps)
    if not isinstance(result, Comparison):
        raise AssertionError(result.reason)
    if not result.agrees:
        raise AssertionError("\n".join([*result.mismatches(config.warm_up_steps), str(result)]))


def first_images() -> Dataset:
    """Return the first images of MNIST, on the host: enough for reports in which every class occurs."""
    mnist = load_dataset()
    return mnist._replace(
        train_inputs=mnist.train_inputs[:2000], train_labels=mnist.train_labels[:2000],
        test_inputs=mnist.test_inputs[:500], test_labels=mnist.test_labels[:500],
    )  # fmt: skip
