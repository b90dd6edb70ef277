"""Networks, data sets and training state on a device."""

from functools import partial

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Dataset
from mlp_xp.functional import Array
from mlp_xp.network import Layer, Network, initial_layers
from mlp_xp.optimizers import OPTIMIZERS
from mlp_xp.steps import State


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to the backend's device, in the backend's dtype."""
    return tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in network)


def place_dataset(dataset: Dataset, backend: Backend) -> Dataset:
    """Copy a data set from the host to the backend's device, its floats in the backend's dtype."""

    def place(array: np.ndarray | None) -> Array | None:
        return array if array is None else backend.asarray(array, backend.dtype if array.dtype.kind == "f" else None)

    prepare = dataset.prepare._replace(fitted=tuple(map(place, dataset.prepare.fitted)))
    targets = tuple(map(place, dataset.targets))
    images, labels, test_images, test_labels = map(place, dataset[:4])
    return dataset._replace(
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        prepare=prepare,
        targets=targets,
    )


def copy_network(network: Network, backend: Backend) -> Network:
    """Copy a network on the device. Later steps, which may work in place, do not change the copy."""
    copy = backend.reported(partial(backend.xp.asarray, copy=True), "a copy of the network")
    return tuple(Layer(*map(copy, layer)) for layer in network)


def initial_state(
    config: TrainConfig, sizes: tuple[int, ...], backend: Backend, trained: Network = ()
) -> tuple[State, np.random.RandomState]:
    """Return the state before the first step, for layer sizes (n_0, ..., n_L), and the random generator.

    The generator has drawn the weights; the shuffles of the epochs continue its stream. trained: layers on the host
    that replace the first ones of those drawn, which does not change the stream.
    """
    random = np.random.RandomState(config.seed)
    drawn = initial_layers(sizes, random, config.init)
    network = to_device((*trained, *drawn[len(trained) :]), backend)
    init = backend.reported(OPTIMIZERS[config.optimizer].init, "the state of the optimiser")
    return State(network, tuple(init(layer, xp=backend.xp) for layer in network)), random
