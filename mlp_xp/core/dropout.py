"""Dropout: in training, each hidden unit is switched off with a probability p, and the others are divided by 1 - p.

Srivastava et al., 2014, in the inverted form, which leaves the network as it is in evaluation. The masks are drawn by
NumPy on the host, so that they are the same on every backend, and sent to the device as one byte per unit, sample and
step: with 512 and 256 hidden units and batches of 128, 98 KB per step.

The mask of a step is a function of the settings and the step's number alone, so a resumed run needs no saved state, and
masks do not depend on how a run is cut into chunks. Philox (Salmon et al., 2011) makes this cheap: it is a function of
a key and a counter. The masks have a stream of their own; weights and shuffles are those of a run without dropout.
"""

from itertools import accumulate
from typing import Any

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array

# Random numbers of 32 bits that one value of the counter gives.
PER_COUNT = 8


def draw_masks(config: TrainConfig, steps: int, batch_size: int, first_step: int) -> np.ndarray:
    """Return which hidden units are kept, uint8 (steps, B, n_1 + ... + n_{L-1}): 1 with probability 1 - dropout.

    first_step: the number of the first of the steps, from 0 at the start of training. batch_size: B, at most that of
    the configuration.
    """
    units = sum(config.hidden)
    counts = -(-config.batch_size * units // PER_COUNT)
    random = np.random.Philox(key=config.seed, counter=first_step * counts)
    numbers = random.random_raw(steps * counts * PER_COUNT // 2).astype("<u8").view("<u4")
    kept = numbers.reshape(steps, -1)[:, : batch_size * units] >= config.dropout * 2.0**32
    return kept.astype(np.uint8).reshape(steps, batch_size, units)


def scaled_masks(kept: Array, config: TrainConfig, dtype: Any, /, *, xp: Any) -> list[Array]:
    """Return what each hidden layer is multiplied by, (B, n_l): 0 or 1 / (1 - dropout).

    kept: of one step, (B, n_1 + ... + n_{L-1}).
    """
    mask = xp.astype(kept, dtype) * (1 / (1 - config.dropout))
    ends = [*accumulate(config.hidden)]
    return [mask[:, end - units : end] for units, end in zip(config.hidden, ends, strict=True)]
