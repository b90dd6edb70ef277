"""Check that all backends give the same trajectory: `mlp-xp parity`.

It trains one configuration on several array libraries and compares each, step by step,
with NumPy in float64. With --trace, it reports the first deviating operation instead.
docs/parity.md lists the exit codes.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands._parity_results import Results
from mlp_xp.commands._parity_traces import WORST_FIRST, print_traces
from mlp_xp.commands.options import only_one, with_settings
from mlp_xp.commands.process import print_errors
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.data.datasets import load_dataset
from mlp_xp.declared import ConfigError, check_range
from mlp_xp.parity.compare import check
from mlp_xp.parity.tracing import lockstep
from mlp_xp.runs.settings import RECIPES
from mlp_xp.show.console import plain_console, say


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

    If a library is not in parity, the exit code is 1.

        mlp-xp parity
        mlp-xp parity --backends jax torch --steps 2000 --dtype float32
        mlp-xp parity --backends my_library:xp --trace --report-dir report

    Args:
        recipe: Set of training settings and dtype to start from.
        backends: Names, or `module:namespace` for any other module that implements the
            standard. By default all usable ones.
        device: Devices, each as NAME=DEVICE, such as torch=cuda:0.
        steps: Update steps, after the ten steps of the notebook's warm-up.
        dtype: Floating-point type to compute with, by default the type of the recipe.
            The reference is in float64. The tolerance follows from the eps of the type.
        tolerance: Relative deviation to allow at every step, instead of the derived
            tolerance.
        data_dir: Your own data instead of MNIST: images of classes, or with --trace any
            data for training.
        test_samples: Number of test samples to evaluate on, from the first. By default
            all.
        notebook: Also compare the notebook's own loop in plain NumPy. It needs one
            hidden layer, and batches that divide the data.
        report_dir: Write parity.json and parity.png to this folder. With --trace, write
            the reproducers there.
        trace: Compare every single operation with NumPy, from the same inputs, and
            report the first deviating operation. It needs array_lockstep.
        all_operations: Like --trace, but also trace small runs of other tasks and
            settings. Together they use every operation that a library must have.
    """
    check_range("steps", steps)
    if tolerance is not None:
        check_range("tolerance", tolerance, least=1e-300, most=1e300)
    trace = trace or all_operations
    flag = "all_operations" if all_operations else "trace"
    only_one(**{flag: trace}, notebook=notebook)
    only_one(**{flag: trace}, tolerance=tolerance)
    preset = RECIPES[recipe]
    config, float_type = replace(preset.train, **given), dtype or preset.dtype

    console = plain_console()
    opened, missed = _open_backends(backends, device, float_type, console)
    compared = [each for each in opened if trace or not _is_reference(each)]
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
        lockstep()  # if it is missing, this is said before the data are loaded
        dataset = _load(data_dir, test_samples)
        folder = report_dir or Path("reproducers")
        code = _trace_all(config, dataset, compared, steps, folder, all_operations)
    else:
        if report_dir:
            from mlp_xp.show.plots import new_figure

            # A missing Matplotlib is an error now, not after an hour of training.
            new_figure(1, 1)
        dataset = _load(data_dir, test_samples)
        config = config.resolve(len(dataset.train))
        found = check(
            config, dataset, compared, steps, tolerance, with_notebook=notebook
        )
        watched = track(
            found,
            "comparing",
            1 + len(compared) + notebook,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        results = Results(watched)
        about = f"{steps} steps, {float_type}, batches of {config.batch_size}"
        try:
            results.print(about, console)
        finally:  # the results are complete, even if the output is closed
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


def _is_reference(backend: Backend) -> bool:
    """Return whether a backend is NumPy in float64, the reference of all others."""
    return (backend.name, backend.dtype_name) == ("numpy", "float64")


def _load(data_dir: Path | None, test_samples: int | None) -> Dataset:
    """Load the data, with at most this many test samples."""
    dataset = load_dataset(data_dir or "mnist")
    if test_samples is None or dataset.test is None:
        return dataset
    check_range("test_samples", test_samples)
    inputs = dataset.test.inputs[:test_samples]
    labels = dataset.test.labels[:test_samples]
    return replace(dataset, test=Samples(inputs, labels))


def _open_backends(
    chosen: tuple[str, ...], pairs: tuple[str, ...], dtype: str, console: Console
) -> tuple[list[Backend], list[BackendError]]:
    """Open the chosen backends, or all usable ones.

    Each pair is NAME=DEVICE. The error of an unusable backend is returned if the user
    chose the backend by name or by device. Otherwise the error is printed as a remark.
    """
    names = chosen or BACKENDS
    devices = {}
    for pair in pairs:
        name, _, device = pair.partition("=")
        if not device or name not in names:
            fault = f"{pair!r} is not NAME=DEVICE with one of {', '.join(names)}"
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


def _trace_all(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    folder: Path,
    all_operations: bool,
) -> int:
    """Trace a run on each backend, and return the worst exit code."""
    codes = [
        print_traces(config, dataset, backend, steps, folder, all_operations)
        for backend in backends
    ]
    return min(codes, key=WORST_FIRST.index)
