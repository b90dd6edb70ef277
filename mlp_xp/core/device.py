"""Networks, data sets and training state on a device."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Layer, Network, initial_layers
from mlp_xp.core.optimizers import OPTIMIZERS
from mlp_xp.core.step import State


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to the backend's device, in the backend's dtype."""
    return tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in network)


def place_dataset(dataset: Dataset, backend: Backend) -> Dataset:
    """Copy a data set from the host to the backend's device, its floats in the backend's dtype."""

    def place(array: np.ndarray | None) -> Array | None:
        return array if array is None else backend.asarray(array, backend.dtype if array.dtype.kind == "f" else None)

    prepare = dataset.prepare._replace(fitted=tuple(map(place, dataset.prepare.fitted)))
    scaling = tuple(map(place, dataset.scaling))
    parts: Any = (*map(place, dataset[:4]), *dataset[4:])
    return Dataset(*parts)._replace(prepare=prepare, scaling=scaling)


def copy_network(network: Network, backend: Backend) -> Network:
    """Copy a network on the device. Later steps, which may work in place, do not change the copy."""
    return _compiled_copy(backend)(network)


@lru_cache(maxsize=8)
def _compiled_copy(backend: Backend) -> Callable[[Network], Network]:
    copy = partial(backend.xp.asarray, copy=True)

    def network_copy(network: Network) -> Network:
        return tuple(Layer(*map(copy, layer)) for layer in network)

    return backend.jit(network_copy)


def all_finite(arrays: Sequence[Array], backend: Backend) -> bool:
    """Return whether all numbers of some floating-point arrays on the device are finite.

    Reads one value from the device, and a second one if the sum of the numbers is not finite.
    """
    # The sum first: JAX compiles it in half the time of the other check.
    return any(backend.to_numpy(is_finite(tuple(arrays))) for is_finite in _compiled_checks(backend))


@lru_cache(maxsize=8)
def _compiled_checks(backend: Backend) -> tuple[Callable[[tuple[Array, ...]], Array], ...]:
    xp = backend.xp

    @np.errstate(over="ignore", invalid="ignore")
    def sum_is_finite(arrays: tuple[Array, ...]) -> Array:
        return xp.isfinite(sum(xp.sum(array) for array in arrays))

    def is_finite(arrays: tuple[Array, ...]) -> Array:
        # Both are NaN if a number is. JAX compiles this faster than `isfinite` of all numbers.
        return xp.all(xp.isfinite(xp.stack([find(array) for array in arrays for find in (xp.min, xp.max)])))

    return backend.jit(sum_is_finite), backend.jit(is_finite)


def initial_state(
    config: TrainConfig,
    sizes: tuple[int, ...],
    backend: Backend,
    trained: Network = (),
    resumed: State | None = None,
) -> tuple[State, np.random.RandomState]:
    """Return the state before the first step, for layer sizes (n_0, ..., n_L), and the random generator.

    The generator has drawn the weights; the shuffles of the epochs continue its stream. trained: layers on the host
    that replace the first ones of those drawn, which does not change the stream. resumed: a state to return instead.
    """
    random = np.random.RandomState(config.seed)
    drawn = initial_layers(sizes, random, config.init)
    if resumed is not None:
        return resumed, random
    layers = (*trained, *drawn[len(trained) :])
    # On the host, because JAX would compile something for each shape.
    slots = [OPTIMIZERS[config.optimizer].empty_slots(layer, xp=np) for layer in layers]
    return State(to_device(layers, backend), tuple(to_device(each, backend) for each in slots)), random
