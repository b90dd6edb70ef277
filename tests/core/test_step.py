"""Deferred blocks and their steps, donated arrays, and an activation of one's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import arrays_in, notebook_rows, on_device, synthetic, varied
from helpers import arrays_of, changed, first_state
from numerics import assert_all_equal, assert_near, trajectory_tolerance

import mlp_xp.core.chunk
from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.backends.foreign import rebuild
from mlp_xp.core import deferred
from mlp_xp.core.chunk import make_chunk
from mlp_xp.core.deferred import (
    BLOCK_SAMPLES,
    LARGEST_BATCH,
    LARGEST_EAGER_BATCH,
    can_defer,
    make_deferred_block,
)
from mlp_xp.core.functional import Activation, relu, sigmoid
from mlp_xp.core.job import Job
from mlp_xp.core.optimizers import Rates
from mlp_xp.core.signature import Preparation, flatten_and_scale
from mlp_xp.core.step import Batch, make_block, make_step
from mlp_xp.core.task import CLASSES

HOST = synthetic(300)
PIXELS = HOST.train.inputs[0].size
ROWS, TARGETS = notebook_rows(HOST)
CONFIG = TrainConfig(
    epochs=1, learning_rate=0.05, hidden=(16,), seed=5, report_every=300
)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, hidden=()),
        replace(CONFIG, hidden=(1,), batch_size=LARGEST_BATCH),
        replace(
            CONFIG,
            hidden=(16, 8),
            batch_size=2,
            activation="gelu",
            update_order="simultaneous",
        ),
    ],
    ids=["one hidden layer", "none", "the largest batch", "simultaneous"],
)
def test_a_deferred_block_of_any_length_is_its_steps_one_by_one(config, backend):
    config = replace(config, init="glorot")
    longest = BLOCK_SAMPLES // config.batch_size
    shape = (longest, config.batch_size, -1)
    samples = longest * config.batch_size
    # No two rates or weights are alike, so a mix-up shows.
    rates = np.linspace(1.0, 0.5, longest) * config.learning_rate
    inputs = (
        Batch(
            ROWS[:samples].reshape(shape),
            TARGETS[:samples].reshape(shape),
            np.empty((longest, config.batch_size, 0)),
            np.linspace(0, 2, samples).reshape(shape),
        ),
        Rates(rates / config.batch_size, rates, 0 * rates, 0 * rates),
    )

    def run(make, steps):
        block = backend.jit(make(config, CLASSES, backend))
        state = first_state(config, (PIXELS, *config.hidden, 10), backend)
        rows = rebuild(inputs, lambda array: backend.asarray(array[:steps]))
        state, logits = block(state, *rows)
        return [backend.to_numpy(logits), *arrays_of(state.network, backend.to_numpy)]

    for steps in (1, 2, longest // 2, longest):
        tolerance = trajectory_tolerance(steps, PIXELS)
        assert_all_near(
            run(make_deferred_block, steps), run(make_block, steps), tolerance
        )


@pytest.mark.parametrize(
    ("settings", "compiles", "expected"),
    [
        ({}, False, True),
        ({"hidden": (), "update_order": "simultaneous"}, False, True),
        ({"schedule": "cosine"}, False, True),
        ({"batch_size": LARGEST_EAGER_BATCH}, False, True),
        ({"batch_size": LARGEST_EAGER_BATCH + 1}, False, False),
        ({"batch_size": LARGEST_BATCH}, True, True),
        ({"batch_size": LARGEST_BATCH + 1}, True, False),
        ({"optimizer": "momentum"}, True, False),
        ({"weight_decay": 0.1}, False, False),
        ({"dropout": 0.1}, False, False),
        ({"clip_norm": 0.1, "update_order": "simultaneous"}, False, False),
        ({"defer_updates": False}, False, False),
    ],
)
def test_only_plain_descent_on_few_samples_can_be_deferred(
    settings, compiles, expected
):
    """For anything else the algebra of a block does not hold, or does not pay."""
    assert can_defer(TrainConfig(**settings), compiles=compiles) == expected


def test_a_setting_that_deferral_does_not_know_prevents_it(monkeypatch):
    monkeypatch.setattr(deferred, "_KNOWN", deferred._KNOWN - {"momentum"})
    assert can_defer(TrainConfig())
    assert not can_defer(TrainConfig(momentum=0.5))


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (7, 0)])
def test_training_defers_updates_where_it_can(batch_size, expected, monkeypatch):
    """The numbers do not tell."""
    made = []
    monkeypatch.setattr(
        mlp_xp.core.chunk, "make_deferred_block", lambda *args: made.append(args)
    )
    config = TrainConfig(batch_size=batch_size)
    make_chunk.__wrapped__(config, open_backend(), flatten_and_scale, CLASSES, 1)
    assert len(made) == expected


@pytest.mark.parametrize(
    ("batch_size", "most"), [(1, BLOCK_SAMPLES), (4, 20), (30, 30)]
)
def test_inputs_are_prepared_a_block_at_a_time(batch_size, most, backend):
    """Whatever a chunk's length.

    A block has 25 samples if deferred, others as the limit of bytes holds, or a larger
    step alone.
    """
    sizes = []

    def counted(images, **others):
        sizes.append(images.shape[0])
        return flatten_and_scale(images, **others)

    backend = changed(backend, block_bytes=23 * PIXELS * 8)
    host = varied(HOST, test=None, preparation=Preparation(counted))
    config = replace(CONFIG, batch_size=batch_size, warm_up_steps=0)
    list(train(config, on_device(host, backend), backend))
    assert max(sizes) == (24 if backend.compiles and batch_size == 4 else most)


# An activation of one's own.


def softplus(z: Any, /, *, xp: Any) -> Any:
    return xp.log1p(xp.exp(-xp.abs(z))) + relu(z, xp=xp)[0], z


def softplus_derivative(z: Any, /, *, xp: Any) -> Any:
    return sigmoid(z, xp=xp)[0]


SOFTPLUS = replace(
    CONFIG,
    activation=Activation(softplus, softplus_derivative),
    init="glorot",
    learning_rate=0.002,
)


def test_an_activation_of_ones_own_trains_deferred_or_not(backend):
    """Its derivative takes its input."""
    dataset, ends = on_device(HOST, backend), []
    for config in (SOFTPLUS, replace(SOFTPLUS, defer_updates=False)):
        *_, last = train(config, dataset, backend)
        ends.append(arrays_of(last.model.network, backend.to_numpy))
    assert_all_near(*ends, 1e-11)
    assert last.train_loss < 3


# Updates are in place, and donated arrays are gone.


@pytest.mark.parametrize("settings", [{}, {"batch_size": 7, "optimizer": "adam"}])
def test_training_changes_neither_the_data_nor_an_earlier_report(settings, backend):
    dataset = on_device(HOST, backend)
    config = TrainConfig(epochs=1, hidden=(8,), report_every=100, **settings)
    networks, then = [], []
    for report in train(config, dataset, backend):
        networks.append(report.model.network)
        then.append(arrays_of(report.model.network, backend.to_numpy))
    assert_all_equal(map(backend.to_numpy, arrays_in(dataset)), arrays_in(HOST))
    assert len(networks) == 4
    for network, arrays in zip(networks, then, strict=True):
        assert_all_equal(arrays_of(network, backend.to_numpy), arrays)
    assert (then[0][0] != then[1][0]).any(), "all reports have one network"


@pytest.mark.parametrize(("batch_size", "optimizer"), [(1, "sgd"), (7, "momentum")])
def test_a_step_updates_in_place_where_the_library_can(batch_size, optimizer, backend):
    """The contract of donation, for libraries whose arrays can be changed."""
    config = TrainConfig(hidden=(8,), batch_size=batch_size, optimizer=optimizer)
    state = first_state(config, (PIXELS, 8, 10), backend)
    empty = np.empty((batch_size, 0))
    batch = Batch(ROWS[:batch_size], TARGETS[:batch_size], empty, empty)
    rates = Rates(error=0.1, decay=0.0, step_size=0.1, epsilon=0.0)
    step = make_step(config, CLASSES, backend)
    after, _ = step(state, rebuild(batch, backend.asarray), rates)
    probe = array = backend.asarray(np.zeros(1))
    array += 1
    for one, other in zip(arrays_in_state(after), arrays_in_state(state), strict=True):
        assert (one is other) == (array is probe)


@pytest.mark.slow
def test_a_chunk_gives_its_arrays_away_where_the_library_can():
    """Only then is the memory of the old state free for the new one."""
    backend, config = open_backend("jax"), replace(CONFIG, batch_size=7)
    dataset = on_device(HOST, backend)
    job = Job(config, dataset, backend)
    state = first_state(config, job.sizes, backend)
    job.run(state, np.arange(14).reshape(2, 7), 0)
    assert all(array.is_deleted() for array in arrays_in_state(state))
    assert not any(array.is_deleted() for array in arrays_in(dataset))


def arrays_in_state(state: Any) -> list[Any]:
    arrays: list[Any] = []
    rebuild(state, arrays.append)
    return arrays


def assert_all_near(
    actual: list[np.ndarray], expected: list[np.ndarray], tolerance: float
) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, tolerance)
