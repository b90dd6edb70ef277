"""The plan of an epoch: its chunks of steps, and what follows each of them.

Between two chunks the host may look at the network; inside one nothing leaves the
device.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlp_xp.core.config import TrainConfig

# Samples x parameters. Long enough that a chunk's cost on the host, at most 0.5 ms, is
# small compared with its steps. Not longer, because Ctrl-C and the progress bar wait
# for its end: 0.4 s on NumPy with the default network.
CHUNK_WORK = 10**9
# A chunk may have this many steps whatever their work: on a GPU even large steps are
# short.
ENOUGH_STEPS = 8


class Chunk(NamedTuple):
    """`steps` steps of `batch_size` samples each, from sample `start` of the epoch's
    order, and what follows them.
    """

    start: int
    steps: int
    batch_size: int
    report: int | None = None
    """Report after the chunk, under this sample number."""
    checkpoint: bool = False
    """Save a checkpoint after the chunk."""

    @property
    def stop(self) -> int:
        """The first sample after the chunk."""
        return self.start + self.steps * self.batch_size


def plan_epoch(samples: int, config: TrainConfig, parameters: int) -> list[Chunk]:
    """Cut an epoch over `samples` training samples into chunks, for a network with
    `parameters` weights and biases.

    A report follows the step that contains sample 0, `report_every`, 2 `report_every`,
    ...; a checkpoint, if `checkpoint_every` is not 0, the step that contains a multiple
    of that. The epoch ends with a checkpoint, and, where samples are held out, with a
    validation and a report. The plan depends on nothing else, so a resumed run has the
    same chunks as an uninterrupted one.
    """
    size = config.batch_size
    steps, full_steps = math.ceil(samples / size), samples // size
    last = steps - 1
    # Step -> sample. Reversed, so that the first of several samples in a step is kept.
    reports = {
        sample // size: sample
        for sample in reversed(range(0, samples, config.report_every))
    }
    checkpoints = {last}
    if config.checkpoint_every:
        checkpoints |= {
            sample // size for sample in range(0, samples, config.checkpoint_every)
        }
    if config.validation:
        reports.setdefault(last, samples)
    lengths = chunk_lengths(
        size,
        parameters,
        min(config.report_every, config.checkpoint_every or samples, samples),
    )
    plan: list[Chunk] = []
    step = 0
    # A last, smaller batch is a chunk of its own.
    for end in sorted({*reports, *checkpoints, full_steps - 1}):
        for length in cut(end + 1 - step, lengths):
            plan.append(
                Chunk(
                    step * size, length, size if step < full_steps else samples % size
                )
            )
            step += length
        plan[-1] = plan[-1]._replace(
            report=reports.get(end), checkpoint=end in checkpoints
        )
    return plan


def chunk_lengths(
    batch_size: int, parameters: int, interval: int
) -> tuple[int, int, int]:
    """Return the three lengths, in steps, that all chunks of full batches have.

    They are few because JAX on a GPU, where `Backend.jit` does not fill up chunks,
    compiles a function for each.

    `interval` samples lie between two reports, or checkpoints. The longest length is
    (their steps - 1) / n, rounded down, with the smallest n for which it has at most
    CHUNK_WORK, or ENOUGH_STEPS if that is more. A remainder is cut into chunks of the
    square root of this length, rounded down, and what then remains into single steps.
    One step less, because the first report follows the first step: the notebook's 60
    000 steps with a report every 10 000 are stretches of 1, five times 10 000, and 9
    999 steps. With a longest length of 10 000, the last would be 198 chunks.
    """
    capacity = max(ENOUGH_STEPS, CHUNK_WORK // (batch_size * parameters))
    steps = max(1, interval // batch_size - 1)
    longest = steps // math.ceil(steps / capacity)
    return longest, math.isqrt(longest), 1


def cut(steps: int, lengths: Iterable[int]) -> Iterator[int]:
    """Yield lengths that add up to `steps`, taken greedily in the order given. The last
    of `lengths` must be 1.
    """
    for length in lengths:
        count, steps = divmod(steps, length)
        yield from [length] * count
