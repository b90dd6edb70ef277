"""Epochs of an estimator: the core's steps, with the coefficients of scikit-learn.

scikit-learn's MLP differs from the core's own runs in three ways. Each is a matter of
numbers that enter a step:

- L2 regularisation. The loss has alpha / (2 n) times the sum of all squared weights,
  where n is the number of samples in the batch, or the sum of their weights. The
  gradient alpha / n W is weight decay, whose factor depends on the batch.
- Momentum. scikit-learn's velocity is u = m u - rate g, and the update w + u, or with
  Nesterov's variant w + m u - rate g. The core's velocity is v = m v + g, and the
  update w - rate v, or w - rate (g + m v). With the gradient G = rate g and the rate 1
  in the core, v = -u in every step, and the updates are equal, even if the rate
  changes.
- Adam. scikit-learn's update is rate c_t m / (sqrt(v) + epsilon), where c_t = sqrt(1 -
  beta_2^t) / (1 - beta_1^t). The core's own runs have epsilon sqrt(1 - beta_2^t) in
  place of epsilon.

The last batch of an epoch may be smaller than the others. It is filled up with samples
of weight 0, because a library that compiles would compile all steps again for another
size.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.model import compiled, copy_network
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.optimizers import OPTIMIZERS, Rates
from mlp_xp.core.step import Batch, State, make_step
from mlp_xp.core.task import Task
from mlp_xp.estimator._devices import transfer

ACTIVATIONS = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}
"""The core's names of scikit-learn's activations."""


def make_config(activation: str, optimizer: Any, *, decays: bool) -> TrainConfig:
    """Return the settings that a step is compiled for.

    Rates and regularisation are not among them. They enter a step as numbers.

    Args:
        activation: scikit-learn's name of the activation.
        optimizer: scikit-learn's optimiser.
        decays: Whether there is regularisation.
    """
    if isinstance(optimizer, AdamOptimizer):
        settings: dict[str, Any] = {
            "optimizer": "adam",
            "beta_1": optimizer.beta_1,
            "beta_2": optimizer.beta_2,
        }
    else:
        settings = {
            "optimizer": "momentum",
            "momentum": optimizer.momentum,
            "nesterov": optimizer.nesterov,
        }
    return TrainConfig(
        update_order="simultaneous",
        activation=ACTIVATIONS[activation],
        weight_decay=float(decays),
        decay_bias=False,
        defer_updates=False,
        **settings,
    )


def make_rates(optimizer: Any, batch_size: int, decay: np.ndarray) -> Rates:
    """Return the rates of the next steps, float64 (steps,) each, and count the steps.

    scikit-learn's Adam counts the steps in `optimizer.t`, but an epoch as one step. The
    missing steps are added to `optimizer.t` here.

    Args:
        optimizer: scikit-learn's optimiser.
        batch_size: The samples of a step.
        decay: The factor of the weights in the gradient of each step, (steps,).
    """
    ones = np.ones_like(decay)
    if isinstance(optimizer, AdamOptimizer):
        t = optimizer.t + np.arange(1, len(decay) + 1)
        optimizer.t += len(decay) - 1
        step_size = (
            optimizer.learning_rate_init
            * np.sqrt(1 - optimizer.beta_2**t)
            / (1 - optimizer.beta_1**t)
        )
        share = 1 - optimizer.beta_1
        return Rates(
            error=ones * (share / batch_size),
            decay=share * decay,
            step_size=step_size,
            epsilon=ones * optimizer.epsilon,
        )
    rate = optimizer.learning_rate
    return Rates(
        error=ones * (rate / batch_size),
        decay=rate * decay,
        step_size=ones,
        epsilon=0 * ones,
    )


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, task: Task
) -> Callable[..., tuple[State, Array]]:
    """Return a function that takes k steps on batches of B samples.

    The function is `chunk(state, X, labels, samples, weights, penalties, rates) ->
    state, losses`, compiled where the library compiles:

    - state: The network and the slots of the optimiser. Steps may change them in place.
    - X, labels: The data.
    - samples: The numbers of the samples, int64 (k, B).
    - weights: The weights of the samples, (k, B).
    - penalties: The factor of half the sum of squared weights in each loss, (k,). They
      are donated.
    - rates: The `Rates` of each step, (4, k).
    - losses: The loss of each step before its update, (k,).
    """
    xp = backend.xp
    step = make_step(config, task, backend)

    def chunk(
        state: State,
        X: Array,
        labels: Array,
        samples: Array,
        weights: Array,
        penalties: Array,
        rates: Array,
    ) -> tuple[State, Array]:
        steps, batch_size = samples.shape
        outputs = state.network[-1].bias.shape[0]
        labels = xp.take(labels, xp.reshape(samples, (-1,)), axis=0)
        targets = task.encode(
            labels, outputs, (), dtype=backend.dtype, device=backend.device, xp=xp
        )
        targets = xp.reshape(targets, (steps, batch_size, outputs))

        def one_step(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, weights, *numbers = row
            # The loss has the squares before the update.
            flat = [xp.reshape(layer.weights, (-1,)) for layer in state.network]
            squares = sum(each @ each for each in flat)
            batch = Batch(xp.take(X, samples, axis=0), targets, None, weights)
            state, logits = step(state, batch, Rates(*numbers))
            # A scan stacks one array of each step.
            result = [xp.reshape(logits, (-1,)), xp.reshape(squares, (1,))]
            return state, xp.concat(result)

        each_rate = (rates[i, ...] for i in range(4))
        rows = (samples, targets, weights[..., None], *each_rate)
        state, results = backend.scan(one_step, state, rows)
        logits = xp.reshape(results[:, :-1], (steps, batch_size, outputs))
        losses = xp.mean(task.loss(logits, targets, xp=xp) * weights, axis=-1)
        return state, losses + 0.5 * penalties * results[:, -1]

    # If the state were donated, Ctrl-C might lose it before the new state is assigned.
    # A function without donated arrays is compiled in a short time, for few calls.
    # Therefore the penalties are donated.
    return backend.jit(chunk, donate=(5,))


class Best(NamedTuple):
    """The best network on the held-out samples so far."""

    network: Network
    is_finite: bool
    """Whether the loss of its epoch, and its score, are finite numbers."""


class Training:
    """A network in training on the device.

    Args:
        network: The network, which is not changed.
        X: Features, (n, features).
        labels: Labels as the task encodes them, (n, ...).
        weights: The weights of the samples on the host, (n,), or None.
        task: The task.
        batch_size: The samples of a step.
        backend: The backend of all arrays except the weights.

    Attributes:
        state: The network and the optimiser's slots now.
        best: The best network so far, with early stopping. None before the first one.
        optimizer: scikit-learn's optimiser; None until `begin`.
    """

    def __init__(
        self,
        network: Network,
        X: Array,
        labels: Array,
        weights: np.ndarray | None,
        *,
        task: Task,
        batch_size: int,
        backend: Backend,
    ) -> None:
        self.X = X
        self.labels = labels
        self.weights = weights
        self.task = task
        self.batch_size = batch_size
        self.backend = backend
        self.state = State(network, ())
        self.best: Best | None = None
        self.optimizer: Any = None

    def begin(
        self, activation: str, optimizer: Any, alpha: float, kept: Sequence[Array]
    ) -> None:
        """Begin to train with an optimiser.

        Args:
            activation: scikit-learn's name of the activation.
            optimizer: scikit-learn's optimiser.
            alpha: The factor of the regularisation.
            kept: The arrays of the optimiser's slots from earlier training: of each
                layer and slot, those of the weights and the bias. Empty for zeros.
        """
        config = make_config(activation, optimizer, decays=alpha > 0)
        self.optimizer = optimizer
        self._alpha = alpha
        self._chunk = make_chunk(config, self.backend, self.task)
        count = OPTIMIZERS[config.optimizer].slot_count
        network = self.state.network
        if not kept:
            # Made on the host, where nothing has to be compiled.
            kept = [
                np.zeros(array.shape)
                for layer in network
                for array in list(layer) * count
            ]
        arrays = (transfer(array, self.backend, self.backend.dtype) for array in kept)
        slots = []
        for _ in network:
            pairs = tuple(Layer(next(arrays), next(arrays)) for _ in range(count))
            slots.append(self._copied(pairs))
        self.state = State(self._copied(network), tuple(slots))

    def _copied(self, network: Network) -> Network:
        """Return a copy of layers, which no step changes in place."""
        return compiled(copy_network, self.backend)(network)

    # alpha divided by tiny weights may overflow, which the loss shows.
    @np.errstate(over="ignore")
    def epoch(self, order: np.ndarray) -> float:
        """Train for an epoch, and return its loss.

        The loss is the mean over the samples before each update, with the
        regularisation. For regression it is also the mean over the outputs.

        Args:
            order: The numbers of the samples, int64 (n,) on the host, in the order of
                the batches. The last batch may be smaller.

        Raises:
            ValueError: The weights of a batch sum to 0.
        """
        backend, size = self.backend, self.batch_size
        filling = -len(order) % size
        filled = np.concatenate([order, np.repeat(order[-1:], filling)])
        samples = filled.reshape(-1, size)
        weights = np.ones(samples.shape)
        if self.weights is not None:
            weights = self.weights[samples]
        weights[-1, size - filling :] = 0
        sums = weights.sum(axis=1)
        if not (sums > 0).all():
            raise ValueError(
                "the sample weights of a batch sum to 0; drop samples of weight 0, or "
                "use larger batches"
            )
        decay = self._alpha / sums
        outputs = 1
        if self.task.floats:
            outputs = self.state.network[-1].bias.shape[0]

        def moved(numbers: np.ndarray) -> Array:
            return backend.asarray(numbers, backend.dtype)

        self.state, losses = self._chunk(
            self.state,
            self.X,
            self.labels,
            backend.asarray(samples),
            moved(weights * (size / sums[:, None])),
            moved(outputs * decay),
            moved(np.stack(make_rates(self.optimizer, size, decay))),
        )
        sizes = np.full(len(samples), float(size))
        sizes[-1] -= filling
        total = float(sizes @ backend.to_numpy(losses).astype(np.float64))
        return total / (outputs * len(order))

    def keep_best(self, loss: float, score: float) -> None:
        """Keep the network as the best so far, with its epoch's loss and its score."""
        is_finite = bool(np.isfinite(loss + score))
        self.best = Best(self._copied(self.state.network), is_finite)
