"""The loss: cross-entropy with softmax, computed from the logits, and its derivative.

Arrays have shape (..., n), where n is the number of classes; softmax and cross-entropy run along the last axis.
"""

from typing import Any

from mlp_xp.functional import Array


def softmax(x: Array, /, *, xp: Any) -> Array:
    """Return exp(x_i) / sum_j exp(x_j): probabilities in [0, 1] that sum to 1, shape (..., n).

    The largest x is subtracted first, so that the exponential does not overflow.
    """
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_softmax(x: Array, /, *, xp: Any) -> Array:
    """Return log(softmax(x)) = x_i - log sum_j exp(x_j), shape (..., n).

    At most 0, and finite even where softmax itself underflows to 0.
    """
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def cross_entropy(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """Return -sum_i t_i log softmax(logits)_i, at least 0: logits and one-hot targets (..., n) to losses (...).

    It takes logits, not probabilities, because t log p is NaN once a probability underflows to 0.
    """
    return -xp.sum(targets * log_softmax(logits, xp=xp), axis=-1)


def cross_entropy_derivative(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """Return d cross_entropy / d logits = softmax(logits) - targets, shape (..., n).

    Valid for targets that sum to 1 (Bishop, Pattern Recognition and Machine Learning, 2006, eq. 4.109).
    """
    return softmax(logits, xp=xp) - targets
