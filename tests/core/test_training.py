"""A run as its caller sees it: reports and their places, held-out samples, divergence; and what a chunk may not do."""

import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic
from helpers import arrays_of
from numerics import assert_near, trajectory_tolerance

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.chunk import NO_SAMPLE, Steps, TrainingSet, in_blocks, make_chunk, make_steps
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Preparation
from mlp_xp.core.features import flatten_and_scale
from mlp_xp.core.job import WARM_UP_EPOCH, Job, layer_sizes
from mlp_xp.core.library import Backend
from mlp_xp.core.metrics import all_finite
from mlp_xp.core.network import Layer
from mlp_xp.core.optimizers import Rates
from mlp_xp.core.plan import Chunk
from mlp_xp.core.step import State, initial_state
from mlp_xp.core.task import CLASSES
from mlp_xp.core.training import DivergenceError, Event, Position, check_finite, trajectory

HOST = synthetic(300)
PIXELS = HOST.train_inputs[0].size
# One of each kind of step that there is: deferred or not, with and without an optimiser's arrays.
STEPS_OF_ALL_KINDS = [
    {},
    {"batch_size": 7, "schedule": "cosine", "weight_decay": 0.01, "hidden": (6, 5)},
    {"batch_size": 30, "optimizer": "adam", "activation": "tanh"},
]


def configuration(**settings) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "hidden": (8,), "report_every": 150, **settings})


def run(config: TrainConfig, backend: Backend, host: Dataset = HOST, **options: Any) -> list[Event]:
    return [*trajectory(Job(config, on_device(host, backend), backend), **options)]


def host_network(report, backend: Backend) -> list[np.ndarray]:
    return arrays_of(report.model.network, backend.to_numpy)


def plain_evaluation(arrays: list[np.ndarray], activation: str, host: Dataset = HOST) -> tuple[float, float]:
    function = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}[activation]
    a = host.test_inputs.reshape(len(host.test_inputs), -1) / 255
    layers = list(zip(arrays[::2], arrays[1::2], strict=True))
    for weights, bias in layers[:-1]:
        a = function(a @ weights + bias)
    z = a @ layers[-1][0] + layers[-1][1]
    z = z - z.max(axis=1, keepdims=True)
    right = np.arange(len(z)), host.test_labels
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[right])), float((z.argmax(axis=1) == right[1]).mean())


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_what_reports_say_is_so_twice_to_the_same_bits(settings, backend):
    """Against plain NumPy: the loss of the report's step, mean losses on both sets, the accuracy, the network's own."""
    config = configuration(**settings)
    events, again = run(config, backend), run(config, backend)
    for one, other in zip(events, again, strict=True):
        assert one.losses.tobytes() == other.losses.tobytes()
        assert one.losses.dtype == np.float64
        if one.report:
            for x, y in zip(*(host_network(event.report, backend) for event in (one, other)), strict=True):
                assert x.tobytes() == y.tobytes()
    everything = np.concatenate([event.losses for event in events if event.position.epoch != WARM_UP_EPOCH])
    full, rest = divmod(300, config.batch_size)
    sizes = np.array(([config.batch_size] * full + [rest] * bool(rest)) * config.epochs)
    reports = [event.report for event in events if event.report]
    since, seconds = 0, 0.0
    for report in reports:
        closing = report.sample == 300
        step = report.epoch * len(sizes) // config.epochs + report.sample // config.batch_size
        step = len(everything) - 1 if closing else step
        assert report.loss == everything[step]
        window = slice(since, step + 1)
        mean = np.average(everything[window], weights=sizes[window])
        np.testing.assert_allclose(report.train_loss, mean, rtol=len(everything) * np.finfo(float).eps)
        since = step + 1
        assert report.seconds > seconds
        seconds = report.seconds
        loss, accuracy = plain_evaluation(host_network(report, backend), config.activation)
        assert_near(report.test.loss, loss, trajectory_tolerance(1, PIXELS))
        assert report.test.accuracy == accuracy
    assert (reports[-1].epoch, reports[-1].sample) == (1, 300)


@pytest.mark.parametrize(
    ("samples", "batch_size", "report_every", "expected"),
    [
        (300, 1, 130, [0, 130, 260]),  # does not divide the data
        (300, 1, 10000, [0]),
        (300, 7, 100, [0, 100, 200]),  # within batches
        (300, 7, 298, [0, 298]),  # in the last, partial batch
        (300, 300, 1, [0]),  # all in one batch, which has one report
    ],
)
def test_reports_and_positions_are_where_they_were_asked_for(samples, batch_size, report_every, expected):
    config = configuration(batch_size=batch_size, report_every=report_every)
    events = run(config, open_backend(), synthetic(samples))
    places = [(event.report.epoch, event.report.sample) for event in events if event.report]
    assert places == [(0, s) for s in expected] + [(1, s) for s in expected] + [(1, samples)]
    assert [event.position.step for event in events] == np.cumsum([len(event.losses) for event in events]).tolist()
    assert events[-1].position.step == 10 + 2 * -(-samples // batch_size)
    assert [event.closing for event in events] == [False] * (len(events) - 1) + [True]


def test_a_run_may_end_after_any_number_of_steps():
    """10 steps of warm-up and 43 an epoch, of 7 samples: within chunks, at their ends, before and after reports."""
    backend, config = open_backend(), configuration(batch_size=7)
    whole = run(config, backend)
    everything = np.concatenate([event.losses for event in whole])
    for steps in (0, 10, 11, 46, 80, 96, 97):
        events = run(config, backend, stop_after=steps)
        losses = np.concatenate([[], *(event.losses for event in events)])
        assert_near(losses, everything[:steps], trajectory_tolerance(96, PIXELS))
        assert any(event.closing for event in events) == (steps >= 96)
        # What is due after a step is done where the run comes to that step, and never before.
        for kind in ("report", "checkpoint"):
            wanted = [e.position.step for e in whole if getattr(e, kind) and e.position.step <= steps and not e.closing]
            found = [e.position.step for e in events if getattr(e, kind) and not e.closing]
            assert found == wanted


def test_a_data_set_of_its_own_preparation_is_trained_and_tested_through_it(backend):
    """Dark on light: the run is that of the images the other way round."""

    def inverted(images, **others):
        return 1 - flatten_and_scale(images, **others)

    config = configuration(validation=60, batch_size=20)
    turned = HOST._replace(train_inputs=255 - HOST.train_inputs, test_inputs=255 - HOST.test_inputs)
    one, other = (run(config, backend, host) for host in (HOST._replace(prepare=Preparation(inverted)), turned))
    tolerance = trajectory_tolerance(490, PIXELS)
    for a, b in zip(one, other, strict=True):
        assert_near(a.losses, b.losses, tolerance)
        if b.report:
            assert_near(a.report.test.loss, b.report.test.loss, tolerance)
            if a.report.validation:
                assert a.report.validation.accuracy == b.report.validation.accuracy


def test_the_best_network_on_the_samples_held_out_is_kept():
    """Ties go to the lower loss. By plain NumPy from the network after each epoch."""
    backend = open_backend()
    config = configuration(validation=60, learning_rate=0.1, report_every=240, epochs=15)
    held_out = HOST._replace(test_inputs=HOST.train_inputs[240:], test_labels=HOST.train_labels[240:])
    events, scores, networks = [], [], []
    for event in trajectory(Job(config, on_device(HOST, backend), backend)):
        events.append(event)
        if event.position.epoch != WARM_UP_EPOCH and event.position.sample == 240 and event.losses.size:
            networks.append(arrays_of(event.position.state.network, backend.to_numpy))
            loss, accuracy = plain_evaluation(networks[-1], "sigmoid", held_out)
            scores.append((accuracy, -loss))
    accuracies = [accuracy for accuracy, _ in scores]
    best = scores.index(max(scores))
    assert accuracies.index(max(accuracies)) < best < 14, "the first of equal ones or the last proves less"
    assert events[-1].position.best[1:3] == (accuracies[best], best)
    for array, expected in zip(host_network(events[-1].report, backend), networks[best], strict=True):
        np.testing.assert_array_equal(array, expected)
    *others, closing = [event.report for event in events if event.report]
    assert [(report.epoch, report.sample) for report in others] == [(e, s) for e in range(15) for s in (0, 240)]
    expected = [scores[report.epoch][0] if report.sample == 240 else None for report in others]
    assert [report.validation and report.validation.accuracy for report in others] == expected
    assert (closing.sample, closing.validation.accuracy) == (240, max(scores)[0])
    assert (closing.loss, closing.train_loss) == (others[-1].loss, others[-1].train_loss)
    *_, last = run(replace(config, epochs=40, patience=2), backend)
    assert last.report.epoch == next(e for e in range(40) if e - scores.index(max(scores[: e + 1])) == 2)


class Clock:
    """Stands still but for what the test adds to `now`."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def test_samples_per_second_are_samples_over_seconds_of_training(monkeypatch):
    """One second for each chunk; what the caller or another process does meanwhile does not count."""
    clock, numpy = Clock(), open_backend()
    monkeypatch.setattr(time, "perf_counter", clock)

    def to_numpy(array: Any) -> np.ndarray:
        clock.now += 1  # a chunk of training has one transfer, a report none
        return numpy.to_numpy(array)

    backend, config = replace(numpy, to_numpy=to_numpy), configuration(batch_size=7, report_every=60)
    done = since = chunks = 0
    job = Job(config, HOST, backend)
    began = clock.now
    for event in trajectory(job):
        if event.position.epoch != WARM_UP_EPOCH and event.losses.size:
            chunks, done = chunks + 1, event.position.epoch * 300 + event.position.sample
        if event.report:
            assert event.report.samples_per_second == ((done - since) / chunks if chunks else 0.0)
            assert event.report.seconds == event.position.seconds == clock.now - began
            since, chunks = done, 0
        clock.now += 100


# Divergence. Warnings are errors in this suite: none of these may give one.


def assert_diverges(config: TrainConfig, backend: Backend) -> None:
    good, place = [], r"of (the warm-up|epoch \d+) is (inf|nan|not finite); lower the learning rate or choose another"
    with pytest.raises(DivergenceError, match=f"^training diverged: the .* {place} initialisation$") as caught:
        good.extend(event.losses for event in trajectory(Job(config, on_device(HOST, backend), backend)))
    assert all(np.isfinite(losses).all() for losses in good)
    assert caught.value.exit_code == 1


DIVERGING = [
    {"update_order": "simultaneous", "hidden": (8, 8), "activation": "relu"},
    {"batch_size": 7, "optimizer": "momentum", "weight_decay": 1.0},
    {"warm_up_steps": 10},
]


@pytest.mark.parametrize("settings", DIVERGING)
def test_divergence_is_told_with_its_place_and_no_warning(settings, backend):
    assert_diverges(configuration(**{"warm_up_steps": 0, "epochs": 5, "learning_rate": 1e300, **settings}), backend)


def test_divergence_in_float32(backend32):
    assert_diverges(configuration(warm_up_steps=0, epochs=5, learning_rate=1e300, batch_size=7), backend32)


@pytest.mark.parametrize(
    ("losses", "epoch", "chunk", "place"),
    [
        ([1.0, np.nan, np.inf], 3, Chunk(100, 3, 7), "the loss at sample 107 of epoch 3 is nan;"),
        ([np.inf, 1.0], 0, Chunk(0, 2, 1), "the loss at sample 0 of epoch 0 is inf;"),
        ([np.nan], WARM_UP_EPOCH, Chunk(1, 1, 1), "the loss at sample 1 of the warm-up is nan;"),
    ],
)
def test_the_place_is_that_of_the_first_bad_loss(losses, epoch, chunk, place):
    with pytest.raises(DivergenceError, match=place):
        check_finite(np.array(losses), epoch, chunk)
    check_finite(np.array([0.0, 1e308, 5.0]), 0, Chunk(0, 3, 1))


def test_an_update_that_breaks_the_network_is_told_though_no_loss_shows_it(backend):
    """A single step: its loss is from before the update, and there is no other."""
    config = configuration(learning_rate=1e300, warm_up_steps=0, epochs=1)
    with pytest.raises(DivergenceError, match=r"state after 1 samples of epoch 0 is not finite; lower"):
        run(config, backend, synthetic(1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_no_report_is_given_of_a_state_that_is_not_finite_though_every_loss_is(optimizer, backend):
    """A saturated unit is 1 whatever its weights, and an infinite second moment of Adam stops its parameter."""
    config = configuration(optimizer=optimizer, warm_up_steps=0, epochs=1, report_every=10**6, defer_updates=False)
    bright = HOST._replace(train_inputs=HOST.train_inputs.copy(), test_inputs=HOST.test_inputs.copy())
    for images in (bright.train_inputs, bright.test_inputs):
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
    start = Position(state)
    with pytest.raises(DivergenceError, match=r"state after 1 samples of epoch 0 is not finite"):
        next(trajectory(Job(config, on_device(bright, backend), backend), start))


def test_numbers_that_are_not_finite_are_found_in_any_array(backend):
    large = float(np.finfo(np.float64).max)  # the sum overflows, but each is finite
    for values, expected in (((large, large), True), ((1.0, np.nan), False), ((-np.inf, 3.0), False)):
        arrays = [backend.asarray(np.array(each)) for each in ((1.0, 2.0, 3.0), values)]
        assert all_finite(arrays, backend) == expected


# Compilations.


@pytest.fixture
def compiled() -> Iterator[SimpleNamespace]:
    """JAX, with nothing compiled; `count(config)` is the number of loops that its steps have compiled since."""
    backend = open_backend("jax")
    make_chunk.cache_clear()

    def count(config: TrainConfig) -> int:
        return make_chunk(config.of_steps(), backend, flatten_and_scale, CLASSES).__wrapped__._cache_size()

    yield SimpleNamespace(backend=backend, count=count)
    make_chunk.cache_clear()


@pytest.mark.slow
def test_a_run_compiles_one_loop_for_each_size_of_a_batch_whatever_its_length(compiled):
    for settings, size, expected in (({"hidden": (3,)}, 60000, 1), ({"batch_size": 7, "epochs": 3}, 300, 3)):
        config = configuration(**{"report_every": 10000 if size > 300 else 150, **settings})
        images = np.random.default_rng(0).integers(0, 256, (size, 12, 12), dtype=np.uint8)
        host = HOST._replace(train_inputs=images, train_labels=np.arange(size, dtype=np.uint8) % 10)
        counts = {}
        for event in trajectory(Job(config, on_device(host, compiled.backend), compiled.backend)):
            counts[event.position.epoch] = compiled.count(config)
        assert counts == {WARM_UP_EPOCH: 1, **dict.fromkeys(range(config.epochs), expected)}
    for steps in (3, 60, 170):
        run(configuration(), compiled.backend, stop_after=steps)
    assert compiled.count(configuration()) == 1


@pytest.mark.slow
def test_a_run_compiles_three_functions_beside_its_loops_and_shares_them(compiled):
    """Each function of arrays as a whole: evaluation, a copy of the network, and whether it is finite."""
    import jax

    names = []

    def note(event: str, seconds: float, fun_name: str = "", **others: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)  # older versions give none

    dataset = on_device(synthetic(47, 13, size=11), compiled.backend)  # shapes of no other test
    jax.monitoring.register_event_duration_secs_listener(note)
    config = configuration(hidden=(5, 6), optimizer="adam")
    next(event for event in trajectory(Job(config, dataset, compiled.backend)) if event.report)
    assert len(names) == 4, names
    others = {"seed": 9, "learning_rate": 0.3, "init": "he", "schedule": "cosine", "epochs": 3}
    next(trajectory(Job(replace(config, **others), dataset, compiled.backend)))
    assert make_chunk.cache_info().currsize == 1
    next(trajectory(Job(replace(config, activation="relu"), dataset, compiled.backend)))
    assert make_chunk.cache_info().currsize == 2


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


def chunk_inputs(config: TrainConfig, backend: Backend, steps: int) -> tuple[State, TrainingSet, Steps]:
    """All that a chunk takes."""
    state, _ = initial_state(config, (PIXELS, *config.hidden, 10), backend)
    samples = np.arange(steps * config.batch_size).reshape(steps, config.batch_size)
    size = 25 if config.batch_size == 1 else steps
    in_order = in_blocks(make_steps(config, samples, 0, steps), -(-steps // size), size, backend)
    return state, TrainingSet(*on_device(HOST, backend)[:2]), in_order


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_nothing_leaves_the_device_inside_a_chunk(settings, backend, monkeypatch):
    config = configuration(**settings)
    inputs = chunk_inputs(config, backend, 50 if config.batch_size == 1 else 5)
    with monkeypatch.context() as patch:
        closed = close_all_ways_out(backend, patch)
        # Not from the cache: that would keep what is closed.
        state, losses = make_chunk.__wrapped__(config, closed, flatten_and_scale, CLASSES)(*inputs)
    assert np.isfinite(backend.to_numpy(losses)).all()
    arrays = losses, *(array for layer in state.network for array in layer)
    assert all(type(array) is type(inputs[1].inputs) for array in arrays)


def test_only_losses_leave_the_device_once_a_chunk(backend):
    """Besides single numbers, such as whether a network is finite."""
    taken = []

    def counting(array):
        taken.extend([1] * (array.ndim > 0))
        return backend.to_numpy(array)

    expected = [1, 1]  # the labels of both parts, which are checked at the start
    for event in run(configuration(), replace(backend, to_numpy=counting)):
        expected += [1] * (not event.closing)
    assert taken == expected


@pytest.mark.parametrize("top", [1.7e308, np.inf])
def test_a_chunk_ends_without_a_warning_whatever_its_losses(top, backend):
    """The logits are the biases, and the difference of two of them is beyond float64."""
    config = configuration(hidden=())
    state, training_set, steps = chunk_inputs(config, backend, 50)
    bias = np.full(10, -1.7e308)
    bias[3] = top
    (layer,) = state.network
    state = state._replace(network=(Layer(layer.weights * 0, backend.asarray(bias, backend.dtype)),))
    steps = steps._replace(rates=type(steps.rates)(*(each * 0 for each in steps.rates)))
    _, losses = make_chunk(config, backend, flatten_and_scale, CLASSES)(state, training_set, steps)
    # XLA may find the loss of class 3, 0 to rounding; it is NaN where 0 is multiplied by an infinity.
    assert not np.isfinite(backend.to_numpy(losses))[HOST.train_labels[:50] != 3].any()


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({}, 24), pytest.param({"batch_size": 7, "optimizer": "adam", "dropout": 0.5}, 13, marks=pytest.mark.slow)],
)
def test_steps_that_fill_up_a_chunk_are_not_taken(settings, steps):
    """Whatever they are: here steps on the same samples, at a rate of NaN."""
    config, backend = configuration(**settings), open_backend("jax")
    rows = np.arange(steps * config.batch_size).reshape(steps, config.batch_size)
    taken, results = make_steps(config, rows, 0, steps), []
    run_chunk = make_chunk(config, backend, flatten_and_scale, CLASSES)
    for blocks in (1, 3):
        state, training_set, _ = chunk_inputs(config, backend, 1)
        given = in_blocks(taken, blocks, steps, backend)
        if blocks > 1:
            samples, _, rates = (np.array(each) for each in (given.samples, given.kept, given.rates))
            assert (samples[1:] == NO_SAMPLE).all()
            samples[1:, :, 1:] = 1
            rates[:, 1:] = np.nan
            given = given._replace(samples=backend.asarray(samples), rates=Rates(*map(backend.asarray, rates)))
        state, losses = run_chunk(state, training_set, given)
        layers = [*state.network, *(layer for slots in state.slots for layer in slots)]
        results.append([backend.to_numpy(losses)[:steps], *arrays_of(layers, backend.to_numpy)])
    for expected, actual in zip(*results, strict=True):
        assert_near(actual, expected, trajectory_tolerance(steps, PIXELS))
