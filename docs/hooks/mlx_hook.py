"""MLX: it needs no hook to run (`--backends mlx.core:`); with this one the arrays of a chunk are computed together."""

import mlx.core as xp


def materialise(*arrays):
    """Compute lazy arrays in place, and return them."""
    xp.eval(*arrays)
    return arrays
