"""A training run as a generator of events. It prints nothing and writes nothing."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.model import Model, all_finite, compiled, copy_network
from mlp_xp.core.network import Network
from mlp_xp.core.plan import Chunk
from mlp_xp.core.stack import choose, take, take_state
from mlp_xp.core.step import State, initial_state
from mlp_xp.core.task import Evaluation
from mlp_xp.errors import MlpXpError
from mlp_xp.printing import as_html, as_text


class DivergenceError(MlpXpError):
    """A loss, or a number of the network or the optimiser state, that is not finite."""

    exit_code = 1


class Report(NamedTuple):
    """Figures about a run right after one step.

    The closing report follows the last step too. But if samples are held out, its model
    and its results are from the best network. A run of several networks has a stack of
    them, each the best of its own, and the results are those of their mean outputs.

    Examples:
        >>> *_, last = train(TrainConfig(epochs=1), dataset, open_backend())
        >>> last.epoch, last.sample, last.test.accuracy
        (0, 60000, 0.8891)
    """

    epoch: int
    """The number of the epoch, from 0."""
    sample: int
    """The multiple of `report_every` in the step, counting samples of the epoch. In the
    closing report, and at the end of an epoch if the step contains no multiple, this is
    the number of training samples.
    """
    loss: float
    """The loss of the step, before its update. Of the figures, only this and
    `train_loss` depend on the weights of samples.
    """
    seconds: float
    """Time since the start of training, including everything."""
    train_loss: float
    """The mean loss of the samples since the last report. If no samples follow the last
    report, the closing report repeats this figure and the speed.
    """
    samples_per_second: float
    """The speed of training since the last report, without evaluation."""
    model: Model
    """A copy of the network after the update."""
    test: Evaluation | None = None
    """The result on the test set, after the update. None without a test set."""
    validation: Evaluation | None = None
    """The result on the held-out samples, at the end of an epoch and in the closing
    report. None in other reports.
    """
    kept_epoch: int | None = None
    """The epoch of the model, in a closing report about the best network, or the last
    of the epochs of several networks. None in other reports.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)


class Tally(NamedTuple):
    """Sums over the samples since the last report."""

    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    complete: bool = False
    """Whether the next chunk starts from zero, as after a report and in the warm-up."""


class Mark(NamedTuple):
    """What a network achieved on the held-out samples, and when."""

    score: float
    epoch: int
    loss: float

    def rank(self, monitor: str) -> tuple[float, float]:
        """Return two numbers to compare networks by. The better network has more."""
        if monitor == "loss":
            return -self.loss, self.score
        return self.score, -self.loss


class Best(NamedTuple):
    """The best network on the held-out samples so far, by `TrainConfig.monitor`.

    Of equal networks, this is the earliest. A stack has the best of each network.
    """

    network: Network
    marks: tuple[Mark, ...]
    """The mark of each network."""

    @property
    def epoch(self) -> int:
        """The last epoch in which a network became better."""
        return max(mark.epoch for mark in self.marks)


class Position(NamedTuple):
    """How far a job has come: everything needed to resume it."""

    state: State
    """Valid until `trajectory` continues and donates it to the next step. Of a stack,
    it has the networks of `rows_of`.
    """
    epoch: int = WARM_UP_EPOCH
    """The number of the epoch, from 0. WARM_UP_EPOCH during the warm-up."""
    sample: int = 0
    """The samples done in this epoch. 0 during the warm-up."""
    step: int = 0
    """The steps since the start of training."""
    reports: int = 0
    """The reports since the start of training, without the closing report."""
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
        """Return the position after a chunk that left this state and these losses.

        `losses` are (steps,), of several networks the means. `seconds` is the time of
        the chunk.
        """
        is_warm_up = epoch == WARM_UP_EPOCH
        has_report = chunk.report is not None
        before = Tally() if self.tally.complete else self.tally
        tally = Tally(
            loss=before.loss + float(losses.sum()) * chunk.batch_size,
            samples=before.samples + losses.size * chunk.batch_size,
            seconds=before.seconds + seconds,
            complete=has_report or is_warm_up,
        )
        return self._replace(
            state=state,
            epoch=epoch,
            sample=0 if is_warm_up else chunk.stop,
            step=self.step + chunk.steps,
            reports=self.reports + has_report,
            loss=float(losses[-1]),
            tally=tally,
        )


class Event(NamedTuple):
    """The news after a chunk of steps, or at the end, as `trajectory` yields it."""

    position: Position
    losses: np.ndarray
    """The losses of the chunk's steps, float64 (n,), or the means of the losses of
    several networks. Empty in the closing event.
    """
    report: Report | None
    checkpoint: bool
    """Whether to save a checkpoint here. A job can be resumed after every chunk, except
    in the warm-up.
    """
    closing: bool = False
    """Whether the job has ended. The report is then the closing report."""


def trajectory(
    job: Job, start: Position | None = None, *, trained: Network = ()
) -> Iterator[Event]:
    """Train, and yield an event after every chunk of steps, and at the end.

    All losses of the events together are the loss trajectory of the job.

    Several networks are trained as a stack. With `patience`, each ends on its own, and
    training ends with the last.

    Args:
        job: The job.
        start: The position to resume from, with its state on the device. The state is
            donated. On the same backend, the rest of the training has the same bits as
            without the interruption.
        trained: Layers on the host, for a single network. They replace as many of the
            first layers that the seed draws.

    Raises:
        DivergenceError: A loss of training, validation or test is not finite, or the
            state before a report.
        BackendFailure: The array library failed.
    """
    began = time.perf_counter() - (start.seconds if start else 0.0)
    config = job.config
    randoms = job.randoms()
    # Drawn even for a resumed job, because the shuffles continue the stream.
    drawn = job.initial_network(randoms)
    if start is None:
        network = (*trained, *drawn[len(trained) :])
        position = Position(initial_state(config, network, job.backend))
    else:
        position = start

    rows = rows_of(job, position, position.epoch)
    for epoch, chunk, samples in job.chunks(randoms):
        # A chunk done before the interruption is drawn again all the same, so that
        # later shuffles are the same.
        if start and (epoch, chunk.stop) <= (start.epoch, start.sample):
            continue
        training = in_training(job, position, epoch)
        if not training:
            break

        chunk_began = time.perf_counter()
        state, kept = position.state, rows_of(job, position, epoch)
        if kept != rows:
            state = take_state(state, [rows.index(i) for i in kept], job.backend)
            rows = kept
        if job.networks > 1:
            samples = samples[:, rows]
        state, of_each = job.run(state, samples, position.step, rows)
        of_each = of_each[:, [rows.index(i) for i in training]]
        check_losses(of_each, epoch, chunk, training if job.networks > 1 else ())
        losses = of_each.mean(axis=1)
        now = time.perf_counter()
        position = position.after(epoch, chunk, state, losses, now - chunk_began)
        position = position._replace(seconds=now - began)
        report = None
        if chunk.report is not None:
            network = whole_network(job, position)
            position, report = _report(job, position, network, chunk.report, began)
        yield Event(position, losses, report, chunk.checkpoint)

    network = position.best.network if position.best else position.state.network
    ended, report = _report(job, position, network, len(job.rows), began)
    # The best network stays the best of its own epoch, though another library than the
    # one that found it may round its loss to less.
    ended = ended._replace(best=position.best)
    if position.best:
        report = report._replace(kept_epoch=position.best.epoch)
    yield Event(ended, np.empty(0), report, checkpoint=True, closing=True)


def in_training(job: Job, position: Position, epoch: int) -> list[int]:
    """Return the numbers of the networks that are trained in an epoch.

    A network has finished if `patience` epochs have passed without a better one.
    `position` is before the epoch, in it, or at its end.
    """
    best, patience = position.best, job.config.patience
    return [
        i
        for i in range(job.networks)
        if not (best and 0 < patience < epoch - best.marks[i].epoch)
    ]


def rows_of(job: Job, position: Position, epoch: int) -> list[int]:
    """Return the numbers of the networks in the state of an epoch.

    Networks that have finished leave a stack. Where a library compiles the steps, they
    stay, because it would compile them anew for each number of networks.
    """
    if job.backend.compiles:
        return list(range(job.networks))
    return in_training(job, position, epoch)


def whole_network(job: Job, position: Position) -> Network:
    """Return the network, or the stack, of a position.

    Networks of the stack that have finished are the best of their own.
    """
    network, best = position.state.network, position.best
    training = in_training(job, position, position.epoch)
    if best is None or len(training) == job.networks:
        return network
    rows = rows_of(job, position, position.epoch)
    places = [rows.index(i) if i in training else 0 for i in range(job.networks)]
    is_training = [i in training for i in range(job.networks)]
    spread = take(network, places, job.backend)
    return choose(is_training, spread, best.network, job.backend)


def _report(
    job: Job, position: Position, network: Network, sample: int, began: float
) -> tuple[Position, Report]:
    """Return the position with the best network so far, and the report on a network.

    Raises:
        DivergenceError: The state, or a loss of the evaluation, is not finite.
    """
    check_state(job, position)
    model = job.model(compiled(copy_network, job.backend)(network))
    best, validation, test = position.best, None, None
    is_end_of_epoch = position.sample == len(job.rows)
    if job.held_out is not None and is_end_of_epoch:
        validation, of_each = model.evaluate_each(
            job.held_out.inputs, job.held_out.labels
        )
        best = _better(job, best, model.network, of_each, position.epoch)
    if job.dataset.test is not None:
        test = model.evaluate(job.dataset.test.inputs, job.dataset.test.labels)
    for name, result in (("held-out", validation), ("test", test)):
        # The last update diverged, but no loss of a step shows it.
        if result and not math.isfinite(result.loss):
            subject = f"{name} loss after {position.sample} samples"
            raise _diverged(subject, position.epoch, result.loss)
    tally = position.tally
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


def _better(
    job: Job,
    best: Best | None,
    network: Network,
    results: Sequence[Evaluation],
    epoch: int,
) -> Best:
    """Return the best of each network, given its results at the end of an epoch."""
    marks = []
    for result in results:
        # R² of a single sample is not defined: then all networks have the same score.
        score = 0.0 if math.isnan(result.score) else result.score
        marks.append(Mark(score, epoch, result.loss))
    if best is None:
        return Best(network, tuple(marks))
    monitor = job.config.monitor
    pairs = list(zip(marks, best.marks, strict=True))
    is_better = [new.rank(monitor) > old.rank(monitor) for new, old in pairs]
    if not any(is_better):
        return best
    if not all(is_better):
        network = choose(is_better, network, best.network, job.backend)
    kept = [
        new if better else old
        for (new, old), better in zip(pairs, is_better, strict=True)
    ]
    return Best(network, tuple(kept))


def check_losses(
    losses: np.ndarray, epoch: int, chunk: Chunk, numbers: Sequence[int] = ()
) -> None:
    """Check that all losses of a chunk are finite.

    Args:
        losses: The losses, (steps, networks).
        epoch: The number of the epoch.
        chunk: The chunk.
        numbers: The numbers of several networks.

    Raises:
        DivergenceError: A loss is not. The error names the first sample of its batch.
    """
    is_finite = np.isfinite(losses)
    if not is_finite.all():
        i, j = np.argwhere(~is_finite)[0].tolist()
        sample = chunk.start + i * chunk.batch_size
        subject = f"loss at sample {sample}"
        if numbers:
            subject += f" of network {numbers[j] + 1}"
        raise _diverged(subject, epoch, losses[i, j])


def check_state(job: Job, position: Position) -> None:
    """Check that the network and the optimiser state are finite.

    An update can overflow while all losses stay finite, because a saturated unit has a
    finite output for any weights. If all is well, one value is read from the device.

    Raises:
        DivergenceError: A number is not finite.
    """
    slots = (slot for slots in position.state.slots for slot in slots)
    arrays = [array for layer in (*position.state.network, *slots) for array in layer]
    if all_finite(arrays, job.backend):
        return
    which = ""
    if job.networks > 1:
        rows = rows_of(job, position, position.epoch)
        # Only a network that has finished may be anything.
        wrong = [
            i
            for i in in_training(job, position, position.epoch)
            if not all_finite(
                [array[rows.index(i), ...] for array in arrays], job.backend
            )
        ]
        if not wrong:
            return
        which = f" of network {wrong[0] + 1}"
    subject = f"network or optimiser state{which} after {position.sample} samples"
    raise _diverged(subject, position.epoch, "not finite")


def _diverged(subject: str, epoch: int, value: object) -> DivergenceError:
    place = "the warm-up" if epoch == WARM_UP_EPOCH else f"epoch {epoch}"
    return DivergenceError(
        f"training diverged: the {subject} of {place} is {value}",
        remedy="lower the learning rate or choose another initialisation",
    )
