"""A training loop as one function, `scan(step, carry, xs)`, with one contract for eager and compiled libraries."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array

Carry = Any  # what a step changes and passes on to the next one
Scan = Callable[..., tuple[Carry, Array]]  # called with a step, a carry, xs, and perhaps a count; see `Backend`
Rows = Callable[[Array], Sequence[Array]]


def rows_of(x: Array) -> Sequence[Array]:
    """Return x[i, ...] for every i."""
    return [x[i, ...] for i in range(x.shape[0])]


def eager_scan(
    step: Callable[..., tuple[Carry, Array]],
    carry: Carry,
    xs: Sequence[Array],
    count: None = None,
    /,
    *,
    xp: Any,
    rows: Rows = rows_of,
) -> tuple[Carry, Array]:
    """Call `carry, y = step(carry, x)` for every x along the first axis of the arrays `xs`, in a plain Python loop.

    The arrays in `xs` have one length n >= 1; a step receives row i of each. Returns the last carry and the stacked y,
    shape (n, *y.shape). The contract is that of `jax.lax.scan`. The carry is donated: a step may update its arrays in
    place, so the caller must use the returned ones. count: None; see `Backend.scan`. rows: returns the x[i, ...] of an
    array, for a library that has a faster way than indexing.
    """
    ys = []
    # Without a warning at each step: the caller checks the losses of the whole chunk.
    with np.errstate(over="ignore", invalid="ignore"):
        for row in zip(*map(rows, xs), strict=True):
            carry, y = step(carry, row)
            ys.append(y)
    return carry, xp.stack(ys)


def scan_blocks(
    scan: Scan,
    block: Callable[..., tuple[Carry, Array]],
    carry: Carry,
    xs: Sequence[Array],
    size: int,
    count: Array | None = None,
    /,
    *,
    xp: Any,
) -> tuple[Carry, Array]:
    """Scan over blocks of `size` rows, and over the rest as a shorter block.

    A block receives the next rows of each array in `xs`, and returns a carry and as many rows of y. Returns the last
    carry and all rows of y. count: of the blocks, as `Backend.scan` takes it, if there is no rest.
    """
    n = xs[0].shape[0]
    whole = n - n % size
    ys = []
    for start, stop, length in ((0, whole, size), (whole, n, n - whole)):
        if start < stop:  # (n, ...) becomes (blocks, length, ...), so that a compiler sees one block
            blocks = tuple(xp.reshape(x[start:stop, ...], ((stop - start) // length, length, *x.shape[1:])) for x in xs)
            carry, y = scan(block, carry, blocks, count)
            ys.append(xp.reshape(y, (stop - start, *y.shape[2:])))
    return carry, xp.concat(ys, axis=0)
