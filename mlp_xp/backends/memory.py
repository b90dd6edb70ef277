"""A check that training has enough memory, before anything is allocated.

Linux grants more memory than there is, and kills a process when the memory is used.
Without this check, training a network far too large would end without a message.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.network import count_parameters
from mlp_xp.core.optimizers import OPTIMIZERS
from mlp_xp.errors import MlpXpError
from mlp_xp.system import control_groups


class NotEnoughMemoryError(MlpXpError):
    """Training needs more memory than there is."""


def check_memory(
    config: TrainConfig, sizes: tuple[int, ...], backend: Backend, networks: int = 1
) -> None:
    """Check that the machine, or the container, has enough memory for training.

    The memory of a GPU is not checked, because its library reports failed allocations.

    Args:
        config: The settings of training.
        sizes: The sizes of the layers, (n_0, ..., n_L).
        backend: The backend of the training.
        networks: The number of networks.

    Raises:
        NotEnoughMemoryError: Training needs more memory than is available.
    """
    if backend.on_gpu:
        return
    needed = networks * training_bytes(config, sizes, backend.dtype_name)
    available = available_bytes()
    if needed > available:
        raise NotEnoughMemoryError(
            f"training needs about {in_units(needed)} of memory, but "
            f"{in_units(available)} are available",
            remedy="choose fewer hidden units or networks, or smaller batches",
        )


def training_bytes(config: TrainConfig, sizes: tuple[int, ...], dtype: str) -> int:
    """Return a lower bound of the bytes that training allocates.

    The data set and the libraries are not included.

    Args:
        config: The settings of training.
        sizes: The sizes of the layers, (n_0, ..., n_L).
        dtype: The name of the dtype.
    """
    # The network and one more copy: in float64 at the start, a gradient or a report
    # later.
    copies = 2 + OPTIMIZERS[config.optimizer].slot_count
    if config.validation:
        copies += 1  # the best network
    numbers = copies * count_parameters(sizes)
    numbers += config.batch_size * sum(sizes)  # the values of all layers
    return np.dtype(dtype).itemsize * numbers


def available_bytes() -> int:
    """Return how many bytes this process can still allocate.

    A container may have less memory than the machine. On systems other than Linux, the
    number is known only with psutil. Without psutil it counts as unlimited, and the
    system reports failed allocations.
    """
    available = _of_machine()
    for group in control_groups():
        with suppress(OSError, ValueError):
            available = min(available, _of_group(group))
    return available


def _of_machine() -> int:
    """Return the available memory of the machine, swap included."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return _of_other_systems()
    kilobytes = {line.partition(":")[0]: line.split()[1] for line in lines}
    return 1024 * (int(kilobytes["MemAvailable"]) + int(kilobytes["SwapFree"]))


def _of_other_systems() -> int:
    try:
        import psutil
    except ModuleNotFoundError:
        return sys.maxsize
    available = int(psutil.virtual_memory().available)
    # On Windows, the swap file needs performance counters, which may be switched off.
    with suppress(OSError, RuntimeError):
        available += int(psutil.swap_memory().free)
    return available


def _of_group(group: Path) -> int:
    """Return the available memory of a control group.

    Raises:
        ValueError: The group has no limit.
        OSError: The group is invisible in this container.
    """
    limit = int((group / "memory.max").read_text("utf-8"))
    used = int((group / "memory.current").read_text("utf-8"))
    lines = (group / "memory.stat").read_text("utf-8").splitlines()
    statistics = dict(line.split() for line in lines)
    # The system drops cached files when it needs their memory.
    cached = int(statistics["inactive_file"]) + int(statistics["active_file"])
    return max(0, limit - used + cached)


def share_devices() -> None:
    """Let this process and its child processes share a GPU.

    By default, JAX takes most of the memory of a GPU. Call this before JAX is imported.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def in_units(number: int) -> str:
    """Format a number of bytes, as in `22.14 GiB`."""
    return f"{number / 2**30:.2f} GiB"
