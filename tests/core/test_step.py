"""Deferred blocks against their steps one by one; donation; an activation of one's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import arrays_in, notebook_rows, on_device, synthetic, varied
from helpers import arrays_of, changed, first_state
from numerics import assert_all_equal, assert_near, trajectory_tolerance

import mlp_xp.core.chunk
from mlp_xp import train
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.chunk import make_chunk, step_inputs
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.deferred import (
    BLOCK_SAMPLES,
    LARGEST_BATCH,
    LARGEST_EAGER_BATCH,
    can_defer,
    make_deferred_block,
)
from mlp_xp.core.functional import Activation, relu, sigmoid
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer
from mlp_xp.core.optimizers import Rates
from mlp_xp.core.signature import Preparation, flatten_and_scale
from mlp_xp.core.step import Batch, State, make_step
from mlp_xp.core.task import CLASSES
from mlp_xp.core.training import trajectory
from mlp_xp.errors import DatasetError
from mlp_xp.runs.records import RunError

HOST = synthetic(300)
PIXELS = HOST.train.inputs[0].size
HIDDEN = 16


def configuration(update_order: str, batch_size: int, **settings) -> TrainConfig:
    return TrainConfig(
        **{
            "epochs": 1,
            "learning_rate": 0.05,
            "hidden": (HIDDEN,),
            "seed": 5,
            "report_every": 300,
            **settings,
        },
        update_order=update_order,
        batch_size=batch_size,
    )


@pytest.mark.parametrize(
    ("update_order", "hidden", "activation", "batch_size"),
    [("layerwise", (HIDDEN,), "sigmoid", 1), ("layerwise", (), "sigmoid", 1), ("simultaneous", (HIDDEN, 8), "gelu", 2),
     ("layerwise", (1,), "sigmoid", LARGEST_BATCH)],
)  # fmt: skip
def test_a_block_of_any_length_is_its_steps_one_by_one(
    update_order, hidden, activation, batch_size, backend
):
    config = configuration(
        update_order, batch_size, hidden=hidden, activation=activation, init="glorot"
    )
    longest = BLOCK_SAMPLES // batch_size
    rows, labels = notebook_rows(HOST)
    # no two alike: a mix-up shows
    rates = np.linspace(1.0, 0.5, longest) * config.learning_rate
    x, targets = (
        array[: longest * batch_size].reshape(longest, batch_size, -1)
        for array in (rows, labels)
    )
    weights = np.linspace(0, 2, longest * batch_size).reshape(longest, batch_size, 1)
    batch = Batch(
        *map(backend.asarray, (x, targets, np.zeros((longest, batch_size, 0)), weights))
    )
    rates = Rates(
        *(
            backend.asarray(each)
            for each in (rates / batch_size, rates, 0 * rates, 0 * rates)
        )
    )

    step, block = (
        backend.jit(make(config, CLASSES, backend))
        for make in (make_step, make_deferred_block)
    )
    expected, logits = first_state(config, (PIXELS, *hidden, 10), backend), []
    for i in range(longest):
        row_of_each = (
            Batch(*(x[i, ...] for x in batch)),
            Rates(*(x[i, ...] for x in rates)),
        )
        expected, row = step(expected, *row_of_each)
        logits.append(backend.to_numpy(row))
        if i + 1 not in (1, 2, longest // 2, longest):
            continue
        state = first_state(config, (PIXELS, *hidden, 10), backend)
        first = (
            Batch(*(x[: i + 1, ...] for x in batch)),
            Rates(*(x[: i + 1, ...] for x in rates)),
        )
        actual, actual_logits = block(state, *first)
        tolerance = trajectory_tolerance(i + 1, PIXELS)
        assert_near(backend.to_numpy(actual_logits), np.stack(logits), tolerance)
        for one, other in zip(
            *(arrays_of(each.network, backend.to_numpy) for each in (actual, expected)),
            strict=True,
        ):
            assert_near(one, other, tolerance)


@pytest.mark.parametrize(
    ("batch_size", "most"), [(1, BLOCK_SAMPLES), (4, 20), (30, 30)]
)
def test_inputs_are_made_a_block_at_a_time(batch_size, most, backend):
    """Whatever a chunk's length: 25 samples if deferred, others as the limit of bytes
    holds, or a larger step alone.
    """
    made = []

    def counted(images, **others):
        if images.shape[0] != len(HOST.test.inputs):  # those are evaluated as a whole
            made.append(images.shape[0])
        return flatten_and_scale(images, **others)

    backend = changed(backend, block_bytes=23 * PIXELS * 8)
    dataset = on_device(varied(HOST, preparation=Preparation(counted)), backend)
    for _ in trajectory(
        Job(configuration("layerwise", batch_size, warm_up_steps=0), dataset, backend)
    ):
        pass
    assert max(made) == (24 if backend.compiles and batch_size == 4 else most)


def test_only_plain_descent_on_few_samples_is_deferred(monkeypatch):
    """For anything else the algebra of a block does not hold, or does not pay. The
    numbers do not tell.
    """
    for settings, compiles, expected in (
        ({}, False, True),
        (
            {"update_order": "simultaneous", "hidden": (), "schedule": "cosine"},
            False,
            True,
        ),
        ({"batch_size": LARGEST_EAGER_BATCH}, False, True),
        ({"batch_size": LARGEST_EAGER_BATCH + 1}, False, False),
        ({"batch_size": LARGEST_BATCH}, True, True),
        ({"batch_size": LARGEST_BATCH + 1}, True, False),
        ({"optimizer": "momentum"}, True, False),
        ({"weight_decay": 0.1}, False, False),
        ({"dropout": 0.1}, False, False),
        ({"clip_norm": 0.1, "update_order": "simultaneous"}, False, False),
        ({"defer_updates": False}, False, False),
    ):
        assert can_defer(TrainConfig(**settings), compiles=compiles) == expected, (
            settings
        )
    made = []
    monkeypatch.setattr(
        mlp_xp.core.chunk, "make_deferred_block", lambda *args: made.append(args)
    )
    for batch_size in (1, 7):
        make_chunk.__wrapped__(
            TrainConfig(batch_size=batch_size),
            open_backend(),
            flatten_and_scale,
            CLASSES,
            1,
        )
    assert [config.batch_size for config, *_ in made] == [1]


def softplus(z: Any, /, *, xp: Any) -> Any:
    return xp.log1p(xp.exp(-xp.abs(z))) + relu(z, xp=xp)[0], z


def softplus_derivative(z: Any, /, *, xp: Any) -> Any:
    return sigmoid(z, xp=xp)[0]


def test_an_activation_of_ones_own_trains(backend, tmp_path):
    """Softplus, whose derivative takes its input; deferred or not. A run folder cannot
    store it.
    """
    dataset, activation = (
        on_device(HOST, backend),
        Activation(softplus, softplus_derivative),
    )
    base = configuration(
        "layerwise", 1, activation=activation, init="glorot", learning_rate=0.002
    )
    ends = []
    for config in (base, replace(base, defer_updates=False)):
        *_, last = train(config, dataset, backend)
        ends.append(arrays_of(last.model.network, backend.to_numpy))
    for one, other in zip(*ends, strict=True):
        assert_near(one, other, 1e-11)
    assert last.train_loss < 3
    with pytest.raises(
        DatasetError, match=r"^dataset: is a list; make a Dataset by from_arrays$"
    ):
        next(train(config, [dataset], backend))
    with pytest.raises(
        RunError,
        match="the activation is a pair of functions, which a run folder cannot store",
    ):
        next(train(base, dataset, backend, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{}, {"batch_size": 7, "optimizer": "adam"}])
def test_training_changes_nothing_that_the_caller_owns(settings, backend):
    """Updates are in place, and donated arrays are gone: neither may reach the data
    set, or a report already given.
    """
    dataset = on_device(HOST, backend)
    reports, then = [], []
    for event in trajectory(
        Job(
            TrainConfig(epochs=1, hidden=(8,), report_every=100, **settings),
            dataset,
            backend,
        )
    ):
        if event.report:
            reports.append(event.report)
            then.append(arrays_of(event.report.model.network, backend.to_numpy))
    assert_all_equal(map(backend.to_numpy, arrays_in(dataset)), arrays_in(HOST))
    assert len(reports) == 4
    for report, arrays in zip(reports, then, strict=True):
        assert_all_equal(arrays_of(report.model.network, backend.to_numpy), arrays)
    assert (then[0][0] != then[1][0]).any(), "they would differ if it were one array"


def arrays_of_state(state: State) -> list:
    layers: list[Layer] = [
        *state.network,
        *(layer for slots in state.slots for layer in slots),
    ]
    return [array for layer in layers for array in layer]


@pytest.mark.parametrize(("batch_size", "optimizer"), [(1, "sgd"), (7, "momentum")])
def test_a_step_updates_in_place_where_the_library_can(batch_size, optimizer, backend):
    """The contract of donation: what comes back is what went in, on libraries whose
    arrays can be changed.
    """
    config = TrainConfig(hidden=(8,), batch_size=batch_size, optimizer=optimizer)
    state = first_state(config, (PIXELS, 8, 10), backend)
    rows, labels = notebook_rows(HOST)
    batch = Batch(
        *(
            backend.asarray(array[:batch_size])
            for array in (rows, labels, *[np.zeros((batch_size, 0))] * 2)
        )
    )
    rates = Rates(error=0.1, decay=0.0, step_size=0.1, epsilon=0.0)
    before = arrays_of_state(state)
    after = arrays_of_state(make_step(config, CLASSES, backend)(state, batch, rates)[0])
    probe = changed = backend.asarray(np.zeros(1))
    changed += 1
    assert [a is b for a, b in zip(after, before, strict=True)] == [
        changed is probe
    ] * len(before)


@pytest.mark.slow
def test_a_chunk_gives_its_arrays_away_where_the_library_can():
    """Only then is the memory of the old state free for the new one."""
    backend, config = open_backend("jax"), configuration("layerwise", 7)
    dataset, state = (
        on_device(HOST, backend),
        first_state(config, (PIXELS, HIDDEN, 10), backend),
    )
    steps = step_inputs(
        config,
        backend.dtype_name,
        np.arange(14).reshape(2, 7),
        np.empty((300, 0)),
        0,
        2,
    )
    make_chunk(config, backend, flatten_and_scale, CLASSES, 2)(
        state, (dataset.train.inputs, dataset.train.labels, (), None), steps
    )
    assert all(array.is_deleted() for array in arrays_of_state(state))
    assert not any(array.is_deleted() for array in arrays_in(dataset))
