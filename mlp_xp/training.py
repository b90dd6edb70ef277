"""Training, the whole run, as a generator of reports. It prints nothing and writes nothing."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.chunks import Chunk, hit, plan_epoch
from mlp_xp.config import TrainConfig
from mlp_xp.datasets import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.metrics import evaluate
from mlp_xp.network import Layer, Network
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES
from mlp_xp.steps import State, initial_state, make_chunk

WARM_UP_SAMPLE = 1
WARM_UP_EPOCH = -1


class DivergenceError(MlpXpError):
    """A loss that is no longer finite."""

    exit_code = 1


class Report(NamedTuple):
    """How training stands right after one step."""

    epoch: int
    """From 0."""
    sample: int
    """The multiple of `report_every` that is among the step's samples, counted in the epoch's order; in the closing
    report the number of training samples."""
    loss: float
    """Of the step, before its update."""
    accuracy: float
    """On the test set, after the update."""
    seconds: float
    """Since the start of training, everything included."""
    train_loss: float
    """Mean over the samples since the last report."""
    test_loss: float
    samples_per_second: float
    """Of training since the last report, without evaluation."""
    network: Network
    """A copy, for the caller to keep."""


class Tally(NamedTuple):
    """Sums over the samples since the last report."""

    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0


class Progress(NamedTuple):
    """Where training stands after a chunk of steps: all that it takes to go on from there, and what the chunk gave."""

    epoch: int
    """From 0; WARM_UP_EPOCH during the warm-up."""
    sample: int
    """Samples of the epoch done."""
    step: int
    """Steps done since the start of training."""
    seconds: float
    """Since the start of training."""
    state: State
    """Valid until the generator goes on, which donates it to the next step."""
    tally: Tally
    losses: np.ndarray
    """Of the chunk's steps, float64 (n,); empty in the closing progress."""
    report: Report | None


def trajectory(config: TrainConfig, dataset: Dataset, backend: Backend) -> Iterator[Progress]:
    """Train, and yield after every chunk of steps. The losses of all chunks together are the run's loss trajectory.

    The data set's arrays are on the backend's device. The last progress carries the closing report. Raises ConfigError
    when the data set is too small for the configuration, DivergenceError at the first loss that is not finite.
    """
    began = time.perf_counter()
    samples, rows, columns = dataset.train_images.shape
    config.check_fits(samples)
    sizes = (rows * columns, *config.hidden, len(dataset.class_names))
    state, random = initial_state(config, sizes, backend)
    classes = backend.asarray(np.arange(sizes[-1], dtype=np.uint8))
    run_chunk = make_chunk(config, backend)
    sample_bytes = sizes[0] * backend.xp.finfo(backend.dtype).bits // 8
    plan = plan_epoch(samples, config.batch_size, sample_bytes, [config.report_every])
    total_steps = config.warm_up_steps + config.epochs * -(-samples // config.batch_size)
    order = np.arange(samples)
    step, tally = 0, Tally()
    for epoch in range(WARM_UP_EPOCH, config.epochs):
        if epoch == WARM_UP_EPOCH:
            chunks = [Chunk(WARM_UP_SAMPLE, 1, 1)] * config.warm_up_steps
        else:
            chunks = plan
            # As the notebook does: an epoch shuffles the order that the one before it left.
            order = order[random.permutation(samples)]
        for chunk in chunks:
            started = time.perf_counter()
            coefficients = step_coefficients(config, chunk, step, total_steps)
            state, device_losses = run_chunk(
                state,
                dataset.train_images,
                dataset.train_labels,
                classes,
                backend.asarray(order[chunk.start : chunk.stop].reshape(chunk.steps, chunk.batch_size)),
                *(backend.asarray(array, backend.dtype) for array in coefficients),
            )
            losses = backend.to_numpy(device_losses).astype(np.float64)
            check_finite(losses, epoch, chunk)
            step += chunk.steps
            tally = Tally(
                tally.loss + float(losses.sum()) * chunk.batch_size,
                tally.samples + chunk.steps * chunk.batch_size,
                tally.seconds + time.perf_counter() - started,
            )
            report = None
            sample = hit(chunk, config.report_every)
            if sample is not None and epoch != WARM_UP_EPOCH:
                report = make_report(config, dataset, backend, state.network, epoch, sample, losses[-1], began, tally)
                tally = Tally()
            yield Progress(epoch, chunk.stop, step, time.perf_counter() - began, state, tally, losses, report)
    report = make_report(config, dataset, backend, state.network, epoch, samples, losses[-1], began, tally)
    yield Progress(epoch, samples, step, time.perf_counter() - began, state, tally, np.empty(0), report)


def step_coefficients(config: TrainConfig, chunk: Chunk, first_step: int, total_steps: int) -> tuple[np.ndarray, ...]:
    """The optimiser's coefficients for the steps of a chunk, float64 (steps,) each; the first makes the sum a mean."""
    steps = np.arange(first_step, first_step + chunk.steps)
    rates = SCHEDULES[config.schedule](config.learning_rate, steps, total_steps)
    scale, *others = OPTIMIZERS[config.optimizer].coefficients(rates, steps)
    return (scale / chunk.batch_size, *others)


def check_finite(losses: np.ndarray, epoch: int, chunk: Chunk) -> None:
    """Raise DivergenceError, naming the place, unless all losses of a chunk are finite."""
    if np.isfinite(losses).all():
        return
    i = int(np.argmin(np.isfinite(losses)))
    place = f"sample {chunk.start + i * chunk.batch_size} of " + ("the warm-up" if epoch < 0 else f"epoch {epoch}")
    raise DivergenceError(
        f"training diverged: the loss at {place} is {losses[i]}; lower --learning-rate or choose another --init"
    )


def make_report(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    network: Network,
    epoch: int,
    sample: int,
    loss: float,
    began: float,
    tally: Tally,
) -> Report:
    """Evaluate the network on the test set and say how training stands."""
    test = evaluate(network, dataset.test_images, dataset.test_labels, activation=config.activation, backend=backend)
    return Report(
        epoch=epoch,
        sample=sample,
        loss=float(loss),
        accuracy=test.accuracy,
        seconds=time.perf_counter() - began,
        train_loss=tally.loss / tally.samples,
        test_loss=test.loss,
        samples_per_second=tally.samples / tally.seconds,
        network=tuple(Layer(*(backend.xp.asarray(array, copy=True) for array in layer)) for layer in network),
    )


def train(config: TrainConfig, dataset: Dataset, backend: Backend) -> Iterator[Report]:
    """Train, and yield the reports: one at every `report_every` samples, and a closing one with the trained network.

    A generator: draw live, or stop when you like. Raises as `trajectory` does.
    """
    for progress in trajectory(config, dataset, backend):
        if progress.report is not None:
            yield progress.report
