"""Train the network: `python scripts/train.py --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every run is written to a folder, and
`--resume` resumes it from there.
"""

import datetime as dt
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from mlp_xp.commands.options import CacheDir, Recipe, only_one, with_settings
from mlp_xp.runs.settings import RECIPES, Settings, check_unchanged, settings_of, with_fitting_batches
from mlp_xp.show.width import plain_console


@with_settings(Settings)
def train(
    *,
    recipe: Recipe = None,
    config: Path | None = None,
    resume: Path | None = None,
    run_dir: Path | None = None,
    overwrite: bool = False,
    cache_dir: CacheDir = None,
    threads: int | Literal["auto"] = "auto",
    **given: Any,
) -> None:
    """Train a network with hand-written backpropagation, on any array library.

    Args:
        config: Start from the settings in this file instead, such as the config.json of a run.
        resume: Continue this run with its own settings, on any backend. With a constant schedule, --epochs trains a
            finished run longer.
        run_dir: Folder to write the run to. By default runs/DATASET-BACKEND-DATE-TIME.
        overwrite: Replace an existing run in --run-dir.
        threads: CPU threads to compute on. auto: those of a resumed run, or what a variable such as OMP_NUM_THREADS
            says, or one, or all CPUs for large steps. While other programs use the CPUs, several threads can be ten
            times slower than one.
    """
    from mlp_xp.backends.opening import starting_on
    from mlp_xp.commands import training
    from mlp_xp.core.job import Job
    from mlp_xp.runs import recording, run_folder
    from mlp_xp.show.terminal import say

    only_one(resume=resume, config=config, recipe=recipe)
    only_one(resume=resume, run_dir=run_dir)
    only_one(resume=resume, overwrite=overwrite)
    only_one(dataset=given.get("dataset"), data_dir=given.get("data_dir"))
    if "dataset" in given:  # instead of the files that a configuration names
        given["data_dir"] = None
    folder, number = resume or run_dir, None if threads == "auto" else threads
    with ExitStack() as held:
        is_run = folder is not None and (folder / run_folder.CONFIG).exists()
        if folder and is_run:  # refused, or locked, before anything is loaded
            held.enter_context(recording.open_folder(folder, existing=bool(resume) or overwrite))
        settings = resumed(resume, given) if resume else new_settings(recipe, config, given)
        with starting_on(run_folder.threads_of(resume, settings.backend) if resume else None):
            backend = settings.open_backend(number)
        console = plain_console()
        if resume and "data_dir" not in given and run_folder.has_ended(resume, settings):
            say(console, f"the run in {resume} has ended; --epochs N trains it longer")
            return
        dataset = training.load(settings, backend, resume, given, cache_dir)
        if not (resume or config or "batch_size" in given):
            settings = with_fitting_batches(settings, dataset.train_inputs.shape[0])
        job = Job(settings.train, dataset, backend)
        job = recording.check_run(settings, job, resume)
        if not is_run:  # created after all checks, so that a run that cannot begin leaves no folder
            folder = folder or run_folder.claim_folder(settings, dt.datetime.now())
            held.enter_context(recording.open_folder(folder, existing=overwrite))
        assert folder
        training.run(folder, settings, job, console, overwrite=overwrite)


def new_settings(recipe: str | None, config: Path | None, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a new run: those given, and else those of a file or a recipe. Raises MlpXpError."""
    from mlp_xp.runs.records import check_foreign

    settings = settings_of(base_settings(recipe, config, given.get("data_dir"), given.get("label")), given)
    if config:
        check_foreign(settings, given.get("backend"), config)
    return settings


def base_settings(recipe: str | None, config: Path | None, data_dir: str | None, label: str | None) -> Settings:
    """Return the settings of a file or a recipe; by default of the recipe for the data. Raises MlpXpError."""
    from mlp_xp.data.datasets import is_own
    from mlp_xp.data.origin import Origin
    from mlp_xp.runs.records import parse_settings

    if config:
        settings, record = parse_settings(config)
        if settings.origin.task is None and is_own(settings.data, settings.origin):
            return settings_of(settings, {"task": record.get("task")})  # what was guessed for the run
        return settings
    if recipe is None:
        recipe = "own" if data_dir is not None and is_own(Path(data_dir), Origin(label)) else "notebook"
    return RECIPES[recipe]


def resumed(folder: Path, given: Mapping[str, Any]) -> Settings:
    """Return a run's settings, with those given that may change. Raises ConfigError for another one, and RunError."""
    from mlp_xp.runs import checkpoints, run_folder
    from mlp_xp.runs.records import check_foreign

    saved, _ = run_folder.read_config(folder)
    settings = settings_of(saved, given)
    if settings.backend != saved.backend and "device" not in given:
        settings = settings_of(settings, {"device": None})  # the saved device belongs to another library
    check_unchanged(saved, settings, data=True)
    check_foreign(settings, given.get("backend"), folder)
    if (folder / run_folder.CHECKPOINT).exists():
        checkpoints.check_settings(folder, settings)  # before the data are loaded
    return settings
