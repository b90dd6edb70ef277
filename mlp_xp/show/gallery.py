"""Draw the pictures of a run from its folder: curves, confusion, probabilities,
mistakes, weights, and others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.deform import draw_deformations, make_deform
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model
from mlp_xp.core.network import initial_layers
from mlp_xp.core.signature import STANDARDISED
from mlp_xp.core.task import TASKS, Evaluation
from mlp_xp.errors import quoted
from mlp_xp.runs import table
from mlp_xp.runs.metrics import confusion_matrix
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.show import plots
from mlp_xp.show.presentation import presentation_of

_SHOWN_DEFORMED = 12  # images


def read_curves(run: RunFolder) -> plots.Curves:
    """Return the reports of a run for `draw_curves`. Raises RunError if its files are
    missing or damaged.
    """
    record, closing = run.record(), run.result()
    reports = [*run.reports(), *([closing] if closing else [])]
    signature = record["signature"]
    return plots.Curves(
        run.path.resolve().name,
        reports,
        record["train_samples"],
        TASKS[signature["task"]],
        signature["targets"] == STANDARDISED,
    )


def compared(runs: Sequence[RunFolder]) -> list[plots.Curves]:
    """Return the curves of several runs for one picture, each named by the settings in
    which its run differs.

    Raises RunError for runs of different tasks, whose losses and scores do not compare.
    """
    curves = [read_curves(run) for run in runs]
    for each, run in zip(curves, runs, strict=True):
        if each.task != curves[0].task:
            raise RunError(
                f"its task is {each.task.name}, but that of {quoted(runs[0].path)} is {curves[0].task.name}",
                file=run.path,
                remedy="draw runs of the same task in one picture",
            )
    names = table.labels([table.read_row(run) for run in runs])
    return [replace(each, name=name) for each, name in zip(curves, names, strict=True)]


def draw_run(run: RunFolder, dataset: Dataset, backend: Backend) -> list[Path]:
    """Draw the pictures of a run into its folder, and return their paths.

    All runs have curves.png. With a test set, classes have confusion.png and
    mistakes.png, regression has predictions.png, labels have labels.png, and both
    classes and labels have probabilities.png. Images of one channel have weights.png,
    and deformed.png if they are deformed in training; mistakes.png needs them too.
    dataset: arrays on the backend's device. Raises RunError if the folder has no model,
    or its outputs are not finite, and PlotError without a working Matplotlib, and
    FileError: the run itself is complete and intact.
    """
    paths = []
    for name, figure in _figures(run, dataset, backend):
        paths.append(run.path / name)
        plots.save(figure, paths[-1])
    return paths


def _figures(
    run: RunFolder, dataset: Dataset, backend: Backend
) -> Iterator[tuple[str, Any]]:
    """Yield the names and figures of the pictures that fit the data."""
    model, settings = run.model(backend), run.settings()
    yield "curves.png", plots.draw_curves([read_curves(run)])
    if dataset.test is not None:
        yield from _test_figures(model, dataset.test, backend)
    if len(model.signature.input_shape) == 2:
        ink = "pictures" not in model.signature.form
        if settings.train.deform:
            images = dataset.train.inputs[:_SHOWN_DEFORMED, ...]
            copies = _deformed_copies(settings.train, images, backend)
            yield (
                "deformed.png",
                plots.draw_deformed(backend.to_numpy(images), copies, ink=ink),
            )
        weights, initial = backend.to_numpy(model.network[0].weights), None
        if not settings.start_from:  # otherwise they are those of another run
            random = np.random.RandomState(settings.train.seed)
            initial = initial_layers(weights.shape, random, settings.train.init)[
                0
            ].weights
        yield (
            "weights.png",
            plots.draw_weights(weights, model.signature.input_shape, initial=initial),
        )


def _deformed_copies(
    config: TrainConfig, images: Array, backend: Backend, copies: int = 5
) -> np.ndarray:
    """Return several deformed copies of some images on the device, (copies, n, rows,
    columns) on the host.
    """
    n, shape = images.shape[0], tuple(images.shape[1:])
    drawn = draw_deformations(
        replace(config, batch_size=n),
        backend.dtype_name,
        shape,
        copies,
        n,
        first_step=0,
    )
    deform = backend.jit(make_deform(config, shape, backend))
    of_steps = (map(backend.asarray, each) for each in zip(*drawn, strict=True))
    return np.stack([backend.to_numpy(deform(images, *each)) for each in of_steps])


class Tested(NamedTuple):
    """A network and its predictions for a test set, on the host."""

    model: Model
    result: Evaluation
    inputs: np.ndarray
    labels: np.ndarray
    outputs: np.ndarray
    """Probabilities, or numbers in their units, (n, outputs)."""

    @property
    def is_of_pictures(self) -> bool:
        """Whether the inputs are images of one channel."""
        return len(self.model.signature.input_shape) == 2

    @property
    def ink(self) -> bool:
        """Whether they are ink on paper, as MNIST's are, and not pictures as such."""
        return "pictures" not in self.model.signature.form


def _test_figures(
    model: Model, test: Samples, backend: Backend
) -> Iterator[tuple[str, Any]]:
    """Yield the names and figures of the pictures of a test set."""
    tested = Tested(
        model,
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
    names = tested.model.signature.outputs
    said = np.argmax(tested.outputs, axis=1)
    return plots.draw_confusion(
        confusion_matrix(tested.labels, said, len(names)), names
    )


def _mistakes(tested: Tested) -> Any:
    if not tested.is_of_pictures:
        return None
    names = tested.model.signature.outputs
    return plots.draw_mistakes(
        tested.inputs, tested.labels, tested.outputs, names, ink=tested.ink
    )


def _probabilities(tested: Tested) -> Any:
    task = tested.model.signature.task
    return plots.draw_probabilities(task, tested.outputs, tested.labels)


def _labels(tested: Tested) -> Any:
    share = np.mean(tested.labels, axis=0, dtype=np.float64)
    by_guessing = np.maximum(share, 1 - share).tolist()
    names = tested.model.signature.outputs
    return plots.draw_labels(tested.result.label_accuracies, by_guessing, names)


def _predictions(tested: Tested) -> Any:
    names = tested.model.signature.outputs
    return plots.draw_predictions(tested.labels, tested.outputs, tested.result, names)


PICTURES: dict[str, Callable[[Tested], Any]] = {
    "confusion.png": _confusion,
    "mistakes.png": _mistakes,
    "probabilities.png": _probabilities,
    "labels.png": _labels,
    "predictions.png": _predictions,
}
"""The pictures of a test set: each returns a figure, or None if the data have none."""
