"""The trained weights of another run, which a new run begins with."""

from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.records import RunError, shortened


def read_source(start_from: str | Path | None, job: Job) -> Network:
    """Return the layers of another run for a new run with this job, on the host; none for None.

    The output layer is left out if the task or the names of the outputs differ. If the numbers to predict are
    standardised differently, the output layer is changed so that its predictions stay the same. Raises RunError if the
    folder has no model, or if its inputs, hidden layers or activation differ.
    """
    if start_from is None:
        return ()
    try:
        model = load_model(start_from)
    except RunError as error:
        error.setting = "start_from"
        raise
    config, dataset = job.config, job.dataset
    hidden = [layer.bias.size for layer in model.network[:-1]]
    same = (model.task, model.class_names) == (dataset.task, dataset.class_names)
    for name, theirs, ours in (
        ("inputs", model.network[0].weights.shape[0], job.sizes[0]),
        ("columns", model.feature_names or dataset.feature_names, dataset.feature_names or model.feature_names),
        ("hidden layers", hidden, [*config.hidden]),
        ("activation", model.activation, config.activation if isinstance(config.activation, str) else model.activation),
    ):
        if theirs != ours:
            raise RunError(
                f"the network of {str(start_from)!r} has {name} {shortened(theirs)}, but the new run has "
                f"{shortened(ours)}; give it the same",
                setting="start_from",
            )
    return _with_units_of(model, dataset) if same else model.network[:-1]


def _with_units_of(model: Model, dataset: Dataset) -> Network:
    """Return the model's network with outputs that are standardised as those of a data set with the same names."""
    *before, last = model.network
    # The backend's arrays: the standard has no `tolist`, but `float` of each number.
    ours: Any = [[float(each[i]) for i in range(len(dataset.class_names))] for each in dataset.scaling] or [0.0, 1.0]
    theirs: Any = [each.astype(np.float64) for each in model.scaling] or [0.0, 1.0]
    if np.array_equal(ours, np.array(theirs)):
        return model.network
    (mean, deviation), (old_mean, old_deviation) = map(np.asarray, ours), theirs
    ratio = old_deviation / deviation
    bias = last.bias * ratio + (old_mean - mean) / deviation
    return (*before, Layer((last.weights * ratio).astype(last.weights.dtype), bias.astype(last.bias.dtype)))
