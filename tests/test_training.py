"""A run as its caller sees it: reports, their places and fields, refusals; and what a chunk may not do on the way."""

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic
from numerics import assert_near, trajectory_tolerance

import mlp_xp.chunks
from mlp_xp import train
from mlp_xp.backend import Backend, open_backend
from mlp_xp.chunks import Extras, fill, make_chunk, step_coefficients, steps_per_block
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Dataset, Preparation
from mlp_xp.device import initial_state
from mlp_xp.dropout import draw_masks
from mlp_xp.errors import MlpXpError
from mlp_xp.features import flatten_and_scale
from mlp_xp.losses import cross_entropy
from mlp_xp.network import Layer
from mlp_xp.plan import Chunk
from mlp_xp.training import (
    WARM_UP_EPOCH,
    DivergenceError,
    Event,
    Position,
    check_finite,
    layer_sizes,
    trajectory,
)

HOST = synthetic(300)
PIXELS = HOST.train_images[0].size

# One of each kind of step that there is: deferred or not, and every optimiser.
STEPS_OF_ALL_KINDS = [
    {},
    {"update_order": "simultaneous", "hidden": (6, 5), "activation": "relu"},
    {"batch_size": 7, "schedule": "cosine", "weight_decay": 0.01},
    {"batch_size": 7, "optimizer": "momentum"},
    {"optimizer": "adam", "activation": "tanh"},
]


def configuration(**settings) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "hidden": (8,), "report_every": 150, **settings})


def run(config: TrainConfig, backend: Backend, host=HOST) -> list[Event]:
    return list(trajectory(config, on_device(host, backend), backend))


def host_network(report, backend: Backend) -> list[np.ndarray]:
    return [backend.to_numpy(array) for layer in report.network for array in layer]


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_two_runs_give_the_same_bits(settings, backend):
    one, other = (run(configuration(**settings), backend) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert a.losses.tobytes() == b.losses.tobytes()
        assert a.position[:3] == b.position[:3]
    for a, b in zip(one, other, strict=True):
        if a.report:
            timeless = {"seconds": 0.0, "samples_per_second": 0.0, "network": ()}
            assert a.report._replace(**timeless) == b.report._replace(**timeless)
            for x, y in zip(host_network(a.report, backend), host_network(b.report, backend), strict=True):
                assert x.tobytes() == y.tobytes()


def test_another_seed_gives_another_run():
    backend = open_backend("numpy")
    one, other = (run(configuration(seed=seed), backend)[-1] for seed in (0, 1))
    assert (host_network(one.report, backend)[0] != host_network(other.report, backend)[0]).all()


@pytest.mark.parametrize(
    ("samples", "batch_size", "report_every", "expected"),
    [
        (300, 1, 100, [0, 100, 200]),
        (300, 1, 130, [0, 130, 260]),  # does not divide the data
        (300, 1, 299, [0, 299]),
        (300, 1, 10000, [0]),
        (300, 7, 100, [0, 100, 200]),  # within batches
        (300, 7, 298, [0, 298]),  # in the last, partial batch
        (300, 300, 1, [0]),  # all in one batch, which has one report
        (20, 8, 3, [0, 9, 18]),
    ],
)
def test_reports_are_where_they_were_asked_for(samples, batch_size, report_every, expected):
    host, backend = synthetic(samples), open_backend("numpy")
    config = configuration(batch_size=batch_size, report_every=report_every)
    reports = list(train(config, on_device(host, backend), backend))
    places = [(report.epoch, report.sample) for report in reports]
    assert places == [(0, s) for s in expected] + [(1, s) for s in expected] + [(1, samples)]


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_what_reports_say_is_so(settings, backend):
    """Against plain NumPy: the loss of the report's step, mean losses on both sets, the accuracy, the network's own."""
    config = configuration(**settings)
    events = run(config, backend)
    assert all(event.losses.dtype == np.float64 for event in events)
    everything = np.concatenate([event.losses for event in events if event.position.epoch != WARM_UP_EPOCH])
    full, rest = divmod(300, config.batch_size)
    sizes = np.array(([config.batch_size] * full + [rest] * bool(rest)) * config.epochs)
    per_epoch = full + bool(rest)
    reports = [event.report for event in events if event.report]
    since, seconds = 0, 0.0
    for report in reports:
        closing = report.sample == 300
        step = len(everything) - 1 if closing else report.epoch * per_epoch + report.sample // config.batch_size
        assert report.loss == everything[step]
        window = slice(since, step + 1)
        mean = np.average(everything[window], weights=sizes[window])
        # Only the order of the sums differs.
        np.testing.assert_allclose(report.train_loss, mean, rtol=len(everything) * np.finfo(float).eps)
        since = step + 1
        assert report.seconds > seconds
        seconds = report.seconds
        assert report.samples_per_second > 0
        loss, accuracy = plain_evaluation(host_network(report, backend), config.activation)
        assert_near(report.test_loss, loss, trajectory_tolerance(1, PIXELS))
        assert report.accuracy == accuracy
    assert reports[-1].sample == 300
    assert reports[-1].epoch == 1


def plain_evaluation(arrays: list[np.ndarray], activation: str, host: Dataset = HOST) -> tuple[float, float]:
    function = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}
    a = host.test_images.reshape(len(host.test_images), -1) / 255
    layers = list(zip(arrays[::2], arrays[1::2], strict=True))
    for weights, bias in layers[:-1]:
        a = function[activation](a @ weights + bias)
    z = a @ layers[-1][0] + layers[-1][1]
    z = z - z.max(axis=1, keepdims=True)
    right = np.arange(len(z)), host.test_labels
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[right])), float((z.argmax(axis=1) == right[1]).mean())


def test_a_data_set_of_its_own_preparation_is_trained_and_tested_through_it(backend):
    """Dark on light: the run is that of the images the other way round."""

    def inverted(images, **others):
        return 1 - flatten_and_scale(images, **others)

    config = configuration(validation=60)
    turned = HOST._replace(train_images=255 - HOST.train_images, test_images=255 - HOST.test_images)
    one, other = (run(config, backend, host) for host in (HOST._replace(prepare=Preparation(inverted)), turned))
    tolerance = trajectory_tolerance(490, PIXELS)
    assert [event.losses.size for event in one] == [event.losses.size for event in other]
    for a, b in zip(one, other, strict=True):
        assert_near(a.losses, b.losses, tolerance)
        if b.report:
            assert_near(a.report.test_loss, b.report.test_loss, tolerance)
            assert (a.report.accuracy, a.report.validation_accuracy) == (
                b.report.accuracy,
                b.report.validation_accuracy,
            )


def test_positions_count():
    backend = open_backend("numpy")
    events = run(configuration(batch_size=7), backend)
    steps = itertools.accumulate(len(event.losses) for event in events)
    assert [event.position.step for event in events] == list(steps)
    assert events[-1].position.step == 10 + 2 * 43
    assert events[-1].losses.size == 0
    assert [event.closing for event in events] == [False] * (len(events) - 1) + [True]
    samples = [
        (event.position.epoch, event.position.sample) for event in events if event.position.epoch != WARM_UP_EPOCH
    ]
    assert samples == sorted(samples)
    assert samples[-1] == (1, 300)


def test_there_need_be_no_warm_up():
    backend = open_backend("numpy")
    events = run(configuration(warm_up_steps=0), backend)
    assert events[0].position.epoch == 0
    assert events[-1].position.step == 600


@pytest.mark.parametrize("steps", [0, 1, 10, 11, 30, 45, 46, 80, 95])
def test_a_run_may_end_after_any_number_of_steps(steps):
    """10 steps of warm-up and 43 an epoch, of 7 samples: within chunks, at their ends, before and after reports."""
    backend, config = open_backend("numpy"), configuration(batch_size=7)
    whole = run(config, backend)
    events = list(trajectory(config, on_device(HOST, backend), backend, stop_after=steps))
    losses = np.concatenate([[], *(event.losses for event in events)])
    assert_near(losses, np.concatenate([event.losses for event in whole])[:steps], trajectory_tolerance(96, PIXELS))
    assert not any(event.closing for event in events)
    assert [event.position.step for event in events[-1:]] == [steps] * bool(steps)
    # What is due after a step is done where the run comes to that step, and never before.
    for kind in ("report", "checkpoint"):
        wanted = [e.position.step for e in whole[:-1] if getattr(e, kind) and e.position.step <= steps]
        assert [e.position.step for e in events if getattr(e, kind)] == wanted


def test_a_run_that_is_over_before_is_closed_as_ever():
    backend, config = open_backend("numpy"), configuration(batch_size=7)
    *_, last = trajectory(config, on_device(HOST, backend), backend, stop_after=97)
    assert last.closing
    assert last.position.step == 96


# Samples held out.


def held_out_run(backend: Backend, **settings) -> tuple[list[Event], list[tuple[float, float]], list[list[np.ndarray]]]:
    """A run with 60 of the 300 samples held out, and by plain NumPy their accuracy and loss, negative, at each epoch.

    Also the network after each epoch.
    """
    config = configuration(validation=60, learning_rate=0.1, report_every=240, **settings)
    events, scores, networks = [], [], []
    for event in trajectory(config, on_device(HOST, backend), backend):
        events.append(event)
        if event.position.epoch != WARM_UP_EPOCH and event.position.sample == 240 and event.losses.size:
            networks.append([backend.to_numpy(array) for layer in event.position.state.network for array in layer])
            held_out = HOST._replace(test_images=HOST.train_images[240:], test_labels=HOST.train_labels[240:])
            loss, accuracy = plain_evaluation(networks[-1], "sigmoid", held_out)
            scores.append((accuracy, -loss))
    return events, scores, networks


def test_the_network_kept_is_the_most_accurate_on_the_samples_held_out_and_of_equal_ones_that_with_less_loss(backend):
    events, scores, networks = held_out_run(backend, epochs=15)
    accuracies = [accuracy for accuracy, _ in scores]
    best = scores.index(max(scores))
    assert accuracies.index(max(accuracies)) < best < 14, "the first of equal ones or the last proves less"
    assert len(scores) == 15
    assert events[-1].position.best.epoch == best
    assert events[-1].position.best.accuracy == accuracies[best]
    for array, expected in zip(host_network(events[-1].report, backend), networks[best], strict=True):
        np.testing.assert_array_equal(array, expected)
    assert events[-1].report.sample == 240


def test_reports_give_the_accuracy_on_the_samples_held_out_at_the_end_of_an_epoch(backend):
    """And the closing one the best network's; it has no step of its own since the last report, so the same mean."""
    events, scores, _ = held_out_run(backend, epochs=3)
    reports = [event.report for event in events if event.report]
    *others, closing = reports
    assert [(report.epoch, report.sample) for report in others] == [(e, s) for e in range(3) for s in (0, 240)]
    expected = [scores[report.epoch][0] if report.sample == 240 else None for report in others]
    assert [report.validation_accuracy for report in others] == expected
    assert closing.validation_accuracy == max(scores)[0]
    assert closing.loss == others[-1].loss
    assert closing.train_loss == others[-1].train_loss
    assert closing.samples_per_second == others[-1].samples_per_second


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_after_so_many_epochs_without_a_better_network(patience):
    events, scores, _ = held_out_run(open_backend("numpy"), epochs=40, patience=patience)
    best = scores.index(max(scores))
    assert len(scores) == best + 1 + patience < 40
    assert events[-1].report.epoch == best + patience
    for epoch in range(1, len(scores)):
        since = epoch - 1 - scores.index(max(scores[:epoch]))
        assert since < patience, "not later than it should have"


def test_a_resumed_run_puts_no_second_state_on_the_device(monkeypatch):
    """A large network and its optimiser's arrays may fit only once."""
    backend = open_backend("numpy")
    config, dataset = configuration(optimizer="adam"), on_device(HOST, backend)
    events = trajectory(config, dataset, backend)
    position = [next(events) for _ in range(3)][-1].position
    monkeypatch.setattr("mlp_xp.device.to_device", lambda *args: pytest.fail("another state"))
    assert next(trajectory(config, dataset, backend, position)).position.step > position.step


# Divergence. Warnings are errors in this suite: none of these may give one.

DIVERGING = [
    {"learning_rate": 1e300},
    {"learning_rate": 1e300, "update_order": "simultaneous", "hidden": (8, 8)},
    {"learning_rate": 1e300, "batch_size": 7},
    {"learning_rate": 1e300, "batch_size": 7, "optimizer": "momentum", "weight_decay": 1.0},
    {"learning_rate": 1e300, "activation": "relu"},
]


@pytest.mark.parametrize("settings", DIVERGING)
def test_divergence_is_told_with_its_place_and_no_warning(settings, backend):
    assert_diverges(configuration(warm_up_steps=0, epochs=5, **settings), backend)


def test_divergence_in_the_warm_up(backend):
    assert_diverges(configuration(learning_rate=1e300), backend)


@pytest.mark.parametrize("settings", DIVERGING[::2])
def test_divergence_in_float32(settings, backend32):
    assert_diverges(configuration(warm_up_steps=0, epochs=5, **settings), backend32)


def assert_diverges(config: TrainConfig, backend: Backend) -> None:
    good = []
    with pytest.raises(DivergenceError) as caught:
        good.extend(event.losses for event in trajectory(config, on_device(HOST, backend), backend))
    done = sum(map(len, good))
    assert all(np.isfinite(losses).all() for losses in good)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    place = re.fullmatch(
        r"training diverged: the (loss at|test loss after|network or optimiser state after) "
        r"(?:sample )?(\d+)(?: samples)? of (the warm-up|epoch (\d+)) is (inf|nan|not finite); "
        r"lower the learning rate or choose another initialisation",
        message,
    )
    assert place, message
    if place[3] == "the warm-up":
        assert config.warm_up_steps
        assert place[2] == "1"
    else:
        step = int(place[4]) * -(-300 // config.batch_size) + int(place[2]) // config.batch_size
        after = place[1].endswith("after")
        assert step + after >= done - config.warm_up_steps, "not before what was still good"
        assert after or int(place[2]) % config.batch_size == 0


@pytest.mark.parametrize(
    ("losses", "epoch", "chunk", "place"),
    [
        ([1.0, np.nan, np.inf], 3, Chunk(100, 3, 7), "the loss at sample 107 of epoch 3 is nan;"),
        ([np.inf, 1.0], 0, Chunk(0, 2, 1), "the loss at sample 0 of epoch 0 is inf;"),
        ([1.0, 2.0, -np.inf], 0, Chunk(5, 3, 1), "the loss at sample 7 of epoch 0 is -inf;"),
        ([np.nan], WARM_UP_EPOCH, Chunk(1, 1, 1), "the loss at sample 1 of the warm-up is nan;"),
    ],
)
def test_the_place_is_that_of_the_first_bad_loss(losses, epoch, chunk, place):
    with pytest.raises(DivergenceError, match=place):
        check_finite(np.array(losses), epoch, chunk)


def test_an_update_that_breaks_the_network_is_told_though_no_loss_shows_it(backend):
    """A single step: its loss is from before the update, and there is no other."""
    config = configuration(learning_rate=1e300, warm_up_steps=0, epochs=1)
    with pytest.raises(DivergenceError, match=r"state after 1 samples of epoch 0 is not finite; lower"):
        run(config, backend, synthetic(1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_no_report_is_given_of_a_state_that_is_not_finite_though_every_loss_is(optimizer, backend):
    """A saturated unit is 1 whatever its weights, and an infinite second moment of Adam stops its parameter."""
    config = configuration(optimizer=optimizer, warm_up_steps=0, epochs=1, report_every=10**6, defer_updates=False)
    bright = HOST._replace(train_images=HOST.train_images.copy(), test_images=HOST.test_images.copy())
    for images in (bright.train_images, bright.test_images):
        images[:, 0, 0] = 7
    state, _ = initial_state(config, layer_sizes(config, bright), backend)
    layers = state.network if optimizer == "sgd" else state.slots[0][1:]
    weights = backend.to_numpy(layers[0].weights)
    weights[0, 0] = np.inf
    wrong = layers[0]._replace(weights=backend.asarray(weights, backend.dtype))
    if optimizer == "sgd":
        state = state._replace(network=(wrong, *state.network[1:]))
    else:
        state = state._replace(slots=((state.slots[0][0], wrong), *state.slots[1:]))
    start = Position(WARM_UP_EPOCH, 0, 0, 0, 0.0, float("nan"), state)
    losses = []
    with pytest.raises(DivergenceError, match=r"state after 1 samples of epoch 0 is not finite"):
        losses.extend(event.losses for event in trajectory(config, on_device(bright, backend), backend, start))
    assert not losses


def test_finite_losses_pass():
    check_finite(np.array([0.0, 1e308, 5.0]), 0, Chunk(0, 3, 1))


# Compilations.


def test_a_default_run_compiles_one_loop_and_no_more_in_the_next_epoch():
    """60000 images of 28 x 28 in batches of one, cut as by default; few hidden units, since only shapes count here."""
    backend = open_backend("jax")
    make_chunk.cache_clear()
    config = TrainConfig(epochs=2, hidden=(3,))
    images = np.random.default_rng(0).integers(0, 256, (60000, 28, 28), dtype=np.uint8)
    labels = np.arange(60000, dtype=np.uint8) % 10
    host = HOST._replace(train_images=images, train_labels=labels, test_images=images[:9], test_labels=labels[:9])
    counts = {}
    for event in trajectory(config, on_device(host, backend), backend):
        counts[event.position.epoch] = make_chunk(
            config.of_steps(), backend, flatten_and_scale, "classes"
        ).__wrapped__._cache_size()
    assert counts == {WARM_UP_EPOCH: 1, 0: 1, 1: 1}


def test_a_run_compiles_three_functions_beside_its_loops():
    """Each function of arrays as a whole: evaluation, a copy of the network, and whether it is finite."""
    jax = pytest.importorskip("jax")
    backend, names = open_backend("jax"), []

    def note(event: str, seconds: float, fun_name: str = "", **others: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)  # older versions give none

    host = synthetic(47, 13, size=11)  # shapes of no other test, for which nothing is compiled yet
    dataset = on_device(host, backend)
    jax.monitoring.register_event_duration_secs_listener(note)
    for event in trajectory(configuration(hidden=(5, 6), optimizer="adam"), dataset, backend):
        if event.report:
            break
    count = len(names)
    assert event.report is not None
    assert count == 5, names  # and the check of the data


def test_a_run_that_ends_within_a_chunk_compiles_nothing_else():
    backend = open_backend("jax")
    make_chunk.cache_clear()
    config, dataset = configuration(), on_device(HOST, backend)
    for steps in (3, 60, 170):
        list(trajectory(config, dataset, backend, stop_after=steps))
    compiled = make_chunk(config.of_steps(), backend, flatten_and_scale, "classes").__wrapped__
    assert compiled._cache_size() == 1


def test_a_partial_batch_and_the_warm_up_add_one_loop_each():
    backend = open_backend("jax")
    make_chunk.cache_clear()
    config = configuration(batch_size=7, epochs=3)
    counts = {}
    for event in trajectory(config, on_device(HOST, backend), backend):
        counts[event.position.epoch] = make_chunk(
            config.of_steps(), backend, flatten_and_scale, "classes"
        ).__wrapped__._cache_size()
    assert counts[WARM_UP_EPOCH] == 1
    assert counts == {WARM_UP_EPOCH: 1, 0: 3, 1: 3, 2: 3}


def test_runs_of_the_same_steps_share_what_is_compiled():
    backend = open_backend("jax")
    make_chunk.cache_clear()
    config = configuration(batch_size=7, epochs=1)
    sizes = []
    others = {"seed": 9, "learning_rate": 0.3, "init": "he", "schedule": "cosine", "validation": 7, "epochs": 2}
    for each in (
        config,
        replace(config, **others, report_every=config.report_every),
        replace(config, activation="relu"),
    ):
        losses = np.concatenate([event.losses for event in trajectory(each, on_device(HOST, backend), backend)])
        numpy = open_backend()
        expected = np.concatenate([event.losses for event in trajectory(each, on_device(HOST, numpy), numpy)])
        np.testing.assert_allclose(losses, expected, rtol=1e-9)
        sizes.append(make_chunk.cache_info().currsize)
    assert sizes == [2, 2, 4]  # one for each of the two backends, and again for another activation


# Nothing leaves the device inside a chunk.


class LeakError(Exception):
    """A value left the device."""


def leak(*args, **kwargs):
    raise LeakError


# The ways out of an array, by the names that the libraries give them.
CONVERSIONS = (
    *("__array__", "__array_interface__", "__dlpack__", "__bool__", "__int__", "__float__", "__complex__"),
    *("__index__", "__len__", "__iter__", "item", "tolist", "tobytes", "numpy", "cpu", "get"),
)


def close_all_ways_out(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The backend, whose arrays cannot be read any more until the test ends; NumPy's cannot be kept from it."""
    array_type = type(backend.asarray(np.ones(1)))
    for name in CONVERSIONS:
        try:
            if hasattr(array_type, name):
                monkeypatch.setattr(array_type, name, leak)
        except (TypeError, AttributeError):  # of a type that is not written in Python
            continue
    return replace(backend, to_numpy=leak)


def chunk_inputs(config: TrainConfig, backend: Backend) -> tuple:
    """All that a chunk of 60 steps takes."""
    dataset = on_device(HOST, backend)
    state, _ = initial_state(config, (PIXELS, *config.hidden, 10), backend)
    steps = 60 if config.batch_size == 1 else 30
    chunk = Chunk(0, steps, config.batch_size)
    numbers = step_coefficients(config, chunk, 0, steps)
    order = np.arange(steps * config.batch_size).reshape(steps, config.batch_size)
    arrays = [backend.asarray(order), backend.asarray(numbers, backend.dtype)]
    return state, dataset.train_images, dataset.train_labels, *arrays


@pytest.mark.parametrize(("settings", "steps"), [({}, 24), ({}, 51), ({"batch_size": 7, "optimizer": "adam"}, 13)])
def test_steps_that_fill_up_a_chunk_are_not_taken(settings, steps):
    """Whatever they are: here steps on the same samples, at a rate of NaN."""
    config, backend = configuration(**settings, dropout=0.5 if settings else 0), open_backend("jax")
    _, images, labels, order, numbers = chunk_inputs(config, backend)
    total, size = order.shape
    taken = [backend.to_numpy(order)[:steps], backend.to_numpy(numbers).T[:steps]]
    if config.dropout:
        taken.append(draw_masks(config, steps, size, 0))
    filled, counts = fill(taken, total, steps_per_block(config, size, PIXELS, 8, compiles=backend.compiles))
    filled[0][steps:] = 1
    filled[1][steps:] = np.nan
    run_chunk, results = make_chunk(config, backend, flatten_and_scale), []
    for rows, given in ((taken, ()), (filled, counts)):
        state, _ = initial_state(config, (PIXELS, *config.hidden, 10), backend)
        samples, rates, *masks = rows
        extras = Extras(masks=tuple(map(backend.asarray, masks)), counts=tuple(map(backend.asarray, given)))
        arrays = backend.asarray(samples), backend.asarray(rates.T, backend.dtype)
        state, losses = run_chunk(state, images, labels, *arrays, extras)
        arrays = [array for layers in (state.network, *state.slots) for layer in layers for array in layer]
        results.append([backend.to_numpy(array) for array in (losses[:steps], *arrays)])
    assert len(results[1][0]) == steps
    for expected, actual in zip(*results, strict=True):
        assert_near(actual, expected, trajectory_tolerance(steps, PIXELS))


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_nothing_leaves_the_device_inside_a_chunk(settings, backend, monkeypatch):
    config = configuration(**settings)
    inputs = chunk_inputs(config, backend)
    with monkeypatch.context() as patch:
        closed = close_all_ways_out(backend, patch)
        run_chunk = make_chunk.__wrapped__(
            config, closed, flatten_and_scale
        )  # not from the cache: that would keep what is closed
        state, losses = run_chunk(*inputs)
    assert np.isfinite(backend.to_numpy(losses)).all()
    assert type(losses) is type(inputs[1])
    assert all(type(array) is type(inputs[1]) for layer in state.network for array in layer)


@pytest.mark.parametrize("way_out", [float, bool, int, np.asarray])
def test_a_value_that_leaves_a_chunk_is_caught(way_out, backend, monkeypatch):
    """The test above can fail: the same with a planted leak."""
    if backend.name in ("numpy", "cupy") and "stand-in" not in backend.version:
        pytest.skip(f"{backend.name} arrays are of a type that cannot be changed")

    def leaking(logits, targets, /, *, xp):
        way_out(xp.sum(logits))
        return cross_entropy(logits, targets, xp=xp)

    config = configuration()
    inputs = chunk_inputs(config, backend)
    monkeypatch.setitem(mlp_xp.chunks.LOSSES, "classes", mlp_xp.chunks.LOSSES["classes"]._replace(loss=leaking))
    with monkeypatch.context() as patch:
        run_chunk = make_chunk.__wrapped__(config, close_all_ways_out(backend, patch), flatten_and_scale)
        with pytest.raises((LeakError, TypeError)):  # a compiler refuses by itself, with a TypeError
            run_chunk(*inputs)


def test_only_losses_leave_the_device_once_a_chunk(backend):
    taken = []

    def counting(array):
        taken.append(array.ndim)
        return backend.to_numpy(array)

    watched = replace(backend, to_numpy=counting)
    events = list(trajectory(configuration(), on_device(HOST, backend), watched))
    expected = []
    for event in events:
        # Of the network, a report takes one value: whether it is finite.
        expected += [] if event.closing else [1]
        expected += [] if event.report is None else [0]
    assert taken == expected


@pytest.mark.parametrize("top", [1.7e308, np.inf])
@pytest.mark.parametrize("settings", [{}, {"defer_updates": False}])
def test_a_chunk_ends_without_a_warning_whatever_its_losses(top, settings, backend):
    """The logits are the biases, and the difference of two of them is beyond float64."""
    config = configuration(hidden=(), **settings)
    state, images, labels, order, numbers = chunk_inputs(config, backend)
    bias = np.full(10, -1.7e308)
    bias[3] = top
    (layer,) = state.network
    state = state._replace(network=(Layer(layer.weights * 0, backend.asarray(bias, backend.dtype)),))
    _, losses = make_chunk(config, backend, flatten_and_scale)(state, images, labels, order, numbers * 0)
    # XLA may find the loss of class 3, 0 to rounding; it is NaN where 0 is multiplied by an infinity.
    others = HOST.train_labels[: losses.shape[0]] != 3
    assert not np.isfinite(backend.to_numpy(losses))[others].any()


@pytest.mark.parametrize(("steps", "closes"), [(10, False), (560, False), (609, False), (610, True), (9999, True)])
def test_only_a_run_that_ended_closes(steps, closes):
    """610 steps are the whole run; 560 and 609 cut its last chunk."""
    config, backend = configuration(report_every=100), open_backend("numpy")
    events = list(trajectory(config, on_device(HOST, backend), backend, stop_after=steps))
    assert events[-1].closing == closes
    assert events[-1].position.step == min(steps, 610)


def test_a_position_within_a_chunk_is_refused_and_trains_no_sample_twice():
    backend = open_backend()
    config, dataset = configuration(warm_up_steps=0, epochs=1), on_device(HOST, backend)
    *_, last = trajectory(config, dataset, backend, stop_after=5)
    assert last.position.step == last.position.sample == 5
    with pytest.raises(MlpXpError, match="start: sample 5 is within a chunk, which `stop_after` cut; resume from"):
        next(trajectory(config, dataset, backend, last.position))
