"""An epoch of an estimator: the core's chunks, with the batches and coefficients of scikit-learn's MLP.

Three things differ from the core's own runs, and all three are numbers that enter a step:

- L2 regularisation. The loss has alpha / (2 n) times the sum of all squared weights, n being the samples of the batch
  (or the sum of their weights). Its gradient alpha / n W is weight decay, whose factor depends on the batch.
- Momentum. scikit-learn's velocity is u = m u - rate g, and the update w + u, or with Nesterov's w + m u - rate g. The
  core's is v = m v + g, and w - rate v or w - rate (g + m v). If the rate is put into the gradient instead, G = rate g,
  and the core's own rate is 1, then v = -u in every step, also where the rate changes, and the updates are the same.
- Adam. scikit-learn's update is rate c_t m / (sqrt(v) + epsilon), c_t = sqrt(1 - beta_2^t) / (1 - beta_1^t). This is
  the core's with epsilon itself where the core has epsilon sqrt(1 - beta_2^t).

The last batch of an epoch may be smaller than the others. It is filled up with samples of weight 0, because a library
that compiles would compile all steps again for another size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.chunk import Extras, make_chunk
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.step import State
from mlp_xp.core.task import TASKS

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""scikit-learn's names of activations, and the core's."""
OPTIMIZERS = {"sgd": "momentum", "adam": "adam"}


def as_they_are(inputs: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Return inputs, which are features of the dtype already; `dataset.unchanged` would copy them at each step."""
    return inputs


class Samples(NamedTuple):
    """What is trained on."""

    X: Array
    """On the device, (n, features)."""
    targets: Array
    """On the device; see `Dataset`."""
    weights: np.ndarray | None
    """On the host, (n,)."""


def make_config(estimator: Any, optimizer: Any) -> TrainConfig:
    """Return the parameters of an estimator on which its steps depend, but for the rate and the regularisation.

    optimizer: what has those of the optimiser.
    """
    return TrainConfig(
        update_order="simultaneous",
        activation=ACTIVATIONS[estimator.activation],
        optimizer=OPTIMIZERS[optimizer.solver],
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterovs_momentum and optimizer.solver == "sgd",
        beta_1=optimizer.beta_1,
        beta_2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        weight_decay=1.0 if estimator.alpha else 0.0,  # the factor is a coefficient: another one compiles nothing
        decay_bias=False,
        defer_updates=False,
    )


def coefficients(config: TrainConfig, rate: float, first_step: int, size: int, decay: np.ndarray) -> np.ndarray:
    """Return the scale and the optimiser's coefficients for steps with batches of `size` samples, float64 (k, steps).

    decay: the factor of the weights in the gradient, (steps,). first_step: the number of steps before these.
    """
    ones = np.ones_like(decay)
    if config.optimizer == "adam":
        t = first_step + np.arange(1, len(decay) + 1)
        rates = rate * np.sqrt(1 - config.beta_2**t) / (1 - config.beta_1**t)
        share = 1 - config.beta_1
        rows = [ones * (share / size), rates, ones * config.epsilon, share * decay]
    else:
        rows = [ones * (rate / size), ones, rate * decay]
    return np.stack(rows if config.weight_decay else rows[:-1])


def make_epoch(
    config: TrainConfig, backend: Backend, task: str, samples: Samples, size: int, alpha: float
) -> Callable[..., tuple[State, float]]:
    """Return `epoch(state, order, rate, first_step) -> state, loss`.

    order: the samples of the epoch, int64 (n,) on the host, cut into batches of `size`; the last one may be smaller.
    loss: the mean over the samples, from before each update, with the regularisation; for regression also the mean over
    the outputs. The state is donated. Raises ValueError for a batch whose weights sum to 0.
    """
    run_chunk = make_chunk(config.of_steps(), backend, as_they_are, TASKS[task], penalised=alpha > 0)

    @np.errstate(over="ignore")  # of alpha by tiny weights, which the loss shows
    def epoch(state: State, order: np.ndarray, rate: float, first_step: int) -> tuple[State, float]:
        outputs = state.network[-1].bias.shape[0] if task == "regression" else 1
        filling = -len(order) % size
        rows = np.concatenate([order, np.repeat(order[-1:], filling)]).reshape(-1, size)
        weights: tuple[Array, ...] = ()
        sums = sizes = np.full(len(rows), float(size))
        sizes[-1] -= filling
        decay = alpha / sums
        if samples.weights is not None or filling:
            chosen = np.ones(rows.shape) if samples.weights is None else samples.weights[rows]
            chosen[-1, size - filling :] = 0
            sums = chosen.sum(axis=1)
            if not (sums > 0).all():
                raise ValueError(
                    "the sample weights of a batch sum to 0; drop samples of weight 0, or use larger batches"
                )
            weights = (backend.asarray(chosen * (size / sums[:, None]), backend.dtype),)
            decay = alpha / sums
        state, losses = run_chunk(
            state,
            samples.X,
            samples.targets,
            backend.asarray(rows),
            backend.asarray(coefficients(config, rate, first_step, size, decay), backend.dtype),
            Extras(weights=weights, penalties=(backend.asarray(outputs * decay, backend.dtype),) if alpha else ()),
        )
        total = float(sizes @ backend.to_numpy(losses).astype(np.float64))
        return state, total / (outputs * len(order))

    return epoch
