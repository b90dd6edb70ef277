"""Train the network: `python scripts/train.py --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every run is written to a folder, and
`--resume` resumes it from there.
"""

import contextlib
import datetime as dt
import errno
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console

from mlp_xp.backend import Backend, starting_on
from mlp_xp.commands.command_line import as_argument, called, parse, silence_output
from mlp_xp.commands.data import load_data
from mlp_xp.config import ConfigError, TrainConfig, check_choice
from mlp_xp.data.datasets import is_own
from mlp_xp.dataset import UNNAMED, Dataset, Origin
from mlp_xp.errors import MlpXpError, not_installed, printable
from mlp_xp.files import file_errors
from mlp_xp.runs import checkpoints, recording, replacing, run_folder
from mlp_xp.runs.settings import FREE_SETTINGS, RECIPES, Settings, check_foreign, first_change, parse_settings
from mlp_xp.show import terminal
from mlp_xp.show.download_progress import show_downloads
from mlp_xp.training import WARM_UP_EPOCH, Event, Report

BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends
CLOSED_TERMINAL = 128 + 1  # as of a program that SIGHUP ends
# Seconds after which a second Ctrl-C does not wait for the end of the chunk.
PATIENCE = 1.0


@dataclass(frozen=True)
class Source:
    """The source of the settings that the command line does not give."""

    recipe: str | None = None
    """Set of settings to start from: notebook, standard, small, or own. By default own for --data-dir with your own
    data, and else notebook, whose values this help shows. Those of own are --epochs 30 --batch-size 16 --learning-rate
    0.003 --warm-up-steps 0 --update-order simultaneous --activation relu --init he --optimizer adam. All other options
    override the recipe. If there are fewer training samples than a recipe has in a batch, a batch is all of them."""
    config: Path | None = None
    """Start from the settings in this file instead, such as the config.json of a run."""


@dataclass(frozen=True)
class Data:
    """What decides on the recipe."""

    data_dir: Path | None = None
    """The data."""
    label: str | None = None
    """Of a table."""


@dataclass(frozen=True)
class Base(Source):
    """A source of settings that may be a run."""

    resume: Path | None = None
    """Resume this run with its settings. The backend may be a different one. With a constant schedule, --epochs trains
    a finished run longer."""


@dataclass(frozen=True)
class Named:
    """What the command line itself names."""

    backend: str | None = None
    """The backend, unless it comes from a recipe, a file or a run."""
    data_dir: Path | None = None
    """The folder of the data, likewise."""
    dataset: str | None = None
    """The data set, likewise."""
    batch_size: int | None = None
    """Samples per step, likewise."""


@dataclass(frozen=True)
class Arguments(Settings, Base):
    """Train a network with hand-written backpropagation, on any array library."""

    train: TrainConfig = field(default_factory=TrainConfig)
    run_dir: Path | None = None
    """Folder of the run. By default runs/<dataset>-<backend>-<date-time>."""
    overwrite: bool = False
    """Replace an existing run in the folder."""
    cache_dir: Path | None = None
    """Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system."""
    threads: str = "auto"
    """Threads of the CPU to compute on. auto: those on which the run to resume began, or else as many as a variable
    such as OMP_NUM_THREADS says, or else one, or for large steps all CPUs. While other programs
    use the CPUs, more than one can be ten times slower."""
    tensorboard: bool = False
    """Also write TensorBoard event files to the run folder."""

    def settings(self) -> Settings:
        """Return the settings, without the options that only this command has."""
        return Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})


class InterruptedTrainingError(MlpXpError):
    """A signal, or an output that cannot be written, stopped the training."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Set the exit code, which says what stopped the training."""
        super().__init__(message)
        self.exit_code = exit_code


def parse_arguments(held: contextlib.ExitStack) -> Arguments:
    """Parse the command line. Its options override the settings of the recipe, file or run that it names.

    held: keeps the folder of the run to resume, which is claimed before anything in it is read.
    """
    base: Base = parse(Base, some=True)
    given = [f"--{name}" for name in ("resume", "config", "recipe") if getattr(base, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: settings come from one source; give only one of these options")
    if base.resume:
        if (base.resume / run_folder.CONFIG).exists():
            held.enter_context(recording.open_folder(base.resume, existing=True))
        settings, _ = run_folder.read_config(base.resume)
    else:
        settings = settings_from(base)
    arguments: Arguments = parse(Arguments, default=Arguments(**vars(settings)))
    named: Named = parse(Named, some=True)
    if named.dataset and arguments.data_dir:
        raise ConfigError(
            f"{named.dataset!r:.80} and data_dir, {arguments.data_dir!r}, are two data sets; give one of them",
            setting="dataset",
        )
    if source := base.resume or base.config:
        check_foreign(arguments, named.backend, repr(str(source)))
    if base.resume:
        for name in ("run_dir", "overwrite"):
            if getattr(arguments, name):
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option}: a resumed run stays in its own folder; leave {option} out")
        if arguments.backend != settings.backend and arguments.device == settings.device:
            arguments = replace(arguments, device=None)  # the saved device name belongs to another library
        if change := first_change(settings, arguments.settings(), FREE_SETTINGS):
            raise ConfigError(
                f"a resumed run keeps its settings ({change.saved!r}, not {change.wanted!r}{change.reason}); leave the "
                "option out, or start a new run with --config",
                setting=change.name,
            )
        if (base.resume / run_folder.CHECKPOINT).exists():
            checkpoints.check_settings(base.resume, arguments.settings())  # before the data are loaded
    return arguments


def settings_from(source: Source) -> Settings:
    """Return the settings of a file, or else of a recipe, by default one for the data. Raises MlpXpError."""
    if source.config:
        settings, record = parse_settings(source.config, "give a saved configuration")
        if settings.task is None and is_own(run_folder.data_of(settings), settings.origin):
            return replace(settings, task=record.get("task"))  # what was guessed for the run
        return settings
    recipe = source.recipe
    if recipe is None:
        data: Data = parse(Data, some=True)
        is_yours = data.data_dir is not None and is_own(data.data_dir, Origin(data.label))
        recipe = "own" if is_yours else "notebook"
    check_choice("recipe", recipe, RECIPES)
    return RECIPES[recipe]


class Stop:
    """Why training is to stop at the next chunk: the first signal, or else the first error of the output."""

    def __init__(self) -> None:
        self.signal, self.since = 0, 0.0
        self.on_terminal = sys.stdout.isatty()
        self.error: OSError | None = None

    def __bool__(self) -> bool:
        return bool(self.signal or self.error)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Keep the number of the first signal. SIGINT after PATIENCE seconds stops at once, without saving.

        Other signals do not, and not SIGINT at the same time: a terminal that closes may send SIGHUP twice, a batch
        system SIGTERM and SIGHUP, and people press Ctrl-C twice.
        """
        if self.signal and number == signal.SIGINT and time.monotonic() > self.since + PATIENCE:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self.since = number, time.monotonic()

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Keep an error of the output, such as a pipe that its reader closed, and discard all further output."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            silence_output()

    def error_at(self, place: str) -> InterruptedTrainingError:
        """Return the error that ends the command. place: where training stopped and what to do."""
        if self.signal or self.error is None:
            error = InterruptedTrainingError(f"interrupted {place}", 128 + self.signal)
            error.kind = ""  # it is what was asked for
            return error
        if isinstance(self.error, BrokenPipeError):
            return InterruptedTrainingError(f"the reader of the output closed the pipe {place}", BROKEN_PIPE)
        if self.error.errno == errno.EIO and self.on_terminal:
            return InterruptedTrainingError(f"the terminal was closed {place}", CLOSED_TERMINAL)
        reason = self.error.strerror or self.error
        return InterruptedTrainingError(f"the output cannot be written ({reason}) {place}", 1)


@contextlib.contextmanager
def catch_signals(stop: Stop) -> Iterator[None]:
    """Note SIGINT, SIGTERM and SIGHUP instead of ending at once.

    One that is ignored stays so: SIGHUP under nohup, and SIGINT in a background job of a shell script.
    """
    names = (name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
    numbers = [signal.Signals[name] for name in names]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, stop.handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def main() -> None:
    """Parse the command line, load the data, train, and write the run folder."""
    with contextlib.ExitStack() as held:
        arguments = parse_arguments(held)
        folder = arguments.resume or arguments.run_dir
        # A folder that is there is claimed before the data are loaded, a new one is created after all checks.
        is_new = folder is None or not folder.exists()
        if arguments.run_dir and not is_new:
            claim(arguments.run_dir, arguments.overwrite, held)
        console = terminal.plain_console()
        threads = number_of_threads(arguments.threads)
        with starting_on(run_folder.threads_of(arguments.resume, arguments.backend) if arguments.resume else None):
            backend = arguments.open_backend(threads)
        dataset = load(arguments, backend, console)
        settings = fitted(arguments, dataset.train_images.shape[0])
        recording.check_run(settings, dataset, backend, arguments.resume)
        backend = recording.choose_threads(arguments.resume, settings, dataset, backend)
        write_events = make_event_writer() if arguments.tensorboard else None
        if is_new:
            folder = folder or run_folder.claim_folder(settings, dt.datetime.now())
            claim(folder, bool(arguments.run_dir) and arguments.overwrite, held)
        assert folder is not None
        train(folder, settings, dataset, backend, console, overwrite=arguments.overwrite, write_events=write_events)


def fitted(arguments: Arguments, samples: int) -> Settings:
    """Return the settings for so many training samples: the batches of a recipe, which nobody chose, may be smaller.

    Raises ConfigError if they are not enough for the settings.
    """
    settings, left = arguments.settings(), samples - arguments.train.validation
    chosen = arguments.resume or arguments.config or parse(Named, some=True).batch_size
    if not chosen and 0 < left < settings.train.batch_size:
        settings = replace(settings, train=replace(settings.train, batch_size=left))
    settings.train.check_fits(samples)
    return settings


def number_of_threads(word: str) -> int | None:
    """Return the number that --threads gives, or None for auto. Raises ConfigError; the range is checked later."""
    if word == "auto":
        return None
    try:
        return int(word)
    except ValueError as error:
        raise ConfigError(f"{word!r:.80} is neither a whole number such as 2 nor auto", setting="threads") from error


def claim(folder: Path, overwrite: bool, held: contextlib.ExitStack) -> None:
    """Claim the folder of a new run until the command ends. Raises RunError and FileError."""
    try:
        held.enter_context(recording.open_folder(folder, existing=overwrite))
    except run_folder.RunError as error:
        if error.setting and (folder / run_folder.CONFIG).exists():
            error.text += " with --overwrite"
        raise


def train(
    folder: Path,
    settings: Settings,
    dataset: Dataset,
    backend: Backend,
    console: Console,
    *,
    overwrite: bool,
    write_events: Callable[[Path], None] | None,
) -> None:
    """Train in a folder that this process holds, and show it. A signal or a closed output saves and stops the run."""
    stop = Stop()
    command = f"{called('train')} --resume {as_argument(folder)}"
    resume = f"; resume with: {command}"
    with stop.printing():
        terminal.say(console, f"{terminal.describe(settings, dataset, backend)}\nrun      {folder}\n", indent=9)

    def show(event: Event, first: bool) -> None:
        if first:  # not before, so that what the start of the training warns of stands above the table
            with stop.printing():
                if event.closing:
                    terminal.say(console, "this run had ended; --epochs N trains it longer")
                else:
                    console.print(terminal.header(settings.train, dataset.task), soft_wrap=True)
        if event.report is None:
            return
        if not event.closing:
            with stop.printing():
                console.print(terminal.report_line(event.report), soft_wrap=True)
        # A new run that is to replace an old one has no event files before it does.
        if write_events and replacing.current(folder) == folder:
            write_events(folder)

    def stop_at(event: Event) -> None:
        epoch, sample = event.position[:2]
        if not stop or event.closing:
            return
        place = "in the warm-up" if epoch == WARM_UP_EPOCH else f"in epoch {epoch}, after {sample} samples"
        if event.checkpoint:
            raise stop.error_at(f"{place}{resume}")
        if (stop.signal and epoch == WARM_UP_EPOCH) or replacing.current(folder) != folder:
            raise stop.error_at(f"{place}; {recording.what_is_kept(folder)}")

    with catch_signals(stop):
        events = recording.train_in_folder(
            folder, settings, dataset, backend, overwrite=overwrite, save_now=lambda: bool(stop), resume_hint=resume
        )
        with contextlib.closing(events):
            watched = terminal.watch(events, settings.train, dataset, console)
            try:
                for i, event in enumerate(watched):
                    show(event, first=not i)
                    stop_at(event)
            finally:
                with stop.printing():  # the progress bar is removed, if its terminal is still there
                    watched.close()
    report = event.report
    assert report is not None
    rmses: tuple[float, ...] = ()  # of each output, which a report does not have
    if report.rmse is not None and len(dataset.class_names) > 1:
        rmses = checkpoints.evaluation_of(checkpoints.load_model(folder), dataset, backend).rmses
    with stop.printing():
        terminal.say(console, f"\n{terminal.summary(report, dataset, rmses)}")
        if event.position.best:
            best, epoch = event.position.best, event.position.epoch
            terminal.say(console, terminal.selected(best, epoch, settings.train, dataset))
        if text := nothing_learned(report, settings, dataset, backend):
            terminal.say(console, text)
    draw_pictures(folder, dataset, backend, console, stop)
    if stop.error:
        raise stop.error_at(f"after the end of the training; the run in {str(folder)!r} is complete")


def nothing_learned(report: Report, settings: Settings, dataset: Dataset, backend: Backend) -> str:
    """Say that a network is no better than a guess without its inputs, and what to try; an empty string if it is."""
    text = ""
    if report.r2 is not None and report.r2 <= 0:
        text = "no better than always predicting the mean"
    if report.accuracy is not None and dataset.task == "classes":
        counts = np.bincount(backend.to_numpy(dataset.test_labels), minlength=len(dataset.class_names))
        if report.accuracy <= (share := counts.max() / counts.sum()):
            name = printable(dataset.class_names[int(counts.argmax())])
            text = f"no better than always naming {name}, the most frequent class ({100 * share:.2f} %)"
    rate = settings.train.learning_rate / 10
    return (
        text and f"{text}; try a lower --learning-rate, such as {rate:g}, more --epochs, another --seed, or more data"
    )


def draw_pictures(folder: Path, dataset: Dataset, backend: Backend, console: Console, stop: Stop) -> None:
    """Draw the pictures of the run, or print why they cannot be drawn. A run without pictures is complete."""
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    try:
        paths = draw_run(folder, dataset, backend)
    except PlotError as error:
        command = f"{called('plot')} {as_argument(folder)}".replace(" ", terminal.GLUE)
        text = f"no pictures: {error}, then: {command}"
    else:
        text = f"drawn in {folder}: {', '.join(path.name for path in paths)}"
    with stop.printing():
        terminal.say(console, text)


def load(arguments: Arguments, backend: Backend, console: Console) -> Dataset:
    """Load the data set to the device."""
    given = parse(Named, some=True).data_dir
    if arguments.resume and run_folder.data_of(arguments) == UNNAMED:
        raise run_folder.RunError(
            f"{str(arguments.resume)!r}: the run's data were in memory; resume it in Python, with "
            "train(..., run_dir=...) and the same data, or give them as files with --data-dir"
        )
    place, origin = run_folder.data_of(arguments), arguments.origin
    if arguments.resume and is_own(place, origin):  # what was guessed when the run began
        origin = origin._replace(task=run_folder.read_config(arguments.resume)[1].get("task", origin.task))
    with show_downloads(console) as progress:
        return load_data(
            place,
            backend,
            option="data_dir" if arguments.data_dir else "dataset",
            run=None if given else arguments.resume,
            cache_dir=arguments.cache_dir,
            progress=progress,
            **origin._asdict(),
        )


def make_event_writer() -> Callable[[Path], None]:
    """Return a function that writes new reports from metrics.jsonl to event files. Its first call deletes old ones."""
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise MlpXpError(f"--tensorboard: TensorBoard {not_installed('tensorboard')}") from error
    writer, written = None, 0

    def update(folder: Path) -> None:
        nonlocal writer, written
        if writer is None:
            with file_errors(folder, "remove old event files in"):
                for old in run_folder.event_files(folder):
                    old.unlink()
            writer = Writer(str(folder))
        samples = run_folder.read_config(folder)[1]["train_samples"]
        records = run_folder.read_metrics(folder)
        for record in records[written:]:
            for name in record.keys() - {"epoch", "sample", "seconds"}:
                if record.get(name) is not None:
                    writer.add_scalar(name, record[name], step=record["epoch"] * samples + record["sample"])
        writer.flush()
        written = len(records)

    return update
