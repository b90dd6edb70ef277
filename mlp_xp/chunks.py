"""How an epoch is cut into chunks of steps. Between two the host may look; inside one nothing leaves the device."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Of prepared inputs at once: what stays in a processor's cache from their making to their use, yet enough steps to hide
# what a chunk costs. With 16 MB NumPy takes 5 % longer for batches of 128, with 4 MB JAX for single samples.
CHUNK_BYTES = 6 * 2**20
# Large batches have this many steps a chunk too, as far as this much memory goes.
ENOUGH_STEPS = 8
LARGEST_CHUNK_BYTES = 32 * 2**20


class Chunk(NamedTuple):
    """`steps` steps of `batch_size` samples each, from sample `start` of the epoch's order."""

    start: int
    steps: int
    batch_size: int

    @property
    def stop(self) -> int:
        """The first sample after the chunk."""
        return self.start + self.steps * self.batch_size


def chunk_lengths(batch_size: int, sample_bytes: int, interval: int) -> tuple[int, int, int]:
    """The three lengths, in steps, that every chunk of full batches has; at most three, so JAX compiles three loops.

    The longest divides the steps between two reports (`interval` samples) as evenly as may be into chunks of at most
    CHUNK_BYTES, or of as many of ENOUGH_STEPS as LARGEST_CHUNK_BYTES hold where that is more; its square root and 1
    make up the rest. batch_size in samples, sample_bytes: of a prepared sample.
    """
    step_bytes = batch_size * sample_bytes
    capacity = max(1, CHUNK_BYTES // step_bytes, min(ENOUGH_STEPS, LARGEST_CHUNK_BYTES // step_bytes))
    steps = max(1, interval // batch_size)
    longest = steps // math.ceil(steps / capacity)
    return longest, math.isqrt(longest), 1


def cut(steps: int, lengths: Iterable[int]) -> Iterator[int]:
    """Lengths, taken greedily in the order given, that add up to `steps`; the last of `lengths` is 1."""
    for length in lengths:
        count, steps = divmod(steps, length)
        yield from [length] * count


def plan_epoch(samples: int, batch_size: int, sample_bytes: int, intervals: Iterable[int]) -> list[Chunk]:
    """The chunks of an epoch over so many samples.

    For every interval in `intervals`, a chunk ends with the step of each sample 0, interval, 2 interval, ... The plan
    depends on nothing else, so a resumed run cuts as the uninterrupted one did.
    """
    intervals = [*intervals]
    full = samples // batch_size
    ends = {sample // batch_size + 1 for interval in intervals for sample in range(0, samples, interval)} | {full}
    lengths = chunk_lengths(batch_size, sample_bytes, min(intervals))
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
