"""Several networks in one array: a stack.

A stack of K networks with the same layers is a network whose arrays have one more axis
in front: weights (K, n, m) and biases (K, 1, m). The prediction of a stack is the mean
of the outputs of its networks.
"""

from collections.abc import Sequence

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.step import State, to_device

# Stacks with seeds close to each other have no network in common.
_BETWEEN_SEEDS = 2**16


def member_seed(seed: int, number: int) -> int:
    """Return the seed of a network of a stack, by its number from 0."""
    return (seed + _BETWEEN_SEEDS * number) % 2**32


def size_of(network: Network) -> int | None:
    """Return the number of networks in a stack. None for a single network."""
    shape = network[0].weights.shape if network else ()
    count, *matrix = shape or (0,)
    return count if len(matrix) == 2 else None


def stack(networks: Sequence[Network]) -> Network:
    """Return networks with the same layers, on the host, as a stack."""
    return tuple(
        Layer(
            np.stack([layer.weights for layer in layers]),
            np.stack([layer.bias[None, :] for layer in layers]),
        )
        for layers in zip(*networks, strict=True)
    )


def members(network: Network) -> list[Network]:
    """Return the networks of a stack. A single network is one of one."""
    count = size_of(network)
    if count is None:
        return [network]
    return [
        tuple(Layer(w[i, ...], bias[i, 0, ...]) for w, bias in network)
        for i in range(count)
    ]


def take(network: Network, places: Sequence[int], backend: Backend) -> Network:
    """Return a stack of the networks in some places of a stack."""
    rows = backend.asarray(np.asarray(places))
    xp = backend.xp
    return tuple(
        Layer(*(xp.take(array, rows, axis=0) for array in layer)) for layer in network
    )


def take_state(state: State, places: Sequence[int], backend: Backend) -> State:
    """Return the state of the networks in some places of a stack."""
    slots = (take(slots, places, backend) for slots in state.slots)
    return State(take(state.network, places, backend), tuple(slots))


def choose(
    is_first: Sequence[bool], first: Network, second: Network, backend: Backend
) -> Network:
    """Return a stack with each network from the first or the second of two stacks."""
    chosen = backend.asarray(np.asarray(is_first)[:, None, None])
    xp = backend.xp
    return tuple(
        Layer(*(xp.where(chosen, a, b) for a, b in zip(one, other, strict=True)))
        for one, other in zip(first, second, strict=True)
    )


def joined_sizes(sizes: Sequence[int], networks: int) -> tuple[int, ...]:
    """Return the sizes of the layers of `joined`, for those of each network."""
    inputs, *hidden, outputs = sizes
    return (inputs, *(networks * units for units in hidden), outputs)


def joined(network: Network, backend: Backend) -> Network:
    """Return a stack as one network, whose outputs are the means of its networks'.

    It has the hidden layers of all networks side by side, and takes the mean at its
    last layer. So it has K² times the weights between hidden layers, most of them 0. A
    single network is returned as it is. NumPy computes the joined network on the host,
    so it has the same bits for every library.
    """
    count, last, layers = size_of(network), len(network) - 1, []
    if count is None:
        return network
    for depth, layer in enumerate(network):
        blocks, bias = map(backend.to_numpy, layer)
        _, inputs, outputs = blocks.shape
        if depth:
            # (network, unit, network, unit): 0 between units of different networks
            weights = np.zeros((count, inputs, count, outputs), blocks.dtype)
            for i, block in enumerate(blocks):
                weights[i, :, i, :] = block
        else:
            # (input, network, unit): all networks read the same inputs
            weights = np.moveaxis(blocks, 0, 1)
        if depth == last:
            weights, bias = weights.sum(axis=-2) / count, bias.sum(axis=0) / count
        layers.append(Layer(weights.reshape(-1, bias.size), bias.reshape(-1)))
    return to_device(tuple(layers), backend)
