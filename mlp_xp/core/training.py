"""A training run as a generator of events. It prints nothing and writes nothing."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.model import Model, all_finite, compiled, copy_network
from mlp_xp.core.network import Network, initial_layers
from mlp_xp.core.plan import Chunk
from mlp_xp.core.step import State, initial_state
from mlp_xp.core.task import Evaluation
from mlp_xp.errors import MlpXpError


class DivergenceError(MlpXpError):
    """A loss, or a number of the network or its optimiser state, that is not finite."""

    exit_code = 1


class Report(NamedTuple):
    """Figures about the run right after one step.

    Examples:
        >>> *_, last = train(TrainConfig(epochs=1), dataset, open_backend())
        >>> last.epoch, last.sample, last.test.accuracy
        (0, 60000, 0.8891)

    The closing report is about the last step too; but if samples are held out, its
    model and the results on the test set and the held-out samples are those of the best
    network.
    """

    epoch: int
    """The number of the epoch, from 0."""
    sample: int
    """The multiple of `report_every` that the step contains, counted in the epoch's
    order. If it contains none, because this is the report at the end of an epoch, and
    in the closing report: the number of training samples.
    """
    loss: float
    """The loss of the step, before its update. Weights of samples count in this and in
    `train_loss` alone.
    """
    seconds: float
    """Time since the start of training, including everything."""
    train_loss: float
    """The mean loss of the samples since the last report. If the closing report has no
    further samples, this and the speed are those of the last report.
    """
    samples_per_second: float
    """The speed of training since the last report, without evaluation."""
    model: Model
    """A copy of the network after the update."""
    test: Evaluation | None = None
    """The result on the test set, after the update; None without a test set."""
    validation: Evaluation | None = None
    """The result on the held-out samples, at the end of an epoch and in the closing
    report.
    """


class Tally(NamedTuple):
    """Sums over the samples since the last report."""

    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    complete: bool = False
    """True after a report and in the warm-up: the next chunk then starts from zero
    instead of adding.
    """


class Best(NamedTuple):
    """The best network on the held-out samples so far, by `TrainConfig.monitor`; of
    equal ones the earliest.
    """

    network: Network
    score: float
    epoch: int
    loss: float


class Position(NamedTuple):
    """How far a job has come: everything that is needed to resume it."""

    state: State
    """Valid until the generator continues, which donates it to the next step."""
    epoch: int = WARM_UP_EPOCH
    """The number of the epoch, from 0; WARM_UP_EPOCH during the warm-up."""
    sample: int = 0
    """How many samples of the epoch are done; 0 during the warm-up."""
    step: int = 0
    """The steps that are done since the start of training."""
    reports: int = 0
    """The reports that were given since the start of training, without the closing one.
    """
    seconds: float = 0.0
    """Time since the start of training."""
    loss: float = math.nan
    """The loss of the last step."""
    tally: Tally = Tally()
    best: Best | None = None
    """None without held-out samples, and until the end of the first epoch."""

    def after(
        self, epoch: int, chunk: Chunk, state: State, losses: np.ndarray, seconds: float
    ) -> "Position":
        """Return the position after a chunk, whose steps left this state, had these
        losses and took this time.
        """
        is_warm_up, has_report, size = (
            epoch == WARM_UP_EPOCH,
            chunk.report is not None,
            chunk.batch_size,
        )
        old = Tally() if self.tally.complete else self.tally
        loss, samples = (
            old.loss + float(losses.sum()) * size,
            old.samples + losses.size * size,
        )
        tally = Tally(
            loss, samples, old.seconds + seconds, complete=has_report or is_warm_up
        )
        sample, step, reports = (
            0 if is_warm_up else chunk.stop,
            self.step + chunk.steps,
            self.reports + has_report,
        )
        return self._replace(
            state=state,
            epoch=epoch,
            sample=sample,
            step=step,
            reports=reports,
            loss=float(losses[-1]),
            tally=tally,
        )


class Event(NamedTuple):
    """What `trajectory` yields after every chunk of steps, and once at the end."""

    position: Position
    losses: np.ndarray
    """The losses of the chunk's steps, float64 (n,); empty in the closing event."""
    report: Report | None
    checkpoint: bool
    """Whether to save a checkpoint here. A job can be resumed after any whole chunk
    except those of the warm-up.
    """
    closing: bool = False
    """Whether the job has ended; the report is then the closing one."""


def trajectory(
    job: Job, start: Position | None = None, *, trained: Network = ()
) -> Iterator[Event]:
    """Train, and yield an event after every chunk of steps. All their losses together
    are the job's loss trajectory.

    start: the position to resume from, with its state on the device, which is donated.
    On the same backend the rest then has the same bits as if training had not been
    interrupted. trained: layers on the host, which replace the first of those that the
    seed draws.

    Raises DivergenceError at the first loss that is not finite, of training, validation
    or test, and before a report if the state is not finite, and BackendFailure where
    the array library fails.
    """
    began = time.perf_counter() - (start.seconds if start else 0.0)
    config, random = job.config, np.random.RandomState(job.config.seed)
    # also if resumed: the shuffles continue the stream
    drawn = initial_layers(job.sizes, random, config.init)
    position = start or Position(
        initial_state(config, (*trained, *drawn[len(trained) :]), job.backend)
    )
    for epoch, chunk, samples in job.chunks(random):
        if start and (epoch, chunk.stop) <= (start.epoch, start.sample):
            # done before; drawn again all the same, so that the later shuffles are the
            # same
            continue
        if (
            config.patience
            and position.best
            and epoch - 1 - position.best.epoch >= config.patience
        ):
            break

        chunk_began = time.perf_counter()
        state, losses = job.run(position.state, samples, position.step)
        check_losses(losses, epoch, chunk)
        now, report = time.perf_counter(), None
        position = position.after(
            epoch, chunk, state, losses, now - chunk_began
        )._replace(seconds=now - began)
        if chunk.report is not None:
            position, report = _report(
                job, position, state.network, chunk.report, began
            )
        yield Event(position, losses, report, chunk.checkpoint)

    network = position.best.network if position.best else position.state.network
    position, report = _report(job, position, network, len(job.rows), began)
    yield Event(position, np.empty(0), report, checkpoint=True, closing=True)


def _report(
    job: Job, position: Position, network: Network, sample: int, began: float
) -> tuple[Position, Report]:
    """Return the report about a network, and the position with the best network so far.
    Raises DivergenceError.
    """
    check_state(position, job.backend)
    model = job.model(compiled(copy_network, job.backend)(network))
    data, best, tally, validation, test = (
        job.dataset,
        position.best,
        position.tally,
        None,
        None,
    )
    if job.held_out and position.sample == len(job.rows):  # at the end of an epoch
        validation = model.evaluate(job.held_out.inputs, job.held_out.labels)

        # the first number counts before the second
        def rank(result: Evaluation | Best) -> tuple[float, float]:
            return (
                (-result.loss, result.score)
                if job.config.monitor == "loss"
                else (result.score, -result.loss)
            )

        if best is None or rank(validation) > rank(best):
            best = Best(
                model.network, validation.score, position.epoch, validation.loss
            )
    if data.test is not None:
        test = model.evaluate(data.test.inputs, data.test.labels)
    for which, found in (("held-out", validation), ("test", test)):
        # the last update diverged, which no loss of a step shows
        if found and not math.isfinite(found.loss):
            raise _diverged(
                f"{which} loss after {position.sample} samples",
                position.epoch,
                found.loss,
            )
    report = Report(
        epoch=position.epoch,
        sample=sample,
        loss=position.loss,
        seconds=time.perf_counter() - began,
        train_loss=tally.loss / tally.samples,
        samples_per_second=tally.samples / tally.seconds,
        model=model,
        test=test,
        validation=validation,
    )
    return position._replace(seconds=report.seconds, best=best), report


def check_losses(losses: np.ndarray, epoch: int, chunk: Chunk) -> None:
    """Raise DivergenceError, which names the first sample of the first bad batch,
    unless all losses are finite.
    """
    if not np.isfinite(losses).all():
        i = int(np.argmin(np.isfinite(losses)))
        raise _diverged(
            f"loss at sample {chunk.start + i * chunk.batch_size}", epoch, losses[i]
        )


def check_state(position: Position, backend: Backend) -> None:
    """Raise DivergenceError unless the network and the optimiser state are finite.
    Reads one value from the device.

    An update can overflow without a trace in any loss: a saturated unit has a finite
        output, whatever its weights.
    """
    layers = [
        *position.state.network,
        *(slot for slots in position.state.slots for slot in slots),
    ]
    if not all_finite([array for layer in layers for array in layer], backend):
        what = f"network or optimiser state after {position.sample} samples"
        raise _diverged(what, position.epoch, "not finite")


def _diverged(what: str, epoch: int, value: object) -> DivergenceError:
    place = "the warm-up" if epoch == WARM_UP_EPOCH else f"epoch {epoch}"
    return DivergenceError(
        f"training diverged: the {what} of {place} is {value}",
        remedy="lower the learning rate or choose another initialisation",
    )
