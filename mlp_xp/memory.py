"""The memory that training needs, compared with the memory that is available, before anything is allocated."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.chunks import steps_per_block
from mlp_xp.config import TrainConfig
from mlp_xp.control_groups import control_groups
from mlp_xp.dataset import Dataset
from mlp_xp.deferred import can_defer
from mlp_xp.errors import MlpXpError
from mlp_xp.metrics import images_per_part
from mlp_xp.network import count_parameters
from mlp_xp.optimizers import OPTIMIZERS
from mlp_xp.plan import plan_epoch

FLOAT64 = np.dtype(np.float64).itemsize
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
ROOT = Path("/")


class NotEnoughMemoryError(MlpXpError):
    """Training needs more memory than there is."""


class Limit(NamedTuple):
    """Bytes that can still be allocated, and what limits them."""

    available: int
    name: str


class Need(NamedTuple):
    """The bytes that training allocates, in addition to the data set, at its peak: a lower bound."""

    device: int
    host: int
    together: int
    """Where the device uses the host's memory."""


def check_memory(
    config: TrainConfig, sizes: tuple[int, ...], dataset: Dataset, backend: Backend, *, saves: bool = False
) -> None:
    """Raise NotEnoughMemoryError if training needs more memory than is available now.

    sizes: (n_0, ..., n_L). dataset: in memory already, so it does not count. saves: whether the run is written to a
    folder. Where it is not known how much memory is available, nothing is refused.

    The need is a lower bound, compared without a margin, so that nothing is refused that runs. A run that passes may
    still run out of memory, and ends with BackendOutOfMemory or MemoryError then.
    """
    need = training_memory(
        config,
        sizes,
        dataset.train_images.shape[0],
        0 if dataset.test_images is None else dataset.test_images.shape[0],
        backend.itemsize,
        saves=saves,
    )
    on_device = backend.memory_available()
    if on_device is None:  # the device uses the host's memory
        _check(need.together, host_limit())
    else:
        _check(need.device, Limit(on_device, f"the device {backend.device_name}"))
        _check(need.host, host_limit())


def _check(need: int, limit: Limit | None) -> None:
    if limit is not None and need > limit.available:
        raise NotEnoughMemoryError(
            f"training needs about {in_units(need)} of memory, but {in_units(limit.available)} are available (limit: "
            f"{limit.name}); choose fewer hidden units or smaller batches"
        )


def training_memory(
    config: TrainConfig, sizes: tuple[int, ...], samples: int, test_samples: int, itemsize: int, *, saves: bool = False
) -> Need:
    """Return the memory of training a network with layer sizes (n_0, ..., n_L) on so many samples.

    It is derived from the arrays that the code holds at one time, of `itemsize` bytes s per number. P: weights and
    biases; C = n_L: classes; B: batch size; k: the optimiser's arrays per parameter. On the device:

        state       s P (1 + k), and s P for the best network if samples are held out
        chunk       state + s P (the copy in the last report) + 2 s steps B C (targets and logits of all its steps)
                    + s steps B n_0 (inputs of the steps of a block) + s B (n_1 + ... + n_{L-1}) (one step's hidden
                    layers) + the largest gradient that is the result of a matrix product; with dropout + a byte per
                    step, sample and hidden unit
        evaluation  state + s images (n_l + n_{l+1}), the largest input and output of a layer for one part of the
                    images, or 2 s C (targets and logits) for all of them

    On the host:

        start       8 P (initial weights in float64); together with s P for the network on the device
        saving      two copies of the state, as arrays and as bytes; together with the state on the device

    What elementwise operations allocate is not counted, because compilers fuse them, and neither is what the libraries
    need for themselves.
    """
    parameters = count_parameters(sizes)
    network = itemsize * parameters
    features, *hidden, classes = sizes
    state = network * (1 + OPTIMIZERS[config.optimizer].slots + bool(config.validation))

    batch = config.batch_size
    plan = plan_epoch(samples - config.validation, config, parameters)
    steps = max(chunk.steps for chunk in plan)
    gathered = min(steps, steps_per_block(config, batch, features, itemsize, compiles=True))  # not compiled: no fewer
    weights = [a * b for a, b in pairwise(sizes)]
    if batch == 1:  # outer products are elementwise, but for the one of a block of deferred updates
        weights = weights[:1] if can_defer(config) else []
    numbers = 2 * steps * batch * classes + gathered * batch * features + batch * sum(hidden) + max(weights, default=0)
    copy = network if len(plan) > 1 else 0
    masks = steps * batch * sum(hidden) if config.dropout else 0
    chunk = copy + itemsize * numbers + masks

    evaluated = max(test_samples, config.validation)
    part = images_per_part(evaluated, features) * max(a + b for a, b in pairwise(sizes)) if evaluated else 0
    evaluation = itemsize * max(part, 2 * evaluated * classes)

    device = state + max(chunk, evaluation)
    start, saved = FLOAT64 * parameters, 2 * state if saves else 0
    return Need(device, max(start, saved), max(device, start + network, saved + state))


def in_units(number: int) -> str:
    """Format a number of bytes with three digits or four, as in `22.1 GiB`."""
    power = min(max(number.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    value = number / 1024**power
    return f"{value:.3g} {UNITS[power]}" if value < 1000 else f"{value:.0f} {UNITS[power]}"


def host_limit(root: Path = ROOT) -> Limit | None:
    """Return what limits the memory of this process most; None if nothing is known, as outside Linux.

    Physical memory and control groups count together with the free swap space. root: where `proc` and `sys` are.
    """
    return min((*_limits_of_machine(root), *_limits_of_process(root)), default=None)


def _limits_of_process(root: Path) -> Iterator[Limit]:
    """Yield what the limits on the address space and on data, which `ulimit` sets, leave to this process."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    try:
        used = [int(pages) * resource.getpagesize() for pages in (root / "proc/self/statm").read_text().split()]
    except OSError:
        return
    for kind, name, column in ((resource.RLIMIT_AS, "RLIMIT_AS", 0), (resource.RLIMIT_DATA, "RLIMIT_DATA", 5)):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield Limit(max(0, soft - used[column]), name)


def _limits_of_machine(root: Path) -> Iterator[Limit]:
    """Yield what is left of the physical memory, and of every control group that this process is in."""
    memory = {name: 1024 * number for name, number in _table(root / "proc/meminfo").items()}
    swap = memory.get("SwapFree", 0)
    if "MemAvailable" in memory:
        yield Limit(memory["MemAvailable"] + swap, "physical memory")
    for folder, is_second in control_groups("memory", root):
        names = ("memory.max", "memory.current") if is_second else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        try:
            limit, used = ((folder / name).read_text().strip() for name in names)
        except OSError:
            continue
        if limit != "max":
            stat, prefix = _table(folder / "memory.stat"), "" if is_second else "total_"
            cache = sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
            cache += stat.get("slab_reclaimable", 0)
            yield Limit(max(0, int(limit) - int(used) + cache) + swap, "control group")


def _table(path: Path) -> dict[str, int]:
    """Read lines such as `MemFree: 17 kB` or `active_file 17`; an empty table from a file that cannot be read."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}
