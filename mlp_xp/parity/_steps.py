"""A training run of a given number of steps, for comparisons and traces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.job import Job
from mlp_xp.core.plan import Chunk
from mlp_xp.core.training import Event, trajectory
from mlp_xp.declared import check_range


class _FirstSteps(Job):
    """A job of `last` steps, perhaps cut off within a chunk."""

    last: int

    def chunks(
        self, randoms: Sequence[np.random.RandomState]
    ) -> Iterator[tuple[int, Chunk, np.ndarray]]:
        """See `Job.chunks`."""
        left = self.last
        for epoch, chunk, samples in super().chunks(randoms):
            if left < chunk.steps:
                # nothing, such as a report, follows a part of a chunk
                chunk = Chunk(chunk.start, left, chunk.batch_size)
                samples = samples[:left]
            left -= chunk.steps
            yield epoch, chunk, samples

    def events(self) -> Iterator[Event]:
        """Yield the events up to the last step."""
        for event in trajectory(self):
            yield event
            if event.position.step == self.last:
                return


def start(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> tuple[Job, Iterator[Event]]:
    """Return a job, and the events of its first `steps` steps after the warm-up.

    The data set has its arrays on the host. Raises ConfigError for fewer than one step,
    and the errors of `Job` and `trajectory`.
    """
    check_range("steps", steps)

    test = None if dataset.test is None else _placed(dataset.test, backend)
    dataset = replace(dataset, train=_placed(dataset.train, backend), test=test)
    # The number of epochs follows from the steps, not from the configuration.
    rows = Job(config, dataset, backend).rows
    epochs = math.ceil(steps / math.ceil(len(rows) / config.batch_size))
    config = replace(config, epochs=epochs, patience=0)
    job = _FirstSteps(config, dataset, backend)
    job.last = config.warm_up_steps + steps
    return job, job.events()


def _placed(samples: Samples, backend: Backend) -> Samples:
    """Copy samples on the host to the device."""

    def place(array: Any) -> Any:
        if not isinstance(array, np.ndarray):  # it is on the device already
            return array
        dtype = backend.dtype if array.dtype.kind == "f" else None
        return backend.asarray(array, dtype)

    return Samples(place(samples.inputs), place(samples.labels), samples.weights)
