"""An epoch of an estimator: the core's chunks, with the batches and coefficients of
scikit-learn's MLP.

Three things differ from the core's own runs, and all three are numbers that enter a
step:

- L2 regularisation. The loss has alpha / (2 n) times the sum of all squared weights, n
  being the samples of the batch (or the sum of their weights). Its gradient alpha / n W
  is weight decay, whose factor depends on the batch.
- Momentum. scikit-learn's velocity is u = m u - rate g, and the update w + u, or with
  Nesterov's w + m u - rate g. The core's is v = m v + g, and w - rate v or w - rate (g
  + m v). If the rate is put into the gradient instead, G = rate g, and the core's own
  rate is 1, then v = -u in every step, also where the rate changes, and the updates are
  the same.
- Adam. scikit-learn's update is rate c_t m / (sqrt(v) + epsilon), c_t = sqrt(1 -
  beta_2^t) / (1 - beta_1^t). This is the core's with epsilon itself where the core has
  epsilon sqrt(1 - beta_2^t).

The last batch of an epoch may be smaller than the others. It is filled up with samples
of weight 0, because a library that compiles would compile all steps again for another
size.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.optimizers import Rates
from mlp_xp.core.step import Batch, State, make_step
from mlp_xp.core.task import Task

ACTIVATIONS = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}
"""scikit-learn's names of activations, and the core's."""


def make_config(activation: str, optimizer: Any, *, decays: bool) -> TrainConfig:
    """Return what steps depend on, apart from the rate and the regularisation, which
    are numbers that enter them.

    activation: scikit-learn's name. optimizer: scikit-learn's. decays: whether there is
        regularisation.
    """
    if isinstance(optimizer, AdamOptimizer):
        facts = {
            "optimizer": "adam",
            **{name: getattr(optimizer, name) for name in ("beta_1", "beta_2")},
        }
    else:
        facts = {
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
        **facts,
    )


def make_rates(optimizer: Any, size: int, decay: np.ndarray) -> Rates:
    """Return the rates of the next steps on batches of `size` samples, float64 (steps,)
    each; Adam counts the steps.

    decay: the factor of the weights in the gradient, (steps,).
    """
    ones = np.ones_like(decay)
    if isinstance(optimizer, AdamOptimizer):
        t = optimizer.t + np.arange(1, len(decay) + 1)
        optimizer.t += len(decay) - 1  # scikit-learn counts an epoch as one step itself
        update = (
            optimizer.learning_rate_init
            * np.sqrt(1 - optimizer.beta_2**t)
            / (1 - optimizer.beta_1**t)
        )
        share = 1 - optimizer.beta_1
        return Rates(
            ones * (share / size), share * decay, update, ones * optimizer.epsilon
        )
    rate = optimizer.learning_rate
    return Rates(
        error=ones * (rate / size), decay=rate * decay, step_size=ones, epsilon=0 * ones
    )


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, task: Task
) -> Callable[..., tuple[State, Array]]:
    """Return `chunk(state, X, labels, samples, weights, penalties, rates) -> state,
    losses`.

    samples: int64 (steps, B). weights: those of the samples, (steps, B). penalties: the
    factor of half the sum of all squared weights in each loss, (steps,). rates:
    (steps,) each. losses: (steps,), of each step before its update. The state is
    donated.
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
        rates: Rates,
    ) -> tuple[State, Array]:
        steps, size = samples.shape
        outputs = state.network[-1].bias.shape[0]
        labels = xp.take(labels, xp.reshape(samples, (-1,)), axis=0)
        targets = task.encode(
            labels, outputs, (), dtype=backend.dtype, device=backend.device, xp=xp
        )
        targets = xp.reshape(targets, (steps, size, outputs))

        def take(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, weights, *numbers = row
            # before the update
            flat = [xp.reshape(layer.weights, (-1,)) for layer in state.network]
            squares = sum(each @ each for each in flat)
            state, logits = step(
                state,
                Batch(xp.take(X, samples, axis=0), targets, None, weights),
                Rates(*numbers),
            )
            return state, xp.concat(
                [xp.reshape(logits, (-1,)), xp.reshape(squares, (1,))]
            )

        state, rows = backend.scan(
            take, state, (samples, targets, weights[..., None], *rates)
        )
        logits = xp.reshape(rows[:, :-1], (steps, size, outputs))
        losses = xp.mean(task.loss(logits, targets, xp=xp) * weights, axis=-1)
        return state, losses + 0.5 * penalties * rows[:, -1]

    return backend.jit(chunk, donate=(0,))


def make_epoch(
    config: TrainConfig,
    backend: Backend,
    task: Task,
    X: Array,
    labels: Array,
    weights_of: np.ndarray | None,
    size: int,
    alpha: float,
    optimizer: Any,
) -> Callable[[State, np.ndarray], tuple[State, float]]:
    """Return `epoch(state, order) -> state, loss`.

    X: features, (n, features). weights_of: those of the samples, (n,), on the host.
    order: the samples of the epoch, int64 (n,) on the host, cut into batches of `size`;
    the last one may be smaller. loss: the mean over the samples, from before each
    update, with the regularisation; for regression also the mean over the outputs. The
    state is donated. Raises ValueError for a batch whose weights sum to 0.
    """
    run_chunk = make_chunk(config, backend, task)
    place = partial(backend.asarray, dtype=backend.dtype)

    @np.errstate(over="ignore")  # of alpha by tiny weights, which the loss shows
    def epoch(state: State, order: np.ndarray) -> tuple[State, float]:
        outputs = state.network[-1].bias.shape[0] if task.floats else 1
        filling = -len(order) % size
        rows = np.concatenate([order, np.repeat(order[-1:], filling)]).reshape(-1, size)
        weights = np.ones(rows.shape) if weights_of is None else weights_of[rows]
        weights[-1, size - filling :] = 0
        sums = weights.sum(axis=1)
        if not (sums > 0).all():
            raise ValueError(
                "the sample weights of a batch sum to 0; drop samples of weight 0, or use larger batches"
            )
        decay = alpha / sums
        rates = Rates(*map(place, make_rates(optimizer, size, decay)))
        numbers = place(weights * (size / sums[:, None])), place(outputs * decay), rates
        state, losses = run_chunk(state, X, labels, backend.asarray(rows), *numbers)
        sizes = np.full(len(rows), float(size))
        sizes[-1] -= filling
        total = float(sizes @ backend.to_numpy(losses).astype(np.float64))
        return state, total / (outputs * len(order))

    return epoch
