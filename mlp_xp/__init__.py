"""A teaching notebook's MNIST network, written once against the Python array API standard."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_xp.api import (
        evaluate,
        load_run,
        plot_curves,
        plot_run,
        predict,
        sweep,
        train,
    )
    from mlp_xp.backends.opening import open_backend
    from mlp_xp.core.config import TrainConfig
    from mlp_xp.core.dataset import Dataset
    from mlp_xp.core.functional import Activation
    from mlp_xp.core.model import Model
    from mlp_xp.data.arrays import from_arrays
    from mlp_xp.data.datasets import load_dataset
    from mlp_xp.runs.settings import RECIPES

__version__ = "0.1.0"
__all__ = [
    "RECIPES",
    "Activation",
    "Dataset",
    "Model",
    "TrainConfig",
    "evaluate",
    "from_arrays",
    "load_dataset",
    "load_run",
    "open_backend",
    "plot_curves",
    "plot_run",
    "predict",
    "sweep",
    "train",
]

# Imported when they are first asked for (PEP 562), so that the version, the help and an error about a missing library
# need none of the libraries below them.
_HOMES = {
    "Activation": "mlp_xp.core.functional",
    "Dataset": "mlp_xp.core.dataset",
    "Model": "mlp_xp.core.model",
    "RECIPES": "mlp_xp.runs.settings",
    "TrainConfig": "mlp_xp.core.config",
    "evaluate": "mlp_xp.api",
    "from_arrays": "mlp_xp.data.arrays",
    "load_dataset": "mlp_xp.data.datasets",
    "load_run": "mlp_xp.api",
    "open_backend": "mlp_xp.backends.opening",
    "plot_curves": "mlp_xp.api",
    "plot_run": "mlp_xp.api",
    "predict": "mlp_xp.api",
    "sweep": "mlp_xp.api",
    "train": "mlp_xp.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
