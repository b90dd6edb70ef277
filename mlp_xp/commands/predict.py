"""Predict from your own pictures, or a table, with the network of a run: `python scripts/predict.py RUN a.png ...`.

Several runs, or a sweep, before the pictures or the table answer as an ensemble.
"""

import csv
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from mlp_xp.api import load_run, predict_ensemble, predict_pictures, predict_table, predict_table_ensemble
from mlp_xp.commands.command_line import Positional, parse, print_error
from mlp_xp.commands.data import warn_of_unfinished
from mlp_xp.data.own import is_table
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.metrics import percent
from mlp_xp.runs.ensembles import members_of
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import is_run, labels, read_row
from mlp_xp.show.terminal import GLUE, plain_console, say

LIKELIEST = 3
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Arguments:
    """Predict classes, labels or numbers from pictures, or from the rows of a table, with the network of a run.

    Percentages are rounded down: 100.0 % means certain.

    Further runs before the pictures or the table, or a sweep, make an ensemble, whose probabilities or numbers are the
    mean of those of its runs.
    """

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """The folder of a training run, or of a sweep."""
    inputs: Annotated[tuple[Path, ...], Positional("PICTURE")]
    """Picture files, or folders of them, also of a folder for each class; or a table (CSV, Parquet) with the columns of
    the run's data."""
    show: bool = False
    """Print each picture as the network sees it. Look at this first if the network gets a picture wrong."""
    json: bool = False
    """Print one JSON object per picture or row, with the probabilities of all classes or labels, or the numbers; of an
    ensemble, of its runs too."""
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


def main() -> int:
    """Predict and print the results. Return 1 if a picture cannot be read; the others are classified."""
    arguments: Arguments = parse(Arguments)
    others = tuple(itertools.takewhile(lambda path: is_run(path) or is_sweep(path), arguments.inputs))
    runs, files = (arguments.run_dir, *others), arguments.inputs[len(others) :]
    if not files:
        raise MlpXpError("PICTURE: give at least one picture file, a folder of them, or a table")
    for one, other, reason in (
        ("show", "json", "a drawing is not JSON"),
        ("show", "csv", "a drawing is not CSV"),
        ("csv", "json", "CSV is not JSON"),
    ):
        if getattr(arguments, one) and getattr(arguments, other):
            raise MlpXpError(f"{reason}; leave out --{one} or --{other}", setting=one)
    several = bool(others) or is_sweep(arguments.run_dir)
    warn_of_unfinished(members_of(runs))
    if any(is_table(path.name) for path in files):
        return predict_rows(arguments, runs if several else (), files)
    members: list[Member] = []
    if several:
        pictures, probabilities, class_names, folders, of_runs = predict_ensemble(
            runs, files, arguments.backend, arguments.device
        )
        members = _members(folders, of_runs)
    else:
        pictures, probabilities, class_names, *_ = predict_pictures(
            arguments.run_dir, files, arguments.backend, arguments.device
        )
    paths = [str(path) for path in pictures.paths]
    show(arguments, Predictions("picture", paths, probabilities, class_names, "classes", pictures.images, members))
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in pictures.faults:
        print_error(str(fault))
    return 1 if pictures.faults else 0


def _members(folders: Sequence[Path], of_runs: np.ndarray) -> list[Member]:
    return [*map(Member, folders, labels([read_row(folder) for folder in folders]), of_runs)]


def predict_rows(arguments: Arguments, runs: Sequence[Path], files: Sequence[Path]) -> int:
    """Predict from the rows of a table and print the results. runs: of an ensemble."""
    table = files[0]
    if len(files) > 1:
        raise MlpXpError(f"PICTURE: {str(table)!r} is a table; give it alone")
    if arguments.show:
        raise MlpXpError("a table has no pictures; leave it out", setting="show")
    where, members = (arguments.backend, arguments.device), []
    if runs:
        outputs, class_names, task, folders, of_runs = predict_table_ensemble(runs, table, *where)
        members = _members(folders, of_runs)
    else:
        outputs, class_names, task, *_ = predict_table(arguments.run_dir, table, *where)
    show(arguments, Predictions("row", range(1, len(outputs) + 1), outputs, class_names, task, None, members))
    return 0


def show(arguments: Arguments, predictions: Predictions) -> None:
    """Print predictions in the form that the arguments ask for."""
    kind, names, outputs, class_names, task, images, members = predictions
    if arguments.csv:
        by_class = ["class"] if task == "classes" else []
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([kind, *by_class, *class_names])
        for name, row in zip(names, outputs, strict=True):
            likeliest = [class_names[int(np.argmax(row))]] if by_class else []
            writer.writerow([name, *likeliest, *row.tolist()])
        return
    console = plain_console()
    if arguments.show and images is not None:
        ink = load_run(members_of([arguments.run_dir])[0]).inputs != "pictures"
        rows, columns, *channels = images.shape[1:]
        colour = " in colour, drawn in grey" if channels else ""
        scale = "from paper, a space, to ink, @" if ink else "from light, a space, to dark, @"
        say(console, f"pictures as the network sees them, {rows} x {columns} pixels{colour}, {scale}:")
    for i, (name, row) in enumerate(zip(names, outputs, strict=True)):
        if arguments.json:
            runs = [{"run": str(each.folder), **_record(each.outputs[i], class_names, task)} for each in members]
            print(json.dumps({kind: name, **_record(row, class_names, task), **({"runs": runs} if runs else {})}))
            continue
        if arguments.show and images is not None:
            console.print(drawing(images[i], ink=ink), soft_wrap=True)
        shown = printable(name) if isinstance(name, str) else f"{kind} {name}"
        say(console, f"{shown}: {_answers(row, class_names, task, LIKELIEST)}")
        for each in members:
            say(console, f"  {printable(each.name)}: {_answers(each.outputs[i], class_names, task, 1)}", indent=4)


def _record(row: np.ndarray, class_names: Sequence[str], task: str) -> dict[str, Any]:
    by_name = dict(zip(class_names, row.tolist(), strict=True))
    if task == "classes":
        return {"class": class_names[int(np.argmax(row))], "probabilities": by_name}
    if task == "labels":
        return {"labels": [name for name, share in by_name.items() if share > 0.5], "probabilities": by_name}
    return {"outputs": by_name}


def _answers(row: np.ndarray, class_names: Sequence[str], task: str, count: int) -> str:
    """Return the most probable classes, or all outputs of another task.

    Lines break only where the terminal is too narrow, never inside an answer.
    """
    order = np.argsort(-row, kind="stable")[:count].tolist() if task == "classes" else range(len(row))
    values = (f" {row[i]:.6g}" if task == "regression" else f" ({percent(row[i])})" for i in order)
    answers = (printable(class_names[i]) + value for i, value in zip(order, values, strict=True))
    return ", ".join(answer.replace(" ", GLUE) for answer in answers)
