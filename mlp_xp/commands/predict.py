"""Predict from your own pictures, or a table, with the network of a run: `python
scripts/predict.py RUN a.png ...`.

Several runs, or a sweep, before the pictures or the table answer as an ensemble.
"""

import itertools
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from mlp_xp import api
from mlp_xp.backends.reading import find_columns
from mlp_xp.commands.evaluate import warn_of_unfinished
from mlp_xp.commands.options import BackendName, Device, only_one
from mlp_xp.commands.process import end_with
from mlp_xp.core.model import Model
from mlp_xp.data.frames import array_of, columns_of
from mlp_xp.data.tables import open_table, split_names
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.show.console import plain_console, print_csv, say
from mlp_xp.show.numbers import percent, quantity

LIKELIEST = 3
SHADES = " .:-=+*#%@"


def predict(
    run_dir: Path,
    /,
    *pictures: Path,
    show: bool = False,
    json: bool = False,
    csv: bool = False,
    keep: Annotated[str | None, Parameter(allow_repeating=False)] = None,
    backend: BackendName = "numpy",
    device: Device = None,
) -> int:
    """Predict classes, labels or numbers from pictures, or from the rows of a table,
    with the network of a run.

    Percentages are rounded, but only certainty is 100.0 %. With several runs, or a
    sweep, the answer is that of the ensemble, whose probabilities or numbers are the
    mean of theirs. If a picture cannot be read, the others are classified, and the exit
    code is 1.

    Args:
        run_dir: The folder of a training run or of a sweep; more of them may follow.
        pictures: Picture files, or folders of them, also with a folder for each class;
            or a table, such as CSV, with the columns of the run's data.
        show: Print each picture as the network sees it. Look at this first if the
            network gets a picture wrong.
        json: Print one JSON object per picture or row, with the probabilities of all
            classes or labels, or the numbers; for an ensemble, those of its runs too.
        csv: Print a table in CSV, with a line per picture or row, and the probabilities
            of all classes or labels, or the numbers.
        keep: With --csv, repeat these columns of the table before the answers, such as
            an id; separate several with commas.
    """
    only_one(show=show, json=json, csv=csv)
    others = tuple(
        itertools.takewhile(
            lambda path: RunFolder(path).exists() or SweepFolder(path).exists(),
            pictures,
        )
    )
    runs, files = (run_dir, *others), pictures[len(others) :]
    if not files:
        raise MlpXpError(
            "after the run, give at least one picture file, a folder of them, or a table"
        )
    found = api.predict(runs, files, backend=backend, device=device)
    folders = [Path(each.source) for each in found.models]
    warn_of_unfinished(folders)
    if keep and (found.pictures is not None or not csv):
        raise MlpXpError("is for a table and --csv; leave it out", setting="keep")
    members = folders if others or SweepFolder(run_dir).exists() else []
    model, kind = found.models[0], "row" if found.pictures is None else "picture"
    names = (
        [*map(str, found.pictures.paths)]
        if found.pictures
        else [*range(1, len(found.outputs) + 1)]
    )
    if csv:
        columns = [[kind, *names]]
        if keep:
            with open_table(files[0]) as table:
                heads, values = columns_of(table)
                for i in find_columns(split_names(keep, heads), heads):
                    texts = (
                        "" if value is None else str(value)
                        for value in array_of(values[i])
                    )
                    columns.append([heads[i], *texts])
        if model.signature.task.exclusive:
            columns += [["class", *found.values.tolist()]]
        columns += (
            [name, *each]
            for name, each in zip(
                model.signature.outputs, found.outputs.T.tolist(), strict=True
            )
        )
        print_csv(zip(*columns, strict=True))
    elif json:
        for i, name in enumerate(names):
            record = {kind: name, **as_record(found.outputs[i], model)}
            each = [
                {"run": str(run), **as_record(found.runs[j, i], model)}
                for j, run in enumerate(members)
            ]
            print(dumps({**record, "runs": each} if members else record))
    else:
        console, images = (
            plain_console(),
            found.pictures.images if show and found.pictures else None,
        )
        if images is not None:
            rows, columns = images.shape[1:3]
            say(
                console,
                f"pictures as the network sees them, {rows} x {columns} pixels, from 0, a space, to 255, @:",
            )
        for i, name in enumerate(names):
            if images is not None:
                say(console, drawing(images[i]))
            say(
                console,
                f"{f'row {name}' if kind == 'row' else name}: {in_words(found.outputs[i], model)}",
            )
    return end_with(found.pictures.faults if found.pictures else ())


def as_record(outputs: np.ndarray, model: Model) -> dict[str, Any]:
    """Return an answer as JSON data."""
    by_name = dict(zip(model.signature.outputs, outputs.tolist(), strict=True))
    if model.signature.task.exclusive:
        return {
            "class": model.signature.outputs[int(np.argmax(outputs))],
            "probabilities": by_name,
        }
    if not model.signature.task.floats:
        return {
            "labels": [name for name, share in by_name.items() if share > 0.5],
            "probabilities": by_name,
        }
    return {"outputs": by_name}


def in_words(outputs: np.ndarray, model: Model) -> str:
    """Return the most probable classes, or all outputs of another task."""
    exclusive, names = model.signature.task.exclusive, model.signature.outputs
    order = (
        np.argsort(-outputs, kind="stable")[:LIKELIEST].tolist()
        if exclusive
        else range(len(outputs))
    )
    if model.signature.task.floats:
        return ", ".join(f"{names[i]} {quantity(outputs[i], 6)}" for i in order)
    return ", ".join(f"{names[i]} ({percent(outputs[i])})" for i in order)


def drawing(image: np.ndarray) -> str:
    """Return an image, uint8 (rows, columns[, 3]), as text. A pixel is two characters
    wide, to look square.
    """
    grey = image.astype(int) if image.ndim == 2 else image.mean(axis=2).astype(int)
    lines = (
        "".join(SHADES[shade] * 2 for shade in row)
        for row in grey * (len(SHADES) - 1) // 255
    )
    return "\n".join(line.rstrip() for line in lines)
