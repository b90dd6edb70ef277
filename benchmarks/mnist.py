"""Count the errors of the network on MNIST.

`python -m benchmarks.mnist` trains it and fills docs/mnist.md.

It trains the networks of `NETWORKS`, one on each core at a time. Their settings were
chosen by the errors on held-out training images: `--settings` trains what was tried,
`TRIED`, as well. What is in the folder already is not trained again, and what was
interrupted goes on.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np

from mlp_xp import RECIPES, evaluate, load_dataset, predict
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import FINISHED
from mlp_xp.show import plots
from mlp_xp.sweeps.plan import SweepOptions, make_plan
from mlp_xp.sweeps.run import run_sweep

PAGE = Path("docs/mnist.md")
RECIPE = RECIPES["deformed"]
IMAGES = 60_000


class Round(NamedTuple):
    """Settings that were tried, by the name of their folder.

    They are what all share, and what each changes.
    """

    shared: dict[str, Any]
    changes: dict[str, dict[str, Any]]


STRONG = {"deform_pixels": 1.4}
# What the recipe has now was not known then.
SHARED = STRONG | {
    "validation": 10_000,
    "report_every": 50_000,
    "activation": "gelu",
    "batch_size": 128,
    "optimizer": "adam",
    "weight_decay": 0.0,
    "decay_bias": True,
    "deform_smoothness": 5.5,
}
GELU = {"activation": "gelu"}
LONG = {"hidden": ((1000, 500),), "epochs": 220}
DECAY = LONG | {"optimizer": "adamw", "decay_bias": False}
TRIED = {
    "first": Round(
        {
            "activation": "relu",
            "hidden": ((1000, 500),),
            "epochs": 40,
            "deform_pixels": 1.1,
        },
        {
            "base": {},
            "px1.4": STRONG,
            "px1.8": {"deform_pixels": 1.8},
            "deg15": {"deform_degrees": 15.0},
            "px1.4-deg7": STRONG
            | {"deform_degrees": 7.5, "deform_scaling": 0.1, "deform_shear": 0.1},
            "px1.4-s4.5": STRONG | {"deform_smoothness": 4.5},
            "px1.4-lr5e-4": STRONG | {"learning_rate": 0.0005},
            "px1.4-lr2e-3": STRONG | {"learning_rate": 0.002},
            "px1.4-wd.05": STRONG
            | {"optimizer": "adamw", "weight_decay": 0.05, "decay_bias": False},
            "px1.4-drop.1": STRONG | {"dropout": 0.1},
            "px1.4-mom": STRONG | {"optimizer": "momentum", "learning_rate": 0.05},
        },
    ),
    "second": Round(
        {
            "activation": "relu",
            "hidden": ((1500, 1000, 500),),
            "batch_size": 256,
            "epochs": 30,
        },
        {
            "base": {},
            "gelu": GELU,
            "gelu-lr5e-4": GELU | {"learning_rate": 0.0005},
            "gelu-lr2e-3": GELU | {"learning_rate": 0.002},
        },
    ),
    "third": Round(
        {},
        {
            "two": {"hidden": ((1000, 500),), "epochs": 75},
            "three": {"hidden": ((1000, 1000, 500),), "epochs": 45},
            "three-b64": {
                "hidden": ((1000, 1000, 500),),
                "epochs": 33,
                "batch_size": 64,
            },
            "four": {"hidden": ((800, 800, 800, 500),), "epochs": 45},
            "two-long": LONG,
            "three-long": {"hidden": ((1000, 1000, 500),), "epochs": 125},
            "two-long-px1.8": LONG | {"deform_pixels": 1.8},
            "two-long-wd.05": DECAY | {"weight_decay": 0.05},
            "two-long-wd.1": DECAY | {"weight_decay": 0.1},
            "two-long-wd.1-px1.8": DECAY | {"weight_decay": 0.1, "deform_pixels": 1.8},
            "two-long-wd.1-s7": DECAY | {"weight_decay": 0.1, "deform_smoothness": 7.0},
            "two-long-wd.1-s7-px1.8": DECAY
            | {"weight_decay": 0.1, "deform_smoothness": 7.0, "deform_pixels": 1.8},
        },
    ),
}


class Network(NamedTuple):
    """A network to train, and the results of Cireşan et al. for theirs.

    These are in table 1 of Cireşan, Meier, Gambardella and Schmidhuber (2010).
    """

    hidden: tuple[int, ...]
    epochs: int
    seeds: int
    selected: float
    """Their test errors in per cent, of the network that is best on held-out images."""
    lowest: float
    """Their lowest test errors at any time of the training."""
    hours: float

    @property
    def name(self) -> str:
        """The units of its hidden layers."""
        return "-".join(map(str, self.hidden))


NETWORKS = (  # the recipe first
    Network(RECIPE.train.hidden, RECIPE.train.epochs, 5, 0.49, 0.44, 23.4),
    Network((1500, 1000, 500), 100, 1, 0.46, 0.40, 44.2),
    Network((2000, 1500, 1000, 500), 50, 1, 0.41, 0.39, 66.7),
)


def trained(folder: Path, **settings: Any) -> list[Path]:
    """Train a network for each combination of values, as far as the folder lacks it.

    Return the folders of the runs.
    """
    plan = make_plan(
        RECIPE, {"backend": "jax", **settings}, SweepOptions(sweep_dir=str(folder))
    )
    for ending in run_sweep(plan, say=print):
        print(
            folder,
            ending.name,
            ending.state,
            f"{ending.seconds:.0f} s",
            ending.reason or "",
            flush=True,
        )
        if ending.state != FINISHED:
            raise SystemExit(1)
    return [folder / "members" / member.name for member in plan.members]


HEAD_TRIED = ("settings", "errors of 10 000 held-out images", "loss on them")


def tried(folder: Path, group: Round, name: str) -> tuple[str, ...]:
    """Train with some settings, and return their row.

    Its figures are means over the last eight epochs, since single ones vary more.
    """
    changes = group.changes[name]
    (folder,) = trained(folder / name, **(SHARED | group.shared | changes))
    reports = [
        each for each in RunFolder(folder).reports() if "validation_loss" in each
    ][-8:]
    held_out, loss = (
        mean(each[f"validation_{figure}"] for each in reports)
        for figure in ("accuracy", "loss")
    )
    options = " ".join(f"`{option(*each)}`" for each in changes.items())
    return options or "none", f"{(1 - held_out) * 10_000:.1f}", f"{loss:.4f}"


def option(name: str, value: Any) -> str:
    """Return a setting as the command line takes it."""
    name = name.replace("_", "-")
    if value is False:
        return f"--no-{name}"
    if isinstance(value, tuple):
        value = ",".join(map(str, value[0]))
    return f"--{name} {value}"


def percent(values: Sequence[float]) -> str:
    """Return the mean of errors in per cent, and their range if there are several."""
    several = f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else ""
    return f"{mean(values):.2f}{several}"


def errors(folders: Sequence[Path]) -> list[float]:
    """Return the test errors of the networks at the ends of runs, in per cent."""
    return [100 * (1 - each.score) for each in evaluate(folders).runs]


def row(network: Network, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the row of a network."""
    results = [RunFolder(folder).result() or {} for folder in folders]
    lowest = [
        100 * (1 - max(each["accuracy"] for each in RunFolder(folder).reports()))
        for folder in folders
    ]
    sizes = (784, *network.hidden, 10)
    weights = sum((n + 1) * m for n, m in pairwise(sizes))
    return (
        network.name,
        f"{weights / 1e6:.2f}",
        f"{len(folders)}",
        f"{network.epochs * IMAGES / 1e6:.1f}",
        f"{median(each['seconds'] for each in results) / 60:.0f}",
        percent(errors(folders)),
        percent(lowest),
        f"{network.selected:.2f} ({network.lowest:.2f})",
        f"{network.hours}",
    )


HEAD_NETWORKS = (
    "hidden units",
    "weights, 10⁶",
    "runs",
    "images seen, 10⁶",
    "minutes",
    "test, %",
    "lowest, %",
    "theirs, %",
    "their hours",
)


def table(head: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(name: str, text: str, page: Path = PAGE) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- end -->` in a page."""
    found, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)",
        rf"\g<1>\n{text}\n\n\g<2>",
        page.read_text("utf-8"),
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{page} has {count} places for {name}")
    page.write_text(found, "utf-8")


def main() -> None:
    """Train what is missing, and fill the tables of docs/mnist.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mnist", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/mnist-limit"),
        help="folder for the runs",
    )
    parser.add_argument(
        "--settings",
        action="store_true",
        help="also try the settings that were chosen from",
    )
    given = parser.parse_args()
    if given.settings:
        for name, group in TRIED.items():
            fill(
                name,
                table(
                    HEAD_TRIED,
                    (tried(given.runs / name, group, each) for each in group.changes),
                ),
            )
    networks = {
        each: trained(
            given.runs / each.name,
            hidden=(each.hidden,),
            epochs=each.epochs,
            seed=tuple(range(each.seeds)),
        )
        for each in NETWORKS
    }
    one, every = (
        networks[NETWORKS[0]],
        [folder for folders in networks.values() for folder in folders],
    )
    dataset = load_dataset("mnist")
    test, names = dataset.test, dataset.signature.outputs
    assert test is not None
    outputs = predict(every, test.inputs).outputs
    wrong = int(np.sum(np.argmax(outputs, axis=1) != test.labels))
    picture = plots.draw_mistakes(test.inputs, test.labels, outputs, names, count=wrong)
    plots.save(picture, PAGE.with_name("mnist-mistakes.png"))
    five = errors(one)
    rows = [row(*each) for each in networks.items()]
    each_of_them = ", ".join(f"{error:.2f}" for error in five)
    note = (
        f"The five runs of the recipe have test errors of {each_of_them} %; their "
        f"median is {median(five):.2f} %."
    )
    fill("networks", f"{table(HEAD_NETWORKS, rows)}\n\n{note}")
    together = [
        (
            f"the {len(folders)} of {which}",
            f"{100 * (1 - evaluate(folders).result.score):.2f}",
        )
        for folders, which in ((one, "the recipe"), (every, "all rows"))
    ]
    fill("ensembles", table(("networks together", "test errors, %"), together))
    print(f"{wrong} test images remain wrong; filled {PAGE}")


if __name__ == "__main__":
    main()
