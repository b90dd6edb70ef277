"""Whole runs, cut into chunks, epochs and reports: every setting against plain NumPy.

Whatever counts steps anew at a chunk, an epoch or a report shows, as does a schedule of
another length.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
from backends import everywhere
from data_sets import varied
from helpers import arrays_of
from numerics import assert_near, trajectory_tolerance
from reference import Run, flat, plain_run

from mlp_xp import TrainConfig, open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.job import Job
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES
from mlp_xp.core.task import TASKS
from mlp_xp.core.training import trajectory
from mlp_xp.data.arrays import from_arrays

TOLERANCE = 1e-10  # promised to users


# Reports and checkpoints cut an epoch of 50 samples into chunks, some of several steps;
# 4 leaves a batch of 2.
BASE = TrainConfig(
    epochs=2,
    batch_size=4,
    hidden=(7,),
    seed=11,
    init="glorot",
    report_every=16,
    checkpoint_every=34,
)
SETTINGS: dict[str, dict[str, Any]] = {
    "the notebook's": {"batch_size": 1, "learning_rate": 0.3, "init": "notebook"},
    "sgd, deferred": {
        "batch_size": 2,
        "learning_rate": 0.3,
        "schedule": "cosine",
        "update_order": "simultaneous",
        "warm_up_steps": 0,
        "activation": "gelu",
        "hidden": (7, 5),
    },
    "momentum": {
        "optimizer": "momentum",
        "fit_bias": True,
        "nesterov": True,
        "momentum": 0.8,
        "weight_decay": 0.05,
        "decay_bias": False,
        "schedule": "cosine",
        "activation": "tanh",
        "dropout": 0.3,
        "warm_up_steps": 0,
    },
    "adam": {
        "optimizer": "adam",
        "fit_bias": True,
        "epsilon": 1e-3,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "clip_norm": 0.3,
        "update_order": "simultaneous",
    },
    "adamw": {
        "optimizer": "adamw",
        "weight_decay": 0.5,
        "beta_1": 0.8,
        "beta_2": 0.95,
        "epsilon": 1e-3,
        "decay_bias": False,
        "warm_up_steps": 0,
        "activation": "relu",
    },
}


@pytest.mark.parametrize(
    "name",
    [
        "the notebook's",
        "sgd, deferred",
        everywhere("momentum"),
        everywhere("adam"),
        "adamw",
    ],
)
def test_whole_runs_are_those_of_plain_numpy(name, backend):
    case = case_of(name)
    assert_agree(package_run(case, backend), plain_run(*case))


@pytest.mark.parametrize("name", [everywhere("sgd, deferred"), "momentum", "adam"])
def test_samples_with_whole_weights_are_repeated_samples(name, backend):
    """Deferred or not, with dropout, momentum and clipped gradients."""
    case = case_of(name, weighted=True)
    assert_agree(package_run(case, backend), plain_run(*case))


@pytest.mark.parametrize("name", [everywhere("the notebook's"), "momentum"])
def test_whole_runs_in_float32(name, backend32):
    case = case_of(name, weighted=True)
    actual, expected = package_run(case, backend32), plain_run(*case)
    tolerance = trajectory_tolerance(len(expected.losses), 9, np.float32)
    assert_agree(actual, expected, tolerance)


@pytest.mark.parametrize("seed", range(24))
def test_random_settings_are_those_of_plain_numpy(seed):
    case = random_case(seed)
    if seed % 2:
        case = case._replace(
            weights=np.random.RandomState(seed).randint(0, 4, len(case.x))
        )
    assert_agree(package_run(case, open_backend()), plain_run(*case))


# The cases, and the package's run of a case.


class Case(NamedTuple):
    """A configuration, and features and targets, one-hot for classes."""

    config: TrainConfig
    x: np.ndarray
    t: np.ndarray
    task: str
    weights: np.ndarray | None = None


def make_case(
    config: TrainConfig, task: str, samples: int, features: int, outputs: int, seed: int
) -> Case:
    random = np.random.RandomState(seed)
    x = random.standard_normal((samples, features))
    t = {
        "classes": np.eye(outputs)[np.arange(samples) % outputs],
        "labels": (np.arange(samples)[:, None] + np.arange(outputs)) % 2.0,
        "regression": random.standard_normal((samples, outputs)),
    }[task]
    return Case(config, x, t, task)


def case_of(name: str, *, weighted: bool = False) -> Case:
    task = {"momentum": "labels", "adamw": "regression"}.get(name, "classes")
    case = make_case(replace(BASE, **SETTINGS[name]), task, 50, 9, 4, 3)
    return case._replace(weights=np.arange(50) % 7 % 3) if weighted else case


def package_run(case: Case, backend: Backend) -> Run:
    labels = {"classes": case.t.argmax(axis=1), "labels": case.t.astype(int)}
    dataset = from_arrays(
        case.x,
        labels.get(case.task, case.t),
        task=case.task,
        standardize=False,
        scale_targets=False,
        backend=backend,
    )
    weights = None if case.weights is None else case.weights.astype(float)
    # plain_run holds out the last samples
    dataset = varied(dataset, hold_out=None, weights=weights)
    events = [*trajectory(Job(case.config, dataset, backend))]
    network = events[-1].position.state.network
    return Run(
        np.concatenate([event.losses for event in events]),
        flat([arrays_of(network, backend.to_numpy)]),
    )


def assert_agree(actual: Run, expected: Run, tolerance: float = TOLERANCE) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, tolerance)


def random_case(seed: int) -> Case:
    """Draw all settings together.

    beta_2 = 0 or a tiny epsilon would let Adam turn a rounded zero into a step.
    """
    random = np.random.RandomState(seed)

    def choose(*values: Any) -> Any:
        return values[random.randint(len(values))]

    samples, task = random.randint(12, 70), choose(*TASKS)
    optimizer, order = choose(*OPTIMIZERS), choose("layerwise", "simultaneous")
    hidden = tuple(random.randint(1, 16, random.randint(0, 4)).tolist())
    validation = choose(0, 0, 4) if task != "classes" else 0
    config = TrainConfig(
        epochs=random.randint(1, 3),
        batch_size=choose(1, 2, 5, samples - validation),
        learning_rate=choose(0.001, 0.01),
        hidden=hidden,
        seed=random.randint(2**31),
        report_every=random.randint(1, 2 * samples),
        warm_up_steps=choose(0, 3),
        update_order=order,
        activation=choose(*reference.ACTIVATIONS),
        init=choose(*reference.SCALES),
        fit_bias=choose(True, False),
        optimizer=optimizer,
        schedule=choose(*SCHEDULES),
        weight_decay=choose(0.0, 0.1),
        decay_bias=choose(True, False),
        momentum=choose(0.0, 0.9),
        nesterov=optimizer == "momentum" and choose(True, False),
        beta_1=choose(0.9, 0.0),
        beta_2=choose(0.999, 0.9),
        epsilon=1e-3,
        dropout=choose(0.0, 0.3) if hidden else 0.0,
        clip_norm=choose(0.0, 0.3, 3.0) if order == "simultaneous" else 0.0,
        validation=validation,
        checkpoint_every=choose(0, random.randint(1, samples)),
        defer_updates=choose(True, False),
    )
    return make_case(
        config, task, samples, random.randint(1, 20), random.randint(2, 8), seed
    )
