"""Parity: right computations agree with head-room, and every planted fault is found at
its step.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from data_sets import TINY, synthetic
from helpers import Namespace, changed

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.network import Layer
from mlp_xp.core.step import State
from mlp_xp.declared import ConfigError
from mlp_xp.parity._steps import start
from mlp_xp.parity._trajectory import Trajectory, record, record_notebook
from mlp_xp.parity.compare import Comparison, check, compare
from mlp_xp.parity.tolerances import SAFETY, tolerance

WARM_UP, STEPS = 10, 130
CONFIG = TrainConfig(hidden=(8,), learning_rate=0.05, report_every=50)
LENGTH = 36
NUMBERS = np.arange(1, WARM_UP + STEPS + 1)
ALLOWED = tolerance(NUMBERS, "float64", LENGTH)
every_batch_size = pytest.mark.parametrize("batch_size", [1, 7])
BATCHES = replace(CONFIG, batch_size=7)


def faulty(
    change: Callable[[Any, Any], tuple[Any, Any]], backend: Backend | None = None
) -> Backend:
    """A backend whose every step is done right, and then changed: `change(carry,
    logits) -> carry, logits`.
    """
    backend = backend or open_backend()

    def scan(step, carry, xs):
        return backend.scan(lambda carry, x: change(*step(carry, x)), carry, xs)

    return changed(backend, name="faulty", scan=scan)


def at_step(
    number: int, change: Callable[[Any, Any], tuple[Any, Any]]
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Change one step only, counted from 1 with the first of the warm-up."""
    count = 0

    def counted(carry, logits):
        nonlocal count
        count += 1
        return change(carry, logits) if count == number else (carry, logits)

    return counted


def shift_logits(carry, logits):
    return carry, logits + 1e-7 * (np.arange(10) == 3)


def shift_bias(carry, logits):
    """Of the last layer: 1e-7 in one number, after the step's update."""
    # of a state, or of a deferred step: the layers above the first
    network, other = carry
    bias = network[-1].bias + 1e-7 * (np.arange(10) == 3)
    network = (*network[:-1], Layer(network[-1].weights, bias))
    return (
        State(network, other) if isinstance(carry, State) else (network, other)
    ), logits


@cache
def reference(batch_size: int = 1) -> Trajectory:
    return record(replace(CONFIG, batch_size=batch_size), TINY, open_backend(), STEPS)


def compared(backend: Backend, batch_size: int = 1) -> Comparison:
    """The comparison without what rounding may do to this training, which takes long."""
    return compare(
        record(replace(CONFIG, batch_size=batch_size), TINY, backend, STEPS),
        reference(batch_size),
        ALLOWED,
    )


def firsts(comparison: Comparison) -> tuple[int | None, ...]:
    return tuple(
        comparison.quantities[name].first_step for name in ("loss", "logits", "weights")
    )


# Right computations.


def assert_agrees(comparison: Comparison) -> None:
    assert comparison.agrees
    for quantity in comparison.quantities.values():
        assert quantity.head_room > 1
        assert quantity.head_room == math.inf or quantity.largest > 0
    losses = comparison.trajectory.losses
    assert len(losses) == len(comparison.deviations) == WARM_UP + STEPS
    assert losses[-50:].mean() < losses[WARM_UP : WARM_UP + 50].mean(), "it learns"


def test_every_backend_agrees_with_head_room(backend):
    itself, comparison = check(CONFIG, TINY, [backend], STEPS)
    assert itself.agrees
    assert {
        (quantity.largest, quantity.head_room)
        for quantity in itself.quantities.values()
    } == {(0, math.inf)}
    assert_agrees(comparison)
    assert comparison.trajectory.backend is backend
    assert (comparison.accuracies_differ, comparison.predictions_differ) == (0, 0)


def test_every_backend_agrees_in_float32_but_only_by_its_own_eps(backend32):
    run = record(BATCHES, TINY, backend32, STEPS)
    assert_agrees(compare(run, reference(7), tolerance(NUMBERS, "float32", LENGTH)))
    stricter = compare(run, reference(7), np.full(NUMBERS.shape, ALLOWED[-1]))
    assert stricter.quantities["loss"].first_step == 1
    assert not stricter.agrees


# Planted faults.


@every_batch_size
@pytest.mark.parametrize("number", [1, 61, 140])
def test_1e_7_in_the_logits_of_one_step_is_found_there(number, batch_size):
    comparison = compared(faulty(at_step(number, shift_logits)), batch_size)
    assert firsts(comparison) == (number, None, None)
    assert 0 < comparison.quantities["loss"].largest <= 1e-7
    assert comparison.quantities["loss"].head_room < 1
    assert np.flatnonzero(comparison.deviations).tolist() == [number - 1], (
        "training itself was not touched"
    )
    assert not comparison.agrees


@every_batch_size
@pytest.mark.parametrize("number", [10, 61, WARM_UP + STEPS])
def test_1e_7_in_one_bias_after_one_step_is_found_in_the_next(number, batch_size):
    """No loss comes after the last step, but the logits and the weights show it."""
    comparison = compared(faulty(at_step(number, shift_bias)), batch_size)
    looks = np.append(comparison.trajectory.report_steps, WARM_UP + STEPS)
    next_step = None if number == WARM_UP + STEPS else number + 1
    assert firsts(comparison) == (
        next_step,
        min(looks[looks >= number]),
        WARM_UP + STEPS,
    )
    assert not comparison.agrees


# The notebook's own loop.


@pytest.mark.parametrize("update_order", ["layerwise", "simultaneous"])
def test_the_notebooks_loop_takes_the_rate_the_seed_and_the_order(update_order):
    """To the second of two epochs of 200 samples."""
    config, steps = (
        replace(CONFIG, learning_rate=0.02, seed=3, update_order=update_order),
        250,
    )
    allowed = tolerance(np.arange(1, WARM_UP + steps + 1), "float64", LENGTH)
    run = record(config, TINY, open_backend(), steps)
    assert compare(record_notebook(config, TINY, steps), run, allowed).agrees
    for change in ({"learning_rate": 0.05}, {"seed": 0}):
        assert not compare(
            record_notebook(replace(config, **change), TINY, steps), run, allowed
        ).agrees


def test_the_notebooks_loop_refuses_what_the_notebook_does_not_have():
    for name, value in (
        ("activation", "relu"),
        ("init", "he"),
        ("optimizer", "adam"),
        ("hidden", ()),
    ):
        with pytest.raises(ConfigError, match=f"^{name}: the notebook has"):
            record_notebook(replace(CONFIG, **{name: value}), TINY, STEPS)


# What is recorded.


@pytest.mark.parametrize("steps", [4, 29, 30])
def test_exactly_so_many_steps_are_recorded(steps):
    """29 steps are an epoch. Samples held out and patience change nothing of that."""
    trajectory = record(BATCHES, TINY, open_backend(), steps)
    assert len(trajectory.losses) == WARM_UP + steps
    assert trajectory.logits.shape == (len(trajectory.report_steps) + 1, 60, 10)
    assert trajectory.predictions.shape == (60,)
    np.testing.assert_array_equal(
        trajectory.predictions, trajectory.logits[-1].argmax(axis=1)
    )
    events = [*start(BATCHES, TINY, open_backend(), steps)[1]]
    assert [event.position.step for event in events] == np.cumsum(
        [len(event.losses) for event in events]
    ).tolist()
    accuracies = [event.report.test.accuracy for event in events if event.report]
    final = np.mean(trajectory.predictions == TINY.test.labels)
    np.testing.assert_array_equal(trajectory.accuracies, [*accuracies, final])
    longer = record(BATCHES, TINY, open_backend(), 35)
    np.testing.assert_array_equal(longer.losses[: WARM_UP + steps], trajectory.losses)
    due = longer.report_steps[longer.report_steps <= WARM_UP + steps]
    np.testing.assert_array_equal(trajectory.report_steps, due)
    held_out = record(
        replace(BATCHES, validation=60, patience=1, epochs=2),
        TINY,
        open_backend(),
        2 * steps,
    )
    assert len(held_out.losses) == WARM_UP + 2 * steps


def test_a_chunk_that_is_cut_off_has_no_report():
    """Its last step, of sample 149, would have one, because that ends an epoch."""
    trajectory = record(replace(CONFIG, validation=50), TINY, open_backend(), 120)
    assert trajectory.report_steps.tolist() == [WARM_UP + step for step in (1, 51, 101)]


# How it is compared.


def made_up(**changes: Any) -> Trajectory:
    random = np.random.default_rng(3)
    values = {
        "losses": np.append(random.uniform(0.001, 5, 18), [4.0, 0.01]),
        "weights": (random.normal(size=(6, 4)), random.normal(size=4)),
        "report_steps": np.array([1, 5, 15]),
        "logits": np.eye(4, 10, 1) + random.uniform(0, 0.1, (4, 4, 10)),
        "predictions": np.array([1, 2, 3, 4]),
        "labels": np.array([1, 2, 3, 5]),
    }
    return Trajectory(open_backend(), **{**values, **changes})


BOUNDS = tolerance(np.arange(1, 21), "float64", 36)
# A quantity, one number of it, the step of that, and what its deviation is relative to.
PLACES = [
    ("loss", lambda run: run.losses[18:19], 19, 4.0),
    ("loss", lambda run: run.losses[19:], 20, 1.0),
    ("logits", lambda run: run.logits[1, 2, 3:4], 5, np.abs(made_up().logits[1]).max()),
    ("weights", lambda run: run.weights[1][:1], 20, np.abs(made_up().weights[1]).max()),
]


@pytest.mark.parametrize("times", [0.5, 2.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("name", "place", "step", "scale"), PLACES)
def test_a_quantity_may_deviate_by_its_tolerance_and_no_more(
    name, place, step, scale, times
):
    bound, run, finite = float(BOUNDS[step - 1]), made_up(), math.isfinite(times)
    place(run)[:] += times * bound * scale
    comparison = compare(run, made_up(), BOUNDS)
    first_steps = {
        each: found.first_step
        for each, found in comparison.quantities.items()
        if found.first_step
    }
    assert first_steps == ({} if times == 0.5 else {name: step})
    assert comparison.agrees is (times == 0.5)
    found = comparison.quantities[name]
    assert found.largest == pytest.approx(
        times * bound if finite else math.inf, rel=0.05
    )
    assert found.head_room == pytest.approx(1 / times if finite else 0, rel=0.05)
    assert compare(run, made_up(), np.full(20, 1e300)).agrees is finite


def test_differing_accuracies_and_predictions_are_counted():
    changed = made_up(predictions=np.array([1, 2, 3, 5]))
    changed.logits[1:3] = changed.logits[1:3, :, ::-1]
    comparison = compare(changed, made_up(), BOUNDS)
    assert made_up().accuracies.tolist() == [0.75] * 4
    assert (comparison.accuracies_differ, comparison.predictions_differ) == (2, 1)
    assert str(comparison).endswith(
        " accuracy 75.00 %; 1 of 4 predictions and 2 of 3 reported accuracies differ"
    )


@pytest.mark.parametrize("prediction", [9, 10, -1])
def test_a_prediction_may_change_only_where_two_logits_are_close(prediction):
    """Each of the two may deviate by the tolerance, so they may lie twice as far apart.
    10 and -1 are no classes.
    """
    flipped = made_up().predictions.copy()
    flipped[2] = prediction
    assert (
        compare(made_up(predictions=flipped), made_up(), BOUNDS)
        .quantities["predictions"]
        .first_step
        == 20
    )
    for margin, agrees in ((1.9, True), (2.1, False)):
        logits = made_up().logits.copy()
        logits[-1, 2, 9] = logits[-1, 2, 3] - margin * BOUNDS[-1] * logits[-1].max()
        comparison = compare(
            made_up(predictions=flipped, logits=logits), made_up(logits=logits), BOUNDS
        )
        assert comparison.agrees is (agrees and prediction == 9)


# Namespaces that are wrong in evaluation alone. The first once agreed with an accuracy
# of 5.84 % instead of 37.50 %.


class Negating(np.ndarray):
    """Products of more than 100 rows have the wrong sign: no training step and none of
    the first 100 images.
    """

    def __matmul__(self, other):
        product = np.asarray(self) @ np.asarray(other)
        return (-product if product.shape[0] > 100 else product).view(Negating)


def negating(x, dtype):
    return (
        np.asarray(x)
        .astype(dtype)
        .view(Negating if dtype == np.float64 else np.ndarray)
    )


@pytest.mark.parametrize(
    ("functions", "found", "unseen"),
    [
        ({"astype": negating}, ("logits", "predictions"), ("loss", "weights")),
        ({"argmax": np.argmin}, ("predictions",), ("loss", "logits", "weights")),
    ],
)
def test_what_is_wrong_in_evaluation_alone_is_found(functions, found, unseen):
    wrong, data = (
        changed(open_backend(), xp=Namespace(**functions)),
        synthetic(200, 300, 6),
    )
    _, comparison = check(BATCHES, data, [wrong], 60)
    assert not comparison.agrees
    assert {
        name for name in found if comparison.quantities[name].first_step is None
    } == set()
    assert {
        name for name in unseen if comparison.quantities[name].first_step is not None
    } == set()


def test_the_tolerance_is_what_its_derivation_says():
    eps = float(np.finfo(np.float64).eps)
    assert tolerance(np.array([1, 4, 9]), "float64", 1) == pytest.approx(
        [SAFETY * eps * root for root in (1, 2, 3)]
    )
    assert tolerance(np.array([9]), "float32", 784) == pytest.approx(
        [SAFETY * np.finfo(np.float32).eps * 28 * 3]
    )


def test_the_longest_sum_is_the_widest_layers_or_the_batchs():
    for changes, length in (
        ({}, 36),
        ({"hidden": (8, 50, 9)}, 50),
        ({"batch_size": 99}, 99),
    ):
        (itself,) = check(replace(CONFIG, **changes), TINY, [], 1)
        np.testing.assert_array_equal(
            itself.allowed, tolerance(NUMBERS[:11], "float64", length)
        )
