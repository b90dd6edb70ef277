"""What the commands do, as one call each. `parity.compare.check` is such a call as well."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import Backend, open_backend
from mlp_xp.core.config import TrainConfig, check_choice
from mlp_xp.core.dataset import UNNAMED, Dataset, described
from mlp_xp.core.inputs import read_features
from mlp_xp.core.metrics import confusion_matrix
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Event, Report, trajectory, with_threads
from mlp_xp.data.datasets import in_file, is_own, load_dataset, load_own, load_to_evaluate
from mlp_xp.data.origin import Origin
from mlp_xp.data.picture_folders import read_pictures_like
from mlp_xp.data.pictures import Pictures, read_pictures
from mlp_xp.data.registry import DATASETS
from mlp_xp.data.tables import read_table
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning
from mlp_xp.runs import run_folder
from mlp_xp.runs.checkpoints import Model, check_fit, evaluation_of, load_model
from mlp_xp.runs.ensembles import Mean, check_same_data, load_models, members_of, outputs_of, predictions
from mlp_xp.runs.recording import check_run, open_folder, train_in_folder
from mlp_xp.runs.settings import RECIPES, Settings
from mlp_xp.runs.sources import read_source
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.show.gallery import draw_run, read_curves, told_apart
from mlp_xp.show.plots import PlotError, draw_curves, save
from mlp_xp.sweeps.folder import default_folder
from mlp_xp.sweeps.grid import make_plan
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.pictures import draw_sweep
from mlp_xp.sweeps.run import How, check, run


def train(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    *,
    run_dir: str | Path | None = None,
    start_from: str | Path | None = None,
    bar: bool = False,
) -> Iterator[Report]:
    """Train, and yield a report every `report_every` samples and a closing one with the trained network.

    This is a generator: draw the reports as they come, or stop at any time. dataset: with arrays on the backend's
    device. backend: unless it was opened with a number of threads, `Backend.choose_threads` chooses it. run_dir: a
    folder to write the run to, with its pictures at the end; an existing run is resumed, to the same bits as if it had
    not been interrupted. With a constant schedule, the configuration may have more epochs than a finished run: it is
    then trained longer, to the same bits as if it had had them from the start. No other run can use the folder until
    the generator ends or is closed. start_from: the folder of a run whose trained weights to begin with; it must have
    the same hidden layers, and its output layer is not taken if the outputs have other names. Until the first
    checkpoint a resume needs this run too. bar: show a progress bar, in a terminal or a notebook.

    Raises DatasetError for data that cannot be trained on, ConfigError for a data set too small for the configuration,
    DivergenceError at the first loss that is not finite, or before a report or a checkpoint of a network that is not,
    RunError for a folder that is in use, or holds something else or a run with other settings, FileError for a folder
    that cannot be written.
    """
    run_dir = None if run_dir is None else _path(run_dir)
    start_from = None if start_from is None else str(_path(start_from, "start_from"))
    with ExitStack() as held:
        events: Iterator[Event]
        if run_dir is None:
            trained = read_source(start_from, config, dataset).trained
            events = trajectory(config, dataset, with_threads(config, dataset, backend), trained=trained)
        else:
            place: dict[str, Any] = {"dataset" if dataset.name in (*DATASETS, UNNAMED) else "data_dir": dataset.name}
            place |= {"origin": dataset.origin or Origin(), "start_from": start_from}
            settings = Settings(backend.name, backend.device_name, backend.dtype_name, **place, train=config)
            check_run(settings, dataset, backend, run_dir)
            held.enter_context(open_folder(run_dir, existing=True))
            recorded = train_in_folder(run_dir, settings, dataset, backend)
            events = held.enter_context(closing(recorded))
        if bar:
            from mlp_xp.show.terminal import watch

            events = watch(events, config, dataset)
        for event in events:
            if run_dir is not None and event.closing:
                with suppress(PlotError):  # without Matplotlib or space a run has no pictures, but is complete
                    draw_run(run_dir, dataset, backend)
            if event.report is not None:
                yield event.report


def load_run(run_dir: str | Path) -> Model:
    """Read the trained network of a run's folder, which predicts from arrays of any library: see `Model.predict`.

    Raises RunError if the folder is not a run, has no model yet, or its model is damaged.
    """
    return load_model(_path(run_dir))


class RunEvaluation(NamedTuple):
    """A run's network on a test set."""

    result: Evaluation
    matrix: np.ndarray | None
    """Confusion matrix, int64 (classes, classes). Rows: true class; columns: predicted class. None for other tasks."""
    class_names: tuple[str, ...]


def evaluate_run(
    run_dir: str | Path,
    backend: str = "numpy",
    device: str | None = None,
    *,
    data: str | Path | Dataset | None = None,
    cache_dir: str | Path | None = None,
) -> RunEvaluation:
    """Evaluate a run's network on the test set of its data, or of other data, prepared as the run's inputs were.

    backend, device: as `open_backend` takes them. data, cache_dir: as `load_dataset` takes them, by default the run's
    own data, which must not have changed; or a Dataset with arrays on the backend's device, which must be given if the
    run's own data were in memory. Files of other data need not have all classes, and all their samples are used where
    they have no test set of their own; the run's own data are known at another place too. Raises BackendError,
    RunError, also if the network's outputs are not finite, and what `load_dataset` raises.
    """
    run_dir = _path(run_dir)
    model = load_model(run_dir)
    opened = open_backend(backend, device, model.dtype)
    dataset = _data_of(run_dir, model, opened, data, cache_dir)
    result, matrix = evaluation_of(model, dataset, opened), None
    if model.task == "classes":
        matrix = _matrix(dataset, opened.to_numpy(model.outputs(dataset.test_inputs, opened)), opened)
    return RunEvaluation(result, matrix, model.class_names)


def _matrix(dataset: Dataset, outputs: np.ndarray, backend: Backend) -> np.ndarray:
    labels = backend.to_numpy(dataset.test_labels)
    return confusion_matrix(labels, np.argmax(outputs, axis=1), outputs.shape[1])


class EnsembleEvaluation(NamedTuple):
    """Several runs' networks on a test set, and their ensemble."""

    ensemble: RunEvaluation
    """The evaluation of the mean of the networks' probabilities, or numbers."""
    run_dirs: tuple[Path, ...]
    """The runs; of a sweep, its finished members."""
    runs: tuple[Evaluation, ...]
    """What each run's network does alone."""
    matrices: tuple[np.ndarray, ...] = ()
    """The confusion matrix of each run; none for other tasks than classes."""


def evaluate_ensemble(
    run_dirs: Sequence[str | Path],
    backend: str = "numpy",
    device: str | None = None,
    *,
    data: str | Path | Dataset | None = None,
    cache_dir: str | Path | None = None,
) -> EnsembleEvaluation:
    """Evaluate the mean of the predictions of several runs' networks on the test set of their data, or of other data.

    Predictions are the probabilities of classes or labels, or numbers. The loss of numbers is standardised as that of
    the first run. run_dirs: folders of runs, or of sweeps, of which all finished members take part; or one sweep. The
    others are as for `evaluate_run`, which also says what is raised; RunError also for runs with another task, other
    inputs or outputs, or without `data` trained on other data.
    """
    folders = members_of(_paths(run_dirs))
    models = load_models(folders)
    if data is None:
        check_same_data(folders)
    dataset = _data_of(folders[0], models[0], open_backend(backend, device, models[0].dtype), data, cache_dir)
    mean, runs, matrices = Mean(models[0].task), [], []
    for model in models:
        opened = open_backend(backend, device, model.dtype)
        runs.append(evaluation_of(model, dataset, opened))
        outputs = outputs_of(model, dataset.test_inputs, opened)
        mean.add(outputs)
        if mean.task == "classes":
            matrices.append(_matrix(dataset, outputs, opened))
    result = mean.evaluation(opened.to_numpy(dataset.test_labels), models[0].targets[1] if models[0].targets else 1.0)
    matrix = _matrix(dataset, mean.outputs(), opened) if mean.task == "classes" else None
    ensemble = RunEvaluation(result, matrix, models[0].class_names)
    return EnsembleEvaluation(ensemble, tuple(folders), tuple(runs), tuple(matrices))


class PicturePredictions(NamedTuple):
    """What the networks of one or more runs say about pictures."""

    pictures: Pictures
    """The pictures as the networks see them, and the faults of those that cannot be read."""
    probabilities: np.ndarray
    """float64 (n, classes), a row for each of `pictures.paths`: of several runs the mean."""
    class_names: tuple[str, ...]
    run_dirs: tuple[Path, ...]
    """The runs; of a sweep, its finished members."""
    of_runs: np.ndarray
    """The probabilities from each run alone, float64 (runs, n, classes)."""


def predict_pictures(
    run_dir: str | Path, pictures: Sequence[str | Path], backend: str = "numpy", device: str | None = None
) -> PicturePredictions:
    """Predict the classes of picture files, and of those in folders, by a run's network.

    Pictures are read as the run's own were if it was trained on a folder of pictures, and else prepared as MNIST's. A
    file that cannot be read does not stop the others; see `Pictures.faults`. Raises BackendError, RunError, also if
    the network's outputs are not finite, and MlpXpError where the network takes images that are not square.
    """
    return predict_ensemble([run_dir], pictures, backend, device)


def predict_ensemble(
    run_dirs: Sequence[str | Path], pictures: Sequence[str | Path], backend: str = "numpy", device: str | None = None
) -> PicturePredictions:
    """Predict the classes of picture files by the mean of the probabilities of several runs' networks.

    run_dirs: as for `evaluate_ensemble`. pictures, backend, device: as for `predict_pictures`, which also says what is
    raised; RunError also for runs with other images or classes.
    """
    folders = members_of(_paths(run_dirs))
    models = load_models(folders)
    read = _pictures_for(folders[0], models[0], pictures)
    outputs, of_runs = _predict(models, backend, device, read.images)
    return PicturePredictions(read, outputs, models[0].class_names, tuple(folders), of_runs)


def _predict(
    models: Sequence[Model], backend: str, device: str | None, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of what networks predict, float64 (n, outputs), and what each does, (networks, n, outputs).

    inputs: on the host; n may be 0.
    """
    task, outputs = models[0].task, len(models[0].class_names)
    if not len(inputs):
        return np.empty((0, outputs)), np.empty((len(models), 0, outputs))
    mean, of_runs = Mean(task), []
    for model in models:
        opened = open_backend(backend, device, model.dtype)
        features = read_features("inputs", inputs, opened, model.feature_names)
        if len(models) == 1:
            alone = opened.to_numpy(model.outputs(features, opened)).astype(float)
            return alone, alone[None]
        logarithms = outputs_of(model, features, opened)
        of_runs.append(predictions(task, logarithms))
        mean.add(logarithms)
    return mean.outputs(), np.stack(of_runs)


def _pictures_for(run_dir: Path, model: Model, pictures: Sequence[str | Path]) -> Pictures:
    """Read pictures as the run's own were, or prepare them as MNIST's. Raises MlpXpError if they cannot fit."""
    paths = [_path(picture, "pictures") for picture in pictures]
    if model.inputs == "pictures":
        resize = run_folder.read_config(run_dir)[0].origin.picture_size is not None
        return read_pictures_like(paths, model.image_shape, resize=resize)
    if model.inputs == "columns":
        raise MlpXpError(
            f"the run's network takes {described(model.image_shape)} from a table; give a table (CSV, Parquet) with "
            "these columns"
        )
    rows, *others = model.image_shape
    if others != [rows] or model.task != "classes" or model.preparation != "bytes":
        raise MlpXpError(
            f"the run's network takes {described(model.image_shape)}, but pictures are converted to squares only; "
            "use a run with square images"
        )
    return read_pictures(paths, size=rows)


class TablePredictions(NamedTuple):
    """What the networks of one or more runs say about the rows of a table."""

    outputs: np.ndarray
    """float64 (n, outputs), finite: probabilities of the classes or labels, or numbers; of several runs the mean."""
    class_names: tuple[str, ...]
    """The names of the outputs."""
    task: str
    run_dirs: tuple[Path, ...]
    """The runs; of a sweep, its finished members."""
    of_runs: np.ndarray
    """The outputs of each run alone, float64 (runs, n, outputs)."""


def predict_table(
    run_dir: str | Path, table: str | Path, backend: str = "numpy", device: str | None = None
) -> TablePredictions:
    """Predict from the rows of a table, a file as `tables.read_table` reads, by the network of a run on tables.

    The table needs the columns of the training data, in any order; others, such as the label's, are ignored. Raises
    BackendError, RunError, DatasetError, also for a value that is too large for the network, and MlpXpError where the
    network was not trained on a table.
    """
    return predict_table_ensemble([run_dir], table, backend, device)


def predict_table_ensemble(
    run_dirs: Sequence[str | Path], table: str | Path, backend: str = "numpy", device: str | None = None
) -> TablePredictions:
    """Predict from the rows of a table by the mean of the probabilities, or numbers, of several runs' networks.

    run_dirs: as for `evaluate_ensemble`. table, backend, device: as for `predict_table`, which also says what is
    raised; RunError also for runs with another task, other columns or outputs.
    """
    folders = members_of(_paths(run_dirs))
    models = load_models(folders)
    if models[0].inputs != "columns":
        raise MlpXpError(
            f"{str(folders[0])!r}: the run's network takes {described(models[0].image_shape)}, which are not from a "
            "table; use a run that was trained on one"
        )
    read = read_table(_path(table, "table"), features=models[0].feature_names)
    try:
        outputs, of_runs = _predict(models, backend, device, read.features)
    except DatasetError as error:  # names a row of the features
        raise DatasetError(f"{str(table)!r}: {in_file(error.text, read.lines)}") from error
    return TablePredictions(outputs, models[0].class_names, models[0].task, tuple(folders), of_runs)


def plot_run(
    run_dir: str | Path,
    backend: str = "numpy",
    device: str | None = None,
    *,
    data: str | Path | Dataset | None = None,
    cache_dir: str | Path | None = None,
) -> list[Path]:
    """Draw the pictures of a run, or a sweep, into its folder, and return their paths.

    Takes and raises what `evaluate_run` does; also PlotError without Matplotlib, or if the folder cannot be written. Of
    a run whose data were in memory and are not given, it draws the pictures that need none, and gives an MlpXpWarning;
    it warns too if it draws other data than the run's. A sweep has pictures of its own, which need no data.
    """
    run_dir = _path(run_dir)
    if is_sweep(run_dir):
        if data is not None:
            raise MlpXpError("is for a single run; leave it out: a sweep's pictures need no data", setting="data")
        return draw_sweep(run_dir)
    model = load_model(run_dir)
    opened = open_backend(backend, device, model.dtype)
    if data is None and run_folder.data_of(run_folder.read_config(run_dir)[0]) == UNNAMED:
        warnings.warn(
            f"{str(run_dir)!r}: the run's data were in memory, so only the pictures that need no data are drawn; for "
            "the others call plot_run with data=, the same Dataset",
            MlpXpWarning,
            stacklevel=2,
        )
        return draw_run(run_dir, None, opened)
    dataset = _data_of(run_dir, model, opened, data, cache_dir)
    known = run_folder.read_config(run_dir)[1]["data_crc32"]
    if data is not None and run_folder.checksum(dataset, opened) != known:
        warnings.warn(
            f"{str(run_dir)!r}: the run was trained on other data than these, whose test set its pictures now show; "
            "give the run's own data to draw them as they were",
            MlpXpWarning,
            stacklevel=2,
        )
    return draw_run(run_dir, dataset, opened)


def plot_curves(run_dirs: Sequence[str | Path], output: str | Path) -> Path:
    """Draw the curves of several runs into one PNG file, each named by its folder and what differs; return its path.

    Raises RunError, PlotError without Matplotlib, and FileError.
    """
    output, folders = _path(output, "output"), [_path(run_dir, "run_dirs") for run_dir in run_dirs]
    save(draw_curves(told_apart([read_curves(folder) for folder in folders], folders)), output)
    return output


def sweep(
    values: Mapping[str, Any],
    base: Settings | TrainConfig | str | None = None,
    *,
    sweep_dir: str | Path | None = None,
    random: int | None = None,
    optuna: int | None = None,
    sampling_seed: int = 0,
    jobs: int | None = None,
    cluster: str | None = None,
    cache_dir: str | Path | None = None,
    retry_failed: bool = False,
) -> Iterator[Ending]:
    """Return a generator that trains many networks, and yields how each run ends, in the order in which they do.

    values: for each setting its values, as in `{"seed": range(8), "learning_rate": [0.01, 0.1], "hidden": [64, (512,
    256)]}`, or the text of a range, as in `{"learning_rate": "0.001..0.1"}`. All combinations are trained. random: draw
    this many settings instead. optuna: let Optuna choose this many instead, by their accuracy on held-out samples. Both
    train each setting with every seed. sampling_seed: seed of either. base: all other settings, or those of training
    alone, or the name of a recipe. The summary is written at the end; `mlp-xp plot` draws the pictures.

    sweep_dir: the folder of the sweep, by default one below `runs` that depends on the settings. Members that have
    ended there are not trained again: their endings come first. If the generator is closed or its process is killed,
    the same call goes on later. jobs: processes at once, each with one thread; by default one per core, or as many as
    the memory admits, and one on a GPU. cluster: the address of a Dask or Ray cluster, such as dask://host:8786, whose
    machines share the sweep's folder. cache_dir: as for `load_dataset`. retry_failed: train failed members again.

    Nothing is trained, read or written before the first ending is asked for; only the settings are checked at once.

    Raises ConfigError; the generator raises DatasetError, BackendError or ClusterError before anything is written,
    RunError for a folder that is in use or belongs to something else, and FileError.
    """
    if isinstance(base, str):
        check_choice("base", base, RECIPES)
        base = RECIPES[base]
    base = Settings() if base is None else Settings(train=base) if isinstance(base, TrainConfig) else base
    if not isinstance(base, Settings):
        raise MlpXpError(f"{base!r:.80} is neither Settings nor a TrainConfig nor a recipe's name", setting="base")
    plan = make_plan(base, values, samples=random, trials=optuna, seed=sampling_seed)
    folder = default_folder(plan) if sweep_dir is None else _path(sweep_dir, "sweep_dir")
    cache = None if cache_dir is None else _path(cache_dir, "cache_dir")
    how = How(jobs, cluster, retry_failed, cache)
    check(plan, how)
    return run(plan, folder, how)


def _path(given: str | Path, setting: str = "run_dir") -> Path:
    """Return a path. Raises MlpXpError for anything else, and for an empty string, which means the current folder."""
    if not isinstance(given, str | os.PathLike) or given == "":
        raise MlpXpError(f"{given!r:.80} is not a path; give a string or a Path", setting=setting)
    return Path(given)


def _paths(given: Sequence[str | Path]) -> list[Path]:
    """Return paths. Raises MlpXpError for a single one in place of several, unless it is a sweep's, and for none."""
    if isinstance(given, str | os.PathLike) and is_sweep(Path(given)):
        return [Path(given)]
    if isinstance(given, str | os.PathLike) or not given:
        raise MlpXpError(f"{given!r:.80} is not a list of folders; give one or more in a list", setting="run_dirs")
    return [_path(each, "run_dirs") for each in given]


def _data_of(
    run_dir: Path, model: Model, backend: Backend, data: str | Path | Dataset | None, cache_dir: str | Path | None
) -> Dataset:
    """Return the data to evaluate a run's network on. Raises what `evaluate_run` does."""
    settings, record = run_folder.read_config(run_dir)
    place = run_folder.data_of(settings) if data is None else data
    if isinstance(place, Dataset):
        dataset = place
    elif place == UNNAMED:
        raise MlpXpError(
            f"{str(run_dir)!r}: the run's data were in memory; call evaluate_run, or evaluate_ensemble, with data=, "
            "the same Dataset",
            setting="data",
        )
    else:
        origin = Origin() if place in DATASETS else settings.origin
        own = is_own(place, origin)
        if own and model.task == "classes":  # also where labels look like numbers, most of them
            origin = replace(origin, task="classes")
        if data is not None and own:
            dataset = _other_data(place, model, origin, record["data_crc32"], backend)
        else:
            dataset = load_dataset(place, backend, cache_dir=cache_dir, **vars(origin))
        if data is None:
            run_folder.check_data(run_dir, {"data_crc32": run_folder.checksum(dataset, backend)})
    check_fit(model, dataset, f"the data set {dataset.name!r}")
    return dataset


def _other_data(place: str | Path, model: Model, origin: Origin, known: str, backend: Backend) -> Dataset:
    """Load files to evaluate on: all samples, or those of their test set; but the run's own data with its split.

    The run's own are those with its values, whatever else is in the table, and in which order its columns are.
    """
    names = (model.feature_names if model.inputs == "columns" else ()) or None
    # What cannot be trained on, such as rows of one class only, is not the run's own, but can be evaluated on.
    with warnings.catch_warnings(), suppress(MlpXpError):
        warnings.simplefilter("ignore")
        dataset = load_own(Path(place), backend, origin, features=names)
        if run_folder.checksum(dataset, backend) == known:
            return dataset
    try:
        return load_to_evaluate(
            place, backend, origin, task=model.task, class_names=model.class_names, feature_names=names or ()
        )
    except MlpXpError as error:
        if error.setting in ("label", "picture_size"):  # which are the run's, not the caller's
            error.setting = None
        raise
