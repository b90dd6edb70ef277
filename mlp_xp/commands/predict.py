"""Predict from your own pictures, or a table, with the network of a run: `python scripts/predict.py RUN a.png ...`."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from mlp_xp.api import predict_pictures, predict_table
from mlp_xp.commands.command_line import Positional, parse, print_error
from mlp_xp.data.own import is_table
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.metrics import percent
from mlp_xp.show.terminal import GLUE, plain_console, say

LIKELIEST = 3
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Arguments:
    """Predict classes, labels or numbers from pictures, or from the rows of a table, with the network of a run."""

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """The folder of a training run."""
    inputs: Annotated[tuple[Path, ...], Positional("PICTURE")]
    """Picture files, or folders of picture files; or a table (CSV, Parquet) with the columns of the run's data."""
    show: bool = False
    """Print each picture as the network sees it. Look at this first if the network gets a picture wrong."""
    json: bool = False
    """Print one JSON object per picture or row, with the probabilities of all classes or labels, or the numbers."""
    csv: bool = False
    """Print a table in CSV, with a line per picture or row, and the probabilities of all classes or labels, or the
    numbers."""
    backend: str = "numpy"
    """numpy, cupy, jax, torch, array-api-strict, or `module:namespace`."""
    device: str | None = None
    """The device, in the library's notation, such as cuda:1."""


class Predictions(NamedTuple):
    """What to print about each picture or row."""

    kind: str
    """picture or row."""
    names: Sequence[str | int]
    outputs: np.ndarray
    """float (n, outputs)."""
    class_names: Sequence[str]
    task: str
    images: np.ndarray | None
    """uint8 (n, rows, columns[, 3])."""


def drawing(image: np.ndarray) -> str:
    """Return an image, uint8 (rows, columns[, 3]), as text. A pixel is two characters wide, to look square."""
    grey = image.astype(int) if image.ndim == 2 else image.mean(axis=2).astype(int)
    shades = grey * (len(SHADES) - 1) // 255
    return "\n".join("".join(SHADES[shade] * 2 for shade in row).rstrip() for row in shades)


def main() -> int:
    """Predict and print the results. Return 1 if a picture cannot be read; the others are classified."""
    arguments: Arguments = parse(Arguments)
    if not arguments.inputs:
        raise MlpXpError("PICTURE: give at least one picture file, a folder of them, or a table")
    for one, other, reason in (
        ("show", "json", "a drawing is not JSON"),
        ("show", "csv", "a drawing is not CSV"),
        ("csv", "json", "CSV is not JSON"),
    ):
        if getattr(arguments, one) and getattr(arguments, other):
            raise MlpXpError(f"{reason}; leave out --{one} or --{other}", setting=one)
    tables = [path for path in arguments.inputs if is_table(path.name)]
    if tables:
        return predict_rows(arguments, tables[0])
    pictures, probabilities, class_names = predict_pictures(
        arguments.run_dir, arguments.inputs, arguments.backend, arguments.device
    )
    paths = [str(path) for path in pictures.paths]
    show(arguments, Predictions("picture", paths, probabilities, class_names, "classes", pictures.images))
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in pictures.faults:
        print_error(str(fault))
    return 1 if pictures.faults else 0


def predict_rows(arguments: Arguments, table: Path) -> int:
    """Predict from the rows of a table and print the results."""
    if len(arguments.inputs) > 1:
        raise MlpXpError(f"PICTURE: {str(table)!r} is a table; give it alone")
    if arguments.show:
        raise MlpXpError("a table has no pictures; leave it out", setting="show")
    outputs, class_names, task = predict_table(arguments.run_dir, table, arguments.backend, arguments.device)
    show(arguments, Predictions("row", range(1, len(outputs) + 1), outputs, class_names, task, None))
    return 0


def show(arguments: Arguments, predictions: Predictions) -> None:
    """Print predictions in the form that the arguments ask for."""
    kind, names, outputs, class_names, task, images = predictions
    likeliest = [class_names[i] for i in np.argmax(outputs, axis=1)] if task == "classes" else None
    if arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([kind, *(["class"] if likeliest else []), *class_names])
        for i, (name, row) in enumerate(zip(names, outputs.tolist(), strict=True)):
            writer.writerow([name, *([likeliest[i]] if likeliest else []), *row])
        return
    console = plain_console()
    for i, (name, row) in enumerate(zip(names, outputs, strict=True)):
        if arguments.json:
            found: dict[str, str | list[str]] = {"class": likeliest[i]} if likeliest else {}
            if task == "labels":
                found = {"labels": [name for name, share in zip(class_names, row, strict=True) if share > 0.5]}
            values = "outputs" if task == "regression" else "probabilities"
            by_name = dict(zip(class_names, row.tolist(), strict=True))
            print(json.dumps({kind: name, **found, values: by_name}))
            continue
        if arguments.show and images is not None:
            console.print(drawing(images[i]), soft_wrap=True)
        # Lines break only where the terminal is too narrow, and never inside an answer.
        order = range(len(row)) if likeliest is None else np.argsort(-row, kind="stable")[:LIKELIEST].tolist()
        answers = [
            f"{printable(class_names[j])} ({f'{row[j]:.6g}' if task == 'regression' else percent(row[j])})"
            for j in order
        ]
        shown = printable(name) if isinstance(name, str) else f"{kind} {name}"
        say(console, f"{shown}: {', '.join(answer.replace(' ', GLUE) for answer in answers)}")
