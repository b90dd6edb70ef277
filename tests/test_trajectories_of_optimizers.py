"""Whole runs, cut into chunks, epochs and reports and resumed: against plain NumPy, `torch.optim` and optax.

`test_optimizers.py` compares the update steps. Here the optimiser's coefficients come from the run itself, so whatever
counts steps anew at a chunk, an epoch, a report or a resume shows, as does a schedule of another length.
"""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_sets import on_device, synthetic
from numerics import assert_near, trajectory_tolerance

from mlp_xp import TrainConfig, train
from mlp_xp.backend import Backend, installed, open_backend
from mlp_xp.training import trajectory

HOST = synthetic(150, 20, 6)
SAMPLES, PIXELS, HIDDEN, CLASSES = 150, 36, 7, 10
TOLERANCE = 1e-10  # as in test_optimizers.py
RATES = {"sgd": 0.3, "momentum": 0.05, "adam": 0.03}

# Reports and checkpoints cut an epoch of 150 samples into chunks, some of several steps; 4 leaves a batch of 2. They
# are at places where the chunks of several steps have one length, as JAX compiles each length anew.
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd, one sample a step": {"batch_size": 1, "schedule": "cosine"},
    "sgd": {"weight_decay": 0.01, "schedule": "cosine"},
    "momentum": {"optimizer": "momentum", "weight_decay": 0.01, "schedule": "cosine"},
    "adam": {"optimizer": "adam", "weight_decay": 0.01, "schedule": "cosine"},
    "adam, constant rate, no warm-up": {"optimizer": "adam", "warm_up_steps": 0},
}
# An order that no other library has.
LAYERWISE = {"adam, layerwise": {**SETTINGS["adam"], "update_order": "layerwise"}}
every_setting = pytest.mark.parametrize("name", SETTINGS)


def configuration(name: str) -> TrainConfig:
    settings = {**SETTINGS, **LAYERWISE}[name]
    return TrainConfig(
        **{
            "epochs": 2,
            "batch_size": 4,
            "learning_rate": RATES[settings.get("optimizer", "sgd")],
            "hidden": (HIDDEN,),
            "seed": 11,
            "init": "glorot",
            "update_order": "simultaneous",
            "report_every": 48,
            "checkpoint_every": 100,
            **settings,
        }
    )


class Run(NamedTuple):
    """The loss before every step, warm-up included, and all parameters at the end."""

    losses: np.ndarray
    parameters: np.ndarray


def flat(layers: Any) -> np.ndarray:
    return np.concatenate([np.asarray(array).ravel() for layer in layers for array in layer])


@cache
def package_run(config: TrainConfig, backend: Backend) -> Run:
    """The package's own, computed once for all comparisons."""
    chunks = [*trajectory(config, on_device(HOST, backend), backend)]
    losses = [chunk.losses for chunk in chunks if chunk.losses.size]
    assert len(losses) - config.warm_up_steps >= 4 * config.epochs, "an epoch is cut into several chunks"
    assert sum(len(chunk) > 1 for chunk in losses) >= config.epochs, "some of several steps"
    assert sum(chunk.report is not None for chunk in chunks) >= 3 * config.epochs
    return Run(np.concatenate(losses), parameters_of(chunks[-1].report.network, backend))


def parameters_of(network: Any, backend: Backend) -> np.ndarray:
    return flat([[backend.to_numpy(array) for array in layer] for layer in network])


# The same by others: initial weights and batches as the notebook draws them, and the step count of a whole run.


def start(config: TrainConfig) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """The layers, each a matrix and a bias, and the samples of every step of the run."""
    random = np.random.RandomState(config.seed)
    layers = [
        [random.standard_normal(shape) * (2 / sum(shape)) ** 0.5, np.zeros(shape[1])]
        for shape in pairwise((PIXELS, HIDDEN, CLASSES))
    ]
    batches = [np.array([1])] * config.warm_up_steps
    order = np.arange(SAMPLES)
    for _ in range(config.epochs):
        order = order[random.permutation(SAMPLES)]
        batches += [order[i : i + config.batch_size] for i in range(0, SAMPLES, config.batch_size)]
    return layers, batches


def inputs(batch: np.ndarray) -> np.ndarray:
    return HOST.train_images[batch].reshape(len(batch), PIXELS) / 255


def formula_run(config: TrainConfig, total: int | None = None, restart: int = 10**9) -> Run:
    """The papers' algorithms in plain NumPy. total, restart: see `test_the_faults_would_show`."""
    layers, batches = start(config)
    total = total or len(batches)
    kept = [[np.zeros((2, *array.shape)) for array in layer] for layer in layers]
    losses = []

    def update(i: int, gradients: list[np.ndarray], t: int) -> None:
        rate = config.learning_rate
        if config.schedule == "cosine":
            rate *= (1 + np.cos(np.pi * t / total)) / 2
        for w, (m, v), g in zip(layers[i], kept[i], gradients, strict=True):
            g = g + config.weight_decay * w
            if config.optimizer == "sgd":
                w -= rate * g
            elif config.optimizer == "momentum":
                m[...] = 0.9 * m + g
                w -= rate * m
            else:
                m[...] = 0.9 * m + (1 - 0.9) * g
                v[...] = 0.999 * v + (1 - 0.999) * g**2
                w -= rate * (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)

    for step, batch in enumerate(batches):
        x = inputs(batch)
        hidden = 1 / (1 + np.exp(-(x @ layers[0][0] + layers[0][1])))
        logits = hidden @ layers[1][0] + layers[1][1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        targets = np.eye(CLASSES)[HOST.train_labels[batch]]
        losses.append(-np.log(p[targets == 1]).mean())
        error = (p - targets) / len(batch)
        above = layers[1][0].copy()
        update(1, [hidden.T @ error, error.sum(axis=0)], step % restart)
        if config.update_order == "layerwise":
            above = layers[1][0]
        below = error @ above.T * hidden * (1 - hidden)
        update(0, [x.T @ below, below.sum(axis=0)], step % restart)
    return Run(np.array(losses), flat(layers))


@cache
def torch_run(config: TrainConfig) -> Run:
    """As a PyTorch user writes it: nn.Sequential, autograd, torch.optim and its scheduler."""
    import torch

    layers, batches = start(config)
    linears = [torch.nn.Linear(*weights.shape, dtype=torch.float64) for weights, _ in layers]
    with torch.no_grad():
        for linear, (weights, bias) in zip(linears, layers, strict=True):
            linear.weight.copy_(torch.tensor(weights.T))
            linear.bias.copy_(torch.tensor(bias))
    model = torch.nn.Sequential(linears[0], torch.nn.Sigmoid(), linears[1])
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), **settings)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9 * (config.optimizer == "momentum"), **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(batches))
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        labels = torch.tensor(HOST.train_labels[batch].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(inputs(batch))), labels)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        if config.schedule == "cosine":
            scheduler.step()
    return Run(
        np.array(losses), flat([[each.weight.detach().numpy().T, each.bias.detach().numpy()] for each in linears])
    )


@cache
def optax_run(config: TrainConfig) -> Run:
    """As a JAX user writes it: jax.grad and optax."""
    import jax
    import optax

    open_backend("jax")  # which makes JAX keep float64
    layers, batches = start(config)
    rate = config.learning_rate
    schedule = optax.cosine_decay_schedule(rate, len(batches)) if config.schedule == "cosine" else rate
    optimizer = optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        {
            "sgd": optax.sgd(schedule),
            "momentum": optax.sgd(schedule, momentum=0.9),
            "adam": optax.adam(schedule),
        }[config.optimizer],
    )

    def loss(layers, x, labels):
        (w0, b0), (w1, b1) = layers
        logits = jax.nn.sigmoid(x @ w0 + b0) @ w1 + b1
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(layers, state, x, labels):
        value, gradients = jax.value_and_grad(loss)(layers, x, labels)
        updates, state = optimizer.update(gradients, state, layers)
        return optax.apply_updates(layers, updates), state, value

    layers = jax.tree.map(jax.numpy.asarray, layers)
    state, losses = optimizer.init(layers), []
    for batch in batches:
        layers, state, value = step(layers, state, inputs(batch), HOST.train_labels[batch].astype(np.int64))
        losses.append(float(value))
    return Run(np.array(losses), flat(layers))


def assert_agree(actual: Run, expected: Run, config: TrainConfig) -> None:
    """Adam divides by the size of a gradient, which magnifies the rounding of a small one: there as promised."""
    steps = len(expected.losses)
    tolerance = TOLERANCE if config.optimizer == "adam" else trajectory_tolerance(steps, PIXELS)
    assert_near(actual.losses, expected.losses, tolerance)
    assert_near(actual.parameters, expected.parameters, tolerance)


@pytest.mark.parametrize("name", [*SETTINGS, *LAYERWISE])
def test_whole_runs_are_those_of_the_formulas(name, backend):
    config = configuration(name)
    assert_agree(package_run(config, backend), formula_run(config), config)


@every_setting
def test_whole_runs_are_those_of_pytorch(name, backend):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    config = configuration(name)
    assert_agree(package_run(config, backend), torch_run(config), config)


@every_setting
def test_whole_runs_are_those_of_optax(name, backend):
    pytest.importorskip("optax", reason="optax is not installed")
    config = configuration(name)
    assert_agree(package_run(config, backend), optax_run(config), config)


@pytest.mark.parametrize("name", ["sgd, one sample a step", "momentum", "adam"])
def test_resumed_runs_are_those_of_the_formulas(name, backend, tmp_path, monkeypatch):
    """Stopped in the second epoch after a checkpoint within it, and then gone on with from the folder."""
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])  # pictures take longer than the run
    config, dataset = configuration(name), on_device(HOST, backend)
    reports = train(config, dataset, backend, run_dir=tmp_path)
    first = []
    for report in reports:
        first.append(report)
        if (report.epoch, report.sample) == (1, 144):
            break
    reports.close()
    second = [*train(config, dataset, backend, run_dir=tmp_path)]
    assert (second[0].epoch, second[0].sample) == (1, 144), "it goes on from the checkpoint at sample 100"
    expected = formula_run(config)
    tolerance = TOLERANCE if config.optimizer == "adam" else trajectory_tolerance(len(expected.losses), PIXELS)
    an_epoch = -(-SAMPLES // config.batch_size)
    for report in [*first, *second[:-1]]:
        step = config.warm_up_steps + report.epoch * an_epoch + report.sample // config.batch_size
        assert_near(report.loss, expected.losses[step], tolerance)
    assert_near(parameters_of(second[-1].network, backend), expected.parameters, tolerance)


@every_setting
def test_the_faults_would_show(name):
    """Else the comparisons would prove less than they seem to: a count of steps that restarts, another total."""
    config = configuration(name)
    right = formula_run(config)
    an_epoch = -(-SAMPLES // config.batch_size)
    wrong = []
    if config.schedule == "cosine":
        wrong += [formula_run(config, total=len(right.losses) + 1)]
        wrong += [formula_run(config, total=config.epochs * an_epoch)] if config.warm_up_steps else []
    if config.schedule == "cosine" or config.optimizer == "adam":
        wrong += [formula_run(config, restart=restart) for restart in (3, an_epoch)]
    assert wrong
    for each in wrong:
        assert np.abs(each.parameters - right.parameters).max() > 1e3 * TOLERANCE
    epochs = np.array_split(right.losses[config.warm_up_steps :], config.epochs)
    assert epochs[-1].mean() < epochs[0].mean(), "it learns"
