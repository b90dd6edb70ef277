"""MLX: its lazy arrays are computed together when a chunk of steps ends.

`--backends mlx.core:` works too, without this hook.
"""

import mlx.core as xp


def materialise(*arrays):
    """Compute lazy arrays in place, and return them."""
    xp.eval(*arrays)
    return arrays
