"""What is asked of a network on the device, as compiled functions."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, update_wrapper
from typing import Any

import numpy as np

from mlp_xp.core.dataset import Prepare
from mlp_xp.core.functional import Activation, Array
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Layer, Network, forward
from mlp_xp.core.plan import ceil_divide

# Maximum bytes of the widest layer per forward pass.
PART_BYTES = 6 * 2**20


@lru_cache(maxsize=8)
def make_logits(activation: str | Activation, backend: Backend, prepare: Prepare) -> Callable[..., Array]:
    """Return `logits(network, inputs, fitted)`, (n, outputs), compiled where the library compiles.

    prepare, fitted: see `Preparation`. The inputs go through the network in parts of bounded memory.
    """
    xp, function = backend.xp, backend.activation(activation)

    def part(network: Network, inputs: Array, fitted: tuple[Array, ...]) -> Array:
        x = prepare(inputs, *fitted, dtype=network[0].weights.dtype, xp=xp)
        x = xp.reshape(x, (inputs.shape[0], network[0].weights.shape[0]))
        return forward(network, x, [function] * (len(network) - 1), xp=xp)[0]

    def logits(network: Network, inputs: Array, fitted: tuple[Array, ...]) -> Array:
        size = inputs_per_part(inputs.shape[0], max(max(layer.weights.shape) for layer in network))
        return backend.scan_blocks(lambda _, rows: ((), part(network, rows[0], fitted)), (), (inputs,), size)[1]

    return backend.jit(logits)


def inputs_per_part(samples: int, width: int) -> int:
    """Return the number of inputs that go through the network at once. width: the units of its widest layer."""
    capacity = max(1, PART_BYTES // (width * np.dtype(np.float64).itemsize))
    # As equal as possible; only the last may be smaller, so that a forward pass is compiled for at most two sizes.
    return ceil_divide(samples, ceil_divide(samples, capacity))


@lru_cache(maxsize=64)
def compiled(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """Return the function without its keyword xp, compiled where the library compiles."""
    return backend.jit(update_wrapper(partial(function, xp=backend.xp), function))


def copy_network(network: Network, backend: Backend) -> Network:
    """Copy a network on the device. Later steps, which may work in place, do not change the copy."""
    return compiled(_network_copy, backend)(network)


def _network_copy(network: Network, /, *, xp: Any) -> Network:
    return tuple(Layer(*(xp.asarray(array, copy=True) for array in layer)) for layer in network)


def all_finite(arrays: Sequence[Array], backend: Backend) -> bool:
    """Return whether all numbers of some floating-point arrays on the device are finite.

    Reads one value from the device; and all arrays if the sum of the numbers is not finite.
    """
    if np.isfinite(backend.to_numpy(compiled(_sum_of_all, backend)(tuple(arrays)))):
        return True
    return all(np.isfinite(backend.to_numpy(array)).all() for array in arrays)


def _sum_of_all(arrays: tuple[Array, ...], /, *, xp: Any) -> Array:
    return sum(xp.sum(array) for array in arrays)
