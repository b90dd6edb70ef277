"""The functions of the library, each a call of the objects that do the work.

`mlp_xp` imports the names of this module when they are first used.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlp_xp.backends.opening import as_backend
from mlp_xp.backends.opening import open_backend as open_backend  # noqa: PLC0414  (public, as the other names below)
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.dataset import Samples as Samples  # noqa: PLC0414
from mlp_xp.core.functional import Activation as Activation  # noqa: PLC0414
from mlp_xp.core.model import Model
from mlp_xp.core.signature import Signature as Signature  # noqa: PLC0414
from mlp_xp.core.task import Evaluation as Evaluation  # noqa: PLC0414
from mlp_xp.core.training import Report
from mlp_xp.data.arrays import from_arrays as from_arrays  # noqa: PLC0414
from mlp_xp.data.datasets import load_dataset as load_dataset  # noqa: PLC0414
from mlp_xp.data.options import DataOptions as DataOptions  # noqa: PLC0414
from mlp_xp.errors import (
    DatasetError,
    MlpXpError,
    MlpXpWarning,
    as_path,
    check_type,
    quoted,
    warn,
)
from mlp_xp.export.page import write_page
from mlp_xp.gradients.check import assert_gradients as assert_gradients  # noqa: PLC0414
from mlp_xp.gradients.check import check_gradients as check_gradients  # noqa: PLC0414
from mlp_xp.runs.ensembles import Models, open_models, paths_of
from mlp_xp.runs.evaluation import evaluate as evaluate  # noqa: PLC0414
from mlp_xp.runs.evaluation import load_data
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.loading import load_run as load_run  # noqa: PLC0414
from mlp_xp.runs.prediction import predict as predict  # noqa: PLC0414
from mlp_xp.runs.recording import open_training
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import RECIPES as RECIPES  # noqa: PLC0414
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.show import objects as objects  # noqa: PLC0414  (the texts of all objects)
from mlp_xp.show.gallery import compared, draw_end, draw_run
from mlp_xp.show.plots import draw_curves, save
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.pictures import draw_sweep
from mlp_xp.sweeps.plan import SweepOptions, plan_of
from mlp_xp.sweeps.run import run_sweep


def train(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend | str = "numpy",
    *,
    run_dir: str | Path | None = None,
    start_from: str | Path | None = None,
    networks: int = 1,
    bar: bool = False,
) -> Iterator[Report]:
    """Train, and yield a report every `config.report_every` samples and one at the end.

    This is a generator: draw the reports as they come, or stop at any time. Nothing is
    checked or trained until the first report is asked for.

    Args:
        config: The settings of training.
        dataset: The data to train on, with arrays on the device of `backend`.
        backend: The array library to compute with: a backend, or the name of a
            library. Unless it was opened with a number of threads, a rule chooses the
            number.
        run_dir: Folder to write the run to, with its pictures at the end. If they
            cannot be drawn, an MlpXpWarning says why. A run that is there already is
            resumed, to the same bits as if it had not been interrupted. With a constant
            schedule, the configuration may have more epochs than a finished run, which
            is then trained longer. No other run can use the folder until the generator
            ends or is closed.
        start_from: Folder of a run whose trained weights to begin with. It must have
            the same hidden layers. Its output layer is not taken if the outputs have
            other names. Until the first checkpoint, a resume needs this run too.
        networks: Train this many networks at once, and average their outputs. See
            docs/own_data.md.
        bar: Whether to show a progress bar, in a terminal or a notebook.

    Yields:
        Reports. The last one has the final network. Reports on several networks are
        about their average.

    Raises:
        DatasetError: The data cannot be trained on.
        ConfigError: The data set is too small for the configuration, or the folder has
            a run with other settings.
        DivergenceError: A loss or a weight is no longer finite.
        RunError: The folder is in use or holds something else, or the run to start from
            does not fit.
        FileError: The folder cannot be written.

    Examples:
        >>> for report in train(TrainConfig(epochs=1), dataset):
        ...     print(report.sample, report.loss)
        0 8.2199...
        10000 1.2390...
        ...
        60000 0.0019...
    """
    check_type(config, TrainConfig, "config", "give a TrainConfig")
    remedy = "make a Dataset by load_dataset or from_arrays"
    check_type(dataset, Dataset, "dataset", remedy, DatasetError)
    backend = as_backend(backend)
    experiment = Experiment.from_data(
        config, dataset, backend, start_from=start_from, networks=networks
    )
    run = None
    if run_dir is None:
        training = experiment.training()
    else:
        run = RunFolder(as_path(run_dir, "run_dir"))
        training = open_training(run, lambda: experiment)
    with training as (running, events):
        if bar:
            from mlp_xp.show.terminal import watch

            events = watch(events, running.job)
        for event in events:
            if run is not None and event.closing:
                for error in draw_end(run, dataset, backend).faults.values():
                    fault = f"the run in {quoted(run.path)} has no pictures: {error}"
                    warn(MlpXpWarning(fault))
            if event.report is not None:
                yield event.report


def export_onnx(models: Models, path: str | Path, *, dtype: str | None = None) -> Path:
    """Write a network, or several as one, to an ONNX file.

    The graph takes the inputs of `predict`: images of bytes, features, or a table's
    columns in their units, with any number of rows. For the columns see docs/export.md.
    It gives the probabilities and the number of each class, or 0 or 1 for each label,
    or numbers in their units, within rounding.

    Args:
        models: A model, the folder of a run or of a sweep, or a list of these.
        path: The file to write, which ends in .onnx. An existing file is replaced.
        dtype: "float64" or "float32", for the computation and its results; by default
            the dtype of each network.

    Returns:
        The path.

    Raises:
        MlpXpError: The networks do not fit together, the extra `onnx` is missing, or a
            function of your own cannot be recorded.
        RunError: A folder has no model.
        ConfigError: There is no such dtype.
        FileError: The file cannot be written.

    Examples:
        >>> export_onnx("runs/digits", "digits.onnx").name
        'digits.onnx'
    """
    from mlp_xp.export.onnx import write_onnx

    path = as_path(path, "path")
    write_onnx(open_models(models, "numpy", None), path, dtype)
    return path


def export_page(
    model: Model | str | Path,
    path: str | Path,
    backend: Backend | str = "numpy",
    device: str | None = None,
    *,
    data: Any = None,
    cache_dir: str | Path | None = None,
    title: str | None = None,
) -> Path:
    """Write a web page with a network, in one HTML file; see `export.page.write_page`.

    Args:
        model: A model, or the folder of a run.
        path: The file to write, which ends in .html. An existing file is replaced.
        backend: The array library to compute with: a backend, or the name of a library.
        device: Device of a library given by its name. By default its own default.
        data: The data, as for `evaluate`. They may have no test set.
        cache_dir: Folder for downloads; see `load_dataset`.
        title: The title of the page, such as the name of a class. By default the name
            of the data.

    Returns:
        The path.

    Raises:
        MlpXpError: There can be no page for the network.
        RunError: As for `evaluate`.
        DatasetError: As for `evaluate`.
        FileError: The file cannot be written.

    Examples:
        >>> export_page("runs/digits", "digits.html", title="Class 5b").name
        'digits.html'
    """
    path = as_path(path, "path")
    check_type(title, str | None, "title", "give a text")
    found, *others = open_models(model, backend, device)
    if others:
        raise MlpXpError("an ensemble has no page; give one of its runs")
    write_page(path, found, load_data(found, data, cache_dir), title)
    return path


def plot_run(
    run_dir: str | Path,
    backend: Backend | str = "numpy",
    device: str | None = None,
    *,
    data: Any = None,
    cache_dir: str | Path | None = None,
) -> list[Path]:
    """Draw the pictures of a run, or of a sweep, into its folder.

    Args:
        run_dir: The folder. A sweep has pictures of its own, which need no data.
        backend: The array library to compute with: a backend, or the name of a library.
        device: Device of a library given by its name. By default its own default.
        data: The data, as for `evaluate`. They may have no test set.
        cache_dir: Folder for downloads; see `load_dataset`.

    Returns:
        The paths of the pictures.

    Raises:
        PlotError: Matplotlib is missing, or no member of a sweep has finished.
        RunError: As for `evaluate`.
        DatasetError: As for `evaluate`.
        FileError: A file cannot be written.

    Examples:
        >>> paths = plot_run("runs/digits")
        >>> paths[0].name
        'curves.png'
    """
    run_dir = as_path(run_dir, "run_dir")
    sweep = SweepFolder(run_dir)
    if sweep.exists():
        return draw_sweep(sweep)
    (model,) = open_models(run_dir, backend, device)
    dataset = load_data(model, data, cache_dir)
    return draw_run(RunFolder(run_dir), dataset, model.backend)


def plot_curves(
    run_dirs: str | Path | Sequence[str | Path], output: str | Path
) -> Path:
    """Draw the curves of one or more runs into one PNG file.

    Each curve is named by the settings in which its run differs, or else by its folder.

    Args:
        run_dirs: The folder of a run, or a list of folders.
        output: The file to write.

    Returns:
        The path of the file.

    Raises:
        RunError: A folder has no run, or the runs have different tasks.
        PlotError: Matplotlib is missing.
        FileError: The file cannot be written.

    Examples:
        >>> plot_curves(["runs/digits"], "curves.png").name
        'curves.png'
    """
    output = as_path(output, "output")
    runs = [RunFolder(path) for path in paths_of(run_dirs)]
    save(draw_curves(compared(runs)), output)
    return output


def sweep(
    values: Mapping[str, Any],
    base: Settings | TrainConfig | str | None = None,
    **options: Any,
) -> Iterator[Ending]:
    """Train many networks, and yield how each run ends, in the order in which they end.

    Only the settings are checked at once. Nothing is trained, read or written before
    the first ending is asked for. Members that have ended in the sweep's folder are not
    trained again: their endings come first. If the generator is closed or its process
    is killed, the same call continues later. The summary is written at the end.
    `plot_run` draws the pictures.

    Args:
        values: For each setting its values, as in `{"seed": range(8), "learning_rate":
            [0.01, 0.1], "hidden": [64, (512, 256)]}`, or the text of a range, as in
            `{"learning_rate": "0.001..0.1"}`. All combinations are trained. `{"cv": 5}`
            stands for its five folds, a cross-validation.
        base: All other settings, or the settings of training, or the name of a recipe.
        options: sweep_dir, optuna, sampling_seed, jobs, cluster, retry_failed and
            cache_dir, as `mlp-xp sweep --help` describes them.

    Returns:
        A generator of endings.

    Raises:
        ConfigError: A setting is out of range.
        TypeError: An option does not exist.
        DatasetError: The data cannot be read. This error and the following errors are
            raised when the first ending is asked for, before anything is written.
        BackendError: The array library is not available.
        ClusterError: The cluster is not available.
        RunError: The folder is in use or belongs to something else.
        FileError: The folder cannot be written.

    Examples:
        >>> endings = sweep({"seed": range(2)}, TrainConfig(epochs=1), sweep_dir="s")
        >>> sorted(ending.name for ending in endings)
        ['0000', '0001']
    """
    remedy = "give a dictionary with the values of each setting"
    check_type(values, Mapping, "values", remedy)
    return run_sweep(plan_of(base, values, SweepOptions(**options)))
