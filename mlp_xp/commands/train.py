"""Train the network: `python scripts/train.py --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every run is written to a folder, and
`--resume` resumes it from there.
"""

import contextlib
import datetime as dt
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from types import FrameType

from rich.console import Console

from mlp_xp.backend import Backend
from mlp_xp.commands.command_line import called, parse
from mlp_xp.commands.data import load_data
from mlp_xp.config import ConfigError, TrainConfig, check_choice
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import FileError
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.settings import RECIPES, Settings, check_foreign, flatten, read_settings
from mlp_xp.show import terminal
from mlp_xp.show.download_progress import show_downloads


@dataclass(frozen=True)
class Base:
    """The source of the settings that the command line does not give."""

    recipe: str | None = None
    """Set of settings to start from: notebook (default), standard or small. All other options override it."""
    config: Path | None = None
    """Start from the settings in this file instead, such as the config.json of a run."""
    resume: Path | None = None
    """Resume this run with its settings. The backend may be a different one."""


@dataclass(frozen=True)
class Named:
    """What the command line itself names."""

    backend: str | None = None
    """The backend, unless it comes from a recipe, a file or a run."""


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
    tensorboard: bool = False
    """Also write TensorBoard event files to the run folder."""

    def settings(self) -> Settings:
        """Return the settings, without the options that only this command has."""
        return Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})


class InterruptedTrainingError(MlpXpError):
    """A signal stopped the training."""

    def __init__(self, message: str, number: int) -> None:
        """Set the exit code from the number of the signal."""
        super().__init__(message)
        self.exit_code = 128 + number


def parse_arguments() -> Arguments:
    """Parse the command line. Its options override the settings of the recipe, file or run that it names."""
    base: Base = parse(Base, some=True)
    given = [f"--{name}" for name in ("resume", "config", "recipe") if getattr(base, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: settings come from one source; give only one of these options")
    if base.resume:
        settings, _ = run_folder.read_config(base.resume)
    elif base.config:
        settings = read_settings(base.config)
    else:
        recipe = "notebook" if base.recipe is None else base.recipe
        check_choice("recipe", recipe, RECIPES)
        settings = RECIPES[recipe]
    arguments: Arguments = parse(Arguments, default=Arguments(**vars(settings)))
    if source := base.resume or base.config:
        named: Named = parse(Named, some=True)
        check_foreign(arguments, named.backend, repr(str(source)))
    if base.resume:
        for name in ("run_dir", "overwrite"):
            if getattr(arguments, name):
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option}: a resumed run stays in its own folder; leave {option} out")
        if arguments.backend != settings.backend and arguments.device == settings.device:
            arguments = replace(arguments, device=None)  # the saved device name belongs to another library
        wanted, kept = flatten(arguments.settings()), flatten(settings)
        changed = [name for name in kept if wanted[name] != kept[name] and name not in run_folder.FREE_SETTINGS]
        if changed:
            raise ConfigError(
                f"--{changed[0].replace('_', '-')}: a resumed run keeps its settings ({kept[changed[0]]!r}, not "
                f"{wanted[changed[0]]!r}); leave the option out, or start a new run with --config"
            )
    return arguments


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of stopping. A second signal stops at once."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def resume_hint(folder: Path) -> Iterator[None]:
    """Add the command that resumes the run in the folder to the error of a file."""
    try:
        yield
    except FileError as error:
        if (folder / run_folder.CONFIG).exists():
            error.text += f", with: {called('train')} --resume {quote(str(folder))}"
        raise


def main() -> None:
    """Parse the command line, load the data, train, and write the run folder."""
    arguments = parse_arguments()
    settings = arguments.settings()
    if arguments.run_dir:
        try:
            run_folder.check_new(arguments.run_dir, arguments.overwrite)
        except run_folder.RunError as error:
            if (arguments.run_dir / run_folder.CONFIG).exists():
                error.text += " with --overwrite"
            raise
    console = terminal.plain_console()
    backend = settings.open_backend()
    dataset = load(arguments, backend, console)
    write_events = make_event_writer() if arguments.tensorboard else None
    folder = arguments.resume or arguments.run_dir or run_folder.claim_folder(settings, dt.datetime.now())

    if arguments.run_dir and arguments.overwrite:
        run_folder.clear(folder)
    terminal.say(console, f"{terminal.describe(settings, dataset, backend)}\nrun      {folder}\n", indent=9)
    console.print(terminal.header(settings.train), soft_wrap=True)
    with catch_signals() as caught, resume_hint(folder):
        events = recording.train_in_folder(folder, settings, dataset, backend)
        for event in terminal.watch(events, settings.train, dataset, console):
            position = event.position
            if event.report is not None and not event.closing:
                console.print(terminal.report_line(event.report), soft_wrap=True)
                if write_events:
                    write_events(folder)
            if caught and not event.closing:
                place = "the warm-up"
                if position.epoch >= 0:
                    recording.save(folder, position, settings, dataset, backend)
                    place = f"epoch {position.epoch}, after {position.sample} samples"
                raise InterruptedTrainingError(
                    f"interrupted in {place}; resume with: {called('train')} --resume {quote(str(folder))}",
                    caught[0],
                )
    assert event.report is not None
    terminal.say(console, f"\n{terminal.summary(event.report, dataset)}")
    if position.best:
        terminal.say(console, terminal.selected(position.best, position.epoch, settings.train))
    draw_pictures(folder, dataset, backend, console)


def draw_pictures(folder: Path, dataset: Dataset, backend: Backend, console: Console) -> None:
    """Draw the pictures of the run, or print why they cannot be drawn. A run without pictures is complete."""
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    try:
        paths = draw_run(folder, dataset, backend)
    except PlotError as error:
        command = f"{called('plot')} {quote(str(folder))}".replace(" ", terminal.GLUE)
        terminal.say(console, f"no pictures: {error}, then: {command}")
    else:
        terminal.say(console, f"drawn in {folder}: {', '.join(path.name for path in paths)}")


def load(arguments: Arguments, backend: Backend, console: Console) -> Dataset:
    """Load the data set to the device, and check it against the settings before anything is written."""
    with show_downloads(console) as progress:
        dataset = load_data(
            run_folder.data_of(arguments),
            backend,
            option="data_dir" if arguments.data_dir else "dataset",
            cache_dir=arguments.cache_dir,
            progress=progress,
        )
    arguments.train.check_fits(dataset.train_images.shape[0])
    return dataset


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
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
            writer = Writer(str(folder))
        samples = run_folder.read_config(folder)[1]["train_samples"]
        records = run_folder.read_metrics(folder)
        for record in records[written:]:
            for name in ("loss", "train_loss", "test_loss", "accuracy", "samples_per_second", "validation_accuracy"):
                if record.get(name) is not None:
                    writer.add_scalar(name, record[name], step=record["epoch"] * samples + record["sample"])
        writer.flush()
        written = len(records)

    return update
