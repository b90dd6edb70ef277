"""Classify your own pictures with the network of a run: `python scripts/predict.py RUN_DIR picture.png ...`.

Several runs, or a sweep, before the pictures answer as an ensemble.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from mlp_xp.api import predict_ensemble, predict_pictures
from mlp_xp.commands.command_line import Positional, parse, print_error
from mlp_xp.data.pictures import Pictures
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.metrics import percent
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import is_run, labels, read_row
from mlp_xp.show.terminal import GLUE, plain_console, say

LIKELIEST = 3
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Arguments:
    """Classify pictures with the network of a run; print the most probable classes.

    Further runs before the pictures, or a sweep, make an ensemble, whose probabilities are the mean of those of its
    runs.
    """

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """The folder of a training run."""
    pictures: Annotated[tuple[Path, ...], Positional("PICTURE")]
    """Picture files, or folders of picture files."""
    show: bool = False
    """Print each picture as the network sees it. Look at this first if the network gets a picture wrong."""
    json: bool = False
    """Print one JSON object per picture, with the probabilities of all classes; of an ensemble, of its runs too."""
    backend: str = "numpy"
    """numpy, cupy, jax, torch, array-api-strict, or `module:namespace`."""
    device: str | None = None
    """The device, in the library's notation, such as cuda:1."""


def drawing(image: np.ndarray) -> str:
    """Return an image, uint8 (rows, columns), as text. A pixel is two characters wide, to look square."""
    shades = image.astype(int) * (len(SHADES) - 1) // 255
    return "\n".join("".join(SHADES[shade] * 2 for shade in row).rstrip() for row in shades)


def main() -> int:
    """Classify the pictures and print the results. Return 1 if a picture cannot be read; the others are classified."""
    arguments: Arguments = parse(Arguments)
    if arguments.json and arguments.show:
        raise MlpXpError("a drawing is not JSON; leave out --show or --json", setting="show")
    others = tuple(itertools.takewhile(lambda path: is_run(path) or is_sweep(path), arguments.pictures))
    runs, files = (arguments.run_dir, *others), arguments.pictures[len(others) :]
    if not files:
        raise MlpXpError("PICTURE: give at least one picture file, or a folder of them")
    if others or is_sweep(arguments.run_dir):
        pictures, probabilities, class_names, folders, of_runs = predict_ensemble(
            runs, files, arguments.backend, arguments.device
        )
    else:
        pictures, probabilities, class_names = predict_pictures(
            arguments.run_dir, files, arguments.backend, arguments.device
        )
        folders, of_runs = (), np.empty((0, *probabilities.shape))
    show(arguments, class_names, pictures, probabilities, folders, of_runs)
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in pictures.faults:
        print_error(str(fault))
    return 1 if pictures.faults else 0


def show(
    arguments: Arguments,
    class_names: Sequence[str],
    pictures: Pictures,
    probabilities: np.ndarray,
    folders: Sequence[Path],
    of_runs: np.ndarray,
) -> None:
    """Print the classes of each picture. probabilities: float (n, classes).

    folders, of_runs: the runs of an ensemble, and their probabilities, float (runs, n, classes); else empty.
    """
    console, names = plain_console(), labels([read_row(folder) for folder in folders])
    for i, (path, image, row) in enumerate(zip(pictures.paths, pictures.images, probabilities, strict=True)):
        rows = [*zip(folders, names, of_runs[:, i], strict=True)]
        if arguments.json:
            runs = [{"run": str(folder), **_by_class(each, class_names)} for folder, _, each in rows]
            print(json.dumps({"picture": str(path), **_by_class(row, class_names), **({"runs": runs} if runs else {})}))
            continue
        if arguments.show:
            console.print(drawing(image), soft_wrap=True)
        say(console, f"{printable(str(path))}: {_answers(row, class_names, LIKELIEST)}")
        for _, name, each in rows:
            say(console, f"  {printable(name)}: {_answers(each, class_names, 1)}", indent=4)


def _by_class(row: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    by_class = dict(zip(class_names, row.tolist(), strict=True))
    return {"class": class_names[int(np.argmax(row))], "probabilities": by_class}


def _answers(row: np.ndarray, class_names: Sequence[str], count: int) -> str:
    """Return the most probable classes. Lines break only where the terminal is too narrow, never inside an answer."""
    order = np.argsort(-row, kind="stable")[:count].tolist()
    return ", ".join(f"{printable(class_names[i])} ({percent(row[i])})".replace(" ", GLUE) for i in order)
