"""A run as its caller sees it: reports and their places, held-out samples, divergence;
and what a chunk may not do.
"""

import contextlib
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import reference
from data_sets import on_device, synthetic, varied
from helpers import arrays_of, changed, first_state
from numerics import assert_all_equal, assert_near, trajectory_tolerance

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.chunk import make_chunk
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.model import all_finite
from mlp_xp.core.network import Layer
from mlp_xp.core.plan import Chunk
from mlp_xp.core.signature import flatten_and_scale
from mlp_xp.core.task import CLASSES
from mlp_xp.core.training import (
    DivergenceError,
    Event,
    Position,
    check_losses,
    check_state,
    trajectory,
)

HOST = synthetic(300)
PIXELS = HOST.train.inputs[0].size
# One of each kind of step that there is: deferred or not, with and without an
# optimiser's arrays.
STEPS_OF_ALL_KINDS = [
    {},
    {"batch_size": 7, "schedule": "cosine", "weight_decay": 0.01, "hidden": (6, 5)},
    {"batch_size": 30, "optimizer": "adam", "activation": "tanh"},
]


def configuration(**settings) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "hidden": (8,), "report_every": 150, **settings})


def run(
    config: TrainConfig, backend: Backend, host: Dataset = HOST, **options: Any
) -> list[Event]:
    return [*trajectory(Job(config, on_device(host, backend), backend), **options)]


def plain_evaluation(
    arrays: list[np.ndarray], activation: str, host: Dataset = HOST
) -> tuple[float, float]:
    a = host.test.inputs.reshape(len(host.test.inputs), -1) / 255
    layers = list(zip(arrays[::2], arrays[1::2], strict=True))
    for weights, bias in layers[:-1]:
        a = reference.ACTIVATIONS[activation](a @ weights + bias)
    logits = a @ layers[-1][0] + layers[-1][1]
    losses, p = reference.losses_and_predictions(
        logits, np.eye(10)[host.test.labels], "classes"
    )
    return losses.mean(), (p.argmax(axis=1) == host.test.labels).mean()


@pytest.mark.parametrize("settings", STEPS_OF_ALL_KINDS)
def test_what_reports_say_is_so_twice_to_the_same_bits(settings, backend):
    """Against plain NumPy: the loss of the report's step, mean losses on both sets, the
    accuracy, the network's own.
    """
    config = configuration(**settings)
    events, again = run(config, backend), run(config, backend)
    for one, other in zip(events, again, strict=True):
        assert one.losses.tobytes() == other.losses.tobytes()
        assert one.losses.dtype == np.float64
        if one.report:
            networks = (
                arrays_of(event.report.model.network, backend.to_numpy)
                for event in (one, other)
            )
            for x, y in zip(*networks, strict=True):
                assert x.tobytes() == y.tobytes()
    assert {
        event.position.sample
        for event in events
        if event.position.epoch == WARM_UP_EPOCH
    } == {0}
    everything = np.concatenate(
        [event.losses for event in events if event.position.epoch != WARM_UP_EPOCH]
    )
    full, rest = divmod(300, config.batch_size)
    sizes = np.array(([config.batch_size] * full + [rest] * bool(rest)) * config.epochs)
    reports = [event.report for event in events if event.report]
    since, seconds = 0, 0.0
    for report in reports:
        closing = report.sample == 300
        step = (
            report.epoch * len(sizes) // config.epochs
            + report.sample // config.batch_size
        )
        step = len(everything) - 1 if closing else step
        assert report.loss == everything[step]
        window = slice(since, step + 1)
        mean = np.average(everything[window], weights=sizes[window])
        np.testing.assert_allclose(
            report.train_loss, mean, rtol=len(everything) * np.finfo(float).eps
        )
        since = step + 1
        assert report.seconds > seconds
        seconds = report.seconds
        loss, accuracy = plain_evaluation(
            arrays_of(report.model.network, backend.to_numpy), config.activation
        )
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
def test_reports_and_positions_are_where_they_were_asked_for(
    samples, batch_size, report_every, expected
):
    config = configuration(batch_size=batch_size, report_every=report_every)
    events = run(config, open_backend(), synthetic(samples))
    places = [
        (event.report.epoch, event.report.sample) for event in events if event.report
    ]
    assert places == [(0, s) for s in expected] + [(1, s) for s in expected] + [
        (1, samples)
    ]
    assert [event.position.step for event in events] == np.cumsum(
        [len(event.losses) for event in events]
    ).tolist()
    assert events[-1].position.step == 10 + 2 * -(-samples // batch_size)
    assert [event.closing for event in events] == [False] * (len(events) - 1) + [True]
    reports = np.cumsum([bool(event.report) for event in events[:-1]]).tolist()
    assert [event.position.reports for event in events] == [*reports, reports[-1]]
    assert [event.checkpoint for event in events] == [
        event.position.sample == samples for event in events
    ]


def test_a_resumed_job_has_no_second_state_on_the_device():
    """Next to the state to resume from, whose memory may be half of what there is."""
    backend, placed = open_backend(), []

    def counting(array, dtype=None):
        placed.append(array.shape)
        return backend.asarray(array, dtype)

    job = Job(
        configuration(), on_device(HOST, backend), changed(backend, asarray=counting)
    )
    events = trajectory(job)
    start = next(
        event.position for event in events if event.position.epoch != WARM_UP_EPOCH
    )
    weights = job.sizes[:2]
    assert placed.count(weights) == 1
    next(trajectory(job, start))
    assert placed.count(weights) == 1


def test_a_resumed_job_counts_its_time_on_and_ends_with_a_checkpoint():
    config = configuration(report_every=50)
    half = next(
        event.position
        for event in run(config, open_backend())
        if event.position.epoch == 0
    )
    began = time.perf_counter()
    events = run(config, open_backend(), start=half._replace(seconds=1000.0))
    seconds = [event.position.seconds for event in events]
    assert 1000 <= seconds[0] <= seconds[-1] <= 1000 + time.perf_counter() - began
    assert seconds == sorted(seconds)
    assert [event.report.seconds for event in events if event.report] == [
        event.position.seconds for event in events if event.report
    ]
    assert (events[-1].closing, events[-1].checkpoint) == (True, True)


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_the_best_network_on_the_samples_held_out_is_kept(monitor):
    """Ties of the accuracy go to the lower loss. By plain NumPy from the network after
    each epoch.
    """
    backend = open_backend()
    config = configuration(
        validation=60,
        learning_rate=0.2,
        report_every=240,
        epochs=15,
        monitor=monitor,
        seed=1,
    )
    held_out = varied(
        HOST, test_inputs=HOST.train.inputs[240:], test_labels=HOST.train.labels[240:]
    )
    events, scores, networks = [], [], []
    for event in trajectory(Job(config, on_device(HOST, backend), backend)):
        events.append(event)
        if (
            event.position.epoch != WARM_UP_EPOCH
            and event.position.sample == 240
            and event.losses.size
        ):
            networks.append(arrays_of(event.position.state.network, backend.to_numpy))
            loss, accuracy = plain_evaluation(networks[-1], "sigmoid", held_out)
            scores.append((accuracy, -loss))
    accuracies = [accuracy for accuracy, _ in scores]
    keys = scores if monitor == "accuracy" else [score[::-1] for score in scores]
    best = keys.index(max(keys))
    assert best < 14
    assert accuracies.index(max(accuracies)) < scores.index(max(scores)), (
        "the first of equal ones proves less"
    )
    assert (best == scores.index(max(scores))) == (monitor == "accuracy")
    assert events[-1].position.best[1:3] == (accuracies[best], best)
    assert_all_equal(
        arrays_of(events[-1].report.model.network, backend.to_numpy), networks[best]
    )
    *others, closing = [event.report for event in events if event.report]
    assert [(report.epoch, report.sample) for report in others] == [
        (e, s) for e in range(15) for s in (0, 240)
    ]
    expected = [
        scores[report.epoch][0] if report.sample == 240 else None for report in others
    ]
    assert [
        report.validation and report.validation.accuracy for report in others
    ] == expected
    assert (closing.sample, closing.validation.accuracy) == (240, accuracies[best])
    assert (closing.loss, closing.train_loss) == (
        others[-1].loss,
        others[-1].train_loss,
    )
    assert closing.validation.samples == others[-1].validation.samples
    *_, last = run(replace(config, epochs=40, patience=2), backend)
    assert last.closing
    assert last.report.epoch == next(
        e for e in range(40) if e - keys.index(max(keys[: e + 1])) == 2
    )


def test_samples_per_second_are_those_of_training_alone(monkeypatch):
    """One second for each chunk. What the caller or another process does meanwhile does
    not count.
    """
    now, run_chunk = [5000.0], Job.run

    def slow(*args):
        now[0] += 1
        return run_chunk(*args)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Job, "run", slow)
    samples = reported = chunks = 0
    for event in trajectory(
        Job(configuration(batch_size=7, report_every=60), HOST, open_backend())
    ):
        if event.position.epoch != WARM_UP_EPOCH and not event.closing:
            chunks, samples = (
                chunks + 1,
                event.position.epoch * 300 + event.position.sample,
            )
        if event.report and not event.closing:
            assert event.report.samples_per_second == (samples - reported) / chunks
            assert event.report.seconds == event.position.seconds == now[0] - 5000
            reported, chunks = samples, 0
        now[0] += 100


# Divergence. Warnings are errors in this suite: none of these may give one.


def assert_diverges(config: TrainConfig, backend: Backend) -> None:
    good, place = (
        [],
        r"of (the warm-up|epoch \d+) is (inf|nan|not finite); lower the learning rate or choose another",
    )
    with pytest.raises(
        DivergenceError, match=f"^training diverged: the .* {place} initialisation$"
    ) as caught:
        good.extend(
            event.losses
            for event in trajectory(Job(config, on_device(HOST, backend), backend))
        )
    assert all(np.isfinite(losses).all() for losses in good)
    assert caught.value.exit_code == 1


DIVERGING = [
    {"update_order": "simultaneous", "hidden": (8, 8), "activation": "relu"},
    {"batch_size": 7, "optimizer": "momentum", "weight_decay": 1.0},
    {"warm_up_steps": 10},
]


@pytest.mark.parametrize("settings", DIVERGING)
def test_divergence_is_told_with_its_place_and_no_warning(settings, backend):
    assert_diverges(
        configuration(
            **{"warm_up_steps": 0, "epochs": 5, "learning_rate": 1e300, **settings}
        ),
        backend,
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rates_at_the_ends_of_their_range_train_or_diverge(dtype, optimizer):
    for rate, decay in ((1e300, 0), (1e300, 1e30), (1e-30, 1e30), (1e-30, 0)):
        settings = {
            "batch_size": 50,
            "learning_rate": rate,
            "weight_decay": decay,
            "optimizer": optimizer,
        }
        with contextlib.suppress(DivergenceError):
            run(configuration(**settings), open_backend(dtype=dtype))


@pytest.mark.parametrize(
    ("losses", "epoch", "chunk", "place"),
    [
        (
            [1.0, np.nan, np.inf],
            3,
            Chunk(100, 3, 7),
            "the loss at sample 107 of epoch 3 is nan;",
        ),
        ([np.inf, 1.0], 0, Chunk(0, 2, 1), "the loss at sample 0 of epoch 0 is inf;"),
        (
            [np.nan],
            WARM_UP_EPOCH,
            Chunk(1, 1, 1),
            "the loss at sample 1 of the warm-up is nan;",
        ),
    ],
)
def test_the_place_is_that_of_the_first_bad_loss(losses, epoch, chunk, place):
    with pytest.raises(DivergenceError, match=place):
        check_losses(np.array(losses), epoch, chunk)
    check_losses(np.array([0.0, 1e308, 5.0]), 0, Chunk(0, 3, 1))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            {"learning_rate": 1e300},
            "network or optimiser state after 1 samples of epoch 0 is not finite; lower",
        ),
        (
            {
                "learning_rate": 1e200,
                "activation": "relu",
                "update_order": "simultaneous",
            },
            r"test loss after 1 samples of epoch 0 is (inf|nan); lower",
        ),
    ],
)
def test_an_update_that_breaks_the_network_is_told_though_no_loss_shows_it(
    settings, fault, backend
):
    """A single step: its loss is from before the update, and there is no other. Finite
    weights may overflow in use.
    """
    with pytest.raises(DivergenceError, match=fault):
        run(configuration(warm_up_steps=0, epochs=1, **settings), backend, synthetic(1))


@pytest.mark.parametrize("slot", [False, True])
def test_a_state_that_is_not_finite_is_told_though_every_loss_is(slot, backend):
    """A saturated unit is 1 whatever its weights, and an infinite second moment of Adam
    stops its parameter.
    """
    state = first_state(configuration(optimizer="adam"), (3, 2), backend)
    check_state(Position(state), backend)
    wrong = Layer(backend.asarray(np.array([[1.0, np.inf]] * 3)), state.network[0].bias)
    wrong_state = (
        state._replace(slots=((state.slots[0][0], wrong),))
        if slot
        else state._replace(network=(wrong,))
    )
    with pytest.raises(
        DivergenceError, match="state after 0 samples of the warm-up is not finite"
    ):
        check_state(Position(wrong_state), backend)


def test_numbers_that_are_not_finite_are_found_in_any_array(backend):
    large = float(np.finfo(np.float64).max)  # the sum overflows, but each is finite
    for values, expected in (
        ((large, large), True),
        ((1.0, np.nan), False),
        ((-np.inf, 3.0), False),
    ):
        arrays = [backend.asarray(np.array(each)) for each in ((1.0, 2.0, 3.0), values)]
        assert all_finite(arrays, backend) == expected


@pytest.mark.slow
def test_a_run_compiles_one_loop_for_each_size_of_a_batch_which_others_share():
    """Whatever the lengths of its chunks, and its settings that a step does not depend
    on.
    """
    backend = open_backend("jax")
    for settings, size, expected in (
        ({"hidden": (3,)}, 60000, 1),
        ({"batch_size": 7, "epochs": 3}, 300, 3),
    ):
        config = configuration(
            **{"report_every": 10000 if size > 300 else 150, **settings}
        )
        images = np.random.default_rng(0).integers(
            0, 256, (size, 12, 12), dtype=np.uint8
        )
        host = varied(
            HOST, train_inputs=images, train_labels=np.arange(size, dtype=np.uint8) % 10
        )
        make_chunk.cache_clear()
        most_steps = max(len(event.losses) for event in run(config, backend, host))
        run_chunk = make_chunk(
            config.compiled_settings(), backend, flatten_and_scale, CLASSES, most_steps
        )
        assert run_chunk.__wrapped__.__wrapped__._cache_size() == expected
        other = replace(
            config, seed=9, learning_rate=0.03, init="he", schedule="cosine"
        )
        # chunks of 1, and of more
        next(
            islice(trajectory(Job(other, on_device(host, backend), backend)), 12, None)
        )
        assert (
            make_chunk.cache_info().currsize,
            run_chunk.__wrapped__.__wrapped__._cache_size(),
        ) == (1, expected)


# Nothing leaves the device inside a chunk.


def test_only_losses_leave_the_device_once_a_chunk(backend):
    taken = []

    def counting(array):
        taken.append(tuple(array.shape))
        return backend.to_numpy(array)

    job = Job(
        configuration(), on_device(HOST, backend), changed(backend, to_numpy=counting)
    )
    state = first_state(job.config, job.sizes, backend)
    taken.clear()  # the check of the data reads some numbers
    job.run(state, np.arange(60)[:, None], 0)
    assert len(taken) == 1
