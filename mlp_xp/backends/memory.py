"""An estimate of the memory that training needs, compared with what is available,
before anything is allocated.

Linux grants more memory than there is and kills the process that uses it, so a network
that is far too large would end without a message.
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

    Without psutil, this is known on Linux alone. Elsewhere it counts as unlimited, and
    the system reports an allocation that fails.
    """
    available = _of_machine()
    for group in control_groups():
        with suppress(OSError, ValueError):  # it has no limit, or cannot be seen
            available = min(available, _of_group(group))
    return available


def _of_machine() -> int:
    """Return the memory that is left, swap included."""
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
    # On Windows, the swap file is read by performance counters, which may be switched
    # off.
    with suppress(OSError, RuntimeError):
        available += int(psutil.swap_memory().free)
    return available


def _of_group(group: Path) -> int:
    """Return the memory that a control group has left.

    Raises:
        ValueError: It has no limit.
        OSError: This container does not see it.
    """
    limit, used = (
        int((group / f"memory.{name}").read_text("utf-8"))
        for name in ("max", "current")
    )
    lines = (group / "memory.stat").read_text("utf-8").splitlines()
    files = dict(line.split() for line in lines)
    # The system drops cached files when it needs their memory.
    cached = int(files["inactive_file"]) + int(files["active_file"])
    return max(0, limit - used + cached)


def share_devices() -> None:
    """Let this process and those that it starts share a GPU, most of whose memory JAX
    takes by default.

    Call it before JAX is imported.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def in_units(number: int) -> str:
    """Format a number of bytes, as in `22.14 GiB`."""
    return f"{number / 2**30:.2f} GiB"
