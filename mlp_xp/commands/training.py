"""What `train` does: find the settings, load the data, and train in a run folder that is shown as it grows."""

import datetime as dt
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import starting_on
from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import called
from mlp_xp.commands.stopping import Stop
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.training import Event
from mlp_xp.data.datasets import is_own, load_dataset
from mlp_xp.data.origin import Origin
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.export.page import check_page, write_page
from mlp_xp.files import FileError
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.checkpoints import load_run
from mlp_xp.runs.records import check_foreign, parse_settings
from mlp_xp.runs.settings import RECIPES, Settings, check_unchanged, of_recipe, settings_of, with_fitting_batches
from mlp_xp.show import terminal
from mlp_xp.show.console import plain_console, say
from mlp_xp.show.gallery import draw_run
from mlp_xp.show.plots import PlotError
from mlp_xp.sweeps.grid import SweepOptions, make_plan


def train(
    recipe: str | None,
    config: Path | None,
    resume: Path | None,
    run_dir: Path | None,
    overwrite: bool,
    cache_dir: Path | None,
    threads: int | Literal["auto"],
    page: bool,
    given: dict[str, Any],
) -> int:
    """Train; see `commands.train`, which has the same arguments. Returns the exit code."""
    only_one(resume=resume, config=config, recipe=recipe)
    only_one(resume=resume, run_dir=run_dir)
    only_one(resume=resume, overwrite=overwrite)
    only_one(dataset=given.get("dataset"), data_dir=given.get("data_dir"))
    if "dataset" in given:  # instead of the files that a configuration names
        given["data_dir"] = None
    folder, number, console = resume or run_dir, None if threads == "auto" else threads, plain_console()
    if not resume:
        settings = settings_of(base_settings(recipe, config, given), given)
        if config:
            check_foreign(settings, given.get("backend"), config)
        if settings.origin.cv is not None and settings.origin.fold is None:
            only_one(cv=True, test_fraction=given.get("test_fraction"), overwrite=overwrite, threads=number, page=page)
            from mlp_xp.commands import sweep  # which imports this module

            sweep_dir, cache = (None if path is None else str(path) for path in (run_dir, cache_dir))
            how = SweepOptions(sweep_dir, cache_dir=cache)
            return sweep.show(make_plan(settings, {}, how, is_recipe=not (config or "batch_size" in given)))
    with ExitStack() as held:
        is_run = folder is not None and (folder / run_folder.CONFIG).exists()
        if folder and is_run:  # refused, or locked, before anything is loaded
            held.enter_context(recording.open_folder(folder, existing=bool(resume) or overwrite))
        if resume:
            settings = resumed(resume, given)
            check_foreign(settings, given.get("backend"), resume)
        with starting_on(run_folder.threads_of(resume, settings.backend) if resume else None):
            backend = open_backend(settings.backend, settings.device, settings.dtype, number)
        if resume and "data_dir" not in given and run_folder.has_ended(resume, settings):
            say(console, f"the run in {resume} has ended; with a constant schedule, --epochs N trains it longer")
            if page:
                say(console, f"for its page: {called('page', resume, run_folder.PAGE)}")
            return 0
        dataset = load_dataset(settings.data, backend, cache_dir=cache_dir, **vars(settings.origin))
        if not (resume or config or "batch_size" in given):
            settings = with_fitting_batches(settings, dataset.train_inputs.shape[0])
        job = Job(settings.train, dataset, backend)
        if page:  # which would otherwise be refused at the end
            check_page(dataset, job.sizes)
        recording.check_run(settings, job, resume)
        if not is_run:  # created after all checks, so that a run that cannot begin leaves no folder
            folder = folder or run_folder.claim_folder(settings, config or recipe_for(recipe, given), dt.datetime.now())
            held.enter_context(recording.open_folder(folder, existing=overwrite))
        assert folder
        run(folder, settings, job, console, overwrite=overwrite, page=page)
    return 0


def base_settings(recipe: str | None, config: Path | None, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a file or a recipe; by default of the recipe for the data. Raises MlpXpError.

    given: the options that were typed, each a value or, of `sweep`, a tuple of values.
    """
    if config:
        return parse_settings(config)[0]
    return of_recipe(RECIPES[recipe_for(recipe, given)], given)


def recipe_for(recipe: str | None, given: Mapping[str, Any]) -> str:
    """Return the name of a recipe; by default that for the data, which are among the options as in `base_settings`."""
    several = (each if isinstance(each, tuple) else (each,) for each in map(given.get, ("data_dir", "label")))
    data_dir, label = (each[0] for each in several)
    return recipe or ("own" if data_dir is not None and is_own(Path(data_dir), Origin(label)) else "notebook")


def resumed(folder: Path, given: Mapping[str, Any]) -> Settings:
    """Return a run's settings, with those given that may change. Raises ConfigError for another one, and RunError."""
    saved, _ = run_folder.read_config(folder)
    settings = settings_of(saved, given)
    if settings.backend != saved.backend and "device" not in given:
        settings = settings_of(settings, {"device": None})  # the saved device belongs to another library
    check_unchanged(saved, settings)
    return settings


def run(folder: Path, settings: Settings, job: Job, console: Console, *, overwrite: bool, page: bool) -> None:
    """Train in a folder that this process holds, and show it. A signal or a closed output saves and stops the run."""
    stop, dataset = Stop(console), job.dataset
    hint = f"; resume with: {called('train', '--resume', folder)}"
    stop.say(f"{terminal.describe(settings, job)}\nrun      {folder}\n")
    with stop.catching_signals():
        events = recording.train_in_folder(
            folder, settings, job, overwrite=overwrite, save_now=lambda: bool(stop), resume_hint=hint
        )
        watched = terminal.watch(events, job, console)
        head, unseen = f"{terminal.header(settings.train, dataset.task)}\n", ""
        try:
            for event in watched:
                # The header comes with the first report, so that warnings of the start stand above the table.
                if report := event.report:
                    # With samples held out, the closing report is about the best network, not about the end.
                    if not (event.closing and job.held_out):
                        best, is_validated = event.position.best, bool(job.held_out)
                        unseen = terminal.report_line(report, is_validated=is_validated, best=best)
                    if unseen and (event.closing or terminal.is_shown(report, job)):
                        stop.say(head + unseen)
                        head = unseen = ""
                if stop and not event.closing:
                    stop_at(event, folder, stop, hint)
        finally:
            with stop.printing():  # the progress bar is removed, if its terminal is still there
                watched.close()
            events.close()
    assert event.report
    stop.say(f"\n{terminal.summary(event.report)}")
    if event.position.best:
        stop.say(terminal.selected(event.position.best, event.position.epoch, job))
        assert event.report.validation
        if said := terminal.overfitting(run_folder.read_metrics(folder), event.report.validation.samples):
            stop.say(said)
    if event.report.test and dataset.task.exclusive and dataset.weights is None:
        counts = np.bincount(job.backend.to_numpy(dataset.test_labels))
        if event.report.test.score <= (share := counts.max() / counts.sum()):
            stop.say(
                f"no better than always naming {dataset.class_names[counts.argmax()]}, the most frequent class "
                f"({100 * share:.2f} %); try a lower --learning-rate, more --epochs, or another --seed"
            )
    try:  # a run without pictures is complete
        paths = draw_run(folder, dataset, job.backend)
        stop.say(f"drawn in {folder}: {', '.join(path.name for path in paths)}")
    except (PlotError, FileError) as error:
        stop.say(f"no pictures: {error}, then: {called('plot', folder)}")
    if page:
        try:
            write_page(folder / run_folder.PAGE, load_run(folder, job.backend), dataset)
            stop.say(f"written: {folder / run_folder.PAGE}")
        except MlpXpError as error:
            stop.say(f"no page: {error}; then: {called('page', folder, run_folder.PAGE)}")
    if stop.error:
        raise stop.error_at(f"after the end of the training; the run in {quoted(folder)} is complete")


def stop_at(event: Event, folder: Path, stop: Stop, hint: str) -> None:
    """Raise MlpXpError if the training can stop after this event.

    It stops at a checkpoint. In the warm-up, and in a run that is to replace another, none is saved: there it stops
    after a signal.
    """
    epoch, sample = event.position.epoch, event.position.sample
    place = "in the warm-up" if epoch == WARM_UP_EPOCH else f"in epoch {epoch}, after {sample} samples"
    if event.checkpoint:
        raise stop.error_at(f"{place}{hint}")
    if (stop.signal and epoch == WARM_UP_EPOCH) or run_folder.is_replaced(folder):
        raise stop.error_at(f"{place}; {recording.what_is_kept(folder)}")
