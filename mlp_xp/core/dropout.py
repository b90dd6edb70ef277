"""Dropout: training switches off each hidden unit with probability p.

The other units are divided by 1 - p. This inverted form (Srivastava et al., 2014)
leaves the network unchanged in evaluation. NumPy draws on the host whether a unit is
kept, one byte per unit, sample and step, so that the units are the same on every
backend.

The units of a step depend only on the settings and the number of the step, because the
generator Philox (Salmon et al., 2011) is a function of a key and a counter. A resumed
run therefore needs no saved state, and the chunks of a run do not matter. Weights and
shuffles are the same as without dropout.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Activation, Array

_COUNT_BYTES = 32  # Random bytes for one value of the counter.


def random_bytes(key: int, first_step: int, steps: int, step_bytes: int) -> np.ndarray:
    """Return random bytes for some steps, uint8 (steps, at least `step_bytes`).

    The bytes of a step depend only on the key, the number of the step, and the number
    of bytes per step.
    """
    counts = -(-step_bytes // _COUNT_BYTES)
    random = np.random.Philox(key=key, counter=first_step * counts)
    words = random.random_raw(steps * counts * _COUNT_BYTES // 8)
    return words.astype("<u8", copy=False).view(np.uint8).reshape(steps, -1)


def draw_masks(
    config: TrainConfig, steps: int, batch_size: int, first_step: int
) -> np.ndarray:
    """Return which hidden units are kept, uint8 (steps, B, n_1 + ... + n_{L-1}).

    An element is 1 with probability 1 - dropout. Without dropout, the shape is (steps,
    B, 0). `batch_size`, B, is at most the batch size in the settings. `first_step` is
    the number of the first step, from 0 at the start of training.
    """
    units = sum(config.hidden) if config.dropout else 0
    # A number of 32 bits for each unit, and the same bytes for a smaller last batch.
    full_bytes = 4 * config.batch_size * units
    numbers = random_bytes(config.seed, first_step, steps, full_bytes).view("<u4")
    kept = numbers[:, : batch_size * units] >= config.dropout * 2.0**32
    return kept.astype(np.uint8).reshape(steps, batch_size, units)


class Dropout(NamedTuple):
    """An activation f followed by dropout, with the methods of an `Activation`.

    y = f(z) * mask, so dy / dz = f'(z) * mask.
    """

    activation: Activation
    mask: Array
    """(B, n_l): 0 or 1 / (1 - p)."""

    def function(self, z: Array, /, *, xp: Any) -> tuple[Array, Any]:
        """Return y, and the arrays that the activation saves."""
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
    """Return the activations of the hidden layers, each followed by dropout.

    `kept` is from `draw_masks`, for one step: (B, n_1 + ... + n_{L-1}). For a stack of
    networks, it has an axis in front.
    """
    masks = xp.astype(kept, dtype) * (1 / (1 - config.dropout))
    columns = pairwise([0, *accumulate(config.hidden)])
    return [
        Dropout(activation, masks[..., first:stop])
        for activation, (first, stop) in zip(activations, columns, strict=True)
    ]
