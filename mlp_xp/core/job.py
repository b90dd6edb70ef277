"""A job: a configuration, a data set and a backend that fit together."""

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.chunk import for_each, make_chunk, step_inputs
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, check_dataset
from mlp_xp.core.deform import check_deformable, draw_deformations
from mlp_xp.core.model import Model
from mlp_xp.core.network import Network, count_parameters, initial_layers
from mlp_xp.core.plan import Chunk, plan_epoch
from mlp_xp.core.signature import Signature
from mlp_xp.core.stack import member_seed, stack
from mlp_xp.core.step import State
from mlp_xp.errors import DatasetError

_WARM_UP_SAMPLE = 1  # The second sample, counted from 0.
WARM_UP_EPOCH = -1  # Stands for the warm-up, which comes before epoch 0.


class Job:
    """A configuration, a data set and a backend, with everything derived from them.

    Args:
        config: The settings of training.
        dataset: The data set, with arrays on the device of the backend.
        backend: The array library.
        networks: The number of networks to train. Several networks are a stack: see
            `stack.py`. They differ in their seeds, and hold out the same samples.

    Attributes:
        config: The settings, with numbers for those that were "auto".
        networks: The number of networks.
        auto: The names of the settings that were "auto".
        sizes: (n_0, ..., n_L): the number of features, of the units of each hidden
            layer, and of outputs.
        rows: The numbers of the training samples to train on, int64 (n,).
        held_out: The other training samples, for validation. None if there are none.
        weights: The weights of all training samples, (samples, 1), with a mean of 1
            over `rows`. (samples, 0) if the data set has no weights.
        parameters: The number of weights and biases of a network.
        plan: The chunks of an epoch.
        total_steps: The steps of the whole training, including the warm-up.
        work: The multiply-adds of the forward pass of a step: samples x parameters.

    Raises:
        DatasetError: The data cannot be trained on, as `check_dataset` finds, or the
            weights are not valid.
        ConfigError: There are too few samples, or they cannot be deformed.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        backend: Backend,
        networks: int = 1,
    ) -> None:
        check_dataset(dataset, backend)
        train = dataset.train
        self.auto = config.auto
        config = config.resolve(len(train))
        check_deformable(config, dataset.signature)
        self.config = config
        self.dataset = dataset
        self.backend = backend
        self.networks = networks
        seeds = (member_seed(config.seed, i) for i in range(networks))
        self._configs = [replace(config, seed=seed) for seed in seeds]
        self._step_config = config.compiled_settings()
        if networks > 1:  # a deferred step is written for a single network
            self._step_config = replace(self._step_config, defer_updates=False)
        self.sizes = layer_sizes(config, dataset.signature)

        held_out = _held_out_rows(config, dataset, backend)
        self.held_out = train.take(held_out, backend) if len(held_out) else None
        self.rows = np.setdiff1d(np.arange(len(train)), held_out)
        self.weights = _scaled_weights(train.weights, len(train), self.rows)

        # A model without layers, for the arrays of the signature on the device.
        model = self.model(())
        self._data = train.inputs, train.labels, model.fitted, model.units

        self.parameters = count_parameters(self.sizes)
        self.work = config.batch_size * self.parameters
        self.plan = plan_epoch(len(self.rows), config, self.parameters * networks)
        epoch_steps = math.ceil(len(self.rows) / config.batch_size)
        self.total_steps = config.warm_up_steps + config.epochs * epoch_steps

    def on(self, backend: Backend) -> "Job":
        """Return the job on the same backend with another number of threads."""
        job = copy(self)
        job.backend = backend
        return job

    def model(self, network: Network) -> Model:
        """Return a network of the job as a model."""
        signature = self.dataset.signature
        return Model(network, self.config.activation, signature, self.backend)

    def randoms(self) -> list[np.random.RandomState]:
        """Return a generator for each network, from its seed.

        It draws the weights, then the order of the samples in each epoch.
        """
        return [np.random.RandomState(config.seed) for config in self._configs]

    def initial_network(self, randoms: Sequence[np.random.RandomState]) -> Network:
        """Return the network, or the stack, before training, float64 on the host."""
        networks = [self._initial_member(random) for random in randoms]
        return stack(networks) if self.networks > 1 else networks[0]

    def _initial_member(self, random: np.random.RandomState) -> Network:
        layers = initial_layers(self.sizes, random, self.config.init)
        if not self.config.fit_bias:
            return layers
        *below, last = layers
        return (*below, last._replace(bias=self._fitted_bias()))

    def _fitted_bias(self) -> np.ndarray:
        """Return the z that predicts the mean targets of the rows to train on."""
        signature = self.dataset.signature
        task, outputs = signature.task, len(signature.outputs)
        labels = self.backend.to_numpy(self.dataset.train.labels)[self.rows]
        weights = np.ones(len(self.rows))
        if self.weights.shape[1]:
            weights = self.weights[self.rows, 0]
        if task.exclusive:
            # NumPy 2.1 refuses to count uint64.
            sums = np.bincount(labels.astype(np.int64), weights, outputs)
        else:
            sums = weights @ task.encode(
                labels, outputs, signature.units, dtype=np.float64, xp=np
            )
        return task.constant(sums, len(self.rows))

    def chunks(
        self, randoms: Sequence[np.random.RandomState]
    ) -> Iterator[tuple[int, Chunk, np.ndarray]]:
        """Yield each epoch, chunk and the numbers of its samples, int64 (steps, B).

        For a stack of K networks, they are (steps, K, B). `randoms` are the generators
        that drew the weights.
        """
        parts = [self._chunks(random) for random in randoms]
        if self.networks == 1:
            yield from parts[0]
            return
        for each in zip(*parts, strict=True):
            (epoch, chunk, _), *_ = each
            yield epoch, chunk, np.stack([samples for *_, samples in each], axis=1)

    def _chunks(
        self, random: np.random.RandomState
    ) -> Iterator[tuple[int, Chunk, np.ndarray]]:
        """Yield the chunks of a single network."""
        order = self.rows
        for _ in range(self.config.warm_up_steps):
            warm_up = Chunk(_WARM_UP_SAMPLE, steps=1, batch_size=1)
            yield WARM_UP_EPOCH, warm_up, np.array([[order[_WARM_UP_SAMPLE]]])
        for epoch in range(self.config.epochs):
            # Each epoch shuffles the order of the epoch before, as in the notebook.
            order = order[random.permutation(len(order))]
            for chunk in self.plan:
                samples = order[chunk.start : chunk.stop]
                yield epoch, chunk, samples.reshape(chunk.steps, chunk.batch_size)

    def run(
        self,
        state: State,
        samples: np.ndarray,
        first_step: int,
        numbers: Sequence[int] = (0,),
    ) -> tuple[State, np.ndarray]:
        """Take a step on each row of samples, (k, B).

        Args:
            state: The state, which is donated.
            samples: The numbers of the samples. For a stack of K networks, (k, K, B).
            first_step: The number of the first step in the job.
            numbers: The numbers of the networks in the state.

        Returns:
            The new state, and the losses of the steps, float64 (k, networks) on the
            host.
        """
        signature, backend = self.dataset.signature, self.backend
        prepare = signature.preparation.function
        most_steps = max(chunk.steps for chunk in self.plan)
        run_chunk = make_chunk(
            self._step_config, backend, prepare, signature.task, most_steps
        )
        dtype = backend.dtype_name
        steps, batch_size = samples.shape[0], samples.shape[-1]
        configs = [self._configs[number] for number in numbers]
        inputs = step_inputs(
            configs, dtype, samples, self.weights, first_step, self.total_steps
        )
        shape = signature.input_shape
        inputs += for_each(
            configs,
            samples,
            lambda config: draw_deformations(
                config, dtype, shape, steps, batch_size, first_step
            ),
        )
        state, losses = run_chunk(state, self._data, inputs)
        losses = backend.to_numpy(losses).astype(np.float64)
        return state, losses.reshape(steps, len(numbers))


def layer_sizes(config: TrainConfig, signature: Signature) -> tuple[int, ...]:
    """Return the sizes of the layers, as `Job.sizes`."""
    features = math.prod(signature.input_shape)
    return (features, *config.hidden, len(signature.outputs))


def _held_out_rows(
    config: TrainConfig, dataset: Dataset, backend: Backend
) -> np.ndarray:
    """Return the numbers of the training samples to hold out, int64."""
    samples = len(dataset.train)
    count = config.held_out(samples)
    if count and dataset.hold_out:
        labels = backend.to_numpy(dataset.train.labels)
        return dataset.hold_out(labels, count, config.seed)
    return np.arange(samples - count, samples)


def _scaled_weights(
    weights: np.ndarray | None, samples: int, rows: np.ndarray
) -> np.ndarray:
    """Return weights (samples, 1) with a mean of 1 over `rows`, or (samples, 0)."""
    if weights is None:
        return np.empty((samples, 0))
    if weights.shape == (samples,) and weights.min() >= 0:
        mean = weights[rows].mean()
        if 0 < mean < math.inf:
            return weights[:, None] / mean
    raise DatasetError(
        "weights: give numbers of at least 0 for all samples, not all of them 0"
    )
