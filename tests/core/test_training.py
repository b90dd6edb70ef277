"""A run as its caller sees it.

Reports and their places, held-out samples, divergence, and the limits of a chunk.
"""

import time
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pytest
import reference
from data_sets import on_device, synthetic
from helpers import arrays_of, changed, first_state
from numerics import assert_all_equal, assert_near, trajectory_tolerance

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.chunk import make_chunk
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.model import Model, all_finite
from mlp_xp.core.network import Layer
from mlp_xp.core.signature import flatten_and_scale
from mlp_xp.core.task import CLASSES, Evaluation
from mlp_xp.core.training import (
    DivergenceError,
    Event,
    Position,
    Report,
    check_state,
    trajectory,
)

HOST = synthetic(300)
PIXELS = HOST.train.inputs[0].size
NUMPY = open_backend()


def configuration(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "hidden": (8,), "report_every": 150, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 7, "schedule": "cosine", "weight_decay": 0.01, "hidden": (6, 5)},
        {"batch_size": 30, "optimizer": "adam", "activation": "tanh"},
    ],
    ids=["deferred", "not deferred", "with arrays of the optimiser"],
)
def test_reports_agree_with_plain_numpy(settings, backend):
    """The losses, and the figures on the test set of the report's own network.

    The losses are that of the report's step, and the mean since the last report.
    """
    config = configuration(**settings)
    size = config.batch_size
    sizes = [min(size, 300 - start) for start in range(0, 300, size)] * config.epochs
    losses, done, seconds = [], 0, 0.0
    for event in run(config, backend)[config.warm_up_steps :]:
        losses += event.losses.tolist()
        report = event.report
        if not report:
            continue
        if not event.closing:
            before = report.epoch * len(sizes) // config.epochs
            assert len(losses) == before + report.sample // size + 1
        assert report.loss == losses[-1]
        mean = np.average(losses[done:], weights=sizes[done : len(losses)])
        rounding = len(sizes) * np.finfo(float).eps
        np.testing.assert_allclose(report.train_loss, mean, rtol=rounding)
        assert report.seconds > seconds
        network = arrays_of(report.model.network, backend.to_numpy)
        loss, accuracy = plain_evaluation(network, config.activation)
        assert_near(report.test.loss, loss, trajectory_tolerance(1, PIXELS))
        assert report.test == Evaluation(report.test.loss, accuracy, samples=100)
        done, seconds = len(losses), report.seconds


@pytest.mark.parametrize(
    ("batch_size", "report_every", "expected"),
    [
        (1, 130, [0, 130, 260]),  # does not divide the data
        (300, 1, [0]),  # all in one batch, which has one report
    ],
)
def test_reports_and_checkpoints_are_where_they_were_asked_for(
    batch_size, report_every, expected
):
    events = run(configuration(batch_size=batch_size, report_every=report_every))
    places = [(report.epoch, report.sample) for report in reports_of(events)]
    asked = [(epoch, sample) for epoch in (0, 1) for sample in expected]
    assert places == [*asked, (1, 300)]
    for event in events:
        assert event.checkpoint == (event.position.sample == 300)
        is_warm_up = event.position.epoch == WARM_UP_EPOCH
        assert is_warm_up == (event.position.sample == 0)
    assert [event.closing for event in events].index(True) == len(events) - 1


def test_samples_per_second_are_those_of_training_alone(monkeypatch):
    """One second for each chunk, and ten for each evaluation.

    The time of the caller, of another process or of an evaluation does not count for
    the speed. It counts for `seconds`.
    """
    now = [5000.0]

    def taking(seconds, function):
        def slow(*args):
            now[0] += seconds
            return function(*args)

        return slow

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Job, "run", taking(1, Job.run))
    monkeypatch.setattr(Model, "evaluate", taking(10, Model.evaluate))
    job = Job(configuration(batch_size=7, report_every=60), HOST, NUMPY)
    reported_samples = chunks = 0
    for event in islice(trajectory(job), 10, None):
        chunks += 1
        report, position = event.report, event.position
        if report and not event.closing:
            samples = position.epoch * 300 + position.sample
            assert report.samples_per_second == (samples - reported_samples) / chunks
            assert report.seconds == position.seconds == now[0] - 5000
            reported_samples, chunks = samples, 0
        now[0] += 100


# Resuming.


def test_a_resumed_job_has_no_second_state_on_the_device():
    """Next to the state to resume from, whose memory may be half of all memory."""
    placed = []

    def counting(array, dtype=None):
        placed.append(array.shape)
        return NUMPY.asarray(array, dtype)

    job = Job(configuration(), HOST, changed(NUMPY, asarray=counting))
    start = next(islice(trajectory(job), 10, None)).position
    next(trajectory(job, start))
    assert placed.count(job.sizes[:2]) == 1


def test_a_resumed_job_counts_its_time_on_and_ends_with_a_checkpoint():
    config = configuration(report_every=50)
    start = run(config)[10].position._replace(seconds=1000.0)
    began = time.perf_counter()
    events = run(config, start=start)
    seconds = [event.position.seconds for event in events]
    assert 1000 <= seconds[0] <= seconds[-1] <= 1000 + time.perf_counter() - began
    assert seconds == sorted(seconds)
    assert (events[-1].closing, events[-1].checkpoint) == (True, True)


# Held-out samples.

HELD_OUT = configuration(
    validation=60, learning_rate=0.2, report_every=240, epochs=15, seed=1
)


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_the_best_network_on_the_held_out_samples_is_kept(monitor):
    """Ties of the accuracy go to the lower loss."""
    reports, scores = epochs_held_out()
    by_accuracy = scores.index(max(scores))
    by_loss = scores.index(max(scores, key=lambda score: score[1]))
    best = by_accuracy if monitor == "accuracy" else by_loss
    *_, last = run(replace(HELD_OUT, monitor=monitor))
    accuracies = [accuracy for accuracy, _ in scores]
    assert last.position.best.marks[0][:2] == (accuracies[best], best)
    network, kept = last.report.model.network, reports[best].model.network
    assert_all_equal(arrays_of(network, np.asarray), arrays_of(kept, np.asarray))
    assert last.report.validation == reports[best].validation
    first_tie = accuracies.index(max(accuracies))
    assert first_tie < by_accuracy != by_loss < 14, "the case proves less"


def test_of_equal_networks_the_earliest_is_kept():
    *_, last = run(replace(HELD_OUT, learning_rate=1e-30))  # changes no output
    assert last.position.best.epoch == 0
    assert last.report.kept_epoch == 0


def test_the_best_network_keeps_its_epoch_in_a_run_resumed_on_another_library():
    """There its loss may be rounded to less than where it was found."""
    *_, last, closing = run(HELD_OUT)
    best = last.position.best
    (mark,) = best.marks
    mark = mark._replace(loss=mark.loss * (1 + 1e-15))
    found = best._replace(marks=(mark,))
    start = last.position._replace(best=found)
    (event,) = run(HELD_OUT, start=start)
    assert event.report.validation.loss < mark.loss
    assert best.epoch < event.position.epoch
    assert event.position.best.marks == found.marks
    assert event.report.validation == closing.report.validation


def test_held_out_samples_are_evaluated_at_the_end_of_each_epoch():
    ends, scores = epochs_held_out()
    *others, closing = reports_of(run(HELD_OUT))
    places = [(epoch, sample) for epoch in range(15) for sample in (0, 240)]
    assert [(report.epoch, report.sample) for report in others] == places
    assert {report.validation for report in others if not report.sample} == {None}
    assert [report.validation.accuracy for report in ends] == [a for a, _ in scores]
    assert (closing.epoch, closing.sample, closing.loss) == (14, 240, ends[-1].loss)
    assert closing.train_loss == ends[-1].train_loss


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_when_patience_ends(patience):
    _, scores = epochs_held_out()
    bests = [scores.index(max(scores[: epoch + 1])) for epoch in range(15)]
    stops = [epoch for epoch, best in enumerate(bests) if epoch - best == patience]
    config = replace(HELD_OUT, monitor="accuracy", epochs=40, patience=patience)
    *_, last = run(config)
    assert (last.closing, last.report.epoch) == (True, stops[0])


# Divergence. Warnings are errors in this suite: none of these may give one.


@pytest.mark.parametrize(
    "settings",
    [
        {"update_order": "simultaneous", "hidden": (8, 8), "activation": "relu"},
        {"batch_size": 7, "optimizer": "momentum", "weight_decay": 1.0},
        {"warm_up_steps": 10},
    ],
)
def test_divergence_is_told_with_its_place(settings, backend):
    config = configuration(
        **{"warm_up_steps": 0, "epochs": 5, "learning_rate": 1e300, **settings}
    )
    job, losses = Job(config, on_device(HOST, backend), backend), []
    place = r"of (the warm-up|epoch \d+) is (inf|nan|not finite)"
    with pytest.raises(DivergenceError, match=place):
        losses.extend(event.losses for event in trajectory(job))
    assert all(np.isfinite(each).all() for each in losses)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rate", [1e300, 1e-30])
@pytest.mark.parametrize("decay", [0, 1e30])
def test_rates_at_the_ends_of_their_range_train_or_diverge(
    rate, decay, dtype, optimizer
):
    config = configuration(
        batch_size=50, learning_rate=rate, weight_decay=decay, optimizer=optimizer
    )
    # the square of a decay in Adam's second moment
    overflows = (decay, dtype, optimizer) == (1e30, "float32", "adam")
    diverges = rate == 1e300 or overflows
    with pytest.raises(DivergenceError) if diverges else nullcontext():
        run(config, open_backend(dtype=dtype))


@pytest.mark.parametrize("place", ["network", "slots"])
def test_a_state_that_is_not_finite_is_told_though_every_loss_is(place, backend):
    """A saturated unit is 1 whatever its weights.

    An infinite second moment of Adam stops its parameter.
    """
    config = configuration(optimizer="adam")
    job = Job(config, on_device(HOST, backend), backend)
    state = first_state(config, (3, 2), backend)
    check_state(job, Position(state))
    (layer,) = state.network
    wrong = Layer(backend.asarray(np.full((3, 2), [1.0, np.inf])), layer.bias)
    broken = {"network": (wrong,), "slots": ((layer, wrong),)}[place]
    with pytest.raises(DivergenceError):
        check_state(job, Position(state._replace(**{place: broken})))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.7e308, 1.7e308], True),  # the sum overflows, but each is finite
        ([1.0, np.nan], False),
        ([-np.inf, 3.0], False),
    ],
)
def test_numbers_that_are_not_finite_are_found_in_any_array(values, expected, backend):
    arrays = [backend.asarray(np.array(each)) for each in ([1.0, 2.0, 3.0], values)]
    assert all_finite(arrays, backend) == expected


# The limits of a chunk.


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "sizes"), [(1, 1), (7, 3)])
def test_a_run_compiles_one_loop_for_each_size_of_a_batch_which_others_share(
    batch_size, sizes
):
    """Whatever the lengths of its chunks, and settings without effect on a step."""
    backend = open_backend("jax")
    config = configuration(batch_size=batch_size, report_every=130)
    other = replace(config, seed=9, learning_rate=0.03, init="he", schedule="cosine")
    make_chunk.cache_clear()
    longest = max(len(event.losses) for event in run(config, backend))
    run_chunk = make_chunk(
        config.compiled_settings(), backend, flatten_and_scale, CLASSES, longest
    )
    for again in (config, other):
        run(again, backend)
        assert run_chunk.__wrapped__.__wrapped__._cache_size() == sizes
    assert make_chunk.cache_info().currsize == 1


def test_only_losses_leave_the_device_once_a_chunk(backend):
    taken = []

    def counting(array):
        taken.append(array)
        return backend.to_numpy(array)

    counted = changed(backend, to_numpy=counting)
    job = Job(configuration(), on_device(HOST, backend), counted)
    state = first_state(job.config, job.sizes, backend)
    taken.clear()  # the check of the data reads some numbers
    job.run(state, np.arange(60)[:, None], 0)
    assert len(taken) == 1


# Runs, and the same in plain NumPy.


def run(
    config: TrainConfig,
    backend: Backend = NUMPY,
    host: Dataset = HOST,
    **options: Any,
) -> list[Event]:
    job = Job(config, on_device(host, backend), backend)
    return [*trajectory(job, **options)]


def reports_of(events: list[Event]) -> list[Report]:
    return [event.report for event in events if event.report]


@cache
def epochs_held_out() -> tuple[list[Report], list[tuple[float, float]]]:
    """Return the reports at the end of each epoch of HELD_OUT, and their scores.

    A score is the accuracy on the held-out samples, and the negative loss.
    """
    *reports, _ = filter(lambda each: each.sample == 240, reports_of(run(HELD_OUT)))
    inputs, labels = HOST.train.inputs[240:], HOST.train.labels[240:]
    scores = []
    for report in reports:
        arrays = arrays_of(report.model.network, np.asarray)
        loss, accuracy = plain_evaluation(arrays, "sigmoid", inputs, labels)
        scores.append((accuracy, -loss))
    return reports, scores


def plain_evaluation(
    arrays: list[np.ndarray],
    activation: str,
    inputs: np.ndarray = HOST.test.inputs,
    labels: np.ndarray = HOST.test.labels,
) -> tuple[float, float]:
    """Return the loss and the accuracy of a network of these weights and biases."""
    x = inputs.reshape(len(inputs), -1) / 255
    layers = zip(arrays[::2], arrays[1::2], strict=True)
    z = reference.outputs(layers, x, activation)
    losses, p = reference.losses_and_predictions(z, np.eye(10)[labels], "classes")
    return losses.mean(), (p.argmax(axis=1) == labels).mean()
