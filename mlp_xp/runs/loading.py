"""Read the settings and the trained network in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.errors import as_path
from mlp_xp.runs._checkpoints import read_model
from mlp_xp.runs.names import CHECKPOINT, CONFIG, MODEL, REPLACED
from mlp_xp.runs.records import RunError, read_json, run_settings
from mlp_xp.runs.settings import Settings


def load_run(path: str | Path, backend: Backend | str | None = None) -> Model:
    """Load the trained network of a run.

    Args:
        path: The folder of a run, or a model.safetensors file.
        backend: The backend of its arrays, or the name of a library. By default NumPy,
            in the model's dtype.

    Returns:
        The network with the meaning of its inputs and outputs. See `Model.predict`.

    Raises:
        RunError: The folder is not a run or has no model yet, or the file is damaged.

    Examples:
        >>> load_run("runs/digits").predict(images[:3])
        array(['7', '2', '1'], dtype='<U1')
    """
    path = as_path(path, "path", "give the folder of a run")
    if path.suffix == ".safetensors":
        model = read_model(path, str(path))
    else:
        read_config(path)  # refuses a folder without a run
        model = read_model(path / MODEL, str(path))
    return model if backend is None else model.on(backend)


def read_config(folder: Path) -> tuple[Settings, dict[str, Any]]:
    """Return the settings and the whole record in config.json.

    Raises:
        RunError: The folder has no run, or config.json is damaged.
    """
    path = folder / CONFIG
    if not path.exists():
        why = f"it has no {CONFIG}" if folder.exists() else "it does not exist"
        remedy = "give the folder of a training run"
        raise RunError(f"is not a run: {why}", file=folder, remedy=remedy)
    if is_being_replaced(folder):
        fault = "is being replaced by a run that has no checkpoint yet"
        remedy = (
            "wait for it, or, if it was interrupted, bring the old run back: resume it"
        )
        raise RunError(fault, file=folder, remedy=remedy)
    record = read_record(folder)
    return run_settings(record, path), record


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in config.json, unchecked.

    Raises:
        RunError: The file is not JSON, or of another program.
    """
    path = folder / CONFIG
    record = read_json(path)
    if not {"format", "settings"} <= record.keys():
        fault = "is of another program, not of a run"
        raise RunError(fault, file=path, remedy="choose another folder")
    return record


def is_being_replaced(folder: Path) -> bool:
    """Return whether a new or longer run, without a checkpoint yet, replaces a run."""
    return (folder / REPLACED).is_dir() and not (folder / CHECKPOINT).exists()
