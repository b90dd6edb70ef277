"""What follows from a configuration, data and a backend: which samples are held out,
and in which order all come.
"""

import numpy as np
import pytest
from data_sets import varied
from helpers import arrays_of
from numerics import assert_all_equal

from mlp_xp import TrainConfig, from_arrays, open_backend
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory
from mlp_xp.errors import DatasetError

X = np.random.default_rng(3).normal(size=(90, 3)).round(6)
KINDS = np.repeat(["ant", "bee", "cat"], [50, 30, 10])  # sorted, as many files are
CONFIG = TrainConfig(
    epochs=2,
    hidden=(4,),
    batch_size=8,
    validation=18,
    init="glorot",
    learning_rate=0.05,
)


def held_out(job: Job) -> list[np.ndarray]:
    """Return the inputs and labels that are held out, on the host."""
    samples = job.held_out
    return [job.backend.to_numpy(x) for x in (samples.inputs, samples.labels)]


@pytest.mark.every_backend
def test_own_data_are_held_out_by_lot_from_each_class(backend):
    job = Job(CONFIG, from_arrays(X, KINDS, backend=backend), backend)
    inputs, labels = held_out(job)
    assert np.bincount(labels).tolist() == [10, 6, 2]
    rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in inputs]
    assert sorted([*rows, *job.rows]) == list(range(90)), "each sample is in one part"
    assert (np.repeat([0, 1, 2], [50, 30, 10])[rows] == labels).all()
    for _, chunk, samples in job.chunks(np.random.RandomState(0)):
        assert samples.shape == (chunk.steps, chunk.batch_size)
        assert np.isin(samples, job.rows).all()
    again, other = (
        Job(TrainConfig(**{**vars(CONFIG), "seed": seed}), job.dataset, backend)
        for seed in (0, 1)
    )
    assert (again.rows == job.rows).all()
    assert (other.rows != job.rows).any()


@pytest.mark.parametrize(
    ("share", "samples", "count"),
    [(0.2, 90, 18), (0.1, 3, 1), (0.999, 20, 19), (0.1, 1, 0)],
)
def test_a_share_is_a_number_of_samples_but_never_all(share, samples, count):
    """The same samples as for the number: by lot of own data, and otherwise the last
    ones.
    """
    config = TrainConfig(
        **{**vars(CONFIG), "validation": share, "batch_size": 1, "warm_up_steps": 0}
    )
    own = from_arrays(
        X[:samples],
        X[:samples, 0],
        task="regression",
        standardize=False,
        scale_targets=False,
    )
    for dataset in (own, varied(own, hold_out=None)):
        rows = Job(config, dataset, open_backend()).rows
        expected = Job(
            TrainConfig(**{**vars(config), "validation": count}),
            dataset,
            open_backend(),
        ).rows
        np.testing.assert_array_equal(rows, expected)
        assert len(rows) == samples - count


def test_numbers_are_held_out_by_lot_too():
    job = Job(
        CONFIG, from_arrays(X, np.arange(90.0), task="regression"), open_backend()
    )
    _, labels = held_out(job)
    assert len(labels) == 18
    assert labels.min() < 30
    assert labels.max() > 60


def test_the_held_out_samples_play_no_part_in_training():
    """Whatever their labels are, the same network is trained."""
    dataset = from_arrays(X, KINDS)
    job = Job(CONFIG, dataset, open_backend())
    changed = dataset.train.labels.copy()
    held_out = np.setdiff1d(np.arange(90), job.rows)
    kinds = dataset.train.labels[held_out]
    # as many of each class, so that the same samples are drawn
    changed[held_out] = np.roll(kinds, 1)
    assert (changed != dataset.train.labels).any()
    other = Job(CONFIG, varied(dataset, train_labels=changed), open_backend())
    other.rows, other.held_out = job.rows, job.held_out
    one, two = ([*trajectory(each)][-1].position.state.network for each in (job, other))
    assert_all_equal(arrays_of(one, np.asarray), arrays_of(two, np.asarray))


def test_weights_have_a_mean_of_1_over_the_samples_that_are_trained_on():
    dataset = from_arrays(X, KINDS)
    rows = Job(CONFIG, dataset, open_backend()).rows
    held_out_only = np.ones(90)
    held_out_only[rows] = 0
    job = Job(CONFIG, varied(dataset, weights=np.arange(90.0)), open_backend())
    np.testing.assert_allclose(
        job.weights, np.arange(90.0)[:, None] / rows.mean(), rtol=1e-15
    )
    for wrong in (
        np.ones(89),
        np.ones((90, 1)),
        np.arange(90.0) - 0.5,
        held_out_only,
        np.full(90, np.inf),
    ):
        with pytest.raises(
            DatasetError,
            match="weights: give numbers of at least 0 for all samples, not all",
        ):
            Job(CONFIG, varied(dataset, weights=wrong), open_backend())
