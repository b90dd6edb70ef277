"""Show a training run on the terminal: its settings, a progress bar, one line per report, a summary."""

import importlib.util
import textwrap
from collections.abc import Generator, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress import Task as BarTask
from rich.table import Column
from rich.text import Text

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, described
from mlp_xp.core.job import Job
from mlp_xp.core.task import CLASSES, Evaluation, Task
from mlp_xp.core.training import Best, Event, Report
from mlp_xp.errors import not_installed, printable
from mlp_xp.runs.settings import Settings
from mlp_xp.show.width import plain_console

HEADER = "epoch  sample       loss  accuracy  mean loss  test loss  samples/s"
R2 = "      R²"  # instead of the accuracy, for regression
HELD_OUT = "  held out"
FEW = 4  # outputs whose errors fit in a line
# A space at which `say` does not break lines. From Unicode's private use area, so that no text contains it.
GLUE = "\ue000"


def say(console: Console, text: str, indent: int = 2, *, wrap: bool = False) -> None:
    """Print text. On a terminal, long lines are broken between words and continued with an indent.

    Elsewhere lines are whole, so that programs can read them, unless `wrap` is set: below a table, text is not wider
    than the table. A word longer than a line, such as a path, is never broken.
    """
    for line in text.split("\n"):
        pieces = [line]
        if (wrap or console.is_terminal) and len(line) > console.width:
            pieces = textwrap.wrap(
                line, console.width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
            )
        for piece in pieces:
            console.print(piece.replace(GLUE, " "), soft_wrap=True)


def thousands(number: int) -> str:
    """Format an integer with spaces between thousands, as in 60 000."""
    return f"{number:,}".replace(",", " ")


def describe(settings: Settings, job: Job) -> str:
    """Describe the network, backend, data and training of a run in a few lines."""
    config, dataset, backend = job.config, job.dataset, job.backend
    parameters = thousands(job.parameters)
    train, *shape = dataset.train_inputs.shape
    test = 0 if dataset.test_inputs is None else dataset.test_inputs.shape[0]
    held_out = f" ({thousands(config.validation)} held out)" if config.validation else ""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    warm_up = f", {config.warm_up_steps} warm-up steps" if config.warm_up_steps else ""
    targets = ", targets standardised" if dataset.scaling else ""
    start_from = f"\nweights  taken from {printable(settings.start_from)}" if settings.start_from else ""
    number, reason = backend.threads[:2]
    threads = "" if number is None else f"threads  {number}: {reason}\n"
    return (
        f"network  {'-'.join(map(str, job.sizes))}, {config.activation}, {parameters} parameters, {settings.dtype}\n"
        f"arrays   {backend.name} {backend.version} on {backend.device_name or 'its default device'}\n{threads}"
        f"data     {printable(settings.data)}: {thousands(train)} training{held_out} and "
        f"{thousands(test) if test else 'no'} test {described(shape)}{targets}\n"
        f"training {epochs}, batches of {config.batch_size}, {config.optimizer} "
        f"{config.learning_rate:g} {config.schedule}, {config.update_order}{warm_up}{start_from}"
    )


def header(config: TrainConfig, task: Task = CLASSES) -> str:
    """Return the column names of the table of reports."""
    names = HEADER.replace("accuracy", R2) if task.floats else HEADER
    return names + HELD_OUT * bool(config.validation)


def report_line(report: Report) -> str:
    """Format a report as a row under the header, with dashes for missing figures."""
    loss, train_loss, test_loss = (
        f"{'-':>10}" if value is None else f"{value:10.5f}" if value < 1000 else f"{value:10.3e}"
        for value in (report.loss, report.train_loss, report.test and report.test.loss)
    )
    shown = f"{report.test.score:9.4f}" if report.test else f"{'-':>9}"
    held_out = f" {report.validation.score:9.4f}" if report.validation else ""
    return (
        f"{report.epoch:5d} {report.sample:7d} {loss} {shown} "
        f"{train_loss} {test_loss} {report.samples_per_second:10.0f}{held_out}"
    )


def summary(report: Report, dataset: Dataset) -> str:
    """Describe the closing report in one line."""
    result = f"training loss {report.train_loss:.4f}; there is no test set"
    if report.test:
        result = described_result(report.test, report.model.input_shape, dataset.class_names)
    return f"trained in {report.seconds:.1f} s; {result}"


def described_result(result: Evaluation, shape: Sequence[int], names: Sequence[str]) -> str:
    """Describe the result on a test set. shape: that of one sample. names: those of the network's outputs.

    A mean of errors in different units means nothing. So each output has its own error, or none if there are many.
    """
    samples = result.samples
    if result.accuracy is None:
        rmses = (result.rmse,) if len(names) == 1 else result.rmses
        errors = [f"{rmse:.4g}" for rmse in rmses if len(names) <= FEW]
        if len(names) > 1:
            errors = [f"{error} ({printable(name)})" for name, error in zip(names, errors, strict=False)]
        means = f", mean of {len(names)} outputs" if len(names) > 1 else ""
        error = f", root mean squared error {', '.join(errors)}" if errors else ""
        return f"R² {result.r2:.4f}{means}{error} on {thousands(samples)} test samples"
    text = f"{100 * result.accuracy:.2f} % of {thousands(samples)} test {described(shape).split()[0]} right"
    if result.label_accuracy is not None:
        text += f" in all labels, {100 * result.label_accuracy:.2f} % of the labels"
    return f"{text}, loss {result.loss:.4f}"


def selected(best: Best, last_epoch: int, config: TrainConfig, dataset: Dataset) -> str:
    """Describe in one line which network validation selected."""
    early = f"; stopped early, after epoch {last_epoch}" if last_epoch < config.epochs - 1 else ""
    held_out = f"{thousands(config.validation)} held-out {described(dataset.train_inputs.shape[1:]).split()[0]}"
    loss = f", loss {best.loss:.4f}"
    if dataset.task.floats:
        return f"kept the network of epoch {best.epoch}: R² {best.score:.4f} on {held_out}{loss}{early}"
    labels = "" if dataset.task.exclusive else " in all labels"
    share = f"{100 * best.score:.2f} % of {held_out} right{labels}"
    return f"kept the network of epoch {best.epoch}: {share}{loss}{early}"


class _Speed(ProgressColumn):
    def render(self, task: BarTask) -> Text:
        return Text(f"{thousands(round(task.speed or 0))} samples/s")


def watch(events: Iterator[Event], job: Job, console: Console | None = None) -> Generator[Event, None, None]:
    """Yield the events, with a progress bar below the other output on a terminal or in a notebook."""
    console = console or plain_console()
    seen = console.is_terminal or console.is_jupyter
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        seen = False
        say(console, f"a progress bar in a notebook needs ipywidgets, which {not_installed('ipywidgets')}")
    samples, epochs = len(job.rows), job.config.epochs
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        _Speed(Column(no_wrap=True)),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not seen) as bar:
        task = bar.add_task("warm-up", total=epochs * samples)
        for event in events:
            position = event.position
            epoch = max(position.epoch, 0)
            done = epoch * samples + (position.sample if position.epoch >= 0 else 0)
            bar.update(task, completed=done, description=f"epoch {epoch}, {epoch + 1} of {epochs}")
            yield event
