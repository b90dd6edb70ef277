"""What the commands do, as one call each. `parity.compare.check` is such a call as
well.
"""

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.functional import Activation as Activation  # noqa: PLC0414  (public, as the other names below)
from mlp_xp.core.model import Model
from mlp_xp.core.signature import described
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Report
from mlp_xp.data.arrays import from_arrays as from_arrays  # noqa: PLC0414
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.datasets import is_own, load_dataset, load_to_evaluate
from mlp_xp.data.origin import Origin
from mlp_xp.data.pictures import Pictures, read_pictures
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.tables import is_table, read_tables
from mlp_xp.declared import check_choice
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning, quoted
from mlp_xp.export import page
from mlp_xp.files import FileError
from mlp_xp.runs.ensembles import (
    check_fit,
    evaluate_pooled,
    held_out,
    members_of,
    run_of,
)
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.figures import figures_of
from mlp_xp.runs.fingerprints import checksum
from mlp_xp.runs.run_folder import RunFolder, load_run
from mlp_xp.runs.settings import RECIPES, Settings, of_recipe
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.show.gallery import compared, draw_run
from mlp_xp.show.plots import PlotError, draw_curves, save
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.pictures import draw_sweep
from mlp_xp.sweeps.plan import SweepOptions, make_plan
from mlp_xp.sweeps.run import run


def train(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    *,
    run_dir: str | Path | None = None,
    start_from: str | Path | None = None,
    bar: bool = False,
) -> Iterator[Report]:
    """Train, and yield a report every `report_every` samples and a closing one with the
    trained network.

    This is a generator: draw the reports as they come, or stop at any time. dataset:
    with arrays on the backend's device. backend: unless it was opened with a number of
    threads, `choose_threads` chooses it. run_dir: a folder to write the run to, with
    its pictures at the end; an existing run is resumed, to the same bits as if it had
    not been interrupted. With a constant schedule, the configuration may have more
    epochs than a finished run: it is then trained longer, to the same bits as if it had
    had them from the start. No other run can use the folder until the generator ends or
    is closed. start_from: the folder of a run whose trained weights to begin with; it
    must have the same hidden layers, and its output layer is not taken if the outputs
    have other names. Until the first checkpoint a resume needs this run too. bar: show
    a progress bar, in a terminal or a notebook.

    Raises DatasetError for data that cannot be trained on, ConfigError for a data set
    too small for the configuration, or a run with other settings in the folder,
    DivergenceError at the first loss that is not finite, or before a report or a
    checkpoint of a network that is not, RunError for a folder that is in use or holds
    something else, FileError for a folder that cannot be written.
    """
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"is a {type(dataset).__name__}",
            remedy="make a Dataset by from_arrays",
            setting="dataset",
        )
    experiment = Experiment.from_data(config, dataset, backend, start_from=start_from)
    run = None if run_dir is None else RunFolder(run_dir)
    training = (
        experiment.training() if run is None else run.training(lambda: experiment)
    )
    with training as (running, events):
        if bar:
            from mlp_xp.show.terminal import watch

            events = watch(events, running.job)
        for event in events:
            if run is not None and event.closing:
                # a run without pictures is complete
                with suppress(PlotError, FileError):
                    draw_run(run, dataset, backend)
            if event.report is not None:
                yield event.report


Models = Model | str | Path | Sequence[Model | str | Path]
"""A model; the folder of a run, or of a sweep, which stands for its finished members;
or several of these, as one network whose predictions are the mean of theirs.
"""


class Evaluated(NamedTuple):
    """What networks do on a test set, alone and together."""

    result: Evaluation
    """For several networks that of their mean probabilities, or numbers."""
    models: tuple[Model, ...]
    runs: tuple[Evaluation, ...]
    """What each network does alone."""
    figures: dict[str, Any]
    """All figures of `result`, and the confusion matrix, as `mlp-xp evaluate --json`
    prints them; see docs/runs.md.
    """
    run_figures: tuple[dict[str, Any], ...]
    """All figures of each network alone."""


def evaluate(
    models: Models,
    data: Any = None,
    *,
    backend: str = "numpy",
    device: str | None = None,
    cache_dir: str | Path | None = None,
) -> Evaluated:
    """Evaluate a network, or several together, on the test set of their data, or of
    other data.

    Several networks need the same task, inputs and outputs; the loss of numbers is
    standardised as that of the first. data: by default that of the run, which must not
    have changed; or as `load_dataset` takes it, read as the run's own; or (X, y), as
    `from_arrays` takes them; a data frame with the columns of labels of the run's
    table; or a Dataset with arrays on the backend's device. One of these is needed if
    the run's data were in memory, and for a model that is not from the folder of a run.
    All samples are used where other data have no test set, and they need not have all
    classes. backend, device: as `open_backend` takes them. cache_dir: as for
    `load_dataset`.

    Rows of other data that a network was trained on are left out, with an MlpXpWarning:
    of a run's own table, in any order, just its test rows are left. A row is known by
    its numbers and its label. Rows that the training set has several times may be in
    other data by chance, so they count, with a warning, unless all training rows are
    there. Rows are not compared for a published data set, for one in its form, and for
    a model without the folder of a run.

    Raises BackendError, what `load_dataset` raises, and RunError: if no row is left,
    for runs that hold out different rows of their own data, and for outputs that are
    not finite.
    """
    found, datasets = _models(models, backend, device), dict[Any, Dataset]()
    given = [_data_of(model, data, cache_dir, datasets) for model in found]
    tests, runs, logits = held_out(found, given, same=data is not None), [], []
    for model, test in zip(found, tests, strict=True):
        runs.append(model.evaluate(test.inputs, test.labels))
        if not math.isfinite(runs[-1].loss):
            raise model.not_finite()
        logits.append(model.backend.to_numpy(model.logits(test.inputs)))
    result, labels = runs[0], found[0].backend.to_numpy(tests[0].labels)
    if len(found) > 1:
        result, pooled = evaluate_pooled(found, logits, labels)
        logits.append(pooled)
    # and their ensemble, if there is one
    networks = zip((*found, found[0]), (*runs, result), logits, strict=False)
    figures = [figures_of(model, each, z, labels) for model, each, z in networks]
    return Evaluated(
        result, tuple(found), tuple(runs), figures[-1], tuple(figures[: len(found)])
    )


class Predicted(NamedTuple):
    """What networks say about inputs, alone and together. The arrays are NumPy's."""

    values: np.ndarray
    """classes: their names, (n,). labels: 0 or 1, int64 (n, labels). regression:
    numbers (n, outputs), or (n,) for a single output.
    """
    outputs: np.ndarray
    """float64 (n, outputs): probabilities of the classes or labels, or numbers; for
    several networks the mean.
    """
    models: tuple[Model, ...]
    runs: np.ndarray
    """The outputs of each network alone, float64 (models, n, outputs)."""
    pictures: Pictures | None = None
    """The pictures as the networks see them, a row of the outputs for each of
    `pictures.paths`, and the faults of those that cannot be read. None for other
    inputs.
    """


def predict(
    models: Models, inputs: Any, *, backend: str = "numpy", device: str | None = None
) -> Predicted:
    """Predict by a network, or by several together, whose probabilities, or numbers,
    are then the mean of theirs.

    inputs: arrays, as `Model.predict` takes them; a table with the columns of the
    training data, in any order and among others: the path of a file as
    `tables.read_tables` reads, or a data frame; or the path of a picture, of a folder
    of pictures, or several of these in a list. Pictures are read as the run's own were
    if it was trained on a folder of pictures, and else prepared as MNIST's. A file that
    cannot be read does not stop the others; see `Pictures.faults`. backend, device: as
    `open_backend` takes them; arrays of another library than NumPy are used where they
    are.

    Raises BackendError, DatasetError for a table that does not fit, and MlpXpError for
    models that do not fit together, pictures where the network takes other inputs, and
    outputs that are not finite.
    """
    found = _models(models, backend, device)
    samples, pictures = _read(found, inputs)
    task, outputs_names = found[0].signature.task, found[0].signature.outputs
    runs = np.empty((len(found), 0, len(outputs_names)))
    if pictures is None or pictures.paths:
        with samples.naming(samples.train):
            runs = np.stack([_outputs(each, samples.train.inputs) for each in found])
    outputs = runs[0] if len(found) == 1 else np.mean(runs, axis=0)
    values = task.decide(outputs, outputs_names, xp=open_backend().xp)
    return Predicted(values, outputs, tuple(found), runs, pictures)


def _read(models: Sequence[Model], inputs: Any) -> tuple[RawSamples, Pictures | None]:
    """Read the inputs of `predict`, and say which are pictures. Raises DatasetError,
    MlpXpError if they cannot fit.
    """
    model, given = models[0], inputs if isinstance(inputs, list | tuple) else [inputs]
    if not given or not all(isinstance(each, str | os.PathLike) for each in given):
        return RawSamples(Part(inputs, None)), None
    paths, (rows, *others) = _paths(inputs), model.signature.input_shape
    # As in training, a table may have any name.
    tables = [
        path
        for path in paths
        if is_table(path.name) or (model.signature.form == "columns" and path.is_file())
    ]
    if tables and len(paths) > 1:
        raise MlpXpError("is a table; give it alone", file=tables[0])
    is_square = (
        others == [rows]
        and model.signature.task.exclusive
        and model.signature.preparation.takes_bytes
    )
    floats = " floats" * (
        len(others) > 0 and not model.signature.preparation.takes_bytes
    )
    if not (
        model.signature.form == "columns"
        if tables
        else is_square or "pictures" in model.signature.form
    ):
        raise MlpXpError(
            f"the network of {quoted(model.source)} takes {described(model.signature.input_shape)}{floats}",
            remedy=f"use a run that was trained on {'a table' if tables else 'pictures, or square images of bytes'}",
            file=paths[0],
        )
    if tables:
        known = [each.signature.columns for each in models]
        names = dict.fromkeys(name for each in known for name in each.names)
        commas = any(each.decimal_commas for each in known)
        return read_tables(
            tables[0],
            Origin(),
            Columns(tuple(map(Column, names)), decimal_commas=commas),
        ), None
    pictures = read_pictures(paths, model.signature.input_shape, model.signature.form)
    return RawSamples(Part(pictures.images, None)), pictures


def _outputs(model: Model, inputs: Any) -> np.ndarray:
    """Return what a network says about inputs, float64 (n, outputs): on their own
    device, or else on the model's.
    """
    where, on_host = (
        model.backend.like(inputs),
        open_backend(dtype=model.backend.dtype_name),
    )
    model = model if where is on_host else model.on(where)
    return model.backend.to_numpy(model.predictions(model.read(inputs))).astype(
        np.float64
    )


def _models(given: Models, backend: str, device: str | None) -> list[Model]:
    """Return the models of an argument on a backend, each in its dtype. Raises RunError
    unless they fit together.
    """
    found: dict[Any, Model] = {}
    for each in [given] if isinstance(given, Model | str | os.PathLike) else given:
        read = (
            [each]
            if isinstance(each, Model)
            else map(load_run, members_of(*_paths(each)))
        )
        for model in read:  # one from a file counts once
            found.setdefault(
                Path(model.source).resolve() if model.sha256 else id(model), model
            )
    if not found:
        raise MlpXpError(
            "there are none; give a run's folder, a model, or several in a list",
            setting="models",
        )
    models = [*found.values()]
    for model in models:
        check_fit(
            model,
            models[0].signature,
            f"that of {quoted(models[0].source)}",
            together=True,
        )
    return [
        model.on(open_backend(backend, device, model.backend.dtype_name))
        for model in models
    ]


def export_onnx(models: Models, path: str | Path, *, dtype: str | None = None) -> Path:
    """Write a network, or several as one, to an ONNX file, and return its path.
    `Model.to_onnx` does the same.

    Its graph takes what `predict` takes: images of bytes, features, or a table's
    columns in their units, with any number of rows. For the columns see docs/export.md.
    It gives the probabilities and the number of each class, or 0 or 1 for each label,
    or numbers in their units, within rounding. dtype: "float64" or "float32", for the
    computation and its results; None for that of each network. An existing file is
    replaced.

    Raises MlpXpError for models that do not fit together, without the extra `onnx`, and
    for a function of your own that cannot be recorded; RunError, ConfigError for
    another dtype, and FileError.
    """
    from mlp_xp.export.onnx import write_onnx

    write_onnx(_models(models, "numpy", None), Path(path), dtype)
    return Path(path)


Model.to_onnx = export_onnx  # type: ignore[attr-defined]  # not in the core, which exports nothing


def export_page(
    model: Models,
    path: str | Path,
    backend: str = "numpy",
    device: str | None = None,
    *,
    data: Any = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Write a web page with a network, in one HTML file, and return its path; see
    `export.page.write_page`.

    Takes and raises what `evaluate` does, but one network alone, and data may have no
    test set.
    """
    found, *others = _models(model, backend, device)
    if others:
        raise MlpXpError("an ensemble has no page; give one of its runs")
    dataset = _data_of(found, data, cache_dir, {})
    if dataset.test is not None:
        (test,) = held_out([found], [dataset])
        dataset = replace(dataset, test=test)
    page.write_page(Path(path), found, dataset)
    return Path(path)


def plot_run(
    run_dir: str | Path,
    backend: str = "numpy",
    device: str | None = None,
    *,
    data: Any = None,
    cache_dir: str | Path | None = None,
) -> list[Path]:
    """Draw the pictures of a run, or a sweep, into its folder, and return their paths.

    Takes and raises what `evaluate` does; also PlotError without Matplotlib, and
    FileError. A sweep has pictures of its own, which need no data.
    """
    folder = SweepFolder(run_dir)
    if folder.exists():
        return draw_sweep(folder)
    (model,) = _models(run_dir, backend, device)
    dataset = _data_of(model, data, cache_dir, {})
    (test,) = held_out([model], [dataset])
    return draw_run(RunFolder(run_dir), replace(dataset, test=test), model.backend)


def plot_curves(
    run_dirs: str | Path | Sequence[str | Path], output: str | Path
) -> Path:
    """Draw the curves of one or more runs into one PNG file, each named by what
    differs, or else by its folder.

    Returns the path of the file.

    Raises RunError, PlotError without Matplotlib, and FileError.
    """
    runs = [RunFolder(path) for path in _paths(run_dirs)]
    save(draw_curves(compared(runs)), output)
    return Path(output)


def sweep(
    values: Mapping[str, Any],
    base: Settings | TrainConfig | str | None = None,
    **options: Any,
) -> Iterator[Ending]:
    """Return a generator that trains many networks, and yields how each run ends, in
    the order in which they do.

    values: for each setting its values, as in `{"seed": range(8), "learning_rate":
    [0.01, 0.1], "hidden": [64, (512, 256)]}`, or the text of a range, as in
    `{"learning_rate": "0.001..0.1"}`. All combinations are trained; `{"cv": 5}` stands
    for its five folds, a cross-validation. base: all other settings, or those of
    training alone, or the name of a recipe. options: sweep_dir, random, optuna,
    sampling_seed, jobs, cluster, retry_failed and cache_dir, as `mlp-xp sweep --help`
    describes them; see `SweepOptions`.

    Members that have ended in the sweep's folder are not trained again: their endings
    come first. If the generator is closed or its process is killed, the same call goes
    on later. The summary is written at the end; `mlp-xp plot` draws the pictures.
    Nothing is trained, read or written before the first ending is asked for; only the
    settings are checked at once.

    Raises ConfigError, and TypeError for an option that does not exist. The generator
    raises DatasetError, BackendError or ClusterError before anything is written,
    RunError for a folder that is in use or belongs to something else, and FileError.
    """
    is_recipe = isinstance(base, str)
    if isinstance(base, str):
        check_choice("base", base, RECIPES)
        base = of_recipe(RECIPES[base], values)
    base = (
        Settings()
        if base is None
        else Settings(train=base)
        if isinstance(base, TrainConfig)
        else base
    )
    if not isinstance(base, Settings):
        raise MlpXpError(
            f"{base!r:.80} is neither Settings nor a TrainConfig nor a recipe's name",
            setting="base",
        )
    how = SweepOptions(**options)
    return run(make_plan(base, values, how, is_recipe=is_recipe))


def _paths(given: Any) -> list[Path]:
    """Return several paths, or a single one, as a list."""
    return [
        Path(each)
        for each in ([given] if isinstance(given, str | os.PathLike) else given)
    ]


def _data_of(
    model: Model,
    data: Any,
    cache_dir: str | Path | None,
    known: dict[Any, Dataset],
) -> Dataset:
    """Return the data to evaluate a network on, on its backend. Raises what `evaluate`
    does.

    known: data that are loaded already, for other networks.
    """
    if isinstance(data, Dataset):
        dataset = data
        if data.test is None:
            dataset = replace(data, test=data.train)
    else:
        trained_in = run_of(model)
        settings = trained_in.settings() if trained_in else None
        in_memory = not isinstance(data, str | os.PathLike | None)
        if not in_memory and settings is None:
            raise MlpXpError(
                f"{quoted(model.source)} does not say how its data were read",
                remedy="give the folder of its run, or from Python (X, y)",
                setting="models",
            )
        if data is None and settings and settings.data == UNNAMED:
            raise MlpXpError(
                f"{quoted(model.source)}: its data were in memory; give the same data",
                setting="data",
            )
        origin = settings.origin if settings else Origin()
        place = settings.data if settings and data is None else data
        own = in_memory or is_own(place, origin)
        origin = origin if own else Origin()
        key = (
            id(place) if in_memory else str(place),
            origin,
            model.backend,
            model.signature.columns,
        )
        if key not in known:
            with warnings.catch_warnings():
                if data is None:  # the training gave these warnings
                    warnings.simplefilter("ignore", MlpXpWarning)
                known[key] = (
                    load_to_evaluate(place, model, origin)
                    if own and data is not None
                    else load_dataset(
                        place, model.backend, cache_dir=cache_dir, **vars(origin)
                    )
                )
        dataset = known[key]
        if trained_in and data is None:
            trained_in.check_data({"data_crc32": checksum(dataset, model.backend)})
    check_fit(model, dataset.signature, f"the data set {quoted(dataset.name)}")
    return dataset
