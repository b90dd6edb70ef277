"""A library on another device than its default one: the hook in docs/libraries.md."""

from functools import partial

import array_api_strict as strict
import numpy as np

from mlp_xp.backends.hooks import adapted

DEVICE, HOST = strict.Device("device1"), strict.Device("CPU_DEVICE")
xp = adapted(
    strict,
    **{
        name: partial(getattr(strict, name), device=DEVICE)
        for name in ("arange", "asarray")
    },
)


def to_numpy(x):
    """Copy an array to the host."""
    return np.array(strict.asarray(x, device=HOST))
