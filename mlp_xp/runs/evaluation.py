"""Evaluate a network, or several together, on a test set."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation
from mlp_xp.data.datasets import is_own, load_dataset, load_to_evaluate
from mlp_xp.data.options import DataOptions
from mlp_xp.errors import MlpXpError, MlpXpWarning, quoted
from mlp_xp.runs.ensembles import (
    Models,
    check_fit,
    evaluate_pooled,
    held_out,
    open_models,
    run_of,
)
from mlp_xp.runs.fingerprints import checksum
from mlp_xp.runs.metrics import metrics_of
from mlp_xp.runs.run_folder import RunFolder


class Evaluated(NamedTuple):
    """The results of networks on a test set, together and each alone."""

    result: Evaluation
    """The result. For several networks, the result of their mean probabilities or
    numbers.
    """
    models: tuple[Model, ...]
    """The networks."""
    runs: tuple[Evaluation, ...]
    """The result of each network alone."""
    metrics: dict[str, Any]
    """All metrics of `result`, and the confusion matrix, as `mlp-xp evaluate --json`
    prints them; see docs/runs.md.
    """
    run_metrics: tuple[dict[str, Any], ...]
    """All metrics of each network alone."""


def evaluate(
    models: Models,
    data: Any = None,
    *,
    backend: str = "numpy",
    device: str | None = None,
    cache_dir: str | Path | None = None,
) -> Evaluated:
    """Evaluate a network, or several together, on a test set.

    Rows of other data that a network was trained on are left out, with an MlpXpWarning.
    Of a run's own table, in any order, the test rows are left. A row is known by its
    numbers and its label. Rows that the training set has several times may be in other
    data by chance, so they count, with a warning, unless all training rows are there.
    Rows are not compared for a published data set, for data in its form, and for a
    model without the folder of a run.

    Args:
        models: A model, the folder of a run or of a sweep, or a list of these, which
            need the same task, inputs and outputs. The loss of numbers is standardised
            as the loss of the first network.
        data: Data with labels. By default the data of the run, which must not have
            changed. Otherwise anything that `load_dataset` takes, read as the run's own
            data; or a pair `(X, y)`, as `from_arrays` takes it; or a data frame with
            the label columns of the run's table; or a `Dataset` with arrays on the
            device. Data are needed if the run's were in memory, and for a model without
            the folder of a run. All samples are used where other data have no test set,
            and they need not have all classes.
        backend: Name of the array library to compute with.
        device: Device of that library; by default its own default device.
        cache_dir: Folder for downloads; see `load_dataset`.

    Returns:
        The results of the networks together (`result`, `metrics`) and of each alone
        (`runs`, `run_metrics`).

    Raises:
        RunError: The networks do not fit together, hold out different rows of their own
            data, or have outputs that are not finite; or no row is left.
        DatasetError: The data cannot be read, or do not fit the networks.
        BackendError: The array library or the device is not available.

    Examples:
        >>> evaluate("runs/digits").result.accuracy
        0.8891
    """
    found = open_models(models, backend, device)
    known: dict[Any, Dataset] = {}
    datasets = [data_for(model, data, cache_dir, known) for model in found]
    tests = held_out(found, datasets, same=data is not None)
    runs, logits = [], []
    for model, test in zip(found, tests, strict=True):
        result = model.evaluate(test.inputs, test.labels)
        if not math.isfinite(result.loss):
            raise model.not_finite()
        runs.append(result)
        logits.append(model.backend.to_numpy(model.logits(test.inputs)))
    labels = found[0].backend.to_numpy(tests[0].labels)
    metrics = []
    for model, result, z in zip(found, runs, logits, strict=True):
        metrics.append(metrics_of(model, result, z, labels))
    result, of_all = runs[0], metrics[0]
    if len(found) > 1:
        result, pooled = evaluate_pooled(found, logits, labels)
        of_all = metrics_of(found[0], result, pooled, labels)
    return Evaluated(result, tuple(found), tuple(runs), of_all, tuple(metrics))


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
        known: Data that were loaded for other networks. Those that are loaded are
            added.

    Raises:
        DatasetError: The data cannot be read.
        RunError: The data do not fit the network, or have changed since the training.
        MlpXpError: No data are given, and those of the training are not known.
    """
    if isinstance(data, Dataset):
        dataset = data if data.test is not None else replace(data, test=data.train)
    else:
        run = run_of(model)
        dataset = _load_for(model, run, data, cache_dir, known)
        if run and data is None:
            run.check_data({"data_crc32": checksum(dataset, model.backend)})
    whose = f"the data set {quoted(dataset.name)}"
    check_fit(model, dataset.signature, whose)
    return dataset


def _load_for(
    model: Model,
    run: RunFolder | None,
    data: Any,
    cache_dir: str | Path | None,
    known: dict[Any, Dataset],
) -> Dataset:
    settings = run.settings() if run else None
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
    options = settings.data_options if settings else DataOptions()
    place = settings.data if settings and data is None else data
    own = in_memory or is_own(place, options)
    if not own:
        options = DataOptions()
    name = id(place) if in_memory else str(place)
    key = name, options, model.backend, model.signature.columns
    if key not in known:
        with warnings.catch_warnings():
            if data is None:  # the training gave these warnings
                warnings.simplefilter("ignore", MlpXpWarning)
            if own and data is not None:
                known[key] = load_to_evaluate(place, model, options)
            else:
                how = vars(options)
                known[key] = load_dataset(
                    place, model.backend, cache_dir=cache_dir, **how
                )
    return known[key]
