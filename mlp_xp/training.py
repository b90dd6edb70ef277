"""Training, the whole run, as a generator of progress and reports. It prints nothing and writes nothing."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.chunks import Chunk, hit, plan_epoch
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Dataset, check_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.metrics import evaluate
from mlp_xp.network import Network, copy_network, count_parameters
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
    """A copy, for the caller to keep. In the closing report the best by validation, where there is one."""


class Tally(NamedTuple):
    """Sums over the samples since the last report."""

    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0


class Best(NamedTuple):
    """The network that did best on the samples held out, and when."""

    network: Network
    accuracy: float
    epoch: int


class Progress(NamedTuple):
    """Where training stands after a chunk of steps: all that it takes to go on from there, and what the chunk gave."""

    epoch: int
    """From 0; WARM_UP_EPOCH during the warm-up."""
    sample: int
    """Samples of the epoch done."""
    step: int
    """Steps done since the start of training."""
    reports: int
    """Reports given since the start of training, without the closing one."""
    seconds: float
    """Since the start of training."""
    state: State
    """Valid until the generator goes on, which donates it to the next step."""
    tally: Tally
    best: Best | None
    loss: float
    """Of the last step."""
    losses: np.ndarray
    """Of the chunk's steps, float64 (n,); empty in the closing progress."""
    report: Report | None
    checkpoint: bool
    """Whether this is a place for a checkpoint. (Training can go on from any other place after the warm-up, too.)"""

    @property
    def closing(self) -> bool:
        """Whether this is the last one, which stands for no steps and carries the closing report."""
        return self.report is not None and not self.losses.size


def trajectory(
    config: TrainConfig, dataset: Dataset, backend: Backend, start: Progress | None = None
) -> Iterator[Progress]:
    """Train, and yield after every chunk of steps. The losses of all chunks together are the run's loss trajectory.

    The data set's arrays are on the backend's device. start: where to go on from, with a state on the device that is
    handed over; on the same backend the rest has the same bits as if training had not been interrupted. The last
    progress carries the closing report. Raises ConfigError when the data set is too small for the configuration,
    DivergenceError at the first loss that is not finite.
    """
    began = time.perf_counter() - (start.seconds if start else 0.0)
    check_dataset(dataset, backend)
    config.check_fits(dataset.train_images.shape[0])
    samples = dataset.train_images.shape[0] - config.validation
    sizes = layer_sizes(config, dataset)
    state, random = initial_state(config, sizes, backend)
    classes = backend.asarray(np.arange(sizes[-1], dtype=np.uint8))
    run_chunk = make_chunk(config, backend)
    intervals = [interval for interval in (config.report_every, config.checkpoint_every) if interval]
    plan = plan_epoch(samples, config.batch_size, count_parameters(sizes), intervals)
    total_steps = config.warm_up_steps + config.epochs * -(-samples // config.batch_size)

    now = start or Progress(
        WARM_UP_EPOCH, 0, 0, 0, 0.0, state, Tally(), None, float("nan"), np.empty(0), report=None, checkpoint=False
    )
    order = np.arange(samples)
    for epoch in range(WARM_UP_EPOCH, config.epochs):
        if epoch == WARM_UP_EPOCH:
            chunks = [Chunk(WARM_UP_SAMPLE, 1, 1)] * config.warm_up_steps
        else:
            chunks = plan
            # As the notebook does: an epoch shuffles the order that the one before it left.
            order = order[random.permutation(samples)]
        if epoch < now.epoch:
            continue
        if _out_of_patience(config, now.best, epoch):
            break
        for chunk in chunks:
            if start and epoch == start.epoch and chunk.stop <= start.sample:
                continue
            started = time.perf_counter()
            coefficients = step_coefficients(config, chunk, now.step, total_steps)
            state, device_losses = run_chunk(
                now.state,
                dataset.train_images,
                dataset.train_labels,
                classes,
                backend.asarray(order[chunk.start : chunk.stop].reshape(chunk.steps, chunk.batch_size)),
                backend.asarray(coefficients, backend.dtype),
            )
            losses = backend.to_numpy(device_losses).astype(np.float64)
            check_finite(losses, epoch, chunk)
            tally = Tally(
                now.tally.loss + float(losses.sum()) * chunk.batch_size,
                now.tally.samples + chunk.steps * chunk.batch_size,
                now.tally.seconds + time.perf_counter() - started,
            )
            now = now._replace(
                epoch=epoch,
                sample=chunk.stop,
                step=now.step + chunk.steps,
                state=state,
                tally=tally,
                losses=losses,
                loss=float(losses[-1]),
                report=None,
                checkpoint=False,
            )
            if epoch != WARM_UP_EPOCH:
                now = _look(now, chunk, config, dataset, backend, began)
            yield now._replace(seconds=time.perf_counter() - began)
        if epoch == WARM_UP_EPOCH:
            now = now._replace(tally=Tally())
    network = now.best.network if now.best else now.state.network
    report = make_report(now, network, samples, config, dataset, backend, began)
    yield now._replace(
        sample=samples,
        seconds=report.seconds,
        losses=np.empty(0),
        report=report,
        checkpoint=True,
    )


def layer_sizes(config: TrainConfig, dataset: Dataset) -> tuple[int, ...]:
    """(n_0, ..., n_L): the pixels of an image, the units of every hidden layer, the classes."""
    _, rows, columns = dataset.train_images.shape
    return (rows * columns, *config.hidden, len(dataset.class_names))


def _out_of_patience(config: TrainConfig, best: Best | None, epoch: int) -> bool:
    return bool(config.patience) and best is not None and epoch - best.epoch > config.patience


def _look(
    now: Progress, chunk: Chunk, config: TrainConfig, dataset: Dataset, backend: Backend, began: float
) -> Progress:
    """Whatever is due after a chunk: a report, a try on the samples held out, a checkpoint."""
    samples = dataset.train_images.shape[0] - config.validation
    sample = hit(chunk, config.report_every)
    if sample is not None:
        report = make_report(now, now.state.network, sample, config, dataset, backend, began)
        now = now._replace(report=report, reports=now.reports + 1, tally=Tally())
    if chunk.stop == samples and config.validation:
        held_out = dataset.train_images[samples:, ...], dataset.train_labels[samples:, ...]
        accuracy = evaluate(now.state.network, *held_out, activation=config.activation, backend=backend).accuracy
        if now.best is None or accuracy > now.best.accuracy:
            now = now._replace(best=Best(copy_network(now.state.network, backend), accuracy, now.epoch))
    due = config.checkpoint_every and hit(chunk, config.checkpoint_every) is not None
    return now._replace(checkpoint=bool(due) or chunk.stop == samples)


def step_coefficients(config: TrainConfig, chunk: Chunk, first_step: int, total_steps: int) -> np.ndarray:
    """The optimiser's coefficients for the steps of a chunk, float64 (n, steps); the first makes the sum a mean."""
    steps = np.arange(first_step, first_step + chunk.steps)
    rates = SCHEDULES[config.schedule](config.learning_rate, steps, total_steps)
    scale, *others = OPTIMIZERS[config.optimizer].coefficients(rates, steps)
    return np.stack([scale / chunk.batch_size, *others])


def check_finite(losses: np.ndarray, epoch: int, chunk: Chunk) -> None:
    """Raise DivergenceError, naming the place, unless all losses of a chunk are finite."""
    if np.isfinite(losses).all():
        return
    i = int(np.argmin(np.isfinite(losses)))
    raise _diverged("loss at", chunk.start + i * chunk.batch_size, epoch, losses[i])


def _diverged(what: str, sample: int, epoch: int, loss: float) -> DivergenceError:
    place = f"sample {sample} of " + ("the warm-up" if epoch < 0 else f"epoch {epoch}")
    return DivergenceError(
        f"training diverged: the {what} {place} is {loss}; lower --learning-rate or choose another --init"
    )


def make_report(
    now: Progress, network: Network, sample: int, config: TrainConfig, dataset: Dataset, backend: Backend, began: float
) -> Report:
    """Try a network on the test set and say how training stands."""
    test = evaluate(network, dataset.test_images, dataset.test_labels, activation=config.activation, backend=backend)
    if not np.isfinite(test.loss):  # the last update broke what the losses of the steps before it do not show
        raise _diverged("test loss after", sample, now.epoch, test.loss)
    return Report(
        epoch=now.epoch,
        sample=sample,
        loss=now.loss,
        accuracy=test.accuracy,
        seconds=time.perf_counter() - began,
        train_loss=now.tally.loss / now.tally.samples if now.tally.samples else now.loss,
        test_loss=test.loss,
        samples_per_second=now.tally.samples / now.tally.seconds if now.tally.samples else 0.0,
        network=copy_network(network, backend),
    )
