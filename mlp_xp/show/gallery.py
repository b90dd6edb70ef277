"""Draw the pictures of a run from its folder: curves, confusion matrix, mistakes, weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset
from mlp_xp.files import FileError
from mlp_xp.metrics import confusion_matrix
from mlp_xp.runs import run_folder, sweep_index, table
from mlp_xp.runs.checkpoints import load_model, probabilities_of
from mlp_xp.runs.records import RunError
from mlp_xp.show import plots


def read_curves(folder: str | Path) -> plots.Curves:
    """Return the reports of a run for `draw_curves`. Raises RunError if its files are missing or damaged."""
    folder = Path(folder)
    _, record = run_folder.read_config(folder)
    if "train_samples" not in record:
        raise RunError(f"{str(folder / run_folder.CONFIG)!r}: is damaged: it has no field 'train_samples'; train again")
    closing = sweep_index.read_result(folder)
    reports = [*run_folder.read_metrics(folder), *([closing] if closing else [])]
    return plots.Curves(folder.resolve().name, reports, record["train_samples"])


def told_apart(curves: Sequence[plots.Curves], folders: Sequence[Path]) -> list[plots.Curves]:
    """Return the curves of several runs, each named by the settings in which its run differs from the others."""
    names = table.labels([table.read_row(folder) for folder in folders])
    return [each._replace(name=name) for each, name in zip(curves, names, strict=True)]


def draw_run(folder: str | Path, dataset: Dataset, backend: Backend) -> list[Path]:
    """Draw curves.png, confusion.png, mistakes.png and weights.png into a run's folder, and return their paths.

    dataset: arrays on the backend's device. Raises RunError if the folder has no model, or one whose
    outputs are not finite, and PlotError if Matplotlib is
    not installed or broken, or the folder cannot be written: the run itself is complete and intact.
    """
    try:
        return _draw(Path(folder), dataset, backend)
    except FileError as error:
        raise plots.PlotError(f"the run is complete, but {error.text.removesuffix(', then try again')}") from error
    except MemoryError as error:
        raise plots.PlotError(f"out of memory: {error}; the run is complete; close other programs") from error


def _draw(folder: Path, dataset: Dataset, backend: Backend) -> list[Path]:
    model = load_model(folder)
    images, labels = backend.to_numpy(dataset.test_images), backend.to_numpy(dataset.test_labels)
    probabilities = probabilities_of(folder, model, dataset.test_images, backend, dataset.prepare)
    matrix = confusion_matrix(labels, np.argmax(probabilities, axis=1), len(model.class_names))
    paths = [folder / name for name in run_folder.PICTURES]
    curves, confusion, mistakes, weights = paths
    plots.save(plots.draw_curves([read_curves(folder)]), curves)
    plots.save(plots.draw_confusion(matrix, model.class_names), confusion)
    plots.save(plots.draw_mistakes(images, labels, probabilities, model.class_names), mistakes)
    plots.save(plots.draw_weights(model.network[0].weights, model.image_shape), weights)
    return paths
