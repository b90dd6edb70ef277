"""Optimisers and learning-rate schedules: how gradients change the weights.

An optimiser has a function that changes one array of a layer, its weights or its bias:
`change(w, g, slots, rates, settings, xp=)` returns the new w and slots. g is the
gradient of w, and the slots are arrays that the optimiser keeps for w from step to
step, of the shape of w: none, a velocity, or two moments. w and the slots are donated;
g must not change, because the caller may need it. `settings` is a `TrainConfig`. What
changes from step to step, such as the learning rate, is in `rates`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer

Slots = tuple[Layer, ...]
"""What an optimiser keeps for a layer, one `Layer` per slot: (), (velocity,) or (m, v),
each with weights and bias.
"""
_Changed = tuple[Array, Sequence[Array]]


class Rates(NamedTuple):
    """The numbers that change from step to step, arrays () for a step, (k,) for k
    steps. Unused ones are 0.
    """

    error: Array
    """Factor of the error at the output, and so of all gradients, which are linear in
    it: r / B. r is the learning rate for gradient descent, 1 for momentum and 1 -
    beta_1 for Adam; 1 / B makes the gradient of a batch a mean. For the notebook's
    network this takes 10 multiplications per sample; in the gradients, r would take 50
    000. `Optimizer.rates` returns r, and `step_inputs` divides it.
    """
    decay: Array
    """Factor of the parameters, for weight decay. `Optimizer.rates` sets it for all
    optimisers.
    """
    step_size: Array
    """Factor of what momentum or Adam subtracts: the learning rate, for Adam with the
    bias correction.
    """
    epsilon: Array
    """What Adam adds to the root of the mean squared gradient."""


def sgd(
    w: Array,
    g: Array,
    slots: Sequence[Array],
    rates: Rates,
    settings: Any,
    /,
    *,
    xp: Any,
) -> _Changed:
    """Gradient descent: w - g, where g has the learning rate in it, by rates.error."""
    w -= g
    return w, slots


def momentum(
    w: Array,
    g: Array,
    slots: Sequence[Array],
    rates: Rates,
    settings: Any,
    /,
    *,
    xp: Any,
) -> _Changed:
    """Gradient descent with momentum m: v = m v + g, then w - rate v; with Nesterov's
    variant, w - rate (g + m v).

    Sutskever et al., 2013, in the form that PyTorch uses. The rate is rates.step_size.
    """
    (v,) = slots
    v *= settings.momentum
    v += g
    w -= rates.step_size * (g + settings.momentum * v if settings.nesterov else v)
    return w, (v,)


def adam(
    w: Array,
    g: Array,
    slots: Sequence[Array],
    rates: Rates,
    settings: Any,
    /,
    *,
    xp: Any,
) -> _Changed:
    """Adam (Kingma and Ba, 2015, algorithm 1): w - rate m / (sqrt(v) + epsilon), with
    moments m and v of the gradient.

    The rate and epsilon contain the bias correction: see `adam_rates`, which also sets
    rates.error to 1 - beta_1. With the gradient G, this g is therefore (1 - beta_1) G,
    so that m = beta_1 m + g, and v = beta_2 v + (1 - beta_2) G * G takes a multiple of
    g * g.
    """
    m, v = slots
    beta_1, beta_2 = settings.beta_1, settings.beta_2
    # This works in place where it can, and with few arrays at a time. On NumPy, that
    # takes two thirds of the time, because every new array of this size costs as much
    # as the arithmetic in it. An array that takes the place of another, just deleted,
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


def adam_rates(rate: np.ndarray, t: np.ndarray, settings: Any) -> tuple[Any, ...]:
    """Return error, step_size and epsilon of Adam's steps t, counted from 1; see
    `Optimizer.own_rates`.

    The bias correction is that of section 2 of the paper, "the efficiency of algorithm
    1": with c = sqrt(1 - beta_2^t), the step size is rate c / (1 - beta_1^t), and
    epsilon c is added.
    """
    c = np.sqrt(1 - settings.beta_2**t)
    return (
        1 - settings.beta_1,
        rate * c / (1 - settings.beta_1**t),
        settings.epsilon * c,
    )


class Optimizer(NamedTuple):
    """An optimiser: how it changes an array, and at which rates."""

    change: Callable[..., _Changed]
    own_rates: Callable[[np.ndarray, np.ndarray, Any], tuple[Any, ...]]
    """`own_rates(rate, t, settings)`: error, step_size and epsilon of steps t, counted
    from 1, with these learning rates; arrays (n,), or a number for all steps.
    """
    slot_count: int
    """How many arrays it keeps for each array of a layer."""
    decoupled: bool
    """How weights decay. True: w is multiplied by 1 - learning rate * weight_decay,
    apart from the update (Loshchilov and Hutter, 2019). False: weight_decay * w is
    added to the gradient. For gradient descent both are the same.
    """

    def rates(
        self, learning_rates: np.ndarray, step_numbers: np.ndarray, settings: Any
    ) -> Rates:
        """Return the rates, float64 (n,) each, of n steps with these learning rates and
        numbers, from 0, (n,) each.
        """
        error, step_size, epsilon = self.own_rates(
            learning_rates, step_numbers + 1, settings
        )
        # What reaches `change` is r times the mean gradient, so the pull weight_decay *
        # w gets the factor r too.
        decay = settings.weight_decay * (learning_rates if self.decoupled else error)
        return Rates(*np.broadcast_arrays(error, decay, step_size, epsilon))

    def make_update(
        self, settings: Any, *, xp: Any
    ) -> Callable[..., tuple[Layer, Slots]]:
        """Return `update(layer, gradient, slots, rates) -> layer, slots`, with weight
        decay. layer, slots: donated.
        """

        def changed(
            w: Array, g: Array, slots: Sequence[Array], rates: Rates, *, decays: bool
        ) -> _Changed:
            if decays and self.decoupled:
                w *= 1 - rates.decay
            elif decays:
                pull = rates.decay * w
                pull += g
                g = pull
            return self.change(w, g, slots, rates, settings, xp=xp)

        # a step asks only whether: rates.decay says how much
        weights_decay = settings.weight_decay > 0
        bias_decays = weights_decay and settings.decay_bias

        def update(
            layer: Layer, gradient: Layer, slots: Slots, rates: Rates, /
        ) -> tuple[Layer, Slots]:
            for_weights, for_bias = (
                [slot.weights for slot in slots],
                [slot.bias for slot in slots],
            )
            weights, slots_w = changed(
                layer.weights,
                gradient.weights,
                for_weights,
                rates,
                decays=weights_decay,
            )
            bias, slots_b = changed(
                layer.bias, gradient.bias, for_bias, rates, decays=bias_decays
            )
            return Layer(weights, bias), tuple(map(Layer, slots_w, slots_b))

        return update


OPTIMIZERS = {
    "sgd": Optimizer(
        sgd, lambda rate, t, settings: (rate, 0.0, 0.0), slot_count=0, decoupled=True
    ),
    "momentum": Optimizer(
        momentum,
        lambda rate, t, settings: (1.0, rate, 0.0),
        slot_count=1,
        decoupled=False,
    ),
    "adam": Optimizer(adam, adam_rates, slot_count=2, decoupled=False),
    "adamw": Optimizer(adam, adam_rates, slot_count=2, decoupled=True),
}


def clip_by_norm(
    gradients: Iterable[tuple[int, Layer]], limit: Array, /, *, xp: Any
) -> list[tuple[int, Layer]]:
    """Return gradients with their layers' numbers, multiplied by limit / norm if their
    common norm is above the limit.

    limit: a scalar array. Pascanu, Mikolov and Bengio, 2013, algorithm 1. NaN if the
        norm overflows.
    """
    in_order = sorted(gradients, key=lambda pair: pair[0])
    norm = xp.sqrt(
        sum(xp.sum(array * array) for _, gradient in in_order for array in gradient)
    )
    # 0 times an infinite norm is NaN: else the factor would be 0, and the network would
    # silently stop learning.
    factor = limit / xp.where(norm > limit, norm, limit) + 0 * norm
    return [
        (i, Layer(factor * gradient.weights, factor * gradient.bias))
        for i, gradient in in_order
    ]


def constant(rate: float, step_numbers: np.ndarray, total: int) -> np.ndarray:
    """Return the same rate for each step: float64 (n,) for numbers of steps (n,) in a
    run of `total` steps.
    """
    return np.full(step_numbers.shape, rate)


def cosine(rate: float, step_numbers: np.ndarray, total: int) -> np.ndarray:
    """Return rate (1 + cos(pi t / total)) / 2, t from 0: Loshchilov and Hutter, 2017,
    eq. 5, without restarts.
    """
    return rate * (1 + np.cos(np.pi * step_numbers / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
