"""A training loop as one `scan(step, carry, xs)`: the same contract eagerly here and compiled in JAX's `lax.scan`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any  # whatever the namespace calls an array: the standard has no published static type for it yet
Carry = Any
Step = Callable[[Carry, tuple[Array, ...]], tuple[Carry, Array]]
Scan = Callable[[Step, Carry, tuple[Array, ...]], tuple[Carry, Array]]


def eager_scan(step: Step, carry: Carry, xs: Sequence[Array], /, *, xp: Any) -> tuple[Carry, Array]:
    """Call `carry, y = step(carry, x)` for every x along the first axis of the arrays `xs`; a plain Python loop.

    `xs` are arrays of one length n >= 1; a step sees row i of each. Returns the last carry and the stacked `y`, shape
    (n, *y.shape). The contract is that of `jax.lax.scan`. The carry is donated: a step may update its arrays in place,
    so the caller hands over arrays that nobody else reads and goes on with those that are returned.
    """
    rows = [[x[i, ...] for i in range(x.shape[0])] for x in xs]
    ys = []
    # An overflow is no news worth a warning a step: whoever runs the loop checks the losses of the whole chunk.
    with np.errstate(over="ignore", invalid="ignore"):
        for row in zip(*rows, strict=True):
            carry, y = step(carry, row)
            ys.append(y)
    return carry, xp.stack(ys)
