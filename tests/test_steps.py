"""The update step in both orders, one at a time and in deferred blocks, against the notebook's retelling."""

from dataclasses import replace

import numpy as np
import pytest
from data_sets import notebook_rows, on_device, synthetic
from numerics import assert_near, trajectory_tolerance

import mlp_xp.chunks
from mlp_xp.backend import Backend, open_backend
from mlp_xp.chunks import make_chunk
from mlp_xp.config import UPDATE_ORDERS, TrainConfig
from mlp_xp.dataset import Dataset, Preparation, flatten_and_scale
from mlp_xp.deferred import BLOCK_SAMPLES, LARGEST_BATCH, LARGEST_EAGER_BATCH, can_defer, make_deferred_block
from mlp_xp.device import initial_state
from mlp_xp.losses import LOSSES
from mlp_xp.network import Layer
from mlp_xp.parity import notebook
from mlp_xp.steps import State, make_step
from mlp_xp.training import trajectory

HOST = synthetic(300)
PIXELS = HOST.train_images[0].size
HIDDEN, EPOCHS, RATE = 16, 2, 0.05


def run(config: TrainConfig, backend: Backend, host: Dataset = HOST) -> tuple[np.ndarray, list[np.ndarray]]:
    """All losses of a run, warm-up included, and its parameters at the end."""
    losses, network = [], None
    for event in trajectory(config, on_device(host, backend), backend):
        losses.append(event.losses)
        network = event.report.network if event.report else network
    return np.concatenate(losses), [backend.to_numpy(array) for layer in network for array in layer]


def retell(config: TrainConfig, dtype) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same by the notebook's retelling."""
    images, labels = notebook_rows(HOST)
    network = notebook.Notebook(
        input_size=PIXELS,
        hidden_size=HIDDEN,
        learning_rate=config.learning_rate,
        seed=config.seed,
        dtype=dtype,
        textbook=config.update_order == "simultaneous",
    )
    steps = config.epochs * -(-len(images) // config.batch_size)
    losses = notebook.trajectory(network, images, labels, steps, batch_size=config.batch_size)
    return np.concatenate(losses), [
        network.weights_input_hidden,
        network.bias_input_hidden,
        network.weights_hidden_output,
        network.bias_hidden_output,
    ]


def configuration(update_order: str, batch_size: int, **settings) -> TrainConfig:
    # Two lengths of chunks and 1: fewer to compile where that is done.
    return TrainConfig(
        epochs=EPOCHS,
        batch_size=batch_size,
        learning_rate=RATE,
        hidden=(HIDDEN,),
        seed=5,
        report_every=300,
        update_order=update_order,
        **settings,
    )


def assert_retold(config: TrainConfig, backend: Backend, dtype, host: Dataset = HOST) -> None:
    losses, parameters = run(config, backend, host)
    expected_losses, expected_parameters = retell(config, dtype)
    tolerance = trajectory_tolerance(len(losses), PIXELS, dtype)
    assert_near(losses, expected_losses, tolerance)
    for actual, expected in zip(parameters, expected_parameters, strict=True):
        assert actual.dtype == expected.dtype == dtype
        assert_near(actual, expected, tolerance)


# 7 leaves a batch of 6 at the end of an epoch, 299 one of a single sample.
every_order = pytest.mark.parametrize("update_order", UPDATE_ORDERS)
every_batch_size = pytest.mark.parametrize("batch_size", [1, 7, 299])


@every_order
@every_batch_size
def test_trajectories_are_the_notebooks(update_order, batch_size, backend):
    assert_retold(configuration(update_order, batch_size), backend, np.float64)


@every_order
def test_undeferred_trajectories_are_the_notebooks(update_order, backend):
    assert_retold(configuration(update_order, 1, defer_updates=False), backend, np.float64)


@every_order
@pytest.mark.parametrize("batch_size", [1, 7])
def test_trajectories_are_the_notebooks_in_float32(update_order, batch_size, backend32):
    assert_retold(configuration(update_order, batch_size), backend32, np.float32)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_tolerance_tells_the_orders_apart(batch_size):
    """Else the comparisons above would prove less than they seem to."""
    one, other = (retell(configuration(order, batch_size), np.float64)[0] for order in UPDATE_ORDERS)
    apart = np.abs(one - other).max()
    assert apart > 10 * trajectory_tolerance(len(one), PIXELS, np.float32)
    assert one[-20:].mean() < one[10:30].mean() / 1.25, "it learns"


# Deferred blocks.


def make_inputs(config: TrainConfig, steps: int, backend: Backend, batch_size: int = 1) -> tuple[State, tuple]:
    """A state, and the inputs of so many steps as `make_step` takes them, with a further first axis."""
    state, _ = initial_state(config, (PIXELS, *config.hidden, 10), backend)
    rows, labels = notebook_rows(HOST)
    rates = np.linspace(1.0, 0.5, steps) * config.learning_rate  # no two alike: a mix-up shows
    samples = steps * batch_size
    x, targets = (array[:samples].reshape(steps, batch_size, -1) for array in (rows, labels))
    arrays = (x, np.ones((steps, batch_size)), targets, rates / batch_size)
    return state, tuple(backend.asarray(array, backend.dtype) for array in arrays)


def compiles(backend: Backend) -> bool:
    """Whether `backend.jit` compiles: then a second call with the same shapes does not run the function's Python."""
    ran = []

    def function(x):
        ran.append(x.shape)
        return x

    jitted = backend.jit(function)
    for _ in range(2):
        jitted(backend.asarray(np.ones(3)))
    return len(ran) == 1


def copied(state: State, backend: Backend) -> State:
    network = tuple(Layer(*(backend.xp.asarray(array, copy=True) for array in layer)) for layer in state.network)
    return state._replace(network=network)


def flat(state: State, backend: Backend) -> np.ndarray:
    return np.concatenate([backend.to_numpy(array).ravel() for layer in state.network for array in layer])


def test_a_backend_says_whether_it_compiles(backend):
    assert backend.compiles == compiles(backend)


@pytest.mark.parametrize(
    ("update_order", "hidden", "activation", "batch_size"),
    [
        ("layerwise", (HIDDEN,), "sigmoid", 1),
        ("simultaneous", (HIDDEN, 8), "tanh", 1),
        ("layerwise", (), "sigmoid", 1),
        ("layerwise", (HIDDEN,), "sigmoid", LARGEST_BATCH),
        ("simultaneous", (HIDDEN, 8), "tanh", 2),
    ],
)
def test_a_block_of_any_length_is_its_steps_one_by_one(update_order, hidden, activation, batch_size, backend):
    config = TrainConfig(hidden=hidden, update_order=update_order, activation=activation, init="glorot")
    longest = BLOCK_SAMPLES // batch_size
    state, inputs = make_inputs(config, longest, backend, batch_size)
    step, block = backend.jit(make_step(config, xp=backend.xp)), backend.jit(make_deferred_block(config, backend))
    # What compiles does so anew for every length, and is no other for that: a short one and the longest will do there.
    lengths = {2, longest} if compiles(backend) else set(range(1, longest + 1))
    expected, logits = copied(state, backend), []
    for i in range(longest):
        expected, row = step(expected, tuple(array[i, ...] for array in inputs))
        logits.append(backend.to_numpy(row))
        if i + 1 not in lengths:
            continue
        actual, actual_logits = block(copied(state, backend), tuple(array[: i + 1, ...] for array in inputs))
        tolerance = trajectory_tolerance(i + 1, PIXELS)
        assert_near(backend.to_numpy(actual_logits), np.stack(logits), tolerance)
        assert_near(flat(actual, backend), flat(expected, backend), tolerance)


def test_a_chunk_of_any_length_is_its_steps_one_by_one(backend):
    """Blocks and a rest: less than a block, a block, several blocks and some."""
    config = configuration("layerwise", 1)
    dataset = on_device(HOST, backend)
    step = backend.jit(make_step(config, xp=backend.xp))
    for steps in (BLOCK_SAMPLES - 1, BLOCK_SAMPLES, 2 * BLOCK_SAMPLES + 7):
        state, inputs = make_inputs(config, steps, backend)
        expected, logits = copied(state, backend), []
        for i in range(steps):
            expected, row = step(expected, tuple(array[i, ...] for array in inputs))
            logits.append(backend.to_numpy(row)[0])
        z = np.stack(logits)
        expected_losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(steps), HOST.train_labels[:steps]]
        order = backend.asarray(np.arange(steps)[:, None])
        images_and_labels = (dataset.train_images, dataset.train_labels)
        numbers = backend.xp.stack(inputs[3:])
        actual, losses = make_chunk(config, backend, dataset.prepare.function)(
            state, *images_and_labels, order, numbers
        )
        tolerance = trajectory_tolerance(steps, PIXELS)
        assert_near(backend.to_numpy(losses), expected_losses, tolerance)
        assert_near(flat(actual, backend), flat(expected, backend), tolerance)


@pytest.mark.parametrize(("batch_size", "most"), [(1, BLOCK_SAMPLES), (4, 20), (30, 30)])
def test_inputs_are_made_a_block_at_a_time(batch_size, most, backend, monkeypatch):
    """Whatever a chunk's length: 25 samples if deferred, others as BLOCK_BYTES holds, or a larger step alone."""
    made = []
    most = 24 if backend.compiles and batch_size == 4 else most

    def counted(images, **others):
        if images.shape[0] != len(HOST.test_images):  # those are evaluated as a whole
            made.append(images.shape[0])
        return flatten_and_scale(images, **others)

    for name in ("BLOCK_BYTES", "EAGER_BLOCK_BYTES"):
        monkeypatch.setattr(mlp_xp.chunks, name, 23 * PIXELS * 8)
    assert_retold(
        configuration("layerwise", batch_size), backend, np.float64, HOST._replace(prepare=Preparation(counted))
    )
    assert max(made) == most


def test_only_plain_descent_on_few_samples_is_deferred():
    """For anything else the low-rank algebra of a block does not hold, or does not pay."""
    assert can_defer(TrainConfig())
    assert can_defer(TrainConfig(update_order="simultaneous", hidden=(), schedule="cosine"))
    assert can_defer(TrainConfig(batch_size=LARGEST_EAGER_BATCH))
    assert not can_defer(TrainConfig(batch_size=LARGEST_EAGER_BATCH + 1))
    assert can_defer(TrainConfig(batch_size=LARGEST_BATCH), compiles=True)
    assert not can_defer(TrainConfig(batch_size=LARGEST_BATCH + 1), compiles=True)
    assert not can_defer(TrainConfig(optimizer="momentum"), compiles=True)
    assert not can_defer(TrainConfig(optimizer="momentum"))
    assert not can_defer(TrainConfig(optimizer="adam"))
    assert not can_defer(TrainConfig(weight_decay=0.1))
    assert not can_defer(TrainConfig(defer_updates=False))


@pytest.mark.parametrize("settings", [{}, {"defer_updates": False}, {"batch_size": 7}, {"batch_size": 9}])
def test_updates_are_deferred_where_they_can_be(settings, backend, monkeypatch):
    """The numbers do not tell, since they are the same to rounding; only the time would."""
    made = []

    def recording(*args):
        made.append(args)
        return make_deferred_block(*args)

    def refuse(*args, **kwargs):
        raise AssertionError("single steps where a block is due")

    config = configuration("layerwise", **{"batch_size": 1, **settings})
    monkeypatch.setattr(mlp_xp.chunks, "make_deferred_block", recording)
    defers = can_defer(config, compiles=backend.compiles)
    if defers:
        monkeypatch.setattr(mlp_xp.chunks, "make_step", refuse)
    make_chunk.__wrapped__(config, backend, flatten_and_scale)
    with_functions = replace(config, activation=backend.activation(config.activation))
    assert made == [(with_functions, backend, LOSSES["classes"])] * defers


@pytest.mark.parametrize("settings", [{}, {"batch_size": 7, "optimizer": "adam"}])
def test_training_changes_nothing_that_the_caller_owns(settings, backend):
    """Updates are in place, and donated arrays are gone: neither may reach the data set, or a report already given."""
    config = TrainConfig(epochs=1, hidden=(8,), report_every=100, **settings)
    dataset = on_device(HOST, backend)
    reports, then = [], []
    for event in trajectory(config, dataset, backend):
        if event.report:
            reports.append(event.report)
            then.append([backend.to_numpy(array) for layer in event.report.network for array in layer])
            np.testing.assert_array_equal(then[-1][0], backend.to_numpy(event.position.state.network[0].weights))
    for array, original in zip(dataset[:4], HOST[:4], strict=True):
        np.testing.assert_array_equal(backend.to_numpy(array), original)
    assert len(reports) == 4
    for report, arrays in zip(reports, then, strict=True):
        now = [backend.to_numpy(array) for layer in report.network for array in layer]
        for array, original in zip(now, arrays, strict=True):
            np.testing.assert_array_equal(array, original)
    assert (then[0][0] != then[1][0]).any(), "they would differ if it were one array"


@pytest.mark.parametrize(("batch_size", "optimizer"), [(1, "sgd"), (7, "sgd"), (7, "momentum")])
def test_a_step_updates_in_place_where_the_library_can(batch_size, optimizer, backend):
    """The contract of donation: what comes back is what went in, on libraries whose arrays can be changed."""
    config = TrainConfig(hidden=(8,), batch_size=batch_size, optimizer=optimizer)
    state, _ = initial_state(config, (PIXELS, 8, 10), backend)
    rows, labels = notebook_rows(HOST)
    batch = tuple(backend.asarray(array[:batch_size]) for array in (rows, np.ones(len(rows)), labels))
    before = arrays_of(state)
    after = arrays_of(make_step(config, xp=backend.xp)(state, (*batch, 0.1, 0.1))[0])
    probe = changed = backend.asarray(np.zeros(1))
    changed += 1
    assert [a is b for a, b in zip(after, before, strict=True)] == [changed is probe] * len(before)


def test_a_chunk_gives_its_arrays_away_where_the_library_can():
    """Only then is the memory of the old state free for the new one."""
    backend, config = open_backend("jax"), configuration("layerwise", 7)
    dataset, (state, _) = on_device(HOST, backend), initial_state(config, (PIXELS, HIDDEN, 10), backend)
    order, numbers = backend.asarray(np.arange(14).reshape(2, 7)), backend.asarray(np.full((2, 2), 0.1))
    make_chunk(config, backend, flatten_and_scale)(state, dataset.train_images, dataset.train_labels, order, numbers)
    assert all(array.is_deleted() for array in arrays_of(state))
    assert not any(array.is_deleted() for array in (*dataset[:4], order, numbers))


def arrays_of(state: State) -> list:
    layers = [*state.network, *(layer for slots in state.slots for layer in slots)]
    return [array for layer in layers for array in layer]
