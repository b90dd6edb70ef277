"""Draw the pictures of a run from its folder: curves, confusion matrix, mistakes, weights, predictions, labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset
from mlp_xp.files import FileError
from mlp_xp.metrics import confusion_matrix
from mlp_xp.runs import run_folder, sweep_index, table
from mlp_xp.runs.checkpoints import evaluation_of, load_model
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
    task, standardised = record.get("task", "classes"), record.get("targets") == "standardize"
    return plots.Curves(folder.resolve().name, reports, record["train_samples"], task, standardised)


def told_apart(curves: Sequence[plots.Curves], folders: Sequence[Path]) -> list[plots.Curves]:
    """Return the curves of several runs, each named by the settings in which its run differs from the others.

    Raises RunError for runs of different tasks, whose losses and scores do not compare.
    """
    for each, folder in zip(curves, folders, strict=True):
        if each.task != curves[0].task:
            raise RunError(
                f"{str(folder)!r}: its task is {each.task}, but that of {str(folders[0])!r} is {curves[0].task}; draw "
                "runs of the same task in one picture"
            )
    names = table.labels([table.read_row(folder) for folder in folders])
    return [each._replace(name=name) for each, name in zip(curves, names, strict=True)]


def draw_run(folder: str | Path, dataset: Dataset, backend: Backend) -> list[Path]:
    """Draw the pictures of PICTURES into a run's folder, and return their paths.

    Those that do not fit the data are left out. With a test set, there are confusion.png and mistakes.png for classes,
    predictions.png for regression, and labels.png for labels; mistakes.png and weights.png need images of one channel.
    dataset: arrays on the backend's device. Raises RunError if the folder has no model, or one whose outputs are not
    finite, and PlotError if Matplotlib is not installed or broken, or the folder cannot be written: the run itself is
    complete and intact.
    """
    try:
        return _draw(Path(folder), dataset, backend)
    except FileError as error:
        raise plots.PlotError(f"the run is complete, but {error.text.removesuffix(', then try again')}") from error
    except MemoryError as error:
        raise plots.PlotError(f"out of memory: {error}; the run is complete; close other programs") from error


def _draw(folder: Path, dataset: Dataset, backend: Backend) -> list[Path]:
    paths = []
    for name, figure in zip(run_folder.PICTURES, _figures(folder, dataset, backend), strict=True):
        if figure is not None:
            plots.save(figure, folder / name)
            paths.append(folder / name)
    return paths


def _figures(folder: Path, dataset: Dataset, backend: Backend) -> Iterator[Any]:
    """Yield the figures of PICTURES, or None for one that does not fit the data; each when the last one is written."""
    model = load_model(folder)
    names, is_image = model.class_names, len(model.image_shape) == 2
    task = None if dataset.test_images is None else model.task
    has_classes = task == "classes"
    if task is not None:
        images, labels = backend.to_numpy(dataset.test_images), backend.to_numpy(dataset.test_labels)
        outputs = backend.to_numpy(model.outputs(dataset.test_images, backend))
    if has_classes:
        matrix = confusion_matrix(labels, np.argmax(outputs, axis=1), len(names))
    elif task is not None:
        result = evaluation_of(model, dataset, backend)
    yield plots.draw_curves([read_curves(folder)])
    yield plots.draw_confusion(matrix, names) if has_classes else None
    yield plots.draw_mistakes(images, labels, outputs, names) if has_classes and is_image else None
    yield plots.draw_weights(model.network[0].weights, model.image_shape) if is_image else None
    yield plots.draw_predictions(labels, outputs, result.r2s, names) if task == "regression" else None
    share = np.mean(labels, axis=0, dtype=np.float64) if task == "labels" else np.empty(0)
    commoner = np.maximum(share, 1 - share).tolist()
    yield plots.draw_labels(result.label_accuracies, commoner, names) if task == "labels" else None
