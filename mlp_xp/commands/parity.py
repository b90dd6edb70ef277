"""Check that all backends give the same trajectory: `python scripts/parity.py`.

It trains one configuration on several array libraries and compares each, step by step,
with NumPy in float64. With --trace, it reports the first single operation that deviates
instead. docs/parity.md lists the exit codes.
"""

import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from rich.progress import track

from mlp_xp import __version__
from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands.options import only_one, with_settings
from mlp_xp.commands.process import print_line
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.training import DivergenceError
from mlp_xp.data.datasets import load_dataset
from mlp_xp.declared import ConfigError, check_range
from mlp_xp.errors import MlpXpError, one_line, with_colon
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity.compare import Comparison, Failure, check
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.tracing import Tracer, probe, small_runs, trace
from mlp_xp.runs.settings import RECIPES
from mlp_xp.show.console import plain_console, print_table, say
from mlp_xp.system import command_line

QUANTITIES = ("loss", "logits", "weights")
COLUMNS = ("backend", "verdict", *QUANTITIES, "head-room", "version", "device")
_TRACE_COLUMNS = ("operation", "calls", "deviation in eps", "/ bound", "deviate")
_WORST_FIRST = (1, 3, 2, 0)  # exit codes


@with_settings(TrainConfig)
def parity(
    *,
    recipe: Literal["notebook", "standard", "small", "deformed"] = "notebook",
    backends: tuple[str, ...] = (),
    device: tuple[str, ...] = (),
    steps: int = 1000,
    dtype: Literal["float64", "float32"] | None = None,
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
        recipe: Set of training settings and dtype to start from.
        backends: Names, or `module:namespace` for any other module that implements the
            standard. By default all usable ones.
        device: Devices, each as NAME=DEVICE, such as torch=cuda:0.
        steps: Update steps, after the ten steps of the notebook's warm-up.
        dtype: Floating-point type to compute with, by default that of the recipe. Both
            are compared with float64; for float32 the tolerance follows from its larger
            eps.
        tolerance: Relative deviation to allow at every step, instead of the derived
            tolerance.
        data_dir: Your own data instead of MNIST: images of classes, or with --trace any
            data that can be trained on.
        test_samples: Evaluate on this many test samples, the first ones, instead of
            all.
        notebook: Also compare the notebook's own loop in plain NumPy (one hidden layer;
            batches must divide the data).
        report_dir: Write parity.json and parity.png to this folder; with --trace, the
            reproducers.
        trace: Compare every single operation with NumPy, from the same inputs, and
            report the first one that deviates.
        all_operations: Like --trace, but also trace small runs of other tasks and
            settings: together they use all that is required.
    """
    check_range("steps", steps)
    if tolerance is not None and not 0 < tolerance < math.inf:
        raise ConfigError(
            f"{tolerance} is out of range; it must be finite and above 0",
            setting="tolerance",
        )
    trace = trace or all_operations
    only_one(trace=trace, notebook=notebook)
    only_one(trace=trace, tolerance=tolerance)
    preset = RECIPES[recipe]
    float_type = dtype or preset.dtype
    config = replace(preset.train, **given)
    if config.epochs != preset.train.epochs:
        raise ConfigError(
            "the check runs for a number of steps; give --steps instead",
            setting="epochs",
        )
    console = plain_console()
    devices, names = (
        dict(pair.partition("=")[::2] for pair in device),
        backends or BACKENDS,
    )
    for name, place in devices.items():
        if name not in names or not place:
            raise ConfigError(
                f"{name!r} is not one of the compared backends; give NAME=DEVICE",
                setting="device",
            )
    opened, missed = list[Backend](), list[BackendError]()
    for name in names:
        try:
            opened.append(open_backend(name, devices.get(name), float_type))
        except BackendError as error:
            if error.setting:  # a name that is not known
                error.setting = "backends"
                raise
            if backends or name in devices:
                missed.append(error)
            else:
                say(console, f"not run: {error}")
    # NumPy in float64 is the reference; it is not compared with itself.
    compared = [
        backend
        for backend in opened
        if trace or (backend.name, float_type) != ("numpy", "float64")
    ]
    if not compared and not notebook:
        fault, remedy = (
            "nothing to compare with NumPy in float64",
            "install or name another library, such as jax",
        )
        raise (
            missed[0]
            if missed
            else ConfigError(fault, remedy=remedy, setting="backends")
        )
    if report_dir and not trace:
        from mlp_xp.show.plots import new_figure

        # raises an error now, not after an hour of training, if Matplotlib is not
        # installed
        new_figure(1, 1)
    dataset = load_dataset(data_dir or "mnist")
    if test_samples is not None and dataset.test is not None:
        check_range("test_samples", test_samples)
        inputs = dataset.test.inputs[:test_samples]
        labels = dataset.test.labels[:test_samples]
        dataset = replace(dataset, test=Samples(inputs, labels))
    if trace:
        traces = (
            _trace_backend(config, dataset, each, steps, report_dir, all_operations)
            for each in compared
        )
        code = min(chain.from_iterable(traces), key=_WORST_FIRST.index)
    else:
        results = check(
            config, dataset, compared, steps, tolerance, with_notebook=notebook
        )
        hidden, total = not console.is_terminal, 1 + len(compared) + notebook
        found = [
            *track(
                results,
                "comparing",
                total,
                console=console,
                transient=True,
                disable=hidden,
            )
        ]
        comparisons = [each for each in found if isinstance(each, Comparison)]
        failures = [each for each in found if isinstance(each, Failure)]
        records = [*map(as_record, chain[Comparison | Failure](comparisons, failures))]
        records[0]["verdict"] = "reference"
        faults = [fault for each in comparisons for fault in each.mismatches()]
        faults += [fault for each in failures for fault in each.deviating]
        try:
            about = f"{steps} steps, {float_type}, batches of {config.batch_size}"
            say(console, f"{about}: largest relative deviations from NumPy in float64")
            print_table(COLUMNS, ([*cells(each)] for each in records), console, left=2)
            for comparison in comparisons[1:]:
                say(console, str(comparison))
            # Where the probe has named an operation, there is nothing to find.
            unknown = [each for each in records if not each.get("deviating")]
            wrong = {
                each["backend"]: None
                for each in unknown
                if each["verdict"] in ("DIFFERS", "FAILED")
            }
            wrong.pop("notebook", None)
            if wrong:
                more = command_line(["--trace", "--backends", *wrong])
                say(console, f"to find the first operation that deviates, add: {more}")
            for fault in faults:
                print_line("mismatch", fault)
            for failure in failures:
                print_line("error", failure.reason)
        finally:  # also if nobody reads the output any more: the work is done
            if report_dir:
                asked = {
                    "steps": steps,
                    "tolerance": tolerance,
                    "data_dir": data_dir,
                    "test_samples": test_samples,
                }
                record = {
                    "arguments": asked | asdict(config),
                    "versions": {
                        "mlp_xp": __version__,
                        "python": platform.python_version(),
                    },
                    "backends": records[: len(comparisons)],
                    "failures": records[len(comparisons) :],
                    "mismatches": faults,
                }
                _write_report(report_dir, comparisons, record)
        code = (
            1 if not all(each.agrees for each in comparisons) else 3 if failures else 0
        )
    for each in missed:
        print_line("error", str(each))
    return code or (2 if missed else 0)


def as_record(result: Comparison | Failure) -> dict[str, Any]:
    """Return a result as JSON data, without the trajectory. What is infinite is None."""
    backend = (
        result.backend if isinstance(result, Failure) else result.trajectory.backend
    )
    device = backend.device_name or "default"
    about = {
        "backend": backend.name,
        "version": backend.version,
        "device": device,
        "dtype": backend.dtype_name,
    }
    if isinstance(result, Failure):
        return {
            **about,
            "verdict": "FAILED",
            "reason": result.reason,
            "deviating": result.deviating,
        }
    later = f" to step {result.compared_steps}" * (
        result.compared_steps < len(result.allowed)
    )

    def finite(numbers: dict[str, Any]) -> dict[str, Any]:
        return {
            name: None if value == math.inf else value
            for name, value in numbers.items()
        }

    facts = (
        "deviating",
        "head_room",
        "compared_steps",
        "accuracies_differ",
        "predictions_differ",
        "amplified",
    )
    return {
        **about,
        "verdict": f"agrees{later}" if result.agrees else "DIFFERS",
        "accuracy": float(result.trajectory.accuracies[-1]),
        **{
            name: finite(quantity._asdict())
            for name, quantity in result.quantities.items()
        },
        **finite({name: getattr(result, name) for name in facts}),
    }


def cells(record: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of a row for COLUMNS."""
    for name in COLUMNS:
        value = record.get(name, "")
        if name in QUANTITIES and value:
            largest = math.inf if value["largest"] is None else value["largest"]
            yield f"{largest:.1e}" if largest else "0"
        elif name == "head-room":
            yield (
                f"{room:.3g} x" if (room := record.get("head_room")) is not None else ""
            )
        else:
            yield value


def _write_report(
    folder: Path, comparisons: Sequence[Comparison], record: dict[str, Any]
) -> None:
    """Write parity.json and parity.png. Raises FileError."""
    from mlp_xp.show.plots import draw_deviations, save

    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder / "parity.json",
        f"{json.dumps(record, indent=2, default=str)}\n".encode(),
    )
    backends = [each.trajectory.backend for each in comparisons]
    names = [f"{each.name}, {each.dtype_name}" for each in backends]
    curves = {
        name: each.deviations
        for name, each in zip(names[1:], comparisons[1:], strict=True)
    }
    largest = max(
        (each.allowed for each in comparisons), key=lambda allowed: float(allowed[-1])
    )
    save(draw_deviations(curves, tolerance=largest), folder / "parity.png")


def _trace_backend(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    steps: int,
    folder: Path | None,
    all_operations: bool,
) -> Iterator[int]:
    """Trace the probe and a run, print a verdict and write a reproducer for each, yield
    its exit code, print tables.

    folder: for the reproducers. all_operations: whether to trace `small_runs` too. The
    code is 1 if an operation deviates, 3 if none does but the library raises (2: it is
    out of memory), else 0.
    """
    console, folder = plain_console(), folder or Path("reproducers")
    where = f"{backend.name} {backend.version} on {backend.device_name or 'its default device'}, {backend.dtype_name}"

    def runs() -> Iterator[tuple[str, Tracer]]:
        yield "", trace(config, dataset, backend, steps)
        yield "probe", probe(backend)
        yield from small_runs(backend) if all_operations else ()

    start, traced, known = (
        with_colon(backend.name),
        list[tuple[str, Tracer]](),
        set[str](),
    )
    for name, run in runs():
        steps_taken = f" in {run.steps} steps, warm-up included" * bool(run.steps)
        title = f"{name or where}: {run.calls} operations{steps_taken}"
        failure, names = run.failure, ", ".join(run.deviating)
        verdict = (
            f"deviating: {names}"
            if names
            else "it fails"
            if failure
            else "no operation deviates"
        )
        say(console, f"{title}; {verdict}")
        # An operation that an earlier run has shown is not shown again.
        new = [
            each
            for each in (*run.deviating.values(), run.raised)
            if each and each.name not in known
        ]
        known |= {each.name for each in new}
        lines = [f"{start} {each.report}" for each in new if each is not run.raised]
        if lines:
            print_line("deviates", lines[0])
        for line in lines[1:]:
            say(console, f"also deviates: {line}")
        if isinstance(failure, DivergenceError):
            failure.remedy = ""  # of no use to a library that computed something wrong
        if failure and (run.raised is None or run.raised in new):
            own = f"backend {start} {one_line(failure)}"
            print_line(
                "error", str(failure) if isinstance(failure, MlpXpError) else own
            )
        if new:
            said = write_reproducer(backend, new[0], folder / name.replace(" ", "-"))
            say(console, f"reproducer: {said}")
        traced.append((title, run))
        yield 1 if names else getattr(failure, "exit_code", 0)
    for title, run in traced:
        say(console, f"\n{title}")
        print_table(_TRACE_COLUMNS, rows_of(run), console)


def rows_of(run: Tracer) -> Iterator[tuple[str, ...]]:
    """Yield the cells for _TRACE_COLUMNS of each operation, the most frequent first."""
    for name, verdicts in sorted(run.verdicts.items(), key=lambda item: -len(item[1])):
        largest = max(each.deviation for each in verdicts)
        used = max(each.deviation / (each.bound or math.inf) for each in verdicts)
        deviating = sum(each.deviates for each in verdicts)
        yield (
            name,
            str(len(verdicts)),
            f"{largest:.3g}",
            f"{used:.2g}" if used else "",
            str(deviating or ""),
        )
