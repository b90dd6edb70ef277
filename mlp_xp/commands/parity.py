"""Check that all backends give the same trajectory: `python scripts/parity.py`.

It trains one configuration on several array libraries and compares each, step by step, with NumPy in float64. Exit code
0: all agree; 1: a mismatch, reported with backend, step and quantity; else 3: a backend failed; else 2: a requested
backend is not usable. The other backends are compared in any case. With --trace, it reports the first single operation
that deviates instead.
"""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress as Bar
from rich.progress import TextColumn

from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.backends.opening import BackendError, open_backend
from mlp_xp.commands.data import load_data
from mlp_xp.commands.options import with_settings
from mlp_xp.commands.process import print_error, print_line
from mlp_xp.commands.tables import Column, print_table
from mlp_xp.commands.trace import to_trace, trace_backends
from mlp_xp.core.config import ConfigError, TrainConfig, check_choice, check_range
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity.compare import Comparison, Failure, check, compare, longest_dot_product, record_notebook
from mlp_xp.parity.report import (
    COLUMNS,
    about_rounding,
    also,
    json_record,
    mismatches,
    row,
    rows_without_numbers,
)
from mlp_xp.runs.settings import RECIPES
from mlp_xp.show.terminal import say
from mlp_xp.show.width import plain_console


def open_backends(
    backends: Sequence[str], pairs: Sequence[str], dtype: str
) -> tuple[list[Backend], dict[str, str], list[BackendError]]:
    """Open the backends. Return the usable ones, and by name the reason for each one that is not usable.

    pairs: devices, each as NAME=DEVICE. The third value are the errors of those that were requested by name or device.
    Raises BackendError for a name that is not known.
    """
    devices = {}
    for pair in pairs:
        name, _, device = pair.partition("=")
        if not device or (name not in (backends or BACKENDS)):
            raise ConfigError(f"--device: {pair!r} is not NAME=DEVICE; NAME must be one of the compared backends")
        devices[name] = device
    usable: list[Backend] = []
    unusable: dict[str, str] = {}
    missed: list[BackendError] = []
    for name in backends or BACKENDS:
        try:
            usable.append(open_backend(name, devices.get(name), dtype))
        except BackendError as error:
            if error.setting:  # a name that is not known
                raise BackendError(error.text, setting="backends") from error
            if backends or name in devices:
                missed.append(error)
            unusable[name] = str(error)
    return usable, unusable, missed


@with_settings(TrainConfig)
def parity(
    *,
    recipe: str = "notebook",
    backends: tuple[str, ...] = (),
    device: tuple[str, ...] = (),
    steps: int = 1000,
    dtype: str | None = None,
    tolerance: float | None = None,
    data_dir: Path | None = None,
    test_samples: int | None = None,
    notebook: bool = False,
    report_dir: Path | None = None,
    trace: bool = False,
    all_operations: bool = False,
    **given: Any,
) -> int:
    """Train on several array libraries and compare each, step by step, with NumPy.

    Args:
        recipe: Set of training settings and dtype to start from: notebook, standard or small.
        backends: Names, or `module:namespace` for any other module that implements the standard. By default all usable
            ones.
        device: Devices, each as NAME=DEVICE, such as torch=cuda:0.
        steps: Update steps, after the ten steps of the notebook's warm-up.
        dtype: float64 or float32, by default that of the recipe. Both are compared with float64; for float32 the
            tolerance follows from its larger eps.
        tolerance: Relative deviation to allow at every step, instead of the derived tolerance.
        data_dir: Folder with four IDX files, instead of MNIST.
        test_samples: Evaluate on this many test images, the first ones, instead of all.
        notebook: Also compare the notebook's own loop in plain NumPy (one hidden layer; batches must divide the data).
        report_dir: Write parity.json and parity.png to this folder; with --trace, the reproducers.
        trace: Compare every single operation with NumPy, from the same inputs, and report the first one that deviates.
        all_operations: With --trace, also trace small runs of other tasks and settings: together they use all that is
            required.
    """
    check_range("steps", steps)
    if tolerance is not None and not 0 < tolerance < math.inf:
        raise ConfigError(f"{tolerance} is out of range; it must be finite and above 0", setting="tolerance")
    check_choice("recipe", recipe, RECIPES)
    preset = RECIPES[recipe]
    dtype = dtype or preset.dtype
    check_choice("dtype", dtype, DTYPES)
    config = replace(preset.train, **given)
    if config.epochs != preset.train.epochs:
        raise ConfigError("the check runs for a number of steps; give --steps instead", setting="epochs")
    opened, unusable, missed = open_backends(backends, device, dtype)
    refused = [*map(str, missed)]
    not_run = [reason for reason in unusable.values() if reason not in refused]
    if trace:
        for setting, value in (("notebook", notebook), ("tolerance", tolerance)):
            if value:
                raise ConfigError("it has no meaning with --trace", setting=setting)
        if missed and not opened:
            raise missed[0]
        code = trace_backends(config, load(data_dir, config, test_samples), opened, steps, report_dir, all_operations)
        print_missing(not_run, refused)
        return code or (2 if missed else 0)
    if all_operations:
        raise ConfigError("it has a meaning only with --trace", setting="all_operations")
    # NumPy in float64 is the reference; it is not compared with itself.
    compared = [backend for backend in opened if (backend.name, dtype) != ("numpy", "float64")]
    if not compared and not notebook:
        if missed:
            raise missed[0]
        for reason in unusable.values():
            say(plain_console(), f"not run: {reason}")
        raise ConfigError(
            "nothing to compare with the reference, NumPy in float64; install another library, such as "
            f"{', '.join(unusable) or 'jax'}, or name another backend",
            setting="backends",
        )
    if report_dir:
        from mlp_xp.show.plots import draw_deviations, new_figure, save

        new_figure(1, 1)  # raises an error now, not after an hour of training, if Matplotlib is not installed
    dataset = load(data_dir, config, test_samples)
    if report_dir:
        with file_errors(report_dir, "create"):
            report_dir.mkdir(parents=True, exist_ok=True)

    console = plain_console()
    comparisons: list[Comparison] = []
    failures: list[Failure] = []
    parts = (TextColumn("{task.description}", markup=False), *Bar.get_default_columns()[1:])
    with Bar(*parts, console=console, transient=True, disable=not console.is_terminal) as bar:
        names = ["numpy", *(backend.name for backend in compared), *["notebook"] * notebook]
        task = bar.add_task(names[0], total=len(names))
        for done, result in enumerate(check(config, dataset, compared, steps, tolerance), 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                comparisons.append(result)
            bar.update(task, advance=1, description=names[min(done, len(names) - 1)])
        if notebook:
            loop = record_notebook(config, dataset, steps)
            length = longest_dot_product(config, dataset)
            comparisons.append(compare(loop, comparisons[0].trajectory, length, tolerance))

    faults = [fault for comparison in comparisons for fault in mismatches(comparison, config)]
    note = about_rounding(comparisons)
    try:
        say(
            console,
            f"{steps} steps, {dtype}, batches of {config.batch_size}: "
            "largest relative deviations from NumPy in float64",
        )
        rows = [row(comparison, i) for i, comparison in enumerate(comparisons)]
        rows += rows_without_numbers(failures, unusable)
        columns = [Column(head, [*cells], True) for head, cells in zip(COLUMNS, zip(*rows, strict=True), strict=True)]
        print_table(columns, console, gap=1)
        for comparison in comparisons[1:]:
            say(console, also(comparison))
        if note:
            say(console, note)
        for name, enough in to_trace(comparisons, failures, opened, config, steps):
            options = shlex.join(["--trace", "--backends", name, "--steps", str(enough)])
            say(console, f"to find the first operation that deviates, add: {options}")
        for fault in faults:
            print_line("mismatch", fault)
        print_missing(not_run, [*(failure.reason for failure in failures), *refused])
    finally:  # also if nobody reads the output any more: the work is done
        if report_dir:
            asked = {"steps": steps, "tolerance": tolerance, "data_dir": data_dir, "test_samples": test_samples}
            record = json_record(comparisons, failures, unusable, asked | asdict(config), faults)
            write_whole(report_dir / "parity.json", (json.dumps(record, indent=2) + "\n").encode())
            figure = draw_deviations(
                {f"{each.trajectory.backend}, {each.trajectory.dtype}": each.deviations for each in comparisons[1:]},
                tolerance=max((each.allowed for each in comparisons), key=lambda allowed: float(allowed[-1])),
            )
            save(figure, report_dir / "parity.png")
    return 1 if faults else 3 if failures else 2 if missed else 0


def load(data_dir: Path | None, config: TrainConfig, test_samples: int | None) -> Dataset:
    """Load the data set on the host, with as many test images as wanted, and check it against the settings."""
    dataset = load_data(data_dir or "mnist")
    config.check_fits(dataset.train_inputs.shape[0])
    if test_samples is None:
        return dataset
    check_range("test_samples", test_samples)
    images, labels = (each[:test_samples] for each in (dataset.test_inputs, dataset.test_labels))
    return dataset._replace(test_inputs=images, test_labels=labels)


def print_missing(not_run: Sequence[str], errors: Sequence[str]) -> None:
    """Print why backends were not run, and as errors why those that were asked for failed or could not be opened."""
    for reason in not_run:
        say(plain_console(), f"not run: {reason}")
    for reason in errors:
        print_error(reason)
