"""Draw the pictures of a run from its folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.deform import draw_deformations, make_deform
from mlp_xp.core.model import Model
from mlp_xp.core.signature import STANDARDISED, Signature
from mlp_xp.core.task import TASKS, Evaluation
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.export.page import write_page
from mlp_xp.runs import table
from mlp_xp.runs.ensembles import initial_weights
from mlp_xp.runs.metrics import confusion_matrix
from mlp_xp.runs.names import METRICS, PAGE
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.show import plots
from mlp_xp.show.presentation import presentation_of

_SHOWN_DEFORMED = 12  # images
_COPIES = 5  # of each deformed image


def read_curves(run: RunFolder) -> plots.Curves:
    """Return the reports of a run for `draw_curves`.

    Raises:
        RunError: A file is missing or damaged.
    """
    record, settings = run.record(), run.settings()
    reports, closing = run.reports(), run.result() or {}
    if closing and not reports:
        fault = "has no reports, though the run has ended"
        raise RunError(fault, file=run.path / METRICS, remedy="restore the file")
    # Otherwise it is about an earlier network.
    if closing and "kept_epoch" not in closing:
        reports.append(closing)
    options, signature = settings.data_options, record["signature"]
    return plots.Curves(
        run.path.resolve().name,
        reports,
        record["train_samples"],
        settings.train.batch_size,
        task=TASKS[signature["task"]],
        standardised=signature["targets"] == STANDARDISED,
        weighted=bool(options.class_weight or options.sample_weight),
    )


def compared(runs: Sequence[RunFolder]) -> list[plots.Curves]:
    """Return the curves of runs for one picture, named by the settings that differ.

    Raises:
        RunError: The runs have different tasks, so their losses cannot be compared.
    """
    curves = [read_curves(run) for run in runs]
    first = curves[0].task
    for each, run in zip(curves, runs, strict=True):
        if each.task != first:
            raise RunError(
                f"its task is {each.task.name}, but the task of "
                f"{quoted(runs[0].path)} is {first.name}",
                file=run.path,
                remedy="draw runs of the same task in one picture",
            )
    names = table.labels([table.read_row(run) for run in runs])
    return [replace(each, name=name) for each, name in zip(curves, names, strict=True)]


def draw_run(run: RunFolder, dataset: Dataset, backend: Backend) -> list[Path]:
    """Draw the pictures of a run into its folder, and return their paths.

    All runs have curves.png. Runs with a test set also have the pictures of their task:
    see PRESENTATIONS. mistakes.png needs images of one channel. Runs on images of one
    channel also have weights.png, and deformed.png if training deforms the images.

    Args:
        run: The run. An error leaves it complete.
        dataset: The data, with arrays on the device of the backend.
        backend: The backend to compute with.

    Raises:
        RunError: The folder has no model, or its outputs are not finite.
        PlotError: Matplotlib is missing, or does not work.
        FileError: A picture cannot be written.
    """
    paths = []
    for name, figure in _figures(run, dataset, backend):
        path = run.path / name
        plots.save(figure, path)
        paths.append(path)
    return paths


class Drawn(NamedTuple):
    """What is drawn at the end of a run."""

    paths: list[Path]
    faults: dict[str, MlpXpError]
    """The errors of `plot`, for the pictures, and of `page`."""


def draw_end(
    run: RunFolder, dataset: Dataset, backend: Backend, *, page: bool = False
) -> Drawn:
    """Draw the pictures of a run that has ended, and its page if it is wanted.

    An error is returned, because a run without pictures is complete.
    """
    drawn = Drawn([], {})
    try:
        drawn.paths.extend(draw_run(run, dataset, backend))
    except MlpXpError as error:
        drawn.faults["plot"] = error
    if page:
        path = run.path / PAGE
        try:
            write_page(path, run.model(backend), dataset)
            drawn.paths.append(path)
        except MlpXpError as error:
            drawn.faults["page"] = error
    return drawn


def _figures(
    run: RunFolder, dataset: Dataset, backend: Backend
) -> Iterator[tuple[str, Any]]:
    """Yield the names and figures of the pictures that fit the data."""
    model, config = run.model(backend), run.settings().train
    yield "curves.png", plots.draw_curves([read_curves(run)])
    if dataset.test is not None:
        yield from _test_figures(model, dataset.test, backend)
    if _is_of_images(model.signature):
        if config.deform:
            yield "deformed.png", _deformed(config, model, dataset, backend)
        yield "weights.png", _weights(model, backend)


def _is_of_images(signature: Signature) -> bool:
    """Return whether the inputs are images of one channel."""
    return len(signature.input_shape) == 2


def _is_ink(signature: Signature) -> bool:
    """Return whether images are ink on paper, as in MNIST, and not other pictures."""
    return "pictures" not in signature.form


def _deformed(
    config: TrainConfig, model: Model, dataset: Dataset, backend: Backend
) -> Any:
    """Draw the first training images above copies that are deformed as in training."""
    images = dataset.train.inputs[:_SHOWN_DEFORMED, ...]
    n, *shape = images.shape
    drawn = draw_deformations(
        replace(config, batch_size=n),
        backend.dtype_name,
        tuple(shape),
        _COPIES,
        n,
        first_step=0,
    )
    deform = backend.jit(make_deform(config, tuple(shape), backend))
    copies = []
    for arrays in zip(*drawn, strict=True):
        deformed = deform(images, *map(backend.asarray, arrays))
        copies.append(backend.to_numpy(deformed))
    ink = _is_ink(model.signature)
    return plots.draw_deformed(backend.to_numpy(images), np.stack(copies), ink=ink)


def _weights(model: Model, backend: Backend) -> Any:
    weights = model.joined().network[0].weights
    shape = model.signature.input_shape
    initial = initial_weights(model)
    return plots.draw_weights(backend.to_numpy(weights), shape, initial=initial)


class Tested(NamedTuple):
    """A network and its predictions for a test set, on the host."""

    signature: Signature
    result: Evaluation
    inputs: np.ndarray
    labels: np.ndarray
    outputs: np.ndarray
    """Probabilities, or numbers in their units, (n, outputs)."""


def _test_figures(
    model: Model, test: Samples, backend: Backend
) -> Iterator[tuple[str, Any]]:
    """Yield the names and figures of the pictures of a test set."""
    tested = Tested(
        model.signature,
        model.evaluate(test.inputs, test.labels),
        backend.to_numpy(test.inputs),
        backend.to_numpy(test.labels),
        backend.to_numpy(model.predictions(test.inputs)),
    )
    for name in presentation_of(model.signature.task).pictures:
        figure = PICTURES[name](tested)
        if figure is not None:
            yield name, figure


def _confusion(tested: Tested) -> Any:
    names = tested.signature.outputs
    predicted = np.argmax(tested.outputs, axis=1)
    matrix = confusion_matrix(tested.labels, predicted, len(names))
    return plots.draw_confusion(matrix, names)


def _mistakes(tested: Tested) -> Any:
    signature = tested.signature
    if not _is_of_images(signature):
        return None
    return plots.draw_mistakes(
        tested.inputs,
        tested.labels,
        tested.outputs,
        signature.outputs,
        ink=_is_ink(signature),
    )


def _probabilities(tested: Tested) -> Any:
    task = tested.signature.task
    return plots.draw_probabilities(task, tested.outputs, tested.labels)


def _labels(tested: Tested) -> Any:
    share = np.mean(tested.labels, axis=0, dtype=np.float64)
    by_guessing = np.maximum(share, 1 - share).tolist()
    names = tested.signature.outputs
    return plots.draw_labels(tested.result.label_accuracies, by_guessing, names)


def _predictions(tested: Tested) -> Any:
    names = tested.signature.outputs
    return plots.draw_predictions(tested.labels, tested.outputs, tested.result, names)


PICTURES: dict[str, Callable[[Tested], Any]] = {
    "confusion.png": _confusion,
    "mistakes.png": _mistakes,
    "probabilities.png": _probabilities,
    "labels.png": _labels,
    "predictions.png": _predictions,
}
"""The pictures of a test set. Each returns a figure, or None for unsuitable data."""
