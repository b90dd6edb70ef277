"""A job holds out samples, orders the others and scales their weights."""

from dataclasses import replace

import numpy as np
import pytest
from data_sets import varied
from helpers import arrays_of
from numerics import assert_all_equal

from mlp_xp import TrainConfig, from_arrays, open_backend
from mlp_xp.core.job import Job
from mlp_xp.core.step import to_device
from mlp_xp.core.training import trajectory
from mlp_xp.errors import DatasetError

X = np.random.default_rng(3).normal(size=(90, 3)).round(6)
KINDS = np.repeat([0, 1, 2], [50, 30, 10])  # sorted, as many files are
DATASET = from_arrays(X, KINDS, task="classes")
CONFIG = TrainConfig(
    epochs=2,
    hidden=(4,),
    batch_size=8,
    validation=18,
    init="glorot",
    learning_rate=0.05,
)


@pytest.mark.every_backend
def test_own_data_are_held_out_by_lot_from_each_class(backend):
    job = Job(CONFIG, from_arrays(X, KINDS, task="classes", backend=backend), backend)
    rows = np.setdiff1d(np.arange(90), job.rows)
    assert np.bincount(KINDS[rows]).tolist() == [10, 6, 2]
    np.testing.assert_array_equal(backend.to_numpy(job.held_out.inputs), X[rows])
    np.testing.assert_array_equal(backend.to_numpy(job.held_out.labels), KINDS[rows])


def test_the_seed_draws_the_lot():
    rows = Job(CONFIG, DATASET, open_backend()).rows.tolist()
    assert Job(CONFIG, DATASET, open_backend()).rows.tolist() == rows
    other = Job(replace(CONFIG, seed=1), DATASET, open_backend())
    assert other.rows.tolist() != rows


def test_numbers_are_held_out_by_lot_too():
    dataset = from_arrays(X, np.arange(90.0), task="regression")
    labels = Job(CONFIG, dataset, open_backend()).held_out.labels
    assert len(labels) == 18
    assert labels.min() < 30
    assert labels.max() > 60


@pytest.mark.parametrize(
    ("share", "samples", "count"),
    [(0.2, 90, 18), (0.1, 3, 1), (0.999, 20, 19), (0.1, 1, 0)],
)
def test_a_share_is_a_number_of_samples_but_never_all(share, samples, count):
    dataset = varied(DATASET, train_inputs=X[:samples], train_labels=KINDS[:samples])
    config = replace(CONFIG, batch_size=1, warm_up_steps=0)
    rows = Job(replace(config, validation=share), dataset, open_backend()).rows
    expected = Job(replace(config, validation=count), dataset, open_backend()).rows
    np.testing.assert_array_equal(rows, expected)
    assert len(rows) == samples - count


def test_the_labels_of_held_out_samples_play_no_part_in_training():
    job = Job(CONFIG, DATASET, open_backend())
    labels = KINDS.copy()
    held_out = np.setdiff1d(np.arange(90), job.rows)
    # As many of each class, so that the same samples are drawn.
    labels[held_out] = np.roll(labels[held_out], 1)
    other = Job(CONFIG, varied(DATASET, train_labels=labels), open_backend())
    other.rows, other.held_out = job.rows, job.held_out
    assert (other.dataset.train.labels != job.dataset.train.labels).any()
    assert_all_equal(trained(job), trained(other))


@pytest.mark.every_backend
@pytest.mark.parametrize("task", ["classes", "labels", "regression"])
def test_fitted_biases_predict_the_mean_of_the_rows_to_train_on(task, backend):
    """Each class, and each value of a label, is counted half a row more.

    One class has no row.
    """
    numbers = np.random.default_rng(4).normal(5, 1, (90, 2))
    flags = (numbers > [4, 6]).astype(int)
    labels = {"classes": KINDS, "labels": flags, "regression": numbers}[task]
    names = ["a", "b", "c", "never"] if task == "classes" else None
    dataset = from_arrays(X, labels, task=task, class_names=names, backend=backend)
    job = Job(replace(CONFIG, fit_bias=True, hidden=()), dataset, backend)
    means = {
        "classes": np.array([40.5, 24.5, 8.5, 0.5]) / 74,
        "labels": (flags[job.rows].sum(axis=0) + 0.5) / 73,
        "regression": numbers[job.rows].mean(axis=0),
    }[task]
    (layer,) = job.initial_network(job.randoms())
    alone = layer._replace(weights=np.zeros_like(layer.weights))
    model = job.model(to_device((alone,), backend))
    predicted = model.predictions(model.read(X[:2]))
    np.testing.assert_allclose(backend.to_numpy(predicted), [means, means], rtol=1e-12)


def test_biases_are_fitted_to_classes_of_any_kind_of_integer():
    config = replace(CONFIG, fit_bias=True)
    biases = []
    for kinds in (KINDS, KINDS.astype(np.uint64)):
        job = Job(config, varied(DATASET, train_labels=kinds), open_backend())
        biases.append(job.initial_network(job.randoms())[-1].bias)
    np.testing.assert_array_equal(*biases)


def test_biases_fitted_to_numbers_count_samples_by_their_weights():
    numbers = np.linspace(3.0, 5.0, 90)
    dataset = varied(from_arrays(X, numbers), weights=np.arange(90.0))
    job = Job(replace(CONFIG, fit_bias=True, hidden=()), dataset, open_backend())
    (layer,) = job.initial_network(job.randoms())
    mean, deviation = job.dataset.signature.units
    expected = np.average(numbers[job.rows], weights=job.rows)
    np.testing.assert_allclose(layer.bias * deviation + mean, [expected], rtol=1e-12)


def test_weights_have_a_mean_of_1_over_the_samples_to_train_on():
    weights = np.arange(90.0)
    job = Job(CONFIG, varied(DATASET, weights=weights), open_backend())
    expected = weights[:, None] / job.rows.mean()
    np.testing.assert_allclose(job.weights, expected, rtol=1e-15)


@pytest.mark.parametrize(
    "weights",
    [
        np.ones(89),
        np.ones((90, 1)),
        np.arange(90.0) - 0.5,
        np.full(90, np.inf),
        1.0 - np.isin(np.arange(90), Job(CONFIG, DATASET, open_backend()).rows),
    ],
    ids=["too few", "two axes", "negative", "infinite", "only held-out samples"],
)
def test_weights_that_cannot_be_scaled_are_refused(weights):
    with pytest.raises(DatasetError, match="weights: "):
        Job(CONFIG, varied(DATASET, weights=weights), open_backend())


def trained(job: Job) -> list[np.ndarray]:
    """Return all arrays of the network at the end of a job."""
    *_, last = trajectory(job)
    return arrays_of(last.position.state.network, np.asarray)
