"""Predict from your own pictures, or a table, with the network of a run: `python scripts/predict.py RUN a.png ...`.

Several runs, or a sweep, before the pictures or the table answer as an ensemble.
"""

import itertools
import sys
from collections.abc import Sequence
from csv import writer as csv_writer
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp import api
from mlp_xp.commands.data import warn_of_unfinished
from mlp_xp.commands.process import print_error
from mlp_xp.core.metrics import percent
from mlp_xp.core.task import Task
from mlp_xp.data.tables import is_table
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.runs.ensembles import members_of
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import is_run, labels, read_row
from mlp_xp.show.terminal import GLUE, say
from mlp_xp.show.width import plain_console

LIKELIEST = 3
SHADES = " .:-=+*#%@"


class Predictions(NamedTuple):
    """What to print about each picture or row."""

    kind: str
    """picture or row."""
    names: Sequence[str | int]
    outputs: np.ndarray
    """float (n, outputs)."""
    class_names: Sequence[str]
    task: Task
    members: Sequence["Member"] = ()
    """Of an ensemble."""


class Member(NamedTuple):
    """A run of an ensemble."""

    folder: Path
    name: str
    outputs: np.ndarray
    """float (n, outputs)."""


def drawing(image: np.ndarray, *, ink: bool) -> str:
    """Return an image, uint8 (rows, columns[, 3]), as text. A pixel is two characters wide, to look square.

    ink: whether 0 is paper, as in MNIST. In the pictures of a folder it is black, and drawn as ink.
    """
    grey = image.astype(int) if image.ndim == 2 else image.mean(axis=2).astype(int)
    grey = grey if ink else 255 - grey
    shades = grey * (len(SHADES) - 1) // 255
    return "\n".join("".join(SHADES[shade] * 2 for shade in row).rstrip() for row in shades)


def predict(
    run_dir: Path,
    /,
    *pictures: Path,
    show: bool = False,
    json: bool = False,
    csv: bool = False,
    backend: str = "numpy",
    device: str | None = None,
) -> int:
    """Predict classes, labels or numbers from pictures, or from the rows of a table, with the network of a run.

    Percentages are rounded down: 100.0 % means certain. Further runs before the pictures or the table, or a sweep, make
    an ensemble, whose probabilities or numbers are the mean of those of its runs. The exit code is 1 if a picture
    cannot be read; the others are classified.

    Args:
        run_dir: The folder of a training run, or of a sweep.
        pictures: Picture files, or folders of them, also with a folder for each class; or a table (CSV, Parquet) with
            the columns of the run's data.
        show: Print each picture as the network sees it. Look at this first if the network gets a picture wrong.
        json: Print one JSON object per picture or row, with the probabilities of all classes or labels, or the numbers;
            for an ensemble, those of its runs too.
        csv: Print a table in CSV, with a line per picture or row, and the probabilities of all classes or labels, or
            the numbers.
        backend: numpy, cupy, jax, torch, array-api-strict, or `module:namespace`.
        device: The device, in the library's notation, such as cuda:1.
    """
    others = tuple(itertools.takewhile(lambda path: is_run(path) or is_sweep(path), pictures))
    runs, files = (run_dir, *others), pictures[len(others) :]
    if not files:
        raise MlpXpError("PICTURE: give at least one picture file, a folder of them, or a table")
    if show + json + csv > 1:
        raise MlpXpError("--show, --json and --csv: give only one of these options")
    if show and any(is_table(path.name) for path in files):
        raise MlpXpError("a table has no pictures; leave it out", setting="show")
    form = "csv" if csv else "json" if json else "text"
    several = bool(others) or is_sweep(run_dir)
    warn_of_unfinished(members_of(runs))
    if len(files) > 1 and (tables := [path for path in files if is_table(path.name)]):
        raise MlpXpError(f"PICTURE: {str(tables[0])!r} is a table; give it alone")
    predicted = api.predict(runs, files, backend=backend, device=device)
    model, members = predicted.models[0], list[Member]()
    if several:
        folders = members_of(runs)
        members = [*map(Member, folders, labels([read_row(folder) for folder in folders]), predicted.runs)]
    read, shown = predicted.pictures, (predicted.outputs, model.class_names, model.task, members)
    if read is None:
        print_predictions(Predictions("row", range(1, len(predicted.outputs) + 1), *shown), form)
        return 0
    found = Predictions("picture", [str(path) for path in read.paths], *shown)
    print_predictions(found, form, read.images if show else None, ink=model.inputs != "pictures")
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in read.faults:
        print_error(str(fault))
    return 1 if read.faults else 0


def print_predictions(predictions: Predictions, form: str, images: np.ndarray | None = None, ink: bool = False) -> None:
    """Print predictions.

    form: csv, json or text. images: uint8 (n, rows, columns[, 3]), to draw above the text. ink: whether 0 is paper.
    """
    kind, names, outputs, class_names, task, members = predictions
    if form == "csv":
        by_class = ["class"] if task.exclusive else []
        writer = csv_writer(sys.stdout, lineterminator="\n")
        writer.writerow([kind, *by_class, *class_names])
        for name, row in zip(names, outputs, strict=True):
            likeliest = [class_names[int(np.argmax(row))]] if by_class else []
            writer.writerow([name, *likeliest, *row.tolist()])
        return
    console = plain_console()
    if images is not None:
        rows, columns, *channels = images.shape[1:]
        colour = " in colour, drawn in grey" if channels else ""
        scale = "from paper, a space, to ink, @" if ink else "from light, a space, to dark, @"
        say(console, f"pictures as the network sees them, {rows} x {columns} pixels{colour}, {scale}:")
    for i, (name, row) in enumerate(zip(names, outputs, strict=True)):
        if form == "json":
            runs = [{"run": str(each.folder), **_record(each.outputs[i], class_names, task)} for each in members]
            print(dumps({kind: name, **_record(row, class_names, task), **({"runs": runs} if runs else {})}))
            continue
        if images is not None:
            console.print(drawing(images[i], ink=ink), soft_wrap=True)
        shown = printable(name) if isinstance(name, str) else f"{kind} {name}"
        say(console, f"{shown}: {_answers(row, class_names, task, LIKELIEST)}")
        for each in members:
            say(console, f"  {printable(each.name)}: {_answers(each.outputs[i], class_names, task, 1)}", indent=4)


def _record(row: np.ndarray, class_names: Sequence[str], task: Task) -> dict[str, Any]:
    by_name = dict(zip(class_names, row.tolist(), strict=True))
    if task.exclusive:
        return {"class": class_names[int(np.argmax(row))], "probabilities": by_name}
    if task.probabilities:
        return {"labels": [name for name, share in by_name.items() if share > 0.5], "probabilities": by_name}
    return {"outputs": by_name}


def _answers(row: np.ndarray, class_names: Sequence[str], task: Task, count: int) -> str:
    """Return the most probable classes, or all outputs of another task.

    Lines break only where the terminal is too narrow, never inside an answer.
    """
    order = np.argsort(-row, kind="stable")[:count].tolist() if task.exclusive else range(len(row))
    values = (f" ({percent(row[i])})" if task.probabilities else f" {row[i]:.6g}" for i in order)
    answers = (printable(class_names[i]) + value for i, value in zip(order, values, strict=True))
    return ", ".join(answer.replace(" ", GLUE) for answer in answers)
