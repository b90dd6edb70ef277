"""Try a run's network on the test set: `python scripts/evaluate.py RUN_DIR`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table

from mlp_xp.commands.command_line import Positional, parse
from mlp_xp.data.datasets import load_dataset
from mlp_xp.metrics import confusion_matrix, evaluate, precision_and_recall, predict
from mlp_xp.network import to_device
from mlp_xp.runs import run_folder
from mlp_xp.runs.checkpoints import backend_for, check_classes, load_model
from mlp_xp.show.terminal import count


@dataclass(frozen=True)
class Arguments:
    """Try a run's network on the test set: loss, accuracy, precision and recall of every class, confusion matrix."""

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """A folder that scripts/train.py made."""
    backend: str = "numpy"
    """numpy, cupy, jax, torch, array-api-strict, or `module:namespace`; whatever it was trained on."""
    device: str | None = None
    """The library's name of a device, such as cuda:1."""
    data_dir: Path | None = None
    """A folder of other data, or of the run's own if it is not where it was."""


def main() -> None:
    """Parse, evaluate, show."""
    arguments: Arguments = parse(Arguments)
    settings, _ = run_folder.read_config(arguments.run_dir)
    model = load_model(arguments.run_dir)
    backend = backend_for(arguments.run_dir, arguments.backend, arguments.device)
    dataset = load_dataset(arguments.data_dir or run_folder.data_of(settings), backend)
    check_classes(model, dataset)
    network = to_device(model.network, backend)
    images, labels = dataset.test_images, dataset.test_labels
    result = evaluate(network, images, labels, activation=model.activation, backend=backend)
    probabilities = predict(network, images, activation=model.activation, backend=backend)
    predictions = np.argmax(backend.to_numpy(probabilities), axis=1)
    matrix = confusion_matrix(backend.to_numpy(labels), predictions, len(model.class_names))

    console = Console(highlight=False, markup=False)
    console.print(
        f"{100 * result.accuracy:.2f} % of {count(len(predictions))} test images right, loss {result.loss:.4f}\n"
    )
    table = Table("class", "images", "precision", "recall", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    precision, recall = precision_and_recall(matrix)
    for name, images_of, p, r in zip(model.class_names, matrix.sum(axis=1), precision, recall, strict=True):
        table.add_row(name, str(images_of), f"{p:.4f}", f"{r:.4f}")
    console.print(table)
    console.print("\nconfusion: a row a true class, a column a predicted one")
    width = max(4, len(str(matrix.max())) + 1)
    names = [f"{name[: width - 1]:>{width}}" for name in model.class_names]
    console.print(" " * 6 + "".join(names), soft_wrap=True)
    for name, row in zip(model.class_names, matrix, strict=True):
        console.print(f"{name[:6]:<6}" + "".join(f"{value or '.':>{width}}" for value in row), soft_wrap=True)
