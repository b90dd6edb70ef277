"""Predict from your own pictures, or a table, with the network of a run: `python scripts/predict.py RUN a.png ...`.

Several runs, or a sweep, before the pictures or the table answer as an ensemble.
"""

import itertools
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mlp_xp import api
from mlp_xp.commands.data import warn_of_unfinished
from mlp_xp.commands.options import BackendName, Device, only_one
from mlp_xp.commands.process import end_with
from mlp_xp.commands.tables import print_csv
from mlp_xp.core.model import Model
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.ensembles import members_of
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import is_run, labels, read_row
from mlp_xp.show.numbers import percent
from mlp_xp.show.terminal import GLUE, say
from mlp_xp.show.width import plain_console

LIKELIEST = 3
SHADES = " .:-=+*#%@"


def predict(
    run_dir: Path,
    /,
    *pictures: Path,
    show: bool = False,
    json: bool = False,
    csv: bool = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> int:
    """Predict classes, labels or numbers from pictures, or from the rows of a table, with the network of a run.

    Percentages are rounded down: 100.0 % means certain. With several runs, or a sweep, the answer is that of the
    ensemble, whose probabilities or numbers are the mean of theirs. If a picture cannot be read, the others are
    classified, and the exit code is 1.

    Args:
        run_dir: The folder of a training run or of a sweep; more of them may follow.
        pictures: Picture files, or folders of them, also with a folder for each class; or a table (CSV, Parquet) with
            the columns of the run's data.
        show: Print each picture as the network sees it. Look at this first if the network gets a picture wrong.
        json: Print one JSON object per picture or row, with the probabilities of all classes or labels, or the numbers;
            for an ensemble, those of its runs too.
        csv: Print a table in CSV, with a line per picture or row, and the probabilities of all classes or labels, or
            the numbers.
    """
    only_one(show=show, json=json, csv=csv)
    others = tuple(itertools.takewhile(lambda path: is_run(path) or is_sweep(path), pictures))
    runs, files = (run_dir, *others), pictures[len(others) :]
    if not files:
        raise MlpXpError("PICTURE: give at least one picture file, a folder of them, or a table")
    folders = members_of(runs)
    warn_of_unfinished(folders)
    found = api.predict(runs, files, backend=backend, device=device)
    if show and found.pictures is None:
        raise MlpXpError("a table has no pictures; leave it out", setting="show")
    members = folders if others or is_sweep(run_dir) else []
    model, kind = found.models[0], "row" if found.pictures is None else "picture"
    names = [*map(str, found.pictures.paths)] if found.pictures else [*range(1, len(found.outputs) + 1)]
    if csv:
        head = [kind, *(["class"] if model.task.exclusive else []), *model.class_names]
        chosen = [[each] if model.task.exclusive else [] for each in found.values.tolist()]
        cells = zip(names, chosen, found.outputs.tolist(), strict=True)
        print_csv([head, *([name, *value, *outputs] for name, value, outputs in cells)])
    elif json:
        for i, name in enumerate(names):
            record = {kind: name, **as_record(found.outputs[i], model)}
            each = [{"run": str(run), **as_record(found.runs[j, i], model)} for j, run in enumerate(members)]
            print(dumps({**record, "runs": each} if members else record))
    else:
        show_answers(found, names, members, plain_console(), draw=show)
    return end_with(found.pictures.faults if found.pictures else ())


def as_record(outputs: np.ndarray, model: Model) -> dict[str, Any]:
    """Return an answer as JSON data."""
    by_name = dict(zip(model.class_names, outputs.tolist(), strict=True))
    if model.task.exclusive:
        return {"class": model.class_names[int(np.argmax(outputs))], "probabilities": by_name}
    if not model.task.floats:
        return {"labels": [name for name, share in by_name.items() if share > 0.5], "probabilities": by_name}
    return {"outputs": by_name}


def show_answers(
    found: api.Predicted, names: Sequence[str | int], members: Sequence[Path], console: Console, *, draw: bool
) -> None:
    """Print answers as text. names: the pictures, or the numbers of the rows. members: the runs of an ensemble."""
    model, images = found.models[0], found.pictures.images if draw and found.pictures else None
    ink = "pictures" not in model.inputs  # 0 is paper, as in MNIST; in pictures of a folder it is black, drawn as ink
    if images is not None:
        rows, columns, *channels = images.shape[1:]
        colour = " in colour, drawn in grey" if channels else ""
        scale = "from paper, a space, to ink, @" if ink else "from light, a space, to dark, @"
        say(console, f"pictures as the network sees them, {rows} x {columns} pixels{colour}, {scale}:")
    alone = labels([read_row(folder) for folder in members])
    for i, name in enumerate(names):
        if images is not None:
            for line in drawing(images[i], ink=ink):
                console.print(line, soft_wrap=True)
        shown = name if isinstance(name, str) else f"row {name}"
        say(console, f"{shown}: {in_words(found.outputs[i], model, LIKELIEST)}")
        for j, member in enumerate(alone):
            say(console, f"  {member}: {in_words(found.runs[j, i], model, 1)}", indent=4)


def in_words(outputs: np.ndarray, model: Model, count: int) -> str:
    """Return the `count` most probable classes, or all outputs of another task.

    Lines break only where the terminal is too narrow, never inside an answer.
    """
    exclusive, probabilities = model.task.exclusive, not model.task.floats
    order = np.argsort(-outputs, kind="stable")[:count].tolist() if exclusive else range(len(outputs))
    values = (f" ({percent(outputs[i])})" if probabilities else f" {outputs[i]:.6g}" for i in order)
    answers = (model.class_names[i] + value for i, value in zip(order, values, strict=True))
    return ", ".join(answer.replace(" ", GLUE) for answer in answers)


def drawing(image: np.ndarray, *, ink: bool) -> Iterator[str]:
    """Yield the lines of an image, uint8 (rows, columns[, 3]). A pixel is two characters wide, to look square.

    ink: whether 0 is paper; otherwise it is drawn as ink.
    """
    grey = image.astype(int) if image.ndim == 2 else image.mean(axis=2).astype(int)
    shades = (grey if ink else 255 - grey) * (len(SHADES) - 1) // 255
    return ("".join(SHADES[shade] * 2 for shade in row).rstrip() for row in shades)
