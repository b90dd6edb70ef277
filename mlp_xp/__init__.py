"""A teaching notebook's MNIST network, written once against the Python array API
standard.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_xp.api import (
        evaluate,
        export_onnx,
        export_page,
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
    from mlp_xp.runs.run_folder import load_run
    from mlp_xp.runs.settings import RECIPES

__version__ = "0.1.0"
__all__ = [
    "RECIPES",
    "Activation",
    "Dataset",
    "Model",
    "TrainConfig",
    "evaluate",
    "export_onnx",
    "export_page",
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


def __getattr__(name: str) -> Any:
    # All come from `api`, and are imported when the first is asked for (PEP 562): the
    # version, the help and an error about a missing library need none of the libraries
    # below it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mlp_xp.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
