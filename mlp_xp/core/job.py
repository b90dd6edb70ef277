"""A configuration, a data set and a backend that fit together, with everything that
follows from them.
"""

import math
from collections.abc import Iterator
from copy import copy

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.chunk import make_chunk, step_inputs
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, check_dataset
from mlp_xp.core.deform import check_deformable, draw_deformations
from mlp_xp.core.model import Model
from mlp_xp.core.network import Network, count_parameters
from mlp_xp.core.plan import Chunk, plan_epoch
from mlp_xp.core.signature import Signature
from mlp_xp.core.step import State
from mlp_xp.errors import DatasetError

_WARM_UP_SAMPLE = 1  # the second, counted from 0
WARM_UP_EPOCH = -1  # the number that stands for the warm-up, which comes before epoch 0


class Job:
    """A configuration, a data set and a backend that fit together.

    Args:
        config: The settings of training.
        dataset: The data set, with arrays on the device of the backend.
        backend: The array library.

    Attributes:
        sizes: (n_0, ..., n_L): the features, the units of each hidden layer, and the
            outputs.
        rows: The numbers of the training samples that are trained on, int64 (n,).
        held_out: The other training samples, for validation; None if there are none.
        weights: The weights of all training samples, (samples, 1), with a mean of 1
            over `rows`; (samples, 0) if the data set has no weights.
        parameters: The number of weights and biases of the network.
        plan: The chunks of an epoch.
        total_steps: The steps of the whole training, warm-up included.
        work: The multiply-adds of a step's forward pass: samples x parameters.

    Raises:
        DatasetError: The data cannot be trained on; see `check_dataset`.
        ConfigError: There are too few samples, or they cannot be deformed.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, backend: Backend) -> None:
        check_dataset(dataset, backend)
        train = dataset.train
        config.check_fits(len(train))
        check_deformable(config, dataset.signature)
        self.config = config
        self.dataset = dataset
        self.backend = backend
        self._step_config = config.compiled_settings()
        self.sizes = layer_sizes(config, dataset.signature)

        count = config.held_out(len(train))
        numbers = np.arange(len(train) - count, len(train))
        if count and dataset.hold_out:
            labels = backend.to_numpy(train.labels)
            numbers = dataset.hold_out(labels, count, config.seed)
        self.rows = np.setdiff1d(np.arange(len(train)), numbers)
        self.held_out = train.take(numbers, backend) if len(numbers) else None

        self.weights = np.empty((len(train), 0))
        if train.weights is not None:
            fits = train.weights.shape == (len(train),) and train.weights.min() >= 0
            mean = train.weights[self.rows].mean() if fits else 0.0
            if not 0 < mean < math.inf:
                raise DatasetError(
                    "weights: give numbers of at least 0 for all samples, not all of "
                    "them 0"
                )
            self.weights = train.weights[:, None] / mean

        # The arrays of the signature, which are copied to the device once.
        model = self.model(())
        self._data = train.inputs, train.labels, model.fitted, model.units

        self.parameters = count_parameters(self.sizes)
        self.work = config.batch_size * self.parameters
        self.plan = plan_epoch(len(self.rows), config, self.parameters)
        self.total_steps = config.warm_up_steps + config.epochs * math.ceil(
            len(self.rows) / config.batch_size
        )

    def on(self, backend: Backend) -> "Job":
        """Return the job on the same backend with another number of threads."""
        job = copy(self)
        job.backend = backend
        return job

    def model(self, network: Network) -> Model:
        """Return a network of the job as a model."""
        signature = self.dataset.signature
        return Model(network, self.config.activation, signature, self.backend)

    def chunks(
        self, random: np.random.RandomState
    ) -> Iterator[tuple[int, Chunk, np.ndarray]]:
        """Yield each epoch, chunk and its samples, int64 (steps, B). random: the
        generator that drew the weights.
        """
        order = self.rows
        for _ in range(self.config.warm_up_steps):
            yield (
                WARM_UP_EPOCH,
                Chunk(_WARM_UP_SAMPLE, 1, 1),
                np.array([[order[_WARM_UP_SAMPLE]]]),
            )
        for epoch in range(self.config.epochs):
            # As the notebook does: an epoch shuffles the order that the last one left.
            order = order[random.permutation(len(order))]
            for chunk in self.plan:
                yield (
                    epoch,
                    chunk,
                    order[chunk.start : chunk.stop].reshape(
                        chunk.steps, chunk.batch_size
                    ),
                )

    def run(
        self, state: State, samples: np.ndarray, first_step: int
    ) -> tuple[State, np.ndarray]:
        """Take a step on each row of samples, (k, B): return the state, and the losses,
        float64 (k,) on the host.

        first_step: the number of the first step in the job. The state is donated.
        """
        signature, backend = self.dataset.signature, self.backend
        most_steps = max(chunk.steps for chunk in self.plan)
        prepare = signature.preparation.function
        run_chunk = make_chunk(
            self._step_config, backend, prepare, signature.task, most_steps
        )
        dtype, (k, batch_size) = backend.dtype_name, samples.shape
        steps = step_inputs(
            self.config, dtype, samples, self.weights, first_step, self.total_steps
        )
        steps += draw_deformations(
            self.config, dtype, signature.input_shape, k, batch_size, first_step
        )
        state, losses = run_chunk(state, self._data, steps)
        return state, backend.to_numpy(losses).astype(np.float64)


def layer_sizes(config: TrainConfig, signature: Signature) -> tuple[int, ...]:
    """Return the sizes of the layers, as `Job.sizes`."""
    return (
        math.prod(signature.input_shape),
        *config.hidden,
        len(signature.outputs),
    )
