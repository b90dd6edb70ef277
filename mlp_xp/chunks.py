"""How an epoch is cut into chunks of steps. Between two the host may look; inside one nothing leaves the device."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Samples x parameters. Long enough that what a chunk costs on the host, 0.5 ms at most, is little beside its steps; no
# longer, because Ctrl-C and the progress bar wait for its end: 0.4 s on NumPy with the default network.
CHUNK_WORK = 10**9
# A chunk has this many steps whatever their work: on a GPU large ones are short too.
ENOUGH_STEPS = 8


class Chunk(NamedTuple):
    """`steps` steps of `batch_size` samples each, from sample `start` of the epoch's order."""

    start: int
    steps: int
    batch_size: int

    @property
    def stop(self) -> int:
        """The first sample after the chunk."""
        return self.start + self.steps * self.batch_size


def chunk_lengths(batch_size: int, parameters: int, interval: int) -> tuple[int, int, int]:
    """The three lengths, in steps, that every chunk of full batches has; at most three, so JAX compiles three loops.

    The longest divides the steps between two reports (`interval` samples) as evenly as may be into chunks of at most
    CHUNK_WORK, or of ENOUGH_STEPS where that is more; its square root and 1 make up the rest. batch_size in samples,
    parameters: as many as the network has.
    """
    capacity = max(ENOUGH_STEPS, CHUNK_WORK // (batch_size * parameters))
    # One less: the first report comes after an epoch's first step, so the last stretch of the epoch lacks that one.
    steps = max(1, interval // batch_size - 1)
    longest = steps // math.ceil(steps / capacity)
    return longest, math.isqrt(longest), 1


def cut(steps: int, lengths: Iterable[int]) -> Iterator[int]:
    """Lengths, taken greedily in the order given, that add up to `steps`; the last of `lengths` is 1."""
    for length in lengths:
        count, steps = divmod(steps, length)
        yield from [length] * count


def plan_epoch(samples: int, batch_size: int, parameters: int, intervals: Iterable[int]) -> list[Chunk]:
    """The chunks of an epoch over so many samples.

    For every interval in `intervals`, a chunk ends with the step of each sample 0, interval, 2 interval, ... The plan
    depends on nothing else, so a resumed run cuts as the uninterrupted one did.
    """
    intervals = [*intervals]
    full = samples // batch_size
    ends = {sample // batch_size + 1 for interval in intervals for sample in range(0, samples, interval)} | {full}
    lengths = chunk_lengths(batch_size, parameters, min(intervals))
    plan, step = [], 0
    for end in sorted(end for end in ends if end <= full):
        for steps in cut(end - step, lengths):
            plan.append(Chunk(step * batch_size, steps, batch_size))
            step += steps
    if samples % batch_size:
        plan.append(Chunk(full * batch_size, 1, samples % batch_size))
    return plan


def hit(chunk: Chunk, interval: int) -> int | None:
    """The first multiple of `interval` among the samples of the chunk's last step, or None."""
    sample = -(-(chunk.stop - chunk.batch_size) // interval) * interval
    return sample if sample < chunk.stop else None
