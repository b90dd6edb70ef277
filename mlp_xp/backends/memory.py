"""An estimate of the memory that training needs, compared with what is available,
before anything is allocated.

Linux grants more memory than there is and kills the process that uses it, so a network
that is far too large would end without a message.
"""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.network import count_parameters
from mlp_xp.core.optimizers import OPTIMIZERS
from mlp_xp.errors import MlpXpError

GROUPS = Path("/sys/fs/cgroup")


class NotEnoughMemoryError(MlpXpError):
    """Training needs more memory than there is."""


def check_memory(config: TrainConfig, sizes: tuple[int, ...], backend: Backend) -> None:
    """Raise NotEnoughMemoryError if training needs more memory than the machine or the
    container has left.

    sizes: (n_0, ..., n_L). Memory of a GPU is not checked, because its library reports
        an allocation that fails.
    """
    need, available = (
        training_bytes(config, sizes, backend.dtype_name),
        available_bytes(),
    )
    if not backend.on_gpu and need > available:
        fault = f"training needs about {in_units(need)} of memory, but {in_units(available)} are available"
        raise NotEnoughMemoryError(
            fault, remedy="choose fewer hidden units or smaller batches"
        )


def training_bytes(config: TrainConfig, sizes: tuple[int, ...], dtype: str) -> int:
    """Return a lower bound of the bytes that training allocates, in addition to the
    data set and the libraries.

    These are the weights, the optimiser's slots and one more copy (in float64 at the
    start, a gradient or a report later), the best network if samples are held out, and
    the values of all layers for one batch. sizes: (n_0, ..., n_L). dtype: the name of
    the dtype of all these arrays.
    """
    copies = 2 + OPTIMIZERS[config.optimizer].slot_count + bool(config.validation)
    return np.dtype(dtype).itemsize * (
        copies * count_parameters(sizes) + config.batch_size * sum(sizes)
    )


def available_bytes() -> int:
    """Return how many bytes this process can still allocate: of the machine's memory,
    or less in a container.
    """
    import psutil

    available = psutil.virtual_memory().available
    # On Windows, the swap file is read by performance counters, which may be switched
    # off.
    with suppress(OSError, RuntimeError):
        available += psutil.swap_memory().free
    try:  # a container is a control group, whose limit holds for the groups within it
        path = (
            Path("/proc/self/cgroup")
            .read_text(encoding="utf-8")
            .rpartition("0::")[2]
            .strip()
        )
        folder = GROUPS / path.lstrip("/")
    except OSError:
        return available
    for group in (folder, *folder.parents):
        try:
            limit, used = (
                int((group / f"memory.{name}").read_text("utf-8"))
                for name in ("max", "current")
            )
            files = dict(
                each.split()
                for each in (group / "memory.stat").read_text("utf-8").splitlines()
            )
        # there is no limit ("max"), or this container does not see the group
        except (OSError, ValueError):
            continue
        # The system drops cached files when it needs their memory.
        left = limit - used + int(files["inactive_file"]) + int(files["active_file"])
        available = min(available, max(0, left))
    return available


def share_devices() -> None:
    """Let this process and those that it starts share a GPU, most of whose memory JAX
    takes by default.

    Call it before JAX is imported.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def in_units(number: int) -> str:
    """Format a number of bytes, as in `22.14 GiB`."""
    return f"{number / 2**30:.2f} GiB"
