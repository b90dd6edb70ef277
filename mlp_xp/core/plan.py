"""The plan of an epoch: its chunks of steps, with reports and checkpoints after them.

Between two chunks the host may look at the network. Inside a chunk nothing leaves the
device.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlp_xp.core.config import TrainConfig

# The most work of a chunk, in samples x parameters. Its cost on the host, at most 0.5
# ms, is then small compared with its steps. With more work, Ctrl-C and the progress bar
# would wait too long for its end: now 0.4 s on NumPy with the default network.
CHUNK_WORK = 10**9
# A chunk may have this many steps whatever their work, because on a GPU even large
# steps are short.
ENOUGH_STEPS = 8


class Chunk(NamedTuple):
    """Steps of equal batch size, perhaps followed by a report or a checkpoint."""

    start: int
    """The first sample, in the order of the epoch."""
    steps: int
    batch_size: int
    report: int | None = None
    """The sample number of a report after the chunk. None for no report."""
    checkpoint: bool = False
    """Whether a checkpoint follows the chunk."""

    @property
    def stop(self) -> int:
        """The first sample after the chunk."""
        return self.start + self.steps * self.batch_size


def plan_epoch(samples: int, config: TrainConfig, parameters: int) -> list[Chunk]:
    """Cut an epoch over `samples` training samples into chunks.

    `parameters` is the number of weights and biases of the network.

    Reports follow the steps that contain sample 0, `report_every`, 2 `report_every`,
    ... Checkpoints follow the steps that contain a multiple of `checkpoint_every`, if
    it is not 0. The epoch ends with a checkpoint. If samples are held out, it also ends
    with a report and a validation. The plan depends on nothing else, so a resumed run
    has the same chunks as an uninterrupted run.
    """
    size = config.batch_size
    full_steps = samples // size
    last_step = math.ceil(samples / size) - 1
    # Sample numbers by step. In reverse, so that the first of several samples in a step
    # is kept.
    report_samples = reversed(range(0, samples, config.report_every))
    reports = {sample // size: sample for sample in report_samples}
    if config.validation:
        reports.setdefault(last_step, samples)
    checkpoints = {last_step}
    if config.checkpoint_every:
        checkpoint_samples = range(0, samples, config.checkpoint_every)
        checkpoints |= {sample // size for sample in checkpoint_samples}

    interval = min(config.report_every, config.checkpoint_every or samples, samples)
    lengths = chunk_lengths(size, parameters, interval)
    plan: list[Chunk] = []
    step = 0
    # A chunk ends with each of these steps. A smaller last batch is a chunk of its own.
    for end in sorted({*reports, *checkpoints, full_steps - 1}):
        for length in cut(end + 1 - step, lengths):
            batch_size = size if step < full_steps else samples % size
            plan.append(Chunk(step * size, length, batch_size))
            step += length
        plan[-1] = plan[-1]._replace(
            report=reports.get(end), checkpoint=end in checkpoints
        )
    return plan


def chunk_lengths(
    batch_size: int, parameters: int, interval: int
) -> tuple[int, int, int]:
    """Return the three lengths, in steps, of all chunks of full batches.

    They are few because JAX on a GPU, where `Backend.jit` does not fill up chunks,
    compiles a function for each length. `interval` is the number of samples between two
    reports or checkpoints.

    The longest length is s / n, rounded down, where s is the number of steps of an
    interval, less one. n is the smallest number for which a chunk has at most
    CHUNK_WORK, or ENOUGH_STEPS if that is more. A remainder is cut into chunks of the
    square root of this length, rounded down, and the rest into single steps.

    One step is subtracted because the first report follows the first step. The 60 000
    steps of the notebook, with a report every 10 000, are stretches of 1 step, of five
    times 10 000 steps, and of 9 999 steps. With a longest length of 10 000, the last
    stretch would become 198 chunks.
    """
    capacity = max(ENOUGH_STEPS, CHUNK_WORK // (batch_size * parameters))
    stretch = max(1, interval // batch_size - 1)
    longest = stretch // math.ceil(stretch / capacity)
    return longest, math.isqrt(longest), 1


def cut(steps: int, lengths: Iterable[int]) -> Iterator[int]:
    """Yield lengths with the sum `steps`, taken greedily in the order of `lengths`.

    The last of `lengths` must be 1.
    """
    for length in lengths:
        count, steps = divmod(steps, length)
        yield from [length] * count
