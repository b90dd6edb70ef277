"""Evaluate a network, or several together, on a test set."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation
from mlp_xp.data.datasets import is_own, load_dataset, load_to_evaluate
from mlp_xp.data.options import DataOptions
from mlp_xp.errors import Argument, MlpXpError, MlpXpWarning, quoted
from mlp_xp.printing import as_html, as_text
from mlp_xp.runs.ensembles import (
    Models,
    check_fit,
    check_tests,
    evaluate_pooled,
    open_models,
    run_of,
)
from mlp_xp.runs.fingerprints import check_precision, data_crc32
from mlp_xp.runs.metrics import metrics_of
from mlp_xp.runs.records import RunError
from mlp_xp.runs.resuming import check_data


class Evaluated(NamedTuple):
    """The results of networks on a test set, together and for each network."""

    result: Evaluation
    """The result. For several networks, the result of their mean probabilities or
    numbers.
    """
    models: tuple[Model, ...]
    """The networks."""
    runs: tuple[Evaluation, ...]
    """The result of each network."""
    metrics: dict[str, Any]
    """All metrics of `result`, and the confusion matrix, as `mlp-xp evaluate --json`
    prints them. See docs/runs.md.
    """
    run_metrics: tuple[dict[str, Any], ...]
    """All metrics of each network."""
    trained: int = 0
    """The number of samples in other data that equal training rows."""

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)

    def __repr__(self) -> str:
        return f"Evaluated({self.result!r}, networks={len(self.models)})"


def evaluate(
    models: Models,
    data: Any = None,
    *,
    backend: Backend | str = "numpy",
    device: str | None = None,
    cache_dir: str | Path | None = None,
) -> Evaluated:
    """Evaluate a network, or several together, on a test set.

    Without other data, these are the test rows of the run. Of other data, all rows of
    the test set count, and an MlpXpWarning says how many equal training rows. A row is
    known by its numbers and its label, in float32. Rows are not compared for a
    published data set and for a model without the folder of a run.

    For other data, an MlpXpWarning names the columns of a table with gaps where the
    training rows had none.

    Args:
        models: A model, the folder of a run or of a sweep, or a list of these. All need
            the same task, inputs and outputs. The loss of numbers is standardised like
            the loss of the first network.
        data: Data with labels. By default the data of the run, which must not have
            changed. Otherwise anything that `load_dataset` takes, read like the run's
            own data; or a pair `(X, y)`, as `from_arrays` takes it; or a data frame
            with the label columns of the run's table; or a `Dataset` with arrays on the
            device. Data are needed if the run's data were in memory, and for a model
            without the folder of a run. If other data have no test set, all samples are
            used. Other data need not have all classes.
        backend: The array library to compute with: a backend, or the name of a library.
        device: Device of the library. By default the library's own default device.
        cache_dir: Folder for downloads. See `load_dataset`.

    Returns:
        The results of the networks together (`result`, `metrics`) and of each network
        (`runs`, `run_metrics`).

    Raises:
        RunError: The networks do not fit together, hold out different rows of their own
            data, or read different labels in other data; or the backend is in float32,
            and the run's data are known in float64.
        MlpXpError: The outputs of a network, or its loss, are not finite. Or no data
            are given, and the data of the training are not known.
        DatasetError: The data cannot be read, or do not fit the networks.
        BackendError: The array library or the device is not available.

    Examples:
        >>> evaluate("runs/digits").result.accuracy
        0.8891
    """
    found = open_models(models, backend, device)
    known: dict[Any, Dataset] = {}
    datasets = [data_for(model, data, cache_dir, known) for model in found]
    tests, trained = check_tests(found, datasets, same=data is not None)
    labels = found[0].backend.to_numpy(tests[0].labels)
    results, logits, metrics = [], [], []
    for model, test in zip(found, tests, strict=True):
        z = model.backend.to_numpy(model.logits(test.inputs))
        signature = model.signature
        values = model.backend.check_labels(test.labels, len(test), signature)
        result = signature.task.evaluate(z, values, signature.units)
        if not math.isfinite(result.loss):
            raise model.not_finite()
        results.append(result)
        logits.append(z)
        metrics.append(metrics_of(model, result, z, labels))
    result, metrics_together = results[0], metrics[0]
    if len(found) > 1:
        result, pooled = evaluate_pooled(found, logits, labels)
        metrics_together = metrics_of(found[0], result, pooled, labels)
    return Evaluated(
        result=result,
        models=tuple(found),
        runs=tuple(results),
        metrics=metrics_together,
        run_metrics=tuple(metrics),
        trained=trained,
    )


def data_for(
    model: Model,
    data: Any,
    cache_dir: str | Path | None,
    known: dict[Any, Dataset],
) -> Dataset:
    """Return the data to evaluate a network on, on its backend.

    Args:
        model: The network.
        data: As for `evaluate`.
        cache_dir: Folder for downloads.
        known: Data loaded for other networks. Newly loaded data are added.

    Raises:
        DatasetError: The data cannot be read.
        RunError: The data do not fit the network, or have changed since the training.
        MlpXpError: No data are given, and the data of the training are not known.
    """
    if isinstance(data, Dataset):
        dataset = data if data.test is not None else replace(data, test=data.train)
    elif data is None:
        dataset = _own_data(model, cache_dir, known)
    else:
        dataset = _other_data(model, data, cache_dir, known)
    check_fit(model, dataset.signature, f"the data set {quoted(dataset.name)}")
    return dataset


def load_data(model: Model, data: Any, cache_dir: str | Path | None) -> Dataset:
    """Return the data of `data_for`, with the warnings of `evaluate` about rows."""
    dataset = data_for(model, data, cache_dir, {})
    if dataset.test is not None:
        check_tests([model], [dataset])
    return dataset


def _own_data(
    model: Model, cache_dir: str | Path | None, known: dict[Any, Dataset]
) -> Dataset:
    """Load the data of a network's run, which must not have changed."""
    run = run_of(model)
    if run is None:
        raise _not_said(model)
    settings = run.settings()
    if settings.data == UNNAMED:
        raise MlpXpError(
            f"{quoted(model.source)}: its data were in memory; give the same data",
            setting="data",
        )
    options = settings.data_options
    if not is_own(settings.data, options):
        options = DataOptions()
    key = str(settings.data), options, model.backend
    if key not in known:
        # The training has given the warnings already.
        with warnings.catch_warnings(action="ignore", category=MlpXpWarning):
            known[key] = load_dataset(
                settings.data, model.backend, cache_dir=cache_dir, **vars(options)
            )
    check_precision(known[key].train, model.backend, settings.dtype)
    try:
        crc = data_crc32(known[key], model.backend, settings.dtype)
        check_data(run, {"data_crc32": crc})
    except RunError as error:
        now = Argument("data", str(settings.data))
        error.remedy = ("to evaluate on the data as they are now, give ", now)
        raise
    return known[key]


def _other_data(
    model: Model, data: Any, cache_dir: str | Path | None, known: dict[Any, Dataset]
) -> Dataset:
    """Load other data, read like the data of a network's run."""
    is_in_memory = not isinstance(data, str | os.PathLike)
    run = run_of(model)
    if run is None and not is_in_memory:
        raise _not_said(model)
    options = DataOptions() if run is None else run.settings().data_options
    name = id(data) if is_in_memory else str(data)
    key = name, options, model.backend, model.signature.columns
    if key not in known:
        if is_in_memory or is_own(data, options):
            known[key] = load_to_evaluate(data, model, options)
        else:
            known[key] = load_dataset(data, model.backend, cache_dir=cache_dir)
    return known[key]


def _not_said(model: Model) -> MlpXpError:
    """Return the error for a network without the folder of its run."""
    return MlpXpError(
        f"{quoted(model.source)} does not say how its data were read",
        remedy="give the folder of its run, or from Python (X, y)",
        setting="models",
    )
