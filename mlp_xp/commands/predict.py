"""Predict from pictures or a table: `mlp-xp predict RUN a.png ...`.

Several runs, or a sweep, before the pictures or the table are an ensemble.
"""

import itertools
import warnings
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from mlp_xp import api
from mlp_xp.backends.inputs import find_columns
from mlp_xp.commands.chosen import are_ensemble
from mlp_xp.commands.options import BackendName, Device, only_one
from mlp_xp.commands.process import print_errors
from mlp_xp.commands.unfinished import warn_of_unfinished
from mlp_xp.data.frames import array_of, columns_of
from mlp_xp.data.table_files import open_table, split_names
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.prediction import PictureWarning, Predicted
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.show.console import plain_console, print_csv, say
from mlp_xp.show.objects import answers as answers_in_words
from mlp_xp.show.presentation import presentation_of

_SHADES = " .:-=+*#%@"


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
    """Predict with the network of a run, from pictures or from the rows of a table.

    Percentages are rounded, but only certainty is 100.0 %. Several runs, or a sweep,
    are an ensemble: its probabilities or numbers are means over the runs. If a picture
    cannot be read, the others are classified, and the exit code is 1.

        mlp-xp predict runs/digits photo.png --show
        mlp-xp predict runs/prices new.csv --csv --keep id
        mlp-xp predict runs/a runs/b folder --json

    Args:
        run_dir: The folder of a training run or of a sweep. More folders may follow.
        pictures: Picture files, or folders of pictures. A folder may have a folder for
            each class. Or a table, such as CSV, with the columns of the run's data.
        show: Print each picture as the network sees it. Look at this first if the
            network gets a picture wrong.
        json: Print one JSON object per picture or row, with the probabilities of all
            classes or labels, or the numbers. For an ensemble, the object includes the
            answers of each run.
        csv: Print a table in CSV, with a line per picture or row, and the probabilities
            of all classes or labels, or the numbers.
        keep: With --csv, repeat these columns of the table, such as an id, before the
            answers. Separate several names with commas. A column with the name of an
            answer, such as class, becomes `class (table)`.
    """
    only_one(show=show, json=json, csv=csv)
    runs, files = _split_arguments(run_dir, pictures)
    # unreadable pictures are printed as errors, below the output
    with warnings.catch_warnings(action="ignore", category=PictureWarning):
        predicted = api.predict(runs, files, backend=backend, device=device)
    folders = [Path(model.source) for model in predicted.models]
    warn_of_unfinished(folders)

    is_table = predicted.pictures is None
    if show and is_table:
        raise MlpXpError("is for pictures; leave it out", setting="show")
    if keep and not (is_table and csv):
        raise MlpXpError("is for a table and --csv; leave it out", setting="keep")
    if csv:
        kept = _kept_columns(files[0], keep) if keep else []
        print_csv(_csv_rows(predicted, kept))
    elif json:
        for record in _json_records(predicted, folders if are_ensemble(runs) else []):
            print(dumps(record))
    else:
        _print_text(predicted, show=show)
    if predicted.pictures is None:
        return 0
    return print_errors(predicted.pictures.faults)


def _split_arguments(
    run_dir: Path, others: tuple[Path, ...]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Separate the folders of runs, which come first, from pictures or a table."""
    more = tuple(itertools.takewhile(_is_run_or_sweep, others))
    files = others[len(more) :]
    if not files:
        raise MlpXpError(
            "after the run, give at least one picture file, a folder of them, or a "
            "table"
        )
    return (run_dir, *more), files


def _is_run_or_sweep(path: Path) -> bool:
    """Return whether a folder has a run or a sweep."""
    return RunFolder(path).exists() or SweepFolder(path).exists()


def _kept_columns(table: Path, keep: str) -> list[list[Any]]:
    """Return columns of a table as text, each with its name first."""
    columns = []
    with open_table(table) as found:
        names, values = columns_of(found)
        for place in find_columns(split_names(keep, names), names):
            texts = []
            for value in array_of(values[place]):
                texts.append("" if value is None else str(value))
            columns.append([names[place], *texts])
    return columns


def _csv_rows(predicted: Predicted, kept: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
    """Return the header and one line per picture or row."""
    signature = predicted.models[0].signature
    answers = list[list[Any]]()
    if presentation_of(signature.task).has_class_column:
        answers.append(["class", *predicted.values.tolist()])
    for name, outputs in zip(signature.outputs, predicted.outputs.T, strict=True):
        answers.append([name, *outputs.tolist()])
    numbers = [kind_of(predicted), *_names_of(predicted)]
    taken = {numbers[0], *(column[0] for column in answers)}
    columns = [numbers]
    for name, *values in kept:
        columns.append([f"{name} (table)" if name in taken else name, *values])
    columns += answers
    return zip(*columns, strict=True)


def _json_records(
    predicted: Predicted, members: list[Path]
) -> Iterator[dict[str, Any]]:
    """Yield one record per picture or row.

    Args:
        predicted: The predictions.
        members: The runs of an ensemble. Their own answers are added.
    """
    signature, kind = predicted.models[0].signature, kind_of(predicted)
    as_record = presentation_of(signature.task).record
    for i, name in enumerate(_names_of(predicted)):
        record = {kind: name, **as_record(signature.outputs, predicted.outputs[i])}
        if members:
            record["runs"] = [
                {"run": str(run), **as_record(signature.outputs, outputs[i])}
                for run, outputs in zip(members, predicted.runs, strict=True)
            ]
        yield record


def _print_text(predicted: Predicted, *, show: bool) -> None:
    """Print one line per picture or row. With `show`, draw the picture above it."""
    console = plain_console()
    images = predicted.pictures.images if show and predicted.pictures else None
    if images is not None:
        rows, columns = images.shape[1:3]
        say(
            console,
            f"pictures as the network sees them, {rows} x {columns} pixels, from 0, a "
            "space, to 255, @:",
        )
    for i, line in enumerate(answers_in_words(predicted)):
        if images is not None:
            say(console, drawing(images[i]))
        say(console, line)


def kind_of(predicted: Predicted) -> str:
    """Return the word for one input."""
    return "row" if predicted.pictures is None else "picture"


def _names_of(predicted: Predicted) -> list[Any]:
    """Return the paths of the pictures, or the numbers of the rows from 1."""
    if predicted.pictures is None:
        return list(range(1, len(predicted.outputs) + 1))
    return [str(path) for path in predicted.pictures.paths]


def drawing(image: np.ndarray) -> str:
    """Draw an image with two characters for each pixel, so that pixels are square.

    Args:
        image: uint8 (rows, columns) or (rows, columns, 3).
    """
    grey = image.astype(int)
    if image.ndim == 3:
        grey = image.mean(axis=2).astype(int)
    lines = []
    for row in grey * (len(_SHADES) - 1) // 255:
        line = "".join(_SHADES[shade] * 2 for shade in row)
        lines.append(line.rstrip())
    return "\n".join(lines)
