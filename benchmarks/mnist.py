"""How few errors the network makes on MNIST: `python -m benchmarks.mnist` trains it and fills docs/mnist.md.

Settings were chosen by the errors on held-out training images (`TRIED`); then the networks of `NETWORKS` were trained.
It takes some three hours on two cores. Runs that are in the folder already are not trained again, and one that was
interrupted is continued.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from mlp_xp import RECIPES, Dataset, TrainConfig, evaluate, load_dataset, open_backend, predict, train
from mlp_xp.core.library import Backend
from mlp_xp.runs import run_folder
from mlp_xp.show import plots

PAGE = Path("docs/mnist.md")
RECIPE = RECIPES["deformed"].train
# The recipe's settings, but for what is tried. Some 60 errors have a standard deviation of 8: this shows what is worse,
# but not which of the better ones is best.
BASE = replace(RECIPE, hidden=(1000, 500), epochs=40, validation=10_000, report_every=50_000, deform_pixels=1.1)
STRONG = {"deform_pixels": 1.4}
TRIED: dict[str, dict[str, Any]] = {
    "base": {},
    "px1.4": STRONG,
    "px1.8": {"deform_pixels": 1.8},
    "deg15": {"deform_degrees": 15.0},
    "px1.4-deg7": STRONG | {"deform_degrees": 7.5, "deform_scaling": 0.1, "deform_shear": 0.1},
    "px1.4-s4.5": STRONG | {"deform_smoothness": 4.5},
    "px1.4-lr5e-4": STRONG | {"learning_rate": 0.0005},
    "px1.4-lr2e-3": STRONG | {"learning_rate": 0.002},
    "px1.4-wd.05": STRONG | {"optimizer": "adamw", "weight_decay": 0.05, "decay_bias": False},
    "px1.4-drop.1": STRONG | {"dropout": 0.1},
    "px1.4-mom": STRONG | {"optimizer": "momentum", "learning_rate": 0.05},
}
HEAD_TRIED = ("settings", "errors of 10 000 held-out images", "loss on them", "seconds")


class Network(NamedTuple):
    """A network to train, and what Cireşan, Meier, Gambardella and Schmidhuber (2010), table 1, say of theirs."""

    hidden: tuple[int, ...]
    epochs: int
    validation: float
    seeds: int
    selected: float
    """Their test errors in per cent, of the network that is best on held-out images."""
    lowest: float
    """Their lowest test errors at any time of the training."""
    hours: float

    @property
    def name(self) -> str:
        """The units of its hidden layers."""
        return "-".join(map(str, self.hidden)) + ("" if self.validation else ", recipe")


NETWORKS = (
    Network(RECIPE.hidden, RECIPE.epochs, RECIPE.validation, 5, 0.49, 0.44, 23.4),
    Network((1000, 500), 150, 0.1, 3, 0.49, 0.44, 23.4),
    Network((1500, 1000, 500), 70, 0.1, 1, 0.46, 0.40, 44.2),
    Network((2000, 1500, 1000, 500), 40, 0.1, 1, 0.41, 0.39, 66.7),
)


def trained(folder: Path, config: TrainConfig, dataset: Dataset, backend: Backend) -> Path:
    """Train a network in a folder, as far as it is not trained yet, and return the folder."""
    for report in train(config, dataset, backend, run_dir=folder):
        if report.validation:
            print(folder.name, report.epoch, report.validation.accuracy, report.validation.loss, flush=True)
    return folder


def tried(folder: Path, words: str) -> tuple[str, ...]:
    """Return a row of the table of settings."""
    result = run_folder.read_result(folder)
    assert result
    errors = round((1 - result["validation_accuracy"]) * 10_000)
    return words, f"{errors}", f"{result['validation_loss']:.4f}", f"{result['seconds']:.0f}"


def described(changes: dict[str, Any]) -> str:
    """Return settings as options, such as `--deform-pixels 1.4`."""
    return " ".join(f"`--{name.replace('_', '-')} {value}`" for name, value in changes.items()) or "none"


def percent(values: Sequence[float]) -> str:
    """Return the mean of errors in per cent, and their range if there are several; a dash for none."""
    if not values:
        return "–"
    several = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{mean(values):.2f}{several}"


def row(network: Network, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a row of the table of networks."""
    results = [run_folder.read_result(folder) or {} for folder in folders]
    held_out = [100 * (1 - each["validation_accuracy"]) for each in results if network.validation]
    selected = [100 * (1 - run.score) for run in evaluate(folders).runs]
    lowest = [100 * (1 - max(each["accuracy"] for each in run_folder.read_metrics(folder))) for folder in folders]
    minutes = [each["seconds"] / 60 for each in results]
    sizes = (784, *network.hidden, 10)
    weights = sum((n + 1) * m for n, m in pairwise(sizes))
    images = network.epochs * 60_000 * (1 - network.validation)
    return (
        network.name,
        f"{weights / 1e6:.2f}",
        f"{len(folders)}",
        f"{images / 1e6:.1f}",
        f"{mean(minutes):.0f}",
        percent(held_out),
        percent(selected),
        percent(lowest),
        f"{network.selected:.2f}",
        f"{network.lowest:.2f}",
        f"{network.hours}",
    )


HEAD_NETWORKS = (
    "hidden units",
    "weights, millions",
    "runs",
    "images seen, millions",
    "minutes",
    "held-out errors, %",
    "test errors, %",
    "lowest of any epoch, %",
    "theirs, %",
    "their lowest, %",
    "their hours",
)


def table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: str, name: str, text: str) -> str:
    """Return a page with the text between `<!-- NAME -->` and `<!-- end -->` replaced."""
    found, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>\n{text}\n\n\g<2>", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE} has {count} places for {name}")
    return found


def main() -> None:
    """Train what is missing, and fill the tables of docs/mnist.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist-limit"), help="folder for the runs")
    runs = parser.parse_args().runs
    backend = open_backend("jax", dtype="float32")
    dataset = load_dataset("mnist", backend)
    rows = []
    for name, changes in TRIED.items():
        folder = trained(runs / "tried" / name, replace(BASE, **changes), dataset, backend)
        rows.append(tried(folder, described(changes)))
    networks = {}
    for network in NETWORKS:
        config = replace(RECIPE, hidden=network.hidden, epochs=network.epochs, validation=network.validation)
        folder = runs / network.name.replace(", ", "-")
        networks[network] = [
            trained(folder / f"{seed}", replace(config, seed=seed), dataset, backend) for seed in range(network.seeds)
        ]
    every = [folder for folders in networks.values() for folder in folders]
    together, test = evaluate(every), load_dataset("mnist")
    outputs = predict(every, test.test_inputs).outputs
    wrong = int(np.sum(np.argmax(outputs, axis=1) != test.test_labels))
    plots.save(
        plots.draw_mistakes(test.test_inputs, test.test_labels, outputs, test.class_names, count=wrong),
        PAGE.with_name("mnist-mistakes.png"),
    )
    page = PAGE.read_text("utf-8")
    page = fill(page, "tried", table(HEAD_TRIED, iter(rows)))
    page = fill(page, "networks", table(HEAD_NETWORKS, (row(*each) for each in networks.items())))
    one = next(iter(networks.values()))
    ensembles = [
        (f"the {len(each)} of {words}", f"{100 * (1 - evaluate(each).result.score):.2f}")
        for each, words in ((one, NETWORKS[0].name), (every, "all"))
    ]
    page = fill(page, "ensembles", table(("networks together", "test errors, %"), iter(ensembles)))
    PAGE.write_text(page, "utf-8")
    print(f"{wrong} test images remain wrong; {len(together.models)} networks; filled {PAGE}")


if __name__ == "__main__":
    main()
