"""The losses, one for each kind of task, and their common derivative.

Each task has a loss L(z, t) and a link, which turns z into predictions p. z are the
network's last outputs (the logits) and t the targets, both (..., n). Along the last
axis,

    classes      t one-hot         p = softmax(z)
                                   L = -sum_i t_i log p_i (the cross-entropy)
    labels       t_i is 0 or 1     p_i = sigmoid(z_i)
                                   L = -sum_i [t_i log p_i + (1 - t_i) log(1 - p_i)]
    regression   t_i any number    p = z
                                   L = sum_i (z_i - t_i)^2 / 2

These are the canonical links, with which all three losses have the same derivative
(Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.6). Each loss can
be written L = A(z) - sum_i t_i z_i + a term without z:

    classes      A = log sum_j exp(z_j)
                 because log p_i = z_i - log sum_j exp(z_j) and sum_i t_i = 1
    labels       A = sum_i log(1 + exp(z_i))
                 because log p_i = z_i - log(1 + exp(z_i))
                 and log(1 - p_i) = -log(1 + exp(z_i))
    regression   A = sum_i z_i^2 / 2

In all three, the gradient of A is p. Therefore

    dL/dz_i = dA/dz_i - t_i = p_i - t_i

A loss is a sum over the outputs. Training and evaluation take its mean over the
samples.
"""

from typing import Any

from mlp_xp.core.functional import Array

MANY = 64  # From this many samples on, softmax is faster on the transposed array.


def _by_output(x: Array, /, *, xp: Any) -> Array:
    """Return outputs (..., n) as a contiguous array (n, samples).

    NumPy sums a few long rows faster than many short ones.
    """
    view = xp.reshape(x, (-1, x.shape[-1])).T
    contiguous = xp.reshape(view, (-1,))
    return xp.reshape(contiguous, view.shape)


def softmax(x: Array, /, *, xp: Any) -> Array:
    """Return exp(x_i) / sum_j exp(x_j), shape (..., n).

    These are probabilities in [0, 1], with a sum of 1. The largest x is subtracted
    first, so that the exponential does not overflow.
    """
    # In the standard, a length is None while it is not known.
    if len(x.shape) == 2 and (x.shape[0] or 0) >= MANY:
        z = _by_output(x, xp=xp)
        e = xp.exp(z - xp.max(z, axis=0))
        e /= xp.sum(e, axis=0)
        return e.T
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    e /= xp.sum(e, axis=-1, keepdims=True)
    return e


def log_softmax(x: Array, /, *, xp: Any) -> Array:
    """Return log(softmax(x)) = x_i - log sum_j exp(x_j), shape (..., n).

    The result is at most 0, and finite even where softmax is 0.
    """
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def cross_entropy(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """Return log sum_j exp(z_j) - sum_i t_i z_i, for z and t (..., n), shape (...).

    z are the logits, and t the one-hot targets. The loss takes no probabilities,
    because t log p is infinite or NaN once a probability underflows to 0. The largest z
    is subtracted first, as in `softmax`.
    """
    z = _by_output(logits, xp=xp)
    t = _by_output(targets, xp=xp)
    z = z - xp.max(z, axis=0)
    losses = xp.log(xp.sum(xp.exp(z), axis=0)) - xp.sum(t * z, axis=0)
    return xp.reshape(losses, logits.shape[:-1])


def binary_cross_entropy(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """Return -sum_i [t_i log p_i + (1 - t_i) log(1 - p_i)], p = sigmoid(logits).

    The logits z and targets t (..., n) give losses (...). The sum is over |z| / 2 +
    (1/2 - t) z + log(1 + exp(-|z|)), which neither overflows nor loses small losses.
    """
    size = xp.abs(logits)
    return xp.sum(
        0.5 * size + (0.5 - targets) * logits + xp.log1p(xp.exp(-size)), axis=-1
    )


def half_squared_error(outputs: Array, targets: Array, /, *, xp: Any) -> Array:
    """Return sum_i (z_i - t_i)^2 / 2: outputs and targets (..., n) to losses (...)."""
    error = outputs - targets
    return 0.5 * xp.sum(error * error, axis=-1)
