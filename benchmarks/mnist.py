"""Count the errors of the network on MNIST.

`python -m benchmarks.mnist` trains it and fills docs/mnist.md.

It trains the networks of `NETWORKS`, one on each core at a time. `--settings` changes
the settings of the recipe one by one, as `TRIED` says, and counts the errors on
held-out training images. What is in the folder already is not trained again, and what
was interrupted goes on.
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


TRIED: tuple[dict[str, Any], ...] = (
    {},
    {"deform_pixels": 1.1},
    {"deform_pixels": 1.8},
    {"deform_smoothness": 4.5},
    {"weight_decay": 0.0},
    {"learning_rate": 0.0005},
    {"learning_rate": 0.002},
    {"activation": "relu"},
)
"""Changes of the recipe that were tried. The first is the recipe itself."""
TRIED_EPOCHS = 30
LAST = 8  # epochs whose mean is taken, since a single one varies more


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
    Network(RECIPE.train.hidden, RECIPE.train.epochs, 3, 0.49, 0.44, 23.4),
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


class Trial(NamedTuple):
    """What a network makes of held-out images, when it is trained with some changes."""

    options: str
    """The changes as the command line takes them."""
    errors: float
    """Errors on the held-out images, a mean over the last epochs."""
    loss: float
    """The loss on the held-out images, a mean over the last epochs."""
    errors_of_best: float
    """Errors on the held-out images at the epoch with the lowest loss on them."""


def tried(folder: Path, changes: dict[str, Any]) -> Trial:
    """Train the recipe with some changes, on all but 10 000 of the images."""
    options = " ".join(option(*each) for each in changes.items()) or "none"
    (run,) = trained(
        folder / options.strip("-").replace(" ", "_"),
        epochs=TRIED_EPOCHS,
        validation=10_000,
        report_every=50_000,
        **changes,
    )
    reports = [each for each in RunFolder(run).reports() if "validation_loss" in each]
    errors = [10_000 * (1 - each["validation_accuracy"]) for each in reports]
    losses = [each["validation_loss"] for each in reports]
    return Trial(
        options,
        mean(errors[-LAST:]),
        mean(losses[-LAST:]),
        errors[losses.index(min(losses))],
    )


def fill_tried(folder: Path) -> None:
    """Train with each of the changes that were tried, and fill their table."""
    trials = [tried(folder, changes) for changes in TRIED]
    rows = [
        (
            each.options if each.options == "none" else f"`{each.options}`",
            f"{each.errors:.1f}",
            f"{each.loss:.4f}",
        )
        for each in trials
    ]
    head = ("change", "errors of 10 000 held-out images", "loss on them")
    best = mean(each.errors_of_best for each in trials)
    last = mean(each.errors for each in trials)
    fill("tried", table(head, rows))
    fill(
        "epochs",
        f"In the {len(trials)} runs at the end of this page, the network with the "
        f"lowest loss on 10 000 held-out\nimages makes {best:.1f} errors on them, on "
        f"average. The networks of the last {LAST} epochs make {last:.1f}.",
    )


def option(name: str, value: Any) -> str:
    """Return a setting as the command line takes it."""
    return f"--{name.replace('_', '-')} {value}"


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
        help="also train with one setting changed, for the last table",
    )
    given = parser.parse_args()
    if given.settings:
        fill_tried(given.runs / "tried")
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
    of_recipe = errors(one)
    rows = [row(*each) for each in networks.items()]
    each_of_them = ", ".join(f"{error:.2f}" for error in of_recipe)
    note = (
        f"The runs of the recipe have test errors of {each_of_them} %; their median is "
        f"{median(of_recipe):.2f} %."
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
