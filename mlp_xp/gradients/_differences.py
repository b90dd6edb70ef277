"""Central differences, and the largest deviation of a right gradient.

With f the loss along one parameter, and D(h) = (f(h) - f(-h)) / 2h,

    D(h) - f' = h^2 f''' / 6 + O(h^4)

is its truncation error. Its rounding error is at most eps_f / h, where eps_f bounds the
absolute rounding error of f (Nocedal and Wright, Numerical Optimization, 2006, section
8.1). A step h = eps^(1/3) makes both about eps^(2/3), for the eps of the program's
dtype.

The truncation error is measured. Let S(x) = f(x + h) - 2 f(x) + f(x - h), and

    T = (|S(0) - S(-h)| + |S(h) - S(0)|) / h

Without kinks, T is 2 h^2 f''', twelve times the truncation error. A kink, such as that
of relu at 0, is a jump of f' by J at a distance r h. It puts D(h) off by J (1 - r) / 2.
With all kinks on one side, one of the two terms of T is the sum of J (1 - r), twice as
much. With kinks on both sides, T may only be too small if their jumps cancel.

eps_f is measured, after More and Wild (Estimating Computational Noise, 2011): f is
computed at 16 points along a random direction, h / 16 apart. The fifth differences of
the exact values are of order h^5. Rounding adds 252 times its own variance. eps_f is
eps |f| and eight times the median of the differences, divided by the root of 252.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mlp_xp.core.functional import Array

Loss = Callable[[Mapping[str, Array]], float]
"""A loss, for values of some of the parameters."""
_POINTS = 16
_SAFETY = 8


class Difference(NamedTuple):
    """A derivative by central differences, and its largest error."""

    value: float
    tolerance: float


def rounding_error(
    loss: Loss, values: Mapping[str, Array], eps: float, random: np.random.Generator
) -> float:
    """Return eps_f, the absolute rounding error of a loss."""
    step = eps ** (1 / 3) / _POINTS
    neighbours = moved(values, step, random)
    losses = []
    for i in range(_POINTS):
        at = {key: x + i * (neighbours[key] - x) for key, x in values.items()}
        losses.append(loss(at))
    differences = np.abs(np.diff(losses, n=5)) / 252**0.5
    return eps * abs(losses[0]) + _SAFETY * float(np.median(differences))


def moved(
    values: Mapping[str, Array], size: float, random: np.random.Generator
) -> dict[str, Array]:
    """Return values with changes of at most `size`, relative to their array.

    Zeros change, too. Otherwise a program could use a bias of zeros in any way.
    """
    changed = {}
    for key, value in values.items():
        changed[key] = value + size * scales(value) * random.uniform(-1, 1, value.shape)
    return changed


def scales(value: Array) -> Array:
    """Return the sizes of the numbers in an array, which are above 0."""
    return (np.abs(value) + typical(value)) / 2


def typical(value: Array) -> float:
    """Return the mean size of the numbers in an array, or 1 if all are 0."""
    return float(np.mean(np.abs(value))) or 1.0


def difference(
    loss: Callable[[float], float],
    value: float,
    loss_at_value: float,
    eps: float,
    rounding: float,
    scale: float = 1.0,
) -> Difference:
    """Return the derivative of a loss by a number, with its largest error.

    `eps` is the eps of the dtype of the loss, and `rounding` its eps_f. The step is
    relative to the number, or to `scale` if this is larger.
    """
    step = eps ** (1 / 3) * max(scale, abs(value))
    lower, upper = loss(value - step), loss(value + step)
    lowest, highest = loss(value - 2 * step), loss(value + 2 * step)
    bends = np.diff([lowest, lower, loss_at_value, upper, highest], n=2)
    truncation = float(np.sum(np.abs(np.diff(bends)))) / step
    return Difference((upper - lower) / (2 * step), truncation + rounding / step)
