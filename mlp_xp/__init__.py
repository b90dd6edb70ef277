"""A teaching notebook's MNIST network, written once for every array library.

The public names are those in `__all__` of this module, of `mlp_xp.parity` and of
`mlp_xp.estimator`, with their documented arguments and attributes. All other names may
change in any release; `mlp_xp.core` is for reading.

`help` does not show the descriptions of attributes. They stand below each attribute in
the source, and in the reference on the site.

A public name keeps its meaning in all releases with the same first number above 0, and
before version 1 in all with the same first two. Before it changes or goes, at least one
release gives a DeprecationWarning that names the replacement.
"""

import importlib

from mlp_xp.version import __version__ as __version__

# Type checkers go by this name. To import it from `typing` would take longer than the
# rest of this module.
TYPE_CHECKING = False

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
    from mlp_xp.core.backend import Backend
    from mlp_xp.core.config import TrainConfig
    from mlp_xp.core.dataset import Dataset, Samples
    from mlp_xp.core.functional import Activation
    from mlp_xp.core.model import Model
    from mlp_xp.core.signature import Signature
    from mlp_xp.core.task import Evaluation
    from mlp_xp.core.training import Report
    from mlp_xp.data.arrays import from_arrays
    from mlp_xp.data.datasets import load_dataset
    from mlp_xp.data.options import DataOptions
    from mlp_xp.errors import MlpXpError, MlpXpWarning
    from mlp_xp.gradients.check import assert_gradients, check_gradients
    from mlp_xp.runs.loading import load_run
    from mlp_xp.runs.settings import RECIPES, Settings

__all__ = [
    "RECIPES",
    "Activation",
    "Backend",
    "DataOptions",
    "Dataset",
    "Evaluation",
    "MlpXpError",
    "MlpXpWarning",
    "Model",
    "Report",
    "Samples",
    "Settings",
    "Signature",
    "TrainConfig",
    "assert_gradients",
    "check_gradients",
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


def __getattr__(name: str) -> object:
    # All come from `api`, and are imported when the first is asked for (PEP 562): the
    # version, the help and an error about a missing library need none of the libraries
    # below it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mlp_xp.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
