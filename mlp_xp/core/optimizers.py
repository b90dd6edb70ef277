"""Optimisers and learning-rate schedules: how gradients change the weights.

An optimiser has a function to change one array of a layer, its weights or its bias:
`change(w, g, slots, rates, config, xp=)` returns the new w and slots. g is the gradient
of w. The slots are arrays of the shape of w that the optimiser keeps from step to step:
none, a velocity, or two moments. w and the slots are donated. g must not change,
because the caller may need it. Numbers that change from step to step, such as the
learning rate, are in `rates`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer

Slots = tuple[Layer, ...]
"""The arrays that an optimiser keeps for a layer, one `Layer` per slot: (), (velocity,)
or (m, v).
"""
_Arrays = Sequence[Array]
_Changed = tuple[Array, _Arrays]


class Rates(NamedTuple):
    """The numbers that change from step to step. Unused numbers are 0.

    They are scalar arrays for one step, and arrays (k,) for k steps.
    """

    error: Array
    """Factor of the error at the output, r / B. Gradients are linear in the error, so
    it is a factor of all gradients too. 1 / B makes the gradient of a batch a mean. r
    is the learning rate for gradient descent, 1 for momentum and 1 - beta_1 for Adam.

    For the notebook's network, this takes 10 multiplications per sample. Multiplying
    the gradients by r would take 50 000.
    """
    decay: Array
    """Factor of the parameters, for weight decay."""
    step_size: Array
    """Factor of the update of momentum or Adam: the learning rate, for Adam with the
    bias correction.
    """
    epsilon: Array
    """Adam adds it to the root of the mean squared gradient."""


def sgd(
    w: Array, g: Array, slots: _Arrays, rates: Rates, config: TrainConfig, /, *, xp: Any
) -> _Changed:
    """Gradient descent: w - g. The learning rate is in g already, by rates.error."""
    w -= g
    return w, slots


def momentum(
    w: Array, g: Array, slots: _Arrays, rates: Rates, config: TrainConfig, /, *, xp: Any
) -> _Changed:
    """Gradient descent with momentum m: v = m v + g, then w - rate v.

    With Nesterov's variant, w - rate (g + m v). Sutskever et al., 2013, in the form
    that PyTorch uses. The rate is rates.step_size.
    """
    (v,) = slots
    v *= config.momentum
    v += g
    if config.nesterov:
        w -= rates.step_size * (g + config.momentum * v)
    else:
        w -= rates.step_size * v
    return w, (v,)


def adam(
    w: Array, g: Array, slots: _Arrays, rates: Rates, config: TrainConfig, /, *, xp: Any
) -> _Changed:
    """Adam: w - rate m / (sqrt(v) + epsilon), with moments m and v of the gradient.

    Kingma and Ba, 2015, algorithm 1. The rate and epsilon contain the bias correction.
    `adam_rates` computes them, and sets rates.error to 1 - beta_1. For the gradient G,
    therefore, g = (1 - beta_1) G, and

        m = beta_1 m + (1 - beta_1) G     = beta_1 m + g
        v = beta_2 v + (1 - beta_2) G^2   = beta_2 v + (1 - beta_2) / (1 - beta_1)^2 g^2
    """
    m, v = slots
    beta_1, beta_2 = config.beta_1, config.beta_2
    # These lines work in place where they can, and with few arrays at a time. On NumPy,
    # this takes two thirds of the time, because a new array of this size costs as much
    # as the arithmetic in it. A new array that takes the place of an array just deleted
    # is in the cache already.
    m *= beta_1
    m += g
    square = g * g
    square *= (1 - beta_2) / (1 - beta_1) ** 2
    v *= beta_2
    v += square
    del square
    root = xp.sqrt(v)
    root += rates.epsilon
    change = m / root
    del root
    change *= rates.step_size
    w -= change
    return w, (m, v)


def adam_rates(
    learning_rates: np.ndarray, t: np.ndarray, config: TrainConfig
) -> tuple[Any, ...]:
    """Return error, step_size and epsilon of Adam, as `Optimizer.own_rates`.

    The bias correction is in the efficient form of section 2 of the paper: with c =
    sqrt(1 - beta_2^t), the step size is rate c / (1 - beta_1^t), and epsilon c is added
    instead of epsilon.
    """
    c = np.sqrt(1 - config.beta_2**t)
    step_sizes = learning_rates * c / (1 - config.beta_1**t)
    return 1 - config.beta_1, step_sizes, config.epsilon * c


class Optimizer(NamedTuple):
    """An optimiser: how it changes an array, and at which rates."""

    change: Callable[..., _Changed]
    own_rates: Callable[[np.ndarray, np.ndarray, TrainConfig], tuple[Any, ...]]
    """`own_rates(learning_rates, t, config)`: error, step_size and epsilon of steps t,
    counted from 1. Each is an array (n,), or one number for all steps. The error is
    still without its factor 1 / B.
    """
    slot_count: int
    """The number of slots."""
    decoupled: bool
    """How weights decay. True: w is multiplied by 1 - learning rate * weight_decay,
    apart from the update (Loshchilov and Hutter, 2019). False: weight_decay * w is
    added to the gradient. For gradient descent, both are the same.
    """

    def rates(
        self, learning_rates: np.ndarray, step_numbers: np.ndarray, config: TrainConfig
    ) -> Rates:
        """Return the rates of n steps, float64 (n,) each.

        The error is still without its factor 1 / B. The numbers of the steps count from
        0.
        """
        error, step_size, epsilon = self.own_rates(
            learning_rates, step_numbers + 1, config
        )
        # `change` gets r times the mean gradient, so weight_decay * w, which is added
        # to it, needs the factor r too.
        decay = config.weight_decay * (learning_rates if self.decoupled else error)
        return Rates(*np.broadcast_arrays(error, decay, step_size, epsilon))

    def update(
        self,
        layer: Layer,
        gradient: Layer,
        slots: Slots,
        rates: Rates,
        config: TrainConfig,
        /,
        *,
        xp: Any,
    ) -> tuple[Layer, Slots]:
        """Return the layer and its slots after a step, with weight decay.

        The layer and the slots are donated.
        """
        # Whether weights decay is a constant of a compiled step. How much is not.
        decays = config.weight_decay > 0
        weights, weights_slots = self._changed(
            layer.weights,
            gradient.weights,
            [slot.weights for slot in slots],
            rates,
            config,
            decays=decays,
            xp=xp,
        )
        bias, bias_slots = self._changed(
            layer.bias,
            gradient.bias,
            [slot.bias for slot in slots],
            rates,
            config,
            decays=decays and config.decay_bias,
            xp=xp,
        )
        return Layer(weights, bias), tuple(map(Layer, weights_slots, bias_slots))

    def _changed(
        self,
        w: Array,
        g: Array,
        slots: _Arrays,
        rates: Rates,
        config: TrainConfig,
        *,
        decays: bool,
        xp: Any,
    ) -> _Changed:
        if decays and self.decoupled:
            w *= 1 - rates.decay
        elif decays:
            pull = rates.decay * w
            pull += g
            g = pull
        return self.change(w, g, slots, rates, config, xp=xp)


OPTIMIZERS = {
    "sgd": Optimizer(
        sgd,
        lambda learning_rates, t, config: (learning_rates, 0.0, 0.0),
        slot_count=0,
        decoupled=True,
    ),
    "momentum": Optimizer(
        momentum,
        lambda learning_rates, t, config: (1.0, learning_rates, 0.0),
        slot_count=1,
        decoupled=False,
    ),
    "adam": Optimizer(adam, adam_rates, slot_count=2, decoupled=False),
    "adamw": Optimizer(adam, adam_rates, slot_count=2, decoupled=True),
}


def clip_by_norm(
    gradients: Iterable[tuple[int, Layer]], limit: Array, /, *, xp: Any
) -> list[tuple[int, Layer]]:
    """Return gradients scaled by limit / norm if their common norm is above the limit.

    Each gradient comes with the number of its layer. `limit` is a scalar array. If the
    norm overflows, all results are NaN. Each network of a stack has a norm of its own.
    Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    in_order = sorted(gradients, key=lambda pair: pair[0])
    arrays = [array for _, layer in in_order for array in layer]
    if len(arrays[0].shape) == 3:
        squares = [xp.sum(a * a, axis=(-2, -1), keepdims=True) for a in arrays]
    else:
        squares = [xp.sum(a * a) for a in arrays]
    norm = xp.sqrt(sum(squares))
    # For an infinite norm, the first term is 0. The network would silently stop
    # learning, so the second term makes the factor NaN: 0 times infinity.
    factor = limit / xp.where(norm > limit, norm, limit) + 0 * norm
    return [
        (i, Layer(factor * gradient.weights, factor * gradient.bias))
        for i, gradient in in_order
    ]


def constant(rate: float, step_numbers: np.ndarray, total: int) -> np.ndarray:
    """Return the same rate for each step: float64 (n,) for n numbers of steps."""
    return np.full(step_numbers.shape, rate)


def cosine(rate: float, step_numbers: np.ndarray, total: int) -> np.ndarray:
    """Return rate (1 + cos(pi t / total)) / 2, for steps t of `total`, from 0.

    Loshchilov and Hutter, 2017, equation 5, without restarts.
    """
    return rate * (1 + np.cos(np.pi * step_numbers / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
