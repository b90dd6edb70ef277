"""Check that all backends give one trajectory: `python scripts/parity.py`.

Trains one configuration on several array libraries and compares each, step by step, with NumPy in float64. Exit code 0:
all agree; 1: a mismatch, named by backend, step and quantity; 2: a backend that was asked for is not usable.
"""

import interrupt  # noqa: F401, I001

import datetime as dt
import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from mlp_xp.backend import BACKENDS, DTYPES, Backend, BackendError, open_backend, threads_chosen
from mlp_xp.cli import parse, run
from mlp_xp.config import ConfigError, TrainConfig, check_choice
from mlp_xp.datasets import Dataset, load_dataset
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity import Comparison, Quantity, Trajectory, check, compare, longest_dot_product, tolerance

COLUMNS = ("backend", "version", "device", "loss", "logits", "weights", "head-room", "verdict")


@dataclass(frozen=True)
class Arguments:
    """Train one configuration on several array libraries and compare them, step by step, with NumPy in float64."""

    backends: tuple[str, ...] = ()
    """Names, or `module:namespace` for any other module that implements the standard. By default all usable here."""
    device: tuple[str, ...] = ()
    """Devices, each as NAME=DEVICE, such as torch=cuda:0."""
    steps: int = 1000
    """Update steps, after the ten of the notebook's warm-up."""
    dtype: str = "float64"
    """float64, or float32: it is compared with float64 too, and judged by its own, larger eps."""
    batch_size: int = 1
    """Samples a step."""
    hidden: tuple[int, ...] = (64,)
    """Units of each hidden layer."""
    tolerance: float | None = None
    """A relative deviation to allow at every step, instead of the derived one."""
    data_dir: Path | None = None
    """A folder with four IDX files, instead of MNIST."""
    notebook: bool = False
    """Compare the notebook's own loop in plain NumPy, too (one hidden layer, batches that divide the data)."""
    report_dir: Path | None = None
    """Write parity.json, parity.md and parity.png into this folder."""


def open_backends(arguments: Arguments) -> tuple[list[Backend], dict[str, str]]:
    """The backends that take part, and why others do not. Raises BackendError for one that was asked for."""
    devices = {}
    for pair in arguments.device:
        name, _, device = pair.partition("=")
        if not device or (name not in (arguments.backends or BACKENDS)):
            raise ConfigError(f"--device: {pair!r} is not NAME=DEVICE with the name of a backend that takes part")
        devices[name] = device
    usable, unusable = [], {}
    for name in arguments.backends or BACKENDS:
        try:
            usable.append(open_backend(name, devices.get(name), arguments.dtype))
        except BackendError as error:
            if arguments.backends or name in devices:
                raise
            unusable[name] = str(error)
    return usable, unusable


def notebook_trajectory(config: TrainConfig, dataset: Dataset, steps: int, test_folder: Path) -> Trajectory:
    """The same run in the notebook's own plain NumPy, from the retelling that the tests hold."""
    sys.path.insert(0, str(test_folder))
    import notebook

    if len(config.hidden) != 1:
        raise ConfigError(f"--notebook: the notebook has one hidden layer, not {len(config.hidden)}")
    data = notebook.Data(
        notebook.flat(dataset.train_images),
        notebook.one_hot(dataset.train_labels),
        notebook.flat(dataset.test_images),
        notebook.one_hot(dataset.test_labels),
    )
    network = notebook.Notebook(input_size=data.train_images.shape[1], hidden_size=config.hidden[0])
    accuracies = []
    warm_up, losses = notebook.trajectory(
        network,
        data.train_images,
        data.train_labels,
        steps,
        batch_size=config.batch_size,
        warm_up=config.warm_up_steps,
        report_every=config.report_every,
        on_report=lambda *_: accuracies.append(notebook.accuracy(network, data.test_images, data.test_labels)),
    )
    weights = (
        network.weights_input_hidden,
        network.bias_input_hidden,
        network.weights_hidden_output,
        network.bias_hidden_output,
    )
    logits = network.forward(data.test_images).output_input
    predictions = np.argmax(logits, axis=1)
    return Trajectory(
        "notebook", np.__version__, "cpu", "float64", np.concatenate([warm_up, losses]),
        np.array([config.warm_up_steps + steps]), logits[None, :100], weights, tuple(accuracies), predictions,
        float(np.mean(predictions == dataset.test_labels)), math.nan,
    )  # fmt: skip


def verdict(comparison: Comparison, position: int) -> str:
    """In a word or two."""
    if not comparison.agrees:
        return "DIFFERS"
    return "reference" if position == 0 else "agrees"


def row(comparison: Comparison, position: int) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    trajectory = comparison.trajectory
    head_room = min(quantity.head_room for quantity in comparison.quantities)
    return (
        trajectory.backend,
        trajectory.version,
        trajectory.device,
        *(f"{quantity.largest:.1e}" if quantity.largest else "0" for quantity in comparison.quantities),
        "" if math.isinf(head_room) else f"{head_room:.3g} x",
        verdict(comparison, position),
    )


def mismatches(comparison: Comparison, config: TrainConfig) -> Iterator[str]:
    """A sentence for every quantity that went beyond its tolerance, naming backend, step and quantity."""
    for quantity in comparison.quantities:
        if quantity.first_step is not None:
            times = 1 / quantity.head_room if quantity.head_room else math.inf
            after = quantity.first_step - config.warm_up_steps
            place = f"step {after} after the warm-up" if after > 0 else f"step {quantity.first_step} of the warm-up"
            yield (
                f"{comparison.trajectory.backend}: the {quantity.name} of {place} is the first beyond its tolerance; "
                f"largest relative deviation {quantity.largest:.2e}, {times:.3g} times what is allowed"
            )


def markdown(comparisons: list[Comparison], unusable: dict[str, str], arguments: Arguments, faults: list[str]) -> str:
    """The table and what it says, for a page or a job's summary."""
    lines = [
        f"Largest relative deviations from NumPy in float64 over {arguments.steps} steps after the warm-up, "
        f"{arguments.dtype}, batches of {arguments.batch_size}:",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(row(each, i)) + " |" for i, each in enumerate(comparisons)),
        "",
        *(f"- {also(each)}" for each in comparisons[1:]),
        *(f"- not run: {name}: {reason}" for name, reason in unusable.items()),
        *(f"- **{fault}**" for fault in faults),
    ]
    return "\n".join(lines) + "\n"


def also(comparison: Comparison) -> str:
    """What the table has no room for."""
    trajectory = comparison.trajectory
    reports = len(trajectory.accuracies)
    return (
        f"{trajectory.backend}: accuracy {100 * trajectory.accuracy:.2f} %; differing: predictions "
        f"{comparison.predictions_differ} of {len(trajectory.predictions)}, "
        f"accuracies {comparison.accuracies_differ} of {reports} reports"
    )


def json_record(
    comparisons: list[Comparison], unusable: dict[str, str], arguments: Arguments, faults: list[str]
) -> dict[str, Any]:
    """Everything but the trajectories themselves."""

    def finite(quantity: Quantity) -> dict[str, Any]:
        values = quantity._asdict()
        return {name: None if value == math.inf else value for name, value in values.items()}

    return {
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in asdict(arguments).items()},
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "threads": threads_chosen(),
        "backends": [
            {
                **{name: getattr(each.trajectory, name) for name in ("backend", "version", "device", "dtype")},
                "verdict": verdict(each, i),
                **{quantity.name: finite(quantity) for quantity in each.quantities},
                "accuracy": each.trajectory.accuracy,
                "accuracies_differ": each.accuracies_differ,
                "predictions_differ": each.predictions_differ,
                "seconds": None if math.isnan(each.trajectory.seconds) else each.trajectory.seconds,
            }
            for i, each in enumerate(comparisons)
        ],
        "unusable": unusable,
        "mismatches": faults,
    }


def allowed(config: TrainConfig, dataset: Dataset, arguments: Arguments, steps: int) -> np.ndarray:
    """The tolerance at every step."""
    if arguments.tolerance is not None:
        return np.full(steps, arguments.tolerance)
    return tolerance(np.arange(1, steps + 1), arguments.dtype, longest_dot_product(config, dataset))


def main() -> int:
    """Parse, train, compare, show."""
    arguments: Arguments = parse(Arguments)
    if arguments.steps < 1:
        raise ConfigError(f"--steps: {arguments.steps} is out of range; it must be at least 1")
    if arguments.tolerance is not None and not arguments.tolerance > 0:
        raise ConfigError(f"--tolerance: {arguments.tolerance} is out of range; it must be above 0")
    check_choice("dtype", arguments.dtype, DTYPES)
    config = TrainConfig(batch_size=arguments.batch_size, hidden=arguments.hidden)
    backends, unusable = open_backends(arguments)
    # In float64 NumPy on its own is the reference, and would be compared with itself.
    compared = [backend for backend in backends if (backend.name, arguments.dtype) != ("numpy", "float64")]
    if not compared and not arguments.notebook:
        reasons = "".join(f" ({reason})" for reason in unusable.values())
        raise ConfigError(
            f"--backends: nothing to compare: NumPy in float64 is the reference; name another backend{reasons}"
        )
    if arguments.report_dir:
        from mlp_xp.plots import draw_deviations
    dataset = load_dataset(arguments.data_dir or "mnist")
    config.check_fits(dataset.train_images.shape[0])
    if arguments.report_dir:
        with file_errors(arguments.report_dir, "create"):
            arguments.report_dir.mkdir(parents=True, exist_ok=True)

    console = Console(highlight=False, markup=False)
    comparisons: list[Comparison] = []
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        names = ["numpy", *(backend.name for backend in compared), *["notebook"] * arguments.notebook]
        task = bar.add_task(names[0], total=len(names))
        for comparison in check(config, dataset, compared, arguments.steps, arguments.tolerance):
            comparisons.append(comparison)
            bar.update(task, advance=1, description=names[min(len(comparisons), len(names) - 1)])
        if arguments.notebook:
            loop = notebook_trajectory(config, dataset, arguments.steps, Path(__file__).parent.parent / "tests")
            length = longest_dot_product(config, dataset)
            comparisons.append(compare(loop, comparisons[0].trajectory, length, arguments.tolerance))

    faults = [fault for comparison in comparisons for fault in mismatches(comparison, config)]
    console.print(
        f"{arguments.steps} steps, {arguments.dtype}, batches of {arguments.batch_size}: "
        "largest relative deviations from NumPy in float64",
        soft_wrap=True,
    )
    table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, comparison in enumerate(comparisons):
        table.add_row(*row(comparison, i))
    console.print(table)
    for comparison in comparisons[1:]:
        console.print(also(comparison), soft_wrap=True)
    for reason in unusable.values():
        console.print(f"not run: {reason}", soft_wrap=True)
    text = markdown(comparisons, unusable, arguments, faults)
    if arguments.report_dir:
        record = json_record(comparisons, unusable, arguments, faults)
        write_whole(arguments.report_dir / "parity.json", (json.dumps(record, indent=2) + "\n").encode())
        write_whole(arguments.report_dir / "parity.md", text.encode())
        draw_deviations(
            {f"{each.trajectory.backend}, {each.trajectory.dtype}": each.deviations for each in comparisons[1:]},
            arguments.report_dir / "parity.png",
            tolerance=allowed(config, dataset, arguments, len(comparisons[0].deviations)),
        )
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        path = Path(summary)
        with file_errors(path, "write"), path.open("a", encoding="utf-8") as file:
            file.write(f"## Backend parity\n\n{text}\n")
    for fault in faults:
        print(f"mismatch: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    run(main)
