"""Optimisers and learning-rate schedules: pure functions on the layers of a network.

An optimiser is two functions and a number.

- `make_update(settings, xp=...)` returns `update(layer, gradient, slots, rates) -> layer, slots`, which changes one
  layer.
- `rates(learning_rates, numbers, settings)` computes on the host, once for many steps, the factors that change from
  step to step. learning_rates: float64 (n,). numbers: those of the steps, int64 (n,), from 0.
- `slots` is the number of arrays that it keeps for each array of a layer: none, a velocity, or two moments.

`settings` is a `TrainConfig`, which documents the fields that are used here.

Donation: `update` may change the arrays of `layer` and `slots` in place, so the caller must not use them again. An
in-place operator such as `weights -= g` changes the array on NumPy, CuPy and PyTorch, and makes a new one on JAX; the
code is right either way because it returns what it computed.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer

Slots = tuple[Layer, ...]
Update = Callable[..., tuple[Layer, Slots]]


class Rates(NamedTuple):
    """The factors of one step, arrays (); or of many steps, (steps,). Those that an optimiser does not use are 0.

    Every gradient is linear in the error at the output. A factor that all gradients have is applied there, to 10
    numbers per sample instead of 50 000 in the gradients.
    """

    error: Array
    """Factor of the error at the output: the learning rate of plain gradient descent. It is divided by the batch size
    for each chunk of steps, because the loss is a mean."""
    decay: Array
    """Factor of the parameters, for weight decay."""
    update: Array
    """Factor of what momentum or Adam subtracts: the learning rate."""
    epsilon: Array
    """What Adam adds to the root of the mean squared gradient."""


class Optimizer(NamedTuple):
    """An optimiser; see the module's docstring."""

    rates: Callable[[np.ndarray, np.ndarray, Any], Rates]
    make_update: Callable[..., Update]
    slots: int

    def empty_slots(self, layer: Layer, /, *, xp: Any) -> Slots:
        """Return what the optimiser keeps for a layer before the first step: zeros."""
        return tuple(Layer(xp.zeros_like(layer.weights), xp.zeros_like(layer.bias)) for _ in range(self.slots))


def sgd_rates(learning_rates: np.ndarray, numbers: np.ndarray, settings: Any) -> Rates:
    """Return the rates of gradient descent."""
    none = np.zeros_like(learning_rates)
    return Rates(error=learning_rates, decay=settings.weight_decay * learning_rates, update=none, epsilon=none)


def sgd(settings: Any, *, xp: Any) -> Update:
    """Make the update of gradient descent, w - rate (g + weight_decay w)."""

    def update(layer: Layer, gradient: Layer, slots: Slots, rates: Rates, /) -> tuple[Layer, Slots]:
        weights, bias = layer
        if settings.weight_decay:
            weights *= 1 - rates.decay
            if settings.decay_bias:
                bias *= 1 - rates.decay
        # The gradient has the learning rate in it, by rates.error.
        weights -= gradient.weights
        bias -= gradient.bias
        return Layer(weights, bias), slots

    return update


def momentum_rates(learning_rates: np.ndarray, numbers: np.ndarray, settings: Any) -> Rates:
    """Return the rates of momentum, which sums up gradients without the learning rate."""
    ones = np.ones_like(learning_rates)
    return Rates(error=ones, decay=settings.weight_decay * ones, update=learning_rates, epsilon=np.zeros_like(ones))


def momentum(settings: Any, *, xp: Any) -> Update:
    """Make the update of gradient descent with momentum m: v = m v + g, then w - rate v, or w - rate (g + m v).

    The latter is Nesterov's. Sutskever et al., 2013, in the form that PyTorch uses.
    """

    def update_array(w: Array, g: Array, v: Array, /, *, rates: Rates, decays: bool) -> tuple[Array, ...]:
        if decays:
            g = _decayed(g, w, rates.decay)
        v *= settings.momentum
        v += g
        w -= rates.update * (g + settings.momentum * v if settings.nesterov else v)
        return w, v

    return _for_layers(update_array, settings)


def adam_rates(learning_rates: np.ndarray, numbers: np.ndarray, settings: Any, *, decoupled: bool = False) -> Rates:
    """Return the rates of Adam, or of AdamW.

    `error` is 1 - beta_1, so an update receives g' = (1 - beta_1) g, and the first moment is beta_1 m + g'.
    The corrections of the moments, which depend on the step t, are in the rates (section 2 of the paper, "the
    efficiency of algorithm 1"): with c = sqrt(1 - beta_2^t), the rate is alpha c / (1 - beta_1^t), and epsilon c is
    added.
    """
    t = numbers + 1
    root = np.sqrt(1 - settings.beta_2**t)
    share = np.full(learning_rates.shape, 1 - settings.beta_1)
    decay = settings.weight_decay * (learning_rates if decoupled else share)
    return Rates(share, decay, learning_rates * root / (1 - settings.beta_1**t), settings.epsilon * root)


def adam(settings: Any, *, decoupled: bool = False, xp: Any) -> Update:
    """Make the update of Adam (Kingma and Ba, 2015, algorithm 1), or of AdamW (Loshchilov and Hutter, 2019).

    decoupled: AdamW, which multiplies w by 1 - alpha weight_decay, where Adam adds weight_decay w to the gradient.
    """
    beta_1, beta_2 = settings.beta_1, settings.beta_2
    share = (1 - beta_2) / (1 - beta_1) ** 2

    def update_array(w: Array, g: Array, m: Array, v: Array, /, *, rates: Rates, decays: bool) -> tuple[Array, ...]:
        if decays and decoupled:
            w *= 1 - rates.decay
        elif decays:
            g = _decayed(g, w, rates.decay)
        # w -= rate m / (sqrt(v) + epsilon), in place where it can be, and with few arrays at a time: on NumPy, that
        # takes two thirds of the time, because every new array of this size costs as much as the arithmetic in it. One
        # that takes the place of another, just deleted, is in the cache already.
        m *= beta_1
        m += g
        square = g * g
        del g
        square *= share
        v *= beta_2
        v += square
        del square
        root = xp.sqrt(v)
        root += rates.epsilon
        change = m / root
        del root
        change *= rates.update
        w -= change
        return w, m, v

    return _for_layers(update_array, settings)


def _decayed(g: Array, w: Array, decay: Array) -> Array:
    """Return g + decay w. The caller may hold g, so that it must not change."""
    decayed = decay * w
    decayed += g
    return decayed


def _for_layers(update_array: Callable[..., tuple[Array, ...]], settings: Any) -> Update:
    """Apply the update of an array to a layer's weights and to its bias."""
    decays = bool(settings.weight_decay)

    def update(layer: Layer, gradient: Layer, slots: Slots, rates: Rates, /) -> tuple[Layer, Slots]:
        of_weights, of_bias = [slot.weights for slot in slots], [slot.bias for slot in slots]
        bias_decays = decays and settings.decay_bias
        weights = update_array(layer.weights, gradient.weights, *of_weights, rates=rates, decays=decays)
        bias = update_array(layer.bias, gradient.bias, *of_bias, rates=rates, decays=bias_decays)
        new_layer, *new_slots = map(Layer, weights, bias)
        return new_layer, tuple(new_slots)

    return update


OPTIMIZERS = {
    "sgd": Optimizer(sgd_rates, sgd, slots=0),
    "momentum": Optimizer(momentum_rates, momentum, slots=1),
    "adam": Optimizer(adam_rates, adam, slots=2),
    "adamw": Optimizer(partial(adam_rates, decoupled=True), partial(adam, decoupled=True), slots=2),
}


def clip_by_norm(gradients: Iterable[tuple[int, Layer]], limit: Array, /, *, xp: Any) -> list[tuple[int, Layer]]:
    """Return gradients with their layers' numbers, multiplied by limit / norm if their common norm is above limit, ().

    Pascanu, Mikolov and Bengio, 2013, algorithm 1. NaN if the norm overflows, in float32 from 1.8e19 on.
    """
    in_order = sorted(gradients, key=lambda pair: pair[0])
    norm = xp.sqrt(sum(xp.sum(array * array) for _, gradient in in_order for array in gradient))
    # 0 times an infinite norm is NaN: else the factor would be 0, and nothing would be learned in silence.
    factor = limit / xp.where(norm > limit, norm, limit) + 0 * norm
    return [(i, Layer(factor * gradient.weights, factor * gradient.bias)) for i, gradient in in_order]


def constant(rate: float, numbers: np.ndarray, total: int) -> np.ndarray:
    """Return the same rate for every step: float64 (n,) for the numbers of the steps, (n,)."""
    return np.full(numbers.shape, rate)


def cosine(rate: float, numbers: np.ndarray, total: int) -> np.ndarray:
    """Return rate (1 + cos(pi t / total)) / 2 for each step t of a run of `total` steps: float64 (n,) for numbers (n,).

    Loshchilov and Hutter, 2017, eq. 5, without restarts.
    """
    return rate * (1 + np.cos(np.pi * numbers / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
