"""The settings of a command: a file, a recipe or a run, with the options given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlp_xp.data.datasets import is_own
from mlp_xp.data.options import DataOptions
from mlp_xp.runs.records import parse_settings
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import (
    RECIPES,
    Settings,
    check_unchanged,
    of_recipe,
    settings_of,
)
from mlp_xp.runs.sweep_folder import SweepFolder


def base_settings(
    recipe: str | None, config: Path | None, given: Mapping[str, Any]
) -> Settings:
    """Return the settings of a file or a recipe, by default the recipe for the data.

    Args:
        recipe: The name of a recipe, if one is given.
        config: A file with settings, if one is given.
        given: The options given, each a value or, in a sweep, a tuple of values.

    Raises:
        MlpXpError: The file cannot be read.
    """
    if config:
        settings = parse_settings(config)
        if "dataset" in given:  # instead of the files that the configuration names
            named = {"data_dir": None, "dataset": _first(given["dataset"])}
            settings = settings_of(settings, named)
        return settings
    return of_recipe(RECIPES[recipe_for(recipe, given)], given)


def recipe_for(recipe: str | None, given: Mapping[str, Any]) -> str:
    """Return the name of the recipe: by default `own` for own data, else `notebook`."""
    if recipe:
        return recipe
    data_dir = _first(given.get("data_dir"))
    label = _first(given.get("label"))
    if data_dir is not None and is_own(Path(data_dir), DataOptions(label)):
        return "own"
    return "notebook"


def resumed_settings(run: RunFolder, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a run, with options that may change.

    Raises:
        ConfigError: An option may not change.
        RunError: The folder has no run.
    """
    saved = run.settings()
    settings = settings_of(saved, given)
    if settings.backend != saved.backend and "device" not in given:
        # The saved device belongs to another library.
        settings = settings_of(settings, {"device": None})
    check_unchanged(saved, settings)
    return settings


def are_ensemble(run_dirs: Sequence[Path]) -> bool:
    """Return whether folders are an ensemble: several runs, or a sweep."""
    return len(run_dirs) > 1 or SweepFolder(run_dirs[0]).exists()


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
