"""Let a run's network read your own pictures: `python scripts/predict.py RUN_DIR picture.png ...`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console

from mlp_xp.commands.command_line import Positional, parse
from mlp_xp.data.pictures import PictureError, read_pictures
from mlp_xp.metrics import percent, predict
from mlp_xp.network import to_device
from mlp_xp.runs.checkpoints import backend_for, load_model

LIKELIEST = 3
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Arguments:
    """Bring pictures of digits, of any size and colour, to MNIST's form, and print the three likeliest classes."""

    run_dir: Annotated[Path, Positional("RUN_DIR")]
    """A folder that scripts/train.py made."""
    pictures: Annotated[tuple[Path, ...], Positional("PICTURE")]
    """Picture files, and folders of them."""
    show: bool = False
    """Show what the network saw: where homemade digits fail, it is here."""
    json: bool = False
    """Print one JSON object a picture, with the probabilities of all classes."""
    backend: str = "numpy"
    """numpy, cupy, jax, torch, array-api-strict, or `module:namespace`."""
    device: str | None = None
    """The library's name of a device, such as cuda:1."""


def drawing(image: np.ndarray) -> str:
    """An image, uint8 (rows, columns), in characters: two a pixel, since they are twice as high as wide."""
    shades = image.astype(int) * (len(SHADES) - 1) // 255
    return "\n".join("".join(SHADES[shade] * 2 for shade in row).rstrip() for row in shades)


def main() -> None:
    """Parse, prepare, predict, show."""
    arguments: Arguments = parse(Arguments)
    if arguments.json and arguments.show:
        raise PictureError("--show: a drawing is not JSON; leave out --show or --json")
    model = load_model(arguments.run_dir)
    rows, columns = model.image_shape
    if rows != columns:
        raise PictureError(
            f"the run's network takes images of {rows} x {columns}; pictures are brought to squares only"
        )
    pictures = read_pictures(arguments.pictures, size=rows, fitted=round(rows * 20 / 28))
    backend = backend_for(arguments.run_dir, arguments.backend, arguments.device)
    network = to_device(model.network, backend)
    probabilities = backend.to_numpy(
        predict(network, backend.asarray(pictures.images), activation=model.activation, backend=backend)
    )

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for path, image, row in zip(pictures.paths, pictures.images, probabilities.astype(float), strict=True):
        if arguments.json:
            by_class = dict(zip(model.class_names, row.tolist(), strict=True))
            print(
                json.dumps(
                    {"picture": str(path), "class": model.class_names[np.argmax(row)], "probabilities": by_class}
                )
            )
            continue
        if arguments.show:
            console.print(drawing(image))
        likeliest = np.argsort(-row, kind="stable")[:LIKELIEST]
        console.print(f"{path}: " + ", ".join(f"{model.class_names[i]} ({percent(row[i])})" for i in likeliest))
