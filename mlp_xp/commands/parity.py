"""Check that all backends give the same trajectory: `python scripts/parity.py`.

It trains one configuration on several array libraries and compares each, step by step,
with NumPy in float64. With --trace, it reports the first deviating operation instead.
docs/parity.md lists the exit codes.
"""

import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from mlp_xp import __version__
from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands.options import only_one, with_settings
from mlp_xp.commands.process import print_errors, print_line
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
from mlp_xp.parity.tracing import ProbeTracer, StepTracer, probe, small_runs, trace
from mlp_xp.runs.settings import RECIPES
from mlp_xp.show.console import plain_console, print_table, say
from mlp_xp.system import command_line

QUANTITIES = ("loss", "logits", "weights")
COLUMNS = ("backend", "verdict", *QUANTITIES, "head-room", "version", "device")
_FACTS = (
    "deviating",
    "head_room",
    "compared_steps",
    "accuracies_differ",
    "predictions_differ",
    "amplified",
)
_TRACE_COLUMNS = ("operation", "calls", "deviation in eps", "/ bound", "deviate")
_WORST_FIRST = (1, 3, 2, 0)  # exit codes


@with_settings(
    TrainConfig, without=("epochs", "checkpoint_every", "monitor", "patience")
)
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

    ```
    mlp-xp parity
    mlp-xp parity --backends jax torch --steps 2000 --dtype float32
    mlp-xp parity --backends my_library:xp --trace --report-dir report
    ```

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
    traced = {"all_operations": True} if all_operations else {"trace": trace}
    only_one(**traced, notebook=notebook)
    only_one(**traced, tolerance=tolerance)
    trace = trace or all_operations
    preset = RECIPES[recipe]
    config, float_type = replace(preset.train, **given), dtype or preset.dtype

    console = plain_console()
    opened, missed = _open_backends(backends, device, float_type, console)
    compared = opened if trace else _without_reference(opened)
    if missed and not compared and not notebook:
        print_errors(missed)
        return 2
    if not compared and not notebook:
        raise ConfigError(
            "nothing to compare with NumPy in float64",
            remedy="install or name another library, such as jax",
            setting="backends",
        )
    if trace:
        dataset = _load(data_dir, test_samples)
        folder = report_dir or Path("reproducers")
        code = _trace_all(config, dataset, compared, steps, folder, all_operations)
    else:
        if report_dir:
            from mlp_xp.show.plots import new_figure

            # A missing Matplotlib is an error now, not after an hour of training.
            new_figure(1, 1)
        dataset = _load(data_dir, test_samples)
        found = check(
            config, dataset, compared, steps, tolerance, with_notebook=notebook
        )
        results = _Results(_with_bar(found, 1 + len(compared) + notebook, console))
        about = f"{steps} steps, {float_type}, batches of {config.batch_size}"
        try:
            results.print(about, console)
        finally:  # also if nobody reads the output any more: the work is done
            if report_dir:
                asked = {
                    "steps": steps,
                    "tolerance": tolerance,
                    "data_dir": data_dir,
                    "test_samples": test_samples,
                }
                results.write(report_dir, asked | asdict(config))
        code = results.exit_code
    if print_errors(missed) and code == 0:
        return 2
    return code


def _without_reference(backends: Sequence[Backend]) -> list[Backend]:
    """Leave out NumPy in float64, which is not compared with itself."""
    reference = ("numpy", "float64")
    return [each for each in backends if (each.name, each.dtype_name) != reference]


def _load(data_dir: Path | None, test_samples: int | None) -> Dataset:
    """Load the data, with at most this many test samples."""
    dataset = load_dataset(data_dir or "mnist")
    if test_samples is None or dataset.test is None:
        return dataset
    check_range("test_samples", test_samples)
    inputs = dataset.test.inputs[:test_samples]
    labels = dataset.test.labels[:test_samples]
    return replace(dataset, test=Samples(inputs, labels))


def _with_bar(
    found: Iterable[Comparison | Failure], total: int, console: Console
) -> Iterable[Comparison | Failure]:
    """Show a progress bar in a terminal while results are found."""
    return track(
        found,
        "comparing",
        total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _open_backends(
    chosen: tuple[str, ...], pairs: tuple[str, ...], dtype: str, console: Console
) -> tuple[list[Backend], list[BackendError]]:
    """Open the chosen backends, or all usable ones.

    The pairs are NAME=DEVICE. If a backend cannot be used, its error is returned if the
    user chose it by name or by device, and is printed as a remark otherwise.
    """
    names = chosen or BACKENDS
    devices = {}
    for pair in pairs:
        name, _, device = pair.partition("=")
        fault = ""
        if not device:
            fault = f"{pair!r} has no device; give NAME=DEVICE"
        elif name not in names:
            fault = f"{name!r} is not one of the compared backends"
        if fault:
            raise ConfigError(fault, setting="device")
        devices[name] = device
    opened: list[Backend] = []
    missed: list[BackendError] = []
    for name in names:
        try:
            opened.append(open_backend(name, devices.get(name), dtype))
        except BackendError as error:
            if error.setting:  # an unknown name
                error.setting = "backends"
                raise
            if chosen or name in devices:
                missed.append(error)
            else:
                say(console, f"not run: {error}")
    return opened, missed


class _Results:
    """The results of a check: comparisons, the reference first, and failures."""

    def __init__(self, results: Iterable[Comparison | Failure]) -> None:
        found = list(results)
        self.comparisons = [each for each in found if isinstance(each, Comparison)]
        self.failures = [each for each in found if isinstance(each, Failure)]
        self._compared = [_comparison_record(each) for each in self.comparisons]
        self._compared[0]["verdict"] = "reference"
        self._failed = [_failure_record(each) for each in self.failures]
        self._mismatches: list[str] = []
        for comparison in self.comparisons:
            self._mismatches += [*comparison.deviating, *comparison.mismatches()]
        for failure in self.failures:
            self._mismatches += failure.deviating

    @property
    def exit_code(self) -> int:
        """1 if a comparison differs, 3 if a backend failed, else 0."""
        if not all(each.agrees for each in self.comparisons):
            return 1
        return 3 if self.failures else 0

    def print(self, about: str, console: Console) -> None:
        """Print a table, a line for each comparison, and a line for each fault."""
        say(console, f"{about}: largest relative deviations from NumPy in float64")
        records = self._compared + self._failed
        rows = [list(cells(each)) for each in records]
        print_table(COLUMNS, rows, console, left=2)
        for comparison in self.comparisons[1:]:
            say(console, str(comparison))
        unexplained = {}
        for each in records:
            # Where the probe has named an operation, there is nothing to find.
            if each["verdict"] in ("DIFFERS", "FAILED") and not each["deviating"]:
                unexplained[each["backend"]] = each
        unexplained.pop("notebook", None)
        if unexplained:
            more = command_line(["--trace", "--backends", *unexplained])
            say(console, f"to find the first operation that deviates, add: {more}")
        for mismatch in self._mismatches:
            print_line("mismatch", mismatch)
        for failure in self.failures:
            print_line("error", failure.reason)

    def write(self, folder: Path, arguments: dict[str, Any]) -> None:
        """Write parity.json and parity.png. Raises FileError."""
        from mlp_xp.show.plots import draw_deviations, save

        record = {
            "arguments": arguments,
            "versions": {"mlp_xp": __version__, "python": platform.python_version()},
            "backends": self._compared,
            "failures": self._failed,
            "mismatches": self._mismatches,
        }
        with file_errors(folder, "create"):
            folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=2, default=str)
        write_whole(folder / "parity.json", f"{text}\n".encode())
        curves = {}
        for comparison in self.comparisons[1:]:
            backend = comparison.trajectory.backend
            name = f"{backend.name}, {backend.dtype_name}"
            curves[name] = comparison.deviations
        largest = max(
            (each.allowed for each in self.comparisons),
            key=lambda allowed: float(allowed[-1]),
        )
        save(draw_deviations(curves, tolerance=largest), folder / "parity.png")


def _comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data, without the trajectory."""
    verdict = "DIFFERS"
    if comparison.agrees:
        verdict = "agrees"
        if comparison.compared_steps < len(comparison.allowed):
            verdict += f" to step {comparison.compared_steps}"
    record = _about(comparison.trajectory.backend, verdict)
    record["accuracy"] = float(comparison.trajectory.accuracies[-1])
    for name, quantity in comparison.quantities.items():
        record[name] = _finite(quantity._asdict())
    facts = {name: getattr(comparison, name) for name in _FACTS}
    return record | _finite(facts)


def _failure_record(failure: Failure) -> dict[str, Any]:
    """Return a failure as JSON data."""
    return _about(failure.backend, "FAILED") | {
        "reason": failure.reason,
        "deviating": failure.deviating,
    }


def _about(backend: Backend, verdict: str) -> dict[str, Any]:
    return {
        "backend": backend.name,
        "version": backend.version,
        "device": backend.device_name or "default",
        "dtype": backend.dtype_name,
        "verdict": verdict,
    }


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """Replace infinity, which JSON lacks, by None."""
    return {
        name: None if value == math.inf else value for name, value in numbers.items()
    }


def cells(record: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of a row for COLUMNS."""
    for name in COLUMNS:
        value = record.get(name, "")
        if name in QUANTITIES and value:
            largest = math.inf if value["largest"] is None else value["largest"]
            yield f"{largest:.1e}" if largest else "0"
        elif name == "head-room":
            head_room = record.get("head_room")
            yield "" if head_room is None else f"{head_room:.3g} x"
        else:
            yield value


def _trace_all(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    folder: Path,
    all_operations: bool,
) -> int:
    """Trace a run and the probe on each backend, and return the worst exit code.

    The folder is for reproducers. `all_operations` adds the `small_runs`.
    """
    codes = []
    for backend in backends:
        device = backend.device_name or "its default device"
        about = f"{backend.name} {backend.version} on {device}, {backend.dtype_name}"
        report = _TraceReport(backend)
        report.add(about, trace(config, dataset, backend, steps), folder)
        report.add("probe", probe(backend), folder / "probe")
        if all_operations:
            for name, tracer in small_runs(backend):
                report.add(name, tracer, folder / name.replace(" ", "-"))
        report.print_tables()
        codes.append(report.code)
    return min(codes, key=_WORST_FIRST.index)


class _TraceReport:
    """Prints the traces of a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.code = 0
        """The exit code: 1 if an operation deviates, else 3 (or 2) if a run fails."""
        self._start = with_colon(backend.name)
        self._console = plain_console()
        self._tables: list[tuple[str, StepTracer]] = []
        self._shown: set[str] = set()

    def add(self, about: str, tracer: StepTracer, folder: Path) -> None:
        """Print the verdict of a run and its operations, but none twice.

        A reproducer of the first new operation is written to the folder.
        """
        self._print_verdict(about, tracer)
        deviating = tracer.deviating.values()
        new = [each for each in deviating if each.name not in self._shown]
        self._print_deviating([each.report for each in new])
        raised = tracer.raised
        if raised is None or raised.name not in self._shown:
            self._print_failure(tracer.failure)
            if raised:
                new.append(raised)
        if new:
            self._shown |= {each.name for each in new}
            said = write_reproducer(self.backend, new[0], folder)
            say(self._console, f"reproducer: {said}")

    def _print_verdict(self, about: str, tracer: StepTracer) -> None:
        title = f"{about}: {tracer.calls} operations"
        if tracer.steps:
            title += f" in {tracer.steps} steps, warm-up included"
        verdict, code = "no operation deviates", 0
        if tracer.deviating:
            verdict, code = f"deviating: {', '.join(tracer.deviating)}", 1
        elif tracer.failure:
            verdict, code = "it fails", getattr(tracer.failure, "exit_code", 0)
        say(self._console, f"{title}; {verdict}")
        if isinstance(tracer, ProbeTracer) and tracer.refused:
            calls = ", ".join(f"`{call}`" for call in tracer.refused)
            count = len(tracer.refused)
            say(self._console, f"optional calls that it refuses: {count}: {calls}")
        self._tables.append((title, tracer))
        self.code = min(self.code, code, key=_WORST_FIRST.index)

    def _print_deviating(self, reports: Sequence[str]) -> None:
        """Print the first one as the fault, and the others below it."""
        lines = [f"{self._start} {report}" for report in reports]
        if lines:
            print_line("deviates", lines[0])
        for line in lines[1:]:
            say(self._console, f"also deviates: {line}")

    def _print_failure(self, failure: BaseException | None) -> None:
        if failure is None:
            return
        if isinstance(failure, DivergenceError):
            failure.remedy = ""  # useless for a library with wrong results
        said = f"backend {self._start} {one_line(failure)}"
        if isinstance(failure, MlpXpError):
            said = str(failure)
        print_line("error", said)

    def print_tables(self) -> None:
        """Print a table of all operations for each run."""
        for title, tracer in self._tables:
            say(self._console, f"\n{title}")
            print_table(_TRACE_COLUMNS, rows_of(tracer), self._console)


def rows_of(tracer: StepTracer) -> Iterator[tuple[str, ...]]:
    """Yield the cells for _TRACE_COLUMNS of each operation, the most frequent first."""
    operations = sorted(tracer.verdicts.items(), key=lambda item: -len(item[1]))
    for name, verdicts in operations:
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
