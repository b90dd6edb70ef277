"""Classify your own pictures with the network of a run: `python scripts/predict.py RUN_DIR picture.png ...`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from mlp_xp.api import predict_pictures
from mlp_xp.commands.command_line import Positional, parse, print_error
from mlp_xp.data.pictures import Pictures
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.metrics import percent
from mlp_xp.show.terminal import GLUE, plain_console, say

LIKELIEST = 3
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Arguments:
    """Classify pictures with the network of a run; print the most probable classes."""

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """The folder of a training run."""
    pictures: Annotated[tuple[Path, ...], Positional("PICTURE")]
    """Picture files, or folders of picture files."""
    show: bool = False
    """Print each picture as the network sees it. Look at this first if the network gets a picture wrong."""
    json: bool = False
    """Print one JSON object per picture, with the probabilities of all classes."""
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
    if not arguments.pictures:
        raise MlpXpError("PICTURE: give at least one picture file, or a folder of them")
    if arguments.json and arguments.show:
        raise MlpXpError("a drawing is not JSON; leave out --show or --json", setting="show")
    pictures, probabilities, class_names = predict_pictures(
        arguments.run_dir, arguments.pictures, arguments.backend, arguments.device
    )
    show(arguments, class_names, pictures, probabilities)
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in pictures.faults:
        print_error(str(fault))
    return 1 if pictures.faults else 0


def show(arguments: Arguments, class_names: Sequence[str], pictures: Pictures, probabilities: np.ndarray) -> None:
    """Print the classes of each picture. probabilities: float (n, classes)."""
    console = plain_console()
    for path, image, row in zip(pictures.paths, pictures.images, probabilities, strict=True):
        if arguments.json:
            by_class = dict(zip(class_names, row.tolist(), strict=True))
            print(
                json.dumps({"picture": str(path), "class": class_names[int(np.argmax(row))], "probabilities": by_class})
            )
            continue
        if arguments.show:
            console.print(drawing(image), soft_wrap=True)
        order = np.argsort(-row, kind="stable")[:LIKELIEST].tolist()
        # Lines break only where the terminal is too narrow, and never inside an answer.
        answers = ", ".join(f"{printable(class_names[i])} ({percent(row[i])})".replace(" ", GLUE) for i in order)
        say(console, f"{printable(str(path))}: {answers}")
