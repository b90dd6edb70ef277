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
eps |f| and eight times the median of the differences, divided by the root of 252. A
loss that is equal at two neighbours moves in steps. Then the largest step is added.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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


def neighbours(
    loss: Loss, values: Mapping[str, Array], eps: float, random: np.random.Generator
) -> Array:
    """Return a loss at 16 points along a random direction, h / 16 apart."""
    step = eps ** (1 / 3) / _POINTS
    last = moved(values, step, random)
    losses = []
    for i in range(_POINTS):
        at = {key: x + i * (last[key] - x) for key, x in values.items()}
        losses.append(loss(at))
    return np.array(losses)


def rounding_error(losses: Array, eps: float) -> float:
    """Return eps_f, the absolute rounding error of a loss, from its `neighbours`."""
    differences = np.abs(np.diff(losses, n=5)) / 252**0.5
    noise = _SAFETY * float(np.median(differences))
    jumps = np.abs(np.diff(losses))
    if np.any(jumps == 0):  # a loss that moves in steps
        noise += float(np.max(jumps))
    return eps * abs(float(losses[0])) + noise


def moved(
    values: Mapping[str, Array], size: float, random: np.random.Generator
) -> dict[str, Array]:
    """Return values with changes of at most `size`, relative to their array.

    Zeros change, too. Otherwise a program could use a bias of zeros in any way.
    """
    changed = {}
    for key, value in values.items():
        change = size * scales(value) * random.uniform(-1, 1, value.shape)
        changed[key] = np.asarray(value + change, value.dtype)
    return changed


def scales(value: Array) -> Array:
    """Return the sizes of the numbers in an array, which are above 0."""
    return (np.abs(value) + typical(value)) / 2


def typical(value: Array) -> float:
    """Return the mean size of the numbers in an array, or 1 if all are 0."""
    return float(np.mean(np.abs(value))) or 1.0


def difference(
    loss: Callable[[float], float],
    points: Array,
    loss_at_value: float,
    rounding: float,
) -> Difference:
    """Return the derivative of a loss by a number, with its largest error.

    `points` are the numbers w - 2 h, w - h, w + h and w + 2 h, and `rounding` is eps_f
    of the loss.
    """
    lowest, lower, upper, highest = map(float, points)
    below, above = loss(lower), loss(upper)
    step = (upper - lower) / 2
    bends = np.diff([loss(lowest), below, loss_at_value, above, loss(highest)], n=2)
    truncation = float(np.sum(np.abs(np.diff(bends)))) / step
    return Difference((above - below) / (2 * step), truncation + rounding / step)


def points_around(value: Any, step: float) -> Array:
    """Return the numbers w - 2 h, w - h, w + h and w + 2 h, in the dtype of w."""
    return (value + step * np.array([-2, -1, 1, 2])).astype(np.asarray(value).dtype)
