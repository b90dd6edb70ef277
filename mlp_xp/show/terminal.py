"""Show a training run on the terminal: settings, a progress bar, reports, a summary."""

import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mlp_xp.backends.threads import LAUNCH_BOUND
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.signature import Signature, described
from mlp_xp.core.stack import size_of
from mlp_xp.core.task import CLASSES, Evaluation, Task
from mlp_xp.core.training import Best, Event, Report
from mlp_xp.data.reading import WHOLE
from mlp_xp.errors import escaped, more
from mlp_xp.runs.settings import Settings
from mlp_xp.show.console import plain_console
from mlp_xp.show.numbers import (
    fraction,
    loss_text,
    number_of,
    score_text,
    thousands,
)
from mlp_xp.show.presentation import presentation_of

_MOST_CLASSES = 10  # in a line


def describe(settings: Settings, job: Job) -> str:
    """Describe the network, backend, data and training of a run in a few lines."""
    config, backend = job.config, job.backend
    sizes = "-".join(map(str, job.sizes))
    parameters = f"{thousands(job.parameters)} parameters"
    if job.networks > 1:
        sizes = f"{job.networks} x {sizes}"
        parameters += " each"
    device = backend.device_name or "its default device"
    lines = {
        "network": f"{sizes}, {config.activation}, {parameters}, {settings.dtype}",
        "arrays": f"{backend.name} {backend.version} on {device}",
    }
    if backend.on_gpu:
        lines["speed"] = _slow_on_gpu(job)
    else:
        number, reason = backend.threads.number, backend.threads.reason
        lines["threads"] = reason if number is None else f"{number}: {reason}"
    lines |= _describe_data(settings, job)
    lines |= _describe_training(settings, job)
    return "\n".join(
        f"{name:8} {escaped(text)}" for name, text in lines.items() if text
    )


def _describe_data(settings: Settings, job: Job) -> dict[str, str]:
    """Return lines about the data by their titles. A line may be empty."""
    dataset, signature = job.dataset, job.dataset.signature
    test = 0 if dataset.test is None else len(dataset.test)
    counts = {
        "training": len(job.rows),
        "held-out": len(dataset.train) - len(job.rows),
        "test": test,
    }
    parts = [f"{thousands(count)} {part}" for part, count in counts.items() if count]
    text = f"{listed(parts)} {described(signature.input_shape)}"
    if signature.units:
        text += ", targets standardised"
    if dataset.train.weights is not None:
        text += ", weighted"
    if not test:
        text += ", no test set"
    lines = {"data": f"{settings.data}: {text}"}
    if signature.columns:
        lines["columns"] = signature.columns.described
    if not dataset.hold_out:
        return lines
    labels = _all_labels(dataset, job.backend)
    if settings.data_options.task is None:
        lines["task"] = taken_as(signature, labels)
    if signature.task.exclusive:
        lines["classes"] = counted(signature, labels)
    return lines


def _all_labels(dataset: Dataset, backend: Backend) -> np.ndarray:
    """Return the labels of the training set and the test set, on the host."""
    parts = (dataset.train, dataset.test)
    return np.concatenate([backend.to_numpy(part.labels) for part in parts if part])


def _describe_training(settings: Settings, job: Job) -> dict[str, str]:
    """Return lines about the training by their titles."""
    config = job.config
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    text = (
        f"{epochs}, batches of {config.batch_size}, {config.optimizer} "
        f"{config.learning_rate:g} {config.schedule}, {config.update_order}"
    )
    if config.warm_up_steps:
        text += f", {config.warm_up_steps} warm-up steps"
    if config.deform:
        text += ", deformed"
    lines = {"training": text}
    if config.patience:
        lines["stopping"] = (
            f"early, after {config.patience} epochs without a better network on the "
            "held-out samples"
        )
    if settings.start_from:
        lines["weights"] = f"taken from {settings.start_from}"
    return lines


def listed(parts: Sequence[str]) -> str:
    """Join parts of a sentence by commas, with "and" before the last."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _slow_on_gpu(job: Job) -> str:
    """Return a line with the batch size below which a CPU is faster.

    The line is empty if the batches are large enough.
    """
    if job.work >= LAUNCH_BOUND:
        return ""
    enough = thousands(math.ceil(LAUNCH_BOUND / job.parameters))
    return (
        "each step starts many short kernels: a CPU is faster with batches below "
        f"{enough} (estimated)"
    )


def counted(signature: Signature, labels: np.ndarray) -> str:
    """Return the classes with the numbers of their labels."""
    counts = np.bincount(labels).tolist()
    named = [
        f"{name} ({count})"
        for name, count in zip(signature.outputs, counts, strict=False)
    ]
    return ", ".join(named[:_MOST_CLASSES]) + more(named, _MOST_CLASSES)


def taken_as(signature: Signature, labels: np.ndarray) -> str:
    """Describe the task chosen for whole numbers, and the option for another task.

    The text is empty for other labels.
    """
    task, names = signature.task, signature.outputs
    if task.exclusive:
        if len(names) > 2 or not all(map(WHOLE.fullmatch, names)):
            return ""
        reason = "classes, because there are two different whole numbers"
        return f"{reason}; if these are quantities, give --task regression"
    if not task.floats:
        reason = "labels, because all values are 0 or 1"
        return f"{reason}; if these are quantities, give --task regression"
    if len(names) > 1 or (labels % 1).any():
        return ""
    reason = "regression, because a whole number is in a single row"
    return f"{reason}; if these are classes, give --task classes"


def header(config: TrainConfig, task: Task = CLASSES) -> str:
    """Return the column names of the table of reports."""
    score = f"{presentation_of(task).score_head:>8}"
    if config.validation:
        losses = "epoch  sample  mean loss  test loss"
        return f"{losses}  {score}  held-out loss  {score}  kept"
    return f"epoch  sample       loss  {score}  mean loss  test loss  samples/s"


def report_line(
    report: Report, *, is_validated: bool = False, best: Best | None = None
) -> str:
    """Format a report as a row under the header, with dashes for missing metrics.

    Args:
        report: The report.
        is_validated: Whether samples are held out.
        best: The best network on the held-out samples so far.
    """
    start = f"{report.epoch:5d} {report.sample:7d}"
    train_loss = loss_text(report.train_loss, 5)
    test_loss, score = _loss_and_score(report.test)
    if is_validated:
        held_out_loss, held_out_score = _loss_and_score(report.validation)
        kept = best.epoch if best else "-"
        held_out = f"{held_out_loss:>14} {held_out_score:>9} {kept:>5}"
        return f"{start} {train_loss:>10} {test_loss:>10} {score:>9} {held_out}"
    losses = f"{train_loss:>10} {test_loss:>10}"
    speed = f"{report.samples_per_second:10.0f}"
    loss = loss_text(report.loss, 5)
    return f"{start} {loss:>10} {score:>9} {losses} {speed}"


def _loss_and_score(result: Evaluation | None) -> tuple[str, str]:
    if result is None:
        return "-", "-"
    return loss_text(result.loss, 5), fraction(result.score)


def is_shown(report: Report, job: Job) -> bool:
    """Return whether a report has a row in the table.

    If epochs have a single report, only the epochs 0 to 9, 10, 20, ..., 100, 200, ...
    have a row. With held-out samples, the row is for the report at the end of the
    epoch.
    """
    if job.config.report_every < len(job.rows):
        return True
    is_round = report.epoch % 10 ** (len(str(report.epoch)) - 1) == 0
    has_all_metrics = report.validation is not None or not job.held_out
    return is_round and has_all_metrics


def summary(report: Report) -> str:
    """Describe the closing report in one line."""
    networks = size_of(report.model.network)
    result = "there is no test set"
    if report.test:
        signature = report.model.signature
        noun = f"test {signature.noun}"
        result = presentation_of(signature.task).outcome(report.test, noun)
        if networks:
            result = f"the average of {networks} networks: {result}"
    elif report.validation is None:
        # Otherwise this loss is of another network than the kept one.
        result = f"training loss {loss_text(report.train_loss)}; {result}"
    return f"trained in {report.seconds:.1f} s; {result}"


def selected(report: Report, job: Job) -> str:
    """Describe in one line which network validation selected, for a closing report."""
    signature, result = job.dataset.signature, report.validation
    assert result
    held_out = number_of(result.samples, f"held-out {signature.noun}")
    on = presentation_of(signature.task).of_held_out.format(held_out)
    score = score_text(signature.task.score_name, result.score)
    said = f"{score} {on}, loss {loss_text(result.loss)}"
    text = f"kept the network of epoch {report.kept_epoch}: {said}"
    if job.networks > 1:
        text = f"kept each network at its best epoch; their average: {said}"
    if report.epoch < job.config.epochs - 1:
        text += f"; stopped early, after epoch {report.epoch}"
    return text


def progress_bar(console: Console) -> Progress:
    """Return a progress bar below the other output.

    The bar is only shown on a terminal or in a notebook. It is removed at its end.
    """
    is_shown = console.is_terminal or console.is_jupyter
    return Progress(console=console, transient=True, disable=not is_shown)


def watch(
    events: Iterator[Event], job: Job, console: Console | None = None
) -> Generator[Event, None, None]:
    """Yield the events, with a progress bar on a terminal or in a notebook."""
    samples, epochs = len(job.rows), job.config.epochs
    with progress_bar(console or plain_console()) as bar:
        task = bar.add_task("warm-up", total=epochs * samples)
        for event in events:
            epoch, sample = event.position.epoch, event.position.sample
            if epoch != WARM_UP_EPOCH:
                description = f"epoch {epoch}, {epoch + 1} of {epochs}"
                seen = epoch * samples + sample
                bar.update(task, completed=seen, description=description)
            yield event
