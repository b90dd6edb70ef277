"""Optimisers and learning-rate schedules: pure functions on the layers of a network.

An optimiser is two functions and a number.

- `coefficients(rates, steps, settings)` computes on the host, once for many steps, the numbers that change from step to
  step. The first is the scale of the error at the output. Backpropagation is linear in that error, so plain gradient
  descent puts its learning rate there, and Adam 1 - beta_1: this multiplies 10 numbers per sample instead of a gradient
  of 50 000. The last one is the factor of weight decay, where there is one.
- `make_update(settings, xp=...)` returns `update(layer, gradient, slots, *coefficients) -> layer, slots`, which changes
  one layer.
- `slots` is the number of arrays that it keeps for each array of a layer: none, a velocity, or two moments.

Donation: `update` may change the arrays of `layer` and `slots` in place, so the caller must not use them again. An
in-place operator such as `weights -= g` changes the array on NumPy, CuPy and PyTorch, and makes a new one on JAX; the
code is right either way because it returns what it computed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer

Slots = tuple[Layer, ...]
Update = Callable[..., tuple[Layer, Slots]]


class Hyperparameters(NamedTuple):
    """The settings of the optimisers; each uses some of them. `TrainConfig` documents them and their ranges."""

    weight_decay: float = 0.0
    decay_bias: bool = True
    momentum: float = 0.9
    nesterov: bool = False
    beta_1: float = 0.9  # Kingma and Ba, 2015, algorithm 1
    beta_2: float = 0.999
    epsilon: float = 1e-8


class Optimizer(NamedTuple):
    """An optimiser; see the module's docstring. rates: float64 (n,). steps: int64 (n,), counted from 0."""

    coefficients: Callable[[np.ndarray, np.ndarray, Hyperparameters], tuple[np.ndarray, ...]]
    make_update: Callable[..., Update]
    slots: int

    def empty_slots(self, layer: Layer, /, *, xp: Any) -> Slots:
        """Return what the optimiser keeps for a layer before the first step: zeros."""
        return tuple(Layer(xp.zeros_like(layer.weights), xp.zeros_like(layer.bias)) for _ in range(self.slots))


def _decay(rates: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    return (settings.weight_decay * rates,) if settings.weight_decay else ()


def _decayed(g: Array, w: Array, decay: Array) -> Array:
    """Return g + decay w. The caller may hold g, so that it must not change."""
    decayed = decay * w
    decayed += g
    return decayed


def _sgd_coefficients(rates: np.ndarray, steps: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    return rates, *_decay(rates, settings)


def sgd(settings: Hyperparameters, *, xp: Any) -> Update:
    """Make the update of gradient descent, w - rate (g + weight_decay w).

    The gradient arrives already multiplied by the rate.
    """

    def update(layer: Layer, gradient: Layer, slots: Slots, /, *decay: Array) -> tuple[Layer, Slots]:
        weights, bias = layer
        if decay:
            weights *= 1 - decay[0]
            if settings.decay_bias:
                bias *= 1 - decay[0]
        weights -= gradient.weights
        bias -= gradient.bias
        return Layer(weights, bias), slots

    return update


def _momentum_coefficients(rates: np.ndarray, steps: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    return np.ones_like(rates), rates, *_decay(np.ones_like(rates), settings)


def momentum(settings: Hyperparameters, *, xp: Any) -> Update:
    """Make the update of gradient descent with momentum m: v = m v + g, then w - rate v, or w - rate (g + m v).

    The latter is Nesterov's. Sutskever et al., 2013, in the form that PyTorch uses.
    """

    def update_array(w: Array, g: Array, v: Array, rate: Array, *decay: Array) -> tuple[Array, Array]:
        if decay:
            g = _decayed(g, w, decay[0])
        v *= settings.momentum
        v += g
        w -= rate * (g + settings.momentum * v if settings.nesterov else v)
        return w, v

    return _for_layers(update_array, settings)


def _adam_coefficients(rates: np.ndarray, steps: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    scales, *others = _corrected(rates, steps, settings)
    return scales, *others, *_decay(scales, settings)


def _adamw_coefficients(rates: np.ndarray, steps: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    return *_corrected(rates, steps, settings), *_decay(rates, settings)


def _corrected(rates: np.ndarray, steps: np.ndarray, settings: Hyperparameters) -> tuple[np.ndarray, ...]:
    t = steps + 1
    root = np.sqrt(1 - settings.beta_2**t)
    return np.full(rates.shape, 1 - settings.beta_1), rates * root / (1 - settings.beta_1**t), settings.epsilon * root


def adam(settings: Hyperparameters, *, decoupled: bool = False, xp: Any) -> Update:
    """Make the update of Adam (Kingma and Ba, 2015, algorithm 1), or of AdamW (Loshchilov and Hutter, 2019).

    The gradient arrives already multiplied by 1 - beta_1, as m takes it. The corrections of m and v, which depend on
    the step t, are in the coefficients (section 2 of the paper, "the efficiency of algorithm 1"): with
    c = sqrt(1 - beta_2^t), `rate` is alpha c / (1 - beta_1^t) and `small` is epsilon c. decoupled: AdamW, which
    multiplies w by 1 - alpha weight_decay, where Adam adds weight_decay w to the gradient.
    """
    beta_1, beta_2 = settings.beta_1, settings.beta_2
    share = (1 - beta_2) / (1 - beta_1) ** 2

    def update_array(
        w: Array, g: Array, m: Array, v: Array, rate: Array, small: Array, *decay: Array
    ) -> tuple[Array, Array, Array]:
        if decay and decoupled:
            w *= 1 - decay[0]
        elif decay:
            g = _decayed(g, w, decay[0])
        # w -= rate m / (sqrt(v) + small), in place where it can be, and with few arrays at a time: on NumPy, that takes
        # two thirds of the time, because every new array of this size costs as much as the arithmetic in it. One that
        # takes the place of another, just deleted, is in the cache already.
        m *= beta_1
        m += g
        square = g * g
        del g
        square *= share
        v *= beta_2
        v += square
        del square
        root = xp.sqrt(v)
        root += small
        change = m / root
        del root
        change *= rate
        w -= change
        return w, m, v

    return _for_layers(update_array, settings)


def _for_layers(update_array: Callable[..., tuple[Array, ...]], settings: Hyperparameters) -> Update:
    """Apply the update of an array to a layer's weights and to its bias."""

    def update(layer: Layer, gradient: Layer, slots: Slots, /, *coefficients: Array) -> tuple[Layer, Slots]:
        of_bias = coefficients[:-1] if settings.weight_decay and not settings.decay_bias else coefficients
        weights = update_array(layer.weights, gradient.weights, *(slot.weights for slot in slots), *coefficients)
        bias = update_array(layer.bias, gradient.bias, *(slot.bias for slot in slots), *of_bias)
        new_layer, *new_slots = map(Layer, weights, bias)
        return new_layer, tuple(new_slots)

    return update


OPTIMIZERS = {
    "sgd": Optimizer(_sgd_coefficients, sgd, slots=0),
    "momentum": Optimizer(_momentum_coefficients, momentum, slots=1),
    "adam": Optimizer(_adam_coefficients, adam, slots=2),
    "adamw": Optimizer(_adamw_coefficients, partial(adam, decoupled=True), slots=2),
}


def clip_by_norm(gradients: Sequence[Layer], limit: Array, /, *, xp: Any) -> list[Layer]:
    """Return the gradients of all layers, multiplied by limit / norm if their common norm is above the limit, ().

    Pascanu, Mikolov and Bengio, 2013, algorithm 1. NaN if the norm overflows, in float32 from 1.8e19 on.
    """
    norm = xp.sqrt(sum(xp.sum(array * array) for gradient in gradients for array in gradient))
    # 0 times an infinite norm is NaN: else the factor would be 0, and nothing would be learned in silence.
    factor = limit / xp.where(norm > limit, norm, limit) + 0 * norm
    return [Layer(factor * gradient.weights, factor * gradient.bias) for gradient in gradients]


def constant(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """Return the same rate for every step: float64 (n,) for steps (n,)."""
    return np.full(steps.shape, rate)


def cosine(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """Return rate (1 + cos(pi step / total)) / 2, float64 (n,) for steps (n,) of a run of `total` steps.

    Loshchilov and Hutter, 2017, eq. 5, without restarts.
    """
    return rate * (1 + np.cos(np.pi * steps / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
