"""Train the network: `python scripts/train.py --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every run is written to a folder, and
`--resume` resumes it from there.
"""

import datetime as dt
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlp_xp.commands.options import with_settings
from mlp_xp.core.config import ConfigError, check_choice
from mlp_xp.runs.settings import FREE_SETTINGS, RECIPES, Settings, check_foreign, first_change, parse_settings
from mlp_xp.show.width import plain_console


@with_settings(Settings)
def train(
    *,
    recipe: str | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    run_dir: Path | None = None,
    overwrite: bool = False,
    cache_dir: Path | None = None,
    threads: str = "auto",
    **given: Any,
) -> None:
    """Train a network with hand-written backpropagation, on any array library.

    Args:
        recipe: Set of settings to start from: notebook, standard, small, or own. By default own for --data-dir with
            your own data, and else notebook, whose values this help shows. Those of own are --epochs 30 --batch-size 16
            --learning-rate 0.003 --warm-up-steps 0 --update-order simultaneous --activation relu --init he --optimizer
            adam. All other options override the recipe. If there are fewer training samples than a recipe has in a
            batch, a batch is all of them.
        config: Start from the settings in this file instead, such as the config.json of a run.
        resume: Resume this run with its settings. The backend may be a different one. With a constant schedule,
            --epochs trains a finished run longer.
        run_dir: Folder of the run. By default runs/<dataset>-<backend>-<date-time>.
        overwrite: Replace an existing run in the folder.
        cache_dir: Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system.
        threads: Threads of the CPU to compute on. auto: those on which the run to resume began, or else as many as a
            variable such as OMP_NUM_THREADS says, or else one, or for large steps all CPUs. While other programs
            use the CPUs, more than one can be ten times slower.
    """
    from mlp_xp.backends.opening import starting_on
    from mlp_xp.commands import training
    from mlp_xp.runs import recording, run_folder
    from mlp_xp.sweeps.grid import settings_of

    sources = {"resume": resume, "config": config, "recipe": recipe}
    named = [f"--{name}" for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)}: settings come from one source; give only one of these options")
    with ExitStack() as held:
        if resume:
            for option, value in (("--run-dir", run_dir), ("--overwrite", overwrite)):
                if value:
                    raise ConfigError(f"{option}: a resumed run stays in its own folder; leave {option} out")
            if (resume / run_folder.CONFIG).exists():
                training.claim(resume, True, held)
            settings = resumed(resume, given)
        else:
            settings = settings_of(base_settings(recipe, config, given.get("data_dir"), given.get("label")), given)
        if given.get("dataset") and settings.data_dir:
            raise ConfigError(
                f"{given['dataset']!r:.80} and data_dir, {settings.data_dir!r}, are two data sets; give one of them",
                setting="dataset",
            )
        if source := resume or config:
            check_foreign(settings, given.get("backend"), repr(str(source)))
        # A folder that is there is claimed before the data are loaded, a new one is created after all checks.
        is_new = not (resume or (run_dir and run_dir.exists()))
        if run_dir and not is_new:
            training.claim(run_dir, overwrite, held)
        console = plain_console()
        number = number_of_threads(threads)
        with starting_on(run_folder.threads_of(resume, settings.backend) if resume else None):
            backend = settings.open_backend(number)
        dataset = training.load(settings, backend, resume, given, cache_dir, console)
        if not (resume or config or "batch_size" in given):
            settings = with_fitting_batches(settings, dataset.train_inputs.shape[0])
        settings.train.check_fits(dataset.train_inputs.shape[0])
        recording.check_run(settings, dataset, backend, resume)
        backend = recording.choose_threads(resume, settings, dataset, backend)
        folder = resume or run_dir or run_folder.claim_folder(settings, dt.datetime.now())
        if is_new:
            training.claim(folder, bool(run_dir) and overwrite, held)
        training.run(folder, settings, dataset, backend, console, overwrite=overwrite)


def base_settings(recipe: str | None, config: Path | None, data_dir: str | None, label: str | None) -> Settings:
    """Return the settings to start from: of a file, of a recipe, or by default of a recipe for the data.

    Raises MlpXpError.
    """
    from mlp_xp.core.dataset import Origin
    from mlp_xp.data.datasets import is_own
    from mlp_xp.runs.run_folder import data_of

    if config:
        settings, record = parse_settings(config, "give a saved configuration")
        if settings.task is None and is_own(data_of(settings), settings.origin):
            return replace(settings, task=record.get("task"))  # what was guessed for the run
        return settings
    if recipe is None:
        recipe = "own" if data_dir is not None and is_own(Path(data_dir), Origin(label)) else "notebook"
    check_choice("recipe", recipe, RECIPES)
    return RECIPES[recipe]


def resumed(folder: Path, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a run with those that may change. Raises ConfigError for another, and RunError."""
    from mlp_xp.runs import checkpoints, run_folder
    from mlp_xp.sweeps.grid import settings_of

    saved, _ = run_folder.read_config(folder)
    settings = settings_of(saved, given)
    if settings.backend != saved.backend and "device" not in given:
        settings = replace(settings, device=None)  # the saved device belongs to another library
    if change := first_change(saved, settings, FREE_SETTINGS):
        raise ConfigError(
            f"a resumed run keeps its settings ({change.saved!r}, not {change.wanted!r}{change.reason}); leave the "
            "option out, or start a new run with --config",
            setting=change.name,
        )
    if (folder / run_folder.CHECKPOINT).exists():
        checkpoints.check_settings(folder, settings)  # before the data are loaded
    return settings


def with_fitting_batches(settings: Settings, samples: int) -> Settings:
    """Return settings whose batches, which nobody chose, are not larger than the training set."""
    left = samples - settings.train.validation
    if 0 < left < settings.train.batch_size:
        return replace(settings, train=replace(settings.train, batch_size=left))
    return settings


def number_of_threads(word: str) -> int | None:
    """Return the number that --threads gives, or None for auto. Raises ConfigError; the range is checked later."""
    if word == "auto":
        return None
    try:
        return int(word)
    except ValueError as error:
        raise ConfigError(f"{word!r:.80} is neither a whole number such as 2 nor auto", setting="threads") from error
