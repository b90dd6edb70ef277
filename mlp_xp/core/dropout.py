"""Dropout: in training, each hidden unit is switched off with a probability p, and the
others are divided by 1 - p.

Srivastava et al., 2014, in the inverted form, which leaves the network as it is in
evaluation. NumPy draws on the host which units are kept, one byte per unit, sample and
step, so that they are the same on every backend.

The units of a step are a function of the settings and the step's number alone, so a
resumed run needs no saved state, and they do not depend on how a run is cut into
chunks: Philox (Salmon et al., 2011) is a function of a key and a counter. Weights and
shuffles are those of a run without dropout.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Activation, Array

PER_COUNT = 8  # random numbers of 32 bits that one value of the counter gives


def draw_masks(
    config: TrainConfig, steps: int, batch_size: int, first_step: int
) -> np.ndarray:
    """Return which hidden units are kept, uint8 (steps, B, n_1 + ... + n_{L-1}): 1 with
    probability 1 - dropout.

    Without dropout, (steps, B, 0). first_step: the number of the first of the steps,
    from 0 at the start of training. batch_size: B, at most that of the configuration.
    """
    units = sum(config.hidden) if config.dropout else 0
    # Each step has as many values of the counter as a full batch needs. A raw number of
    # 64 bits is two of 32.
    counts = -(-config.batch_size * units // PER_COUNT)
    random = np.random.Philox(key=config.seed, counter=first_step * counts)
    numbers = (
        random.random_raw(steps * counts * PER_COUNT // 2).astype("<u8").view("<u4")
    )
    kept = (
        numbers.reshape(steps, -1)[:, : batch_size * units] >= config.dropout * 2.0**32
    )
    return kept.astype(np.uint8).reshape(steps, batch_size, units)


class Dropout(NamedTuple):
    """An activation with dropout after it, used as an `Activation` is: y = f(z) * mask,
    so dy / dz = f'(z) * mask.
    """

    activation: Activation
    mask: Array
    """(B, n_l): 0 or 1 / (1 - p)."""

    def function(self, z: Array, /, *, xp: Any) -> tuple[Array, Any]:
        """Return y, and what the activation saves."""
        y, saved = self.activation.function(z, xp=xp)
        return y * self.mask, saved

    def chain(self, error: Array, saved: Any, /, *, xp: Any) -> Array:
        """Return the error at z, given the error at y."""
        return self.activation.chain(error, saved, xp=xp) * self.mask


def with_dropout(
    activations: Sequence[Activation],
    kept: Array,
    config: TrainConfig,
    dtype: Any,
    /,
    *,
    xp: Any,
) -> list[Dropout]:
    """Return the activations of the hidden layers with dropout. kept: for one step, (B,
    n_1 + ... + n_{L-1}).
    """
    masks = xp.astype(kept, dtype) * (1 / (1 - config.dropout))
    columns = pairwise([0, *accumulate(config.hidden)])
    return [
        Dropout(f, masks[:, first:stop])
        for f, (first, stop) in zip(activations, columns, strict=True)
    ]
