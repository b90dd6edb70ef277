"""Check that all backends give the same trajectory: `python scripts/parity.py`.

It trains one configuration on several array libraries and compares each, step by step, with NumPy in float64. Exit code
0: all agree; 1: a mismatch, reported with backend, step and quantity; else 3: a backend failed; else 2: a requested
backend is not usable. The other backends are compared in any case. With --trace, it reports the first single operation
that deviates instead.
"""

import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.backends.opening import BackendError, open_backend
from mlp_xp.commands.data import naming_option
from mlp_xp.commands.options import with_settings
from mlp_xp.commands.process import print_line
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.core.training import DivergenceError
from mlp_xp.data.datasets import load_dataset
from mlp_xp.declared import ConfigError, check_choice, check_range
from mlp_xp.errors import one_line, with_colon
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity import report
from mlp_xp.parity.compare import Comparison, Failure, check, compare, longest_dot_product, record_notebook
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.trace import Operation, Tracer, expression, small_runs, trace
from mlp_xp.runs.settings import RECIPES
from mlp_xp.show.console import plain_console, print_table, say

TRACE_COLUMNS = ("operation", "calls", "in a step", "deviation in eps", "/ bound", "deviate")
UNSHOWN = (
    "; the fault may depend on earlier calls, on chance, or on an array's layout in memory: the script keeps only C's "
    "and Fortran's"
)


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
        data_dir: Your own data instead of MNIST: images of classes, or with --trace any data that can be trained on.
        test_samples: Evaluate on this many test samples, the first ones, instead of all.
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
    for setting, value, wanted in (
        ("notebook", notebook, False), ("tolerance", tolerance, False), ("all_operations", all_operations, True),
    ):  # fmt: skip
        if value and trace != wanted:
            raise ConfigError(f"it has {'a meaning only' if wanted else 'no meaning'} with --trace", setting=setting)
    opened, unusable, missed = open_backends(backends, device, dtype)
    for reason in unusable.values():
        if reason not in map(str, missed):
            say(plain_console(), f"not run: {reason}")
    # NumPy in float64 is the reference; it is not compared with itself.
    compared = [backend for backend in opened if trace or (backend.name, dtype) != ("numpy", "float64")]
    if not compared and not notebook:
        raise (
            missed[0]
            if missed
            else ConfigError(
                "nothing to compare with the reference, NumPy in float64",
                remedy=f"install another library, such as {', '.join(unusable) or 'jax'}, or name another backend",
                setting="backends",
            )
        )
    if report_dir and not trace:
        from mlp_xp.show.plots import new_figure

        new_figure(1, 1)  # raises an error now, not after an hour of training, if Matplotlib is not installed
    with naming_option():
        dataset = load_dataset(data_dir or "mnist")
    config.check_fits(dataset.train_inputs.shape[0])
    if test_samples is not None and dataset.test_inputs is not None:
        check_range("test_samples", test_samples)
        inputs, labels = (each[:test_samples] for each in (dataset.test_inputs, dataset.test_labels))
        dataset = dataset._replace(test_inputs=inputs, test_labels=labels)
    if trace:
        code = worst(trace_backend(config, dataset, each, steps, report_dir, all_operations) for each in compared)
    else:
        comparisons, failures = compare_all(config, dataset, compared, steps, tolerance, notebook)
        faults = [fault for comparison in comparisons for fault in report.mismatches(comparison, config)]
        try:
            about = f"{steps} steps, {dtype}, batches of {config.batch_size}"
            say(plain_console(), f"{about}: largest relative deviations from NumPy in float64")
            print_results(comparisons, failures, unusable, config, steps)
            for fault in faults:
                print_line("mismatch", fault)
            for failure in failures:
                print_line("error", failure.reason)
        finally:  # also if nobody reads the output any more: the work is done
            if report_dir:
                asked = {"steps": steps, "tolerance": tolerance, "data_dir": data_dir, "test_samples": test_samples}
                record = report.json_record(comparisons, failures, unusable, asked | asdict(config), faults)
                write_report(report_dir, record, comparisons)
        code = 1 if faults else 3 if failures else 0
    for error in missed:
        print_line("error", str(error))
    return code or (2 if missed else 0)


def open_backends(
    backends: Sequence[str], pairs: Sequence[str], dtype: str
) -> tuple[list[Backend], dict[str, str], list[BackendError]]:
    """Open the backends. Return the usable ones, and by name the reason for each one that is not usable.

    pairs: devices, each as NAME=DEVICE. The third value are the errors of those that were requested by name or device.
    Raises BackendError for a name that is not known.
    """
    names, devices = backends or BACKENDS, {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}
    for pair in pairs:
        if pair.endswith("=") or pair.partition("=")[0] not in names:
            fault = f"{pair!r} is not NAME=DEVICE; NAME must be one of the compared backends"
            raise ConfigError(fault, setting="device")
    usable, unusable, missed = list[Backend](), dict[str, str](), list[BackendError]()
    for name in names:
        try:
            usable.append(open_backend(name, devices.get(name), dtype))
        except BackendError as error:
            if error.setting:  # a name that is not known
                error.setting = "backends"
                raise
            missed += [error] if backends or name in devices else []
            unusable[name] = str(error)
    return usable, unusable, missed


def compare_all(
    config: TrainConfig, dataset: Dataset, backends: Sequence[Backend], steps: int, tolerance: float | None,
    notebook: bool,
) -> tuple[list[Comparison], list[Failure]]:  # fmt: skip
    """Compare all backends, and perhaps the notebook's own loop, with a progress bar on a terminal."""
    console, comparisons, failures = plain_console(), list[Comparison](), list[Failure]()
    results = check(config, dataset, backends, steps, tolerance)
    shown = track(
        results, "comparing", 1 + len(backends), console=console, transient=True, disable=not console.is_terminal
    )
    for result in shown:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            comparisons.append(result)
    if notebook:
        loop, length = record_notebook(config, dataset, steps), longest_dot_product(config, dataset)
        comparisons.append(compare(loop, comparisons[0].trajectory, length, tolerance))
    return comparisons, failures


def print_results(
    comparisons: Sequence[Comparison],
    failures: Sequence[Failure],
    unusable: dict[str, str],
    config: TrainConfig,
    steps: int,
) -> None:
    """Print the table, and what it does not show."""
    console = plain_console()
    rows = report.rows(comparisons, failures, unusable)
    print_table(report.COLUMNS, rows, console, left=len(report.COLUMNS), gap=1)
    for comparison in comparisons[1:]:
        say(console, report.also(comparison))
    if note := report.about_rounding(comparisons):
        say(console, note)
    to_trace = {}  # the name of each backend that deviates or fails, and the number of steps that show it
    for comparison in comparisons:
        firsts = [quantity.first_step for quantity in comparison.quantities.values() if quantity.first_step is not None]
        if firsts and comparison.trajectory.backend != "notebook":
            to_trace[comparison.trajectory.backend] = max(1, min(firsts) - config.warm_up_steps)
    for name, enough in (to_trace | {failure.backend.name: steps for failure in failures}).items():
        options = shlex.join(["--trace", "--backends", name, "--steps", str(enough)])
        say(console, f"to find the first operation that deviates, add: {options}")


def write_report(folder: Path, record: dict[str, Any], comparisons: Sequence[Comparison]) -> None:
    """Write parity.json and parity.png. Raises FileError."""
    from mlp_xp.show.plots import draw_deviations, save

    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "parity.json", (json.dumps(record, indent=2) + "\n").encode())
    curves = {f"{each.trajectory.backend}, {each.trajectory.dtype}": each.deviations for each in comparisons[1:]}
    largest = max((each.allowed for each in comparisons), key=lambda allowed: float(allowed[-1]))
    save(draw_deviations(curves, tolerance=largest), folder / "parity.png")


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several traces: 1, a deviation, is the most important one."""
    found = [*codes]
    return 1 if 1 in found else max(found)


def trace_backend(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int, folder: Path | None, all_operations: bool
) -> int:
    """Trace a run, and print the results. folder: for the reproducers.

    all_operations: whether to trace `small_runs` too. Returns 1 if an operation deviates, 3 if none does but the
    library raises (2: it is out of memory), else 0.
    """
    console, folder = plain_console(), folder or Path("reproducers")
    run = trace(config, dataset, backend, steps)
    where = f"{backend.name} {backend.version} on {backend.device_name or 'its default device'}"
    say(console, f"{where}, {backend.dtype_name}: {run.calls} operations in {run.steps} steps, warm-up included")
    if run.last_step:
        say(console, f"the {len(run.last_step)} operations of the last step:")
        operations = ((str(each.number), str(each), each.place) for each in run.last_step)
        print_table(("", "", ""), operations, console, left=3, gap=1)
    print_table(TRACE_COLUMNS, rows_of(run), console)
    codes = [print_findings(backend, run, folder)]
    for name, small in small_runs(backend) if all_operations else ():
        say(console, f"{name}: {small.calls} operations in {small.steps} steps")
        codes.append(print_findings(backend, small, folder / name.replace(" ", "-")))
    return worst(codes)


def print_findings(backend: Backend, run: Tracer, folder: Path) -> int:
    """Print what a trace has found, and write a reproducer; return the exit code."""
    console, failure = plain_console(), run.failure
    try:
        if operation := run.first or run.raised:
            name = re.sub(r"\W+", "-", f"{backend.name}-{backend.dtype_name}-{operation.name}")
            made = write_reproducer(backend, operation, folder / name)
            if isinstance(made, str):
                say(console, f"reproducer: none, because {made}")
            else:
                shows, why = ("shows", "") if made.shows else ("does NOT show", UNSHOWN)
                script = shlex.quote(str(made.script))
                say(console, f"reproducer: python {script} {shows} it in a process of its own: {made.said}{why}")
    finally:  # the finding is not lost if the reproducer cannot be written
        for other in (totals.first for totals in run.totals.values()):
            if other and other is not run.first:
                say(console, f"also deviates: {deviation_line(backend, other)}")
        if run.first:
            print_line("deviates", deviation_line(backend, run.first))
        elif not failure:
            say(console, "no operation deviates")
        if isinstance(failure, DivergenceError):
            failure.remedy = ""  # of no use to a library that computed something wrong
        if failure:
            own = f"backend {with_colon(backend.name)} {one_line(failure)}"
            print_line("error", getattr(failure, "text", own))
    return 1 if run.first else getattr(failure, "exit_code", 0)


def deviation_line(backend: Backend, operation: Operation) -> str:
    """Return the line about an operation that deviates."""
    return (
        f"{with_colon(backend.name)} operation {operation.number}, {operation.when}: {operation} on "
        f"{', '.join(dict.fromkeys(operation.devices)) or 'the host'} {operation.what}; called at {operation.place}: "
        f"{operation.source}"
    )


def rows_of(run: Tracer) -> Iterator[tuple[str, ...]]:
    """Yield the cells for TRACE_COLUMNS of each operation, the most frequent first."""
    in_step = Counter(operation.name for operation in run.last_step)
    a, b = np.zeros(1), np.zeros(2)
    for name, totals in sorted(run.totals.items(), key=lambda item: -item[1].calls):
        text = expression(name, (a, ... if name == "getitem" else b), {}, lambda x: "a" if x is a else "b")
        shown = name if text.startswith("xp.") else text  # `a @ b`, `a[...]`, `a.T`, or the name of a function
        used = f"{totals.used:.2g}" if totals.used else ""
        numbers = str(totals.calls), str(in_step[name]), f"{totals.deviation:.3g}", used, str(totals.deviating or "")
        yield (shown, *numbers)
