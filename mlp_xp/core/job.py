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
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model
from mlp_xp.core.network import Network, count_parameters
from mlp_xp.core.plan import Chunk, plan_epoch
from mlp_xp.core.step import State
from mlp_xp.errors import DatasetError

WARM_UP_SAMPLE = 1  # the second, counted from 0
WARM_UP_EPOCH = -1  # the number that stands for the warm-up, which comes before epoch 0


class Job:
    """What is trained, on which data and where.

    input_shape: that of one input. sizes: (n_0, ..., n_L), the features, the units of
    each hidden layer, and the outputs. rows: the numbers of the training samples that
    are trained on, int64 (n,). held_out: inputs and labels of the other ones, for
    validation; empty without any. weights: those of all training samples, (samples, 1),
    with a mean of 1 over `rows`; (samples, 0) if the data set has none. parameters: how
    many weights and biases the network has. plan: the chunks of an epoch. total_steps:
    the steps of the whole training, warm-up included. work: the multiply-adds of a
    step's forward pass, samples x parameters.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, backend: Backend) -> None:
        """Check that all of it fits together.

        dataset: with arrays on the backend's device. Raises DatasetError for data that
        cannot be trained on (see `check_dataset`), and ConfigError if there are too
        few, or if they cannot be deformed.
        """
        check_dataset(dataset, backend)
        samples, *shape = dataset.train_inputs.shape
        config.check_fits(samples)
        check_deformable(config, dataset)
        self.config, self.dataset, self.backend, self.input_shape = (
            config,
            dataset,
            backend,
            tuple(shape),
        )
        self._step_config = config.compiled_settings()
        self.sizes = layer_sizes(config, dataset)

        count = config.held_out(samples)
        numbers = np.arange(samples - count, samples)
        if count and dataset.hold_out:
            numbers = dataset.hold_out(
                backend.to_numpy(dataset.train_labels), count, config.seed
            )
        self.rows = np.setdiff1d(np.arange(samples), numbers)
        self.held_out: tuple[Array, ...] = ()
        if len(numbers):
            taken = backend.asarray(numbers)
            self.held_out = tuple(
                backend.xp.take(array, taken, axis=0) for array in dataset[:2]
            )

        self.weights = np.empty((samples, 0))
        if dataset.weights is not None:
            fits = dataset.weights.shape == (samples,) and dataset.weights.min() >= 0
            mean = dataset.weights[self.rows].mean() if fits else 0.0
            if not 0 < mean < math.inf:
                raise DatasetError(
                    "weights: give numbers of at least 0 for all samples, not all of them 0"
                )
            self.weights = dataset.weights[:, None] / mean

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
        data = self.dataset
        meaning = (
            data.prepare,
            data.task,
            data.scaling,
            self.input_shape,
            data.class_names,
            data.columns,
            data.kind,
        )
        return Model(network, self.backend, self.config.activation, *meaning)

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
                Chunk(WARM_UP_SAMPLE, 1, 1),
                np.array([[order[WARM_UP_SAMPLE]]]),
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
        dataset, backend = self.dataset, self.backend
        most_steps = max(chunk.steps for chunk in self.plan)
        run_chunk = make_chunk(
            self._step_config,
            backend,
            dataset.prepare.function,
            dataset.task,
            most_steps,
        )
        data = *dataset[:2], dataset.prepare.fitted, dataset.scaling
        dtype, (k, batch_size) = backend.dtype_name, samples.shape
        steps = step_inputs(
            self.config, dtype, samples, self.weights, first_step, self.total_steps
        )
        steps += draw_deformations(
            self.config, dtype, self.input_shape, k, batch_size, first_step
        )
        state, losses = run_chunk(state, data, steps)
        return state, backend.to_numpy(losses).astype(np.float64)


def layer_sizes(config: TrainConfig, dataset: Dataset) -> tuple[int, ...]:
    """Return (n_0, ..., n_L): the features, the units of each hidden layer, and the
    outputs.
    """
    return (
        math.prod(dataset.train_inputs.shape[1:]),
        *config.hidden,
        len(dataset.class_names),
    )
