"""Whole trajectories of every optimiser and schedule: against the published formulas, `torch.optim` and optax."""

from dataclasses import replace
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from numerics import assert_near

from mlp_xp.backend import Backend, installed, open_backend
from mlp_xp.chunks import step_coefficients
from mlp_xp.config import TrainConfig
from mlp_xp.losses import cross_entropy
from mlp_xp.network import Layer
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES, clip_by_norm
from mlp_xp.plan import Chunk
from mlp_xp.steps import State, make_step

SIZES = (20, 12, 5)
BATCH_SIZE = 8
STEPS = 500
TOLERANCE = 1e-10  # promised to users
RATES = {"sgd": 0.1, "momentum": 0.05, "adam": 0.01}

COMBINATIONS = [(0.0, "constant"), (0.01, "constant"), (0.0, "cosine"), (0.01, "cosine")]
every_optimizer = pytest.mark.parametrize("optimizer", RATES)
# Each changes what the one before it in the same optimiser does not.
VARIANTS = {
    "momentum 0.5": {"optimizer": "momentum", "momentum": 0.5},
    "nesterov": {"optimizer": "momentum", "nesterov": True, "momentum": 0.8, "weight_decay": 0.01},
    "betas": {"optimizer": "adam", "beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.5, "beta_1": 0.8, "schedule": "cosine"},
    "adamw, weights": {"optimizer": "adamw", "weight_decay": 0.5, "beta_1": 0.8, "decay_bias": False},
    "adam, weights": {"optimizer": "adam", "weight_decay": 0.05, "decay_bias": False},
    "momentum, weights": {"optimizer": "momentum", "weight_decay": 0.05, "decay_bias": False},
    "sgd, weights": {"optimizer": "sgd", "weight_decay": 0.05, "decay_bias": False},
    "sgd, clipped": {"optimizer": "sgd", "clip_norm": 0.3, "schedule": "cosine", "weight_decay": 0.01},
    "momentum, clipped": {"optimizer": "momentum", "clip_norm": 0.3},
    "adam, clipped": {"optimizer": "adam", "clip_norm": 0.3, "epsilon": 1e-2},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_combination = pytest.mark.parametrize(("weight_decay", "schedule"), COMBINATIONS)
# On the other backends the steps are the same functions: what each adds to them is seen in two as well as in four.
first_and_last_combination = pytest.mark.parametrize(("weight_decay", "schedule"), COMBINATIONS[::3])


class Case(NamedTuple):
    """Where everybody starts, and the batches that everybody sees."""

    layers: list[Layer]
    x: np.ndarray
    targets: np.ndarray


class Trajectory(NamedTuple):
    """The loss before every step, and all parameters after the last."""

    losses: np.ndarray
    parameters: np.ndarray


# What two tests compare is computed once: the cases are many.


@lru_cache
def make_case() -> Case:
    random = np.random.default_rng(4)
    layers = [Layer(random.normal(size=shape) / 3, random.normal(size=shape[1])) for shape in pairwise(SIZES)]
    x = random.normal(size=(STEPS, BATCH_SIZE, SIZES[0]))
    rule = random.normal(size=(SIZES[0], SIZES[-1]))  # something to learn: without it a loss hardly moves
    return Case(layers, x, np.eye(SIZES[-1])[(x @ rule).argmax(axis=-1)])


def configuration(optimizer: str, weight_decay: float, schedule: str) -> TrainConfig:
    return TrainConfig(
        batch_size=BATCH_SIZE,
        learning_rate=RATES[optimizer],
        hidden=SIZES[1:-1],
        update_order="simultaneous",
        optimizer=optimizer,
        weight_decay=weight_decay,
        schedule=schedule,
    )


def flat(layers) -> np.ndarray:
    return np.concatenate([array.ravel() for layer in layers for array in layer])


@cache
def package_trajectory(config: TrainConfig, backend: Backend) -> Trajectory:
    """The package's own, by its step, loop and coefficients."""
    case = make_case()
    network = tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in case.layers)
    kept = tuple(OPTIMIZERS[config.optimizer].empty_slots(layer, xp=backend.xp) for layer in network)
    coefficients = step_coefficients(config, Chunk(0, STEPS, BATCH_SIZE), 0, STEPS)
    step = make_step(config, xp=backend.xp)
    xs = tuple(
        backend.asarray(array, backend.dtype)
        for array in (case.x, np.ones(case.x.shape[:2]), case.targets, *coefficients)
    )
    state, logits = backend.jit(lambda state, xs: backend.scan(step, state, xs))(State(network, kept), xs)
    losses = cross_entropy(logits, xs[2], xp=backend.xp)
    parameters = flat([[backend.to_numpy(array) for array in layer] for layer in state.network])
    return Trajectory(backend.to_numpy(losses).mean(axis=-1), parameters)


def rate(config: TrainConfig, step: int) -> float:
    if config.schedule == "cosine":
        return config.learning_rate * (1 + np.cos(np.pi * step / STEPS)) / 2
    return config.learning_rate


@cache
def formula_trajectory(config: TrainConfig) -> Trajectory:
    """The papers' algorithms, on one flat vector of parameters, in plain NumPy."""
    case = make_case()
    shapes = [array.shape for layer in case.layers for array in layer]
    splits = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
    w = flat(case.layers)
    m, v = np.zeros_like(w), np.zeros_like(w)
    losses = np.empty(STEPS)
    for i, (x, targets) in enumerate(zip(case.x, case.targets, strict=True)):
        w0, b0, w1, b1 = (part.reshape(shape) for part, shape in zip(np.split(w, splits), shapes, strict=True))
        hidden = 1 / (1 + np.exp(-(x @ w0 + b0)))
        logits = hidden @ w1 + b1
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        losses[i] = -np.log(p[targets == 1]).mean()
        d1 = (p - targets) / BATCH_SIZE
        d0 = d1 @ w1.T * hidden * (1 - hidden)
        g = flat([[x.T @ d0, d0.sum(axis=0)], [hidden.T @ d1, d1.sum(axis=0)]]) + config.weight_decay * w
        if config.optimizer == "sgd":
            w = w - rate(config, i) * g
        elif config.optimizer == "momentum":
            v = 0.9 * v + g
            w = w - rate(config, i) * v
        else:
            m = 0.9 * m + (1 - 0.9) * g
            v = 0.999 * v + (1 - 0.999) * g**2
            m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
            w = w - rate(config, i) * m_hat / (np.sqrt(v_hat) + 1e-8)
    return Trajectory(losses, w)


@cache
def torch_trajectory(config: TrainConfig) -> Trajectory:
    """As a PyTorch user writes it: nn.Sequential, autograd, torch.optim and its scheduler."""
    import torch

    case = make_case()
    first, second = (torch.nn.Linear(*layer.weights.shape, dtype=torch.float64) for layer in case.layers)
    with torch.no_grad():
        for linear, layer in zip((first, second), case.layers, strict=True):
            linear.weight.copy_(torch.tensor(layer.weights.T))
            linear.bias.copy_(torch.tensor(layer.bias))
    model = torch.nn.Sequential(first, torch.nn.Sigmoid(), second)
    no_decay = [] if config.decay_bias else [first.bias, second.bias]
    decay = [p for p in model.parameters() if not any(p is other for other in no_decay)]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    settings = {"lr": config.learning_rate}
    optimizer: torch.optim.Optimizer
    if config.optimizer in ("adam", "adamw"):
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        optimizer = kind(groups, betas=(config.beta_1, config.beta_2), eps=config.epsilon, **settings)
    else:
        factor = config.momentum * (config.optimizer == "momentum")
        optimizer = torch.optim.SGD(groups, momentum=factor, nesterov=config.nesterov, **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    losses = np.empty(STEPS)
    labels = torch.tensor(case.targets.argmax(axis=-1))
    for i, x in enumerate(torch.tensor(case.x)):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels[i])
        loss.backward()
        losses[i] = loss.item()
        if config.clip_norm:
            # PyTorch's own adds 1e-6 to the norm, which is more than the tolerance here.
            norm = torch.cat([p.grad.ravel() for p in model.parameters()]).norm()
            for p in model.parameters():
                p.grad *= min(1, config.clip_norm / norm.item())
        optimizer.step()
        if config.schedule == "cosine":
            scheduler.step()
    layers = [[linear.weight.detach().numpy().T, linear.bias.detach().numpy()] for linear in (first, second)]
    return Trajectory(losses, flat(layers))


def optax_trajectory(config: TrainConfig) -> Trajectory:
    """As a JAX user writes it: jax.grad, optax, jax.lax.scan."""
    import jax
    import optax

    case = make_case()
    rate = config.learning_rate
    decayed = [Layer(True, config.decay_bias) for _ in case.layers]
    schedule = optax.cosine_decay_schedule(rate, STEPS) if config.schedule == "cosine" else rate
    optimizer = {
        "sgd": optax.sgd(schedule),
        "momentum": optax.sgd(schedule, momentum=config.momentum, nesterov=config.nesterov),
        "adam": optax.adam(schedule, config.beta_1, config.beta_2, config.epsilon),
        "adamw": optax.adamw(
            schedule, config.beta_1, config.beta_2, config.epsilon, weight_decay=config.weight_decay, mask=decayed
        ),
    }[config.optimizer]
    if config.optimizer != "adamw":
        optimizer = optax.chain(optax.add_decayed_weights(config.weight_decay, mask=decayed), optimizer)
    if config.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)

    def loss(layers, x, targets):
        first, second = layers
        logits = jax.nn.sigmoid(x @ first.weights + first.bias) @ second.weights + second.bias
        return optax.softmax_cross_entropy(logits, targets).mean()

    def step(carry, batch):
        layers, state = carry
        value, gradients = jax.value_and_grad(loss)(layers, *batch)
        updates, state = optimizer.update(gradients, state, layers)
        return (optax.apply_updates(layers, updates), state), value

    layers = jax.tree.map(jax.numpy.asarray, case.layers)
    (layers, _), losses = jax.lax.scan(step, (layers, optimizer.init(layers)), (case.x, case.targets))
    return Trajectory(np.array(losses), flat([[np.array(array) for array in layer] for layer in layers]))


def assert_agree(actual: Trajectory, expected: Trajectory) -> None:
    assert_near(actual.losses, expected.losses, TOLERANCE)
    assert_near(actual.parameters, expected.parameters, TOLERANCE)


@every_optimizer
@first_and_last_combination
def test_trajectories_are_those_of_the_formulas(optimizer, weight_decay, schedule, backend):
    config = configuration(optimizer, weight_decay, schedule)
    assert_agree(package_trajectory(config, backend), formula_trajectory(config))


@every_optimizer
@every_combination
def test_trajectories_are_those_of_pytorch(optimizer, weight_decay, schedule):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    config = configuration(optimizer, weight_decay, schedule)
    expected = torch_trajectory(config)
    assert_agree(formula_trajectory(config), expected)
    assert_agree(package_trajectory(config, open_backend("numpy")), expected)


@every_optimizer
@first_and_last_combination
def test_trajectories_are_those_of_pytorch_on_every_backend(optimizer, weight_decay, schedule, backend):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    config = configuration(optimizer, weight_decay, schedule)
    assert_agree(package_trajectory(config, backend), torch_trajectory(config))


@every_optimizer
@first_and_last_combination
def test_trajectories_are_those_of_optax(optimizer, weight_decay, schedule):
    pytest.importorskip("optax")
    config = configuration(optimizer, weight_decay, schedule)
    assert_agree(package_trajectory(config, open_backend("jax")), optax_trajectory(config))


def variant_configuration(variant: str) -> TrainConfig:
    settings = VARIANTS[variant]
    optimizer = str(settings["optimizer"])
    return replace(configuration(optimizer.removesuffix("w"), 0.0, "constant"), **settings)


@every_variant
def test_hyperparameters_are_those_of_pytorch(variant, backend):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    config = variant_configuration(variant)
    assert_agree(package_trajectory(config, backend), torch_trajectory(config))


@every_variant
def test_hyperparameters_are_those_of_optax(variant):
    pytest.importorskip("optax")
    config = variant_configuration(variant)
    assert_agree(package_trajectory(config, open_backend("jax")), optax_trajectory(config))


def test_every_optimiser_is_compared():
    assert {*OPTIMIZERS} == {*RATES} | {str(settings["optimizer"]) for settings in VARIANTS.values()}


@every_variant
def test_the_hyperparameters_make_a_difference(variant):
    """Each of them alone, and clipping clips some steps but not all."""
    config, backend = variant_configuration(variant), open_backend("numpy")
    one = package_trajectory(config, backend)
    for name in {*VARIANTS[variant]} - {"optimizer", "schedule"}:
        other = package_trajectory(replace(config, **{name: getattr(TrainConfig(), name)}), backend)
        assert np.abs(one.parameters - other.parameters).max() > 1e-4, name


def test_a_short_gradient_is_not_clipped(backend):
    """To the bit: its factor is 1."""
    config = configuration("adam", 0.0, "constant")
    one, other = (package_trajectory(each, backend) for each in (config, replace(config, clip_norm=1e6)))
    np.testing.assert_array_equal(one.losses, other.losses)
    np.testing.assert_array_equal(one.parameters, other.parameters)


def test_a_gradient_whose_norm_overflows_is_no_number(backend32):
    """So that the run ends as diverged: clipped to 0, it would go on and learn nothing."""
    host = np.full((3, 2), 1e20, np.float32), np.ones(2, np.float32), np.array(1, np.float32)
    weights, bias, limit = map(backend32.asarray, host)
    with np.errstate(over="ignore", invalid="ignore"):  # as in training
        (clipped,) = clip_by_norm([Layer(weights, bias)], limit, xp=backend32.xp)
    for array in clipped:
        assert np.isnan(backend32.to_numpy(array)).all()


def test_the_settings_make_a_difference():
    """Else the comparisons above would prove less than they seem to."""
    ends = [
        formula_trajectory(configuration(optimizer, weight_decay, schedule))
        for optimizer in RATES
        for weight_decay, schedule in COMBINATIONS
    ]
    for i, one in enumerate(ends):
        assert one.losses[-50:].mean() < one.losses[:50].mean() / 1.5, "it learns"
        for other in ends[:i]:
            assert np.abs(one.parameters - other.parameters).max() > 1e-3


def test_schedules_begin_at_the_rate_and_cosine_ends_at_nothing():
    steps = np.arange(11)
    assert SCHEDULES["constant"](0.3, steps, 10).tolist() == [0.3] * 11
    rates = SCHEDULES["cosine"](0.3, steps, 10)
    assert rates[0] == 0.3
    assert rates[10] == 0
    np.testing.assert_allclose(rates[5], 0.15, rtol=4 * np.finfo(float).eps)
    assert (np.diff(rates) < 0).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_kept_starts_at_zero_and_shaped_as_the_layer(optimizer, backend):
    layer = Layer(backend.asarray(np.ones((3, 2))), backend.asarray(np.ones(2)))
    kept = OPTIMIZERS[optimizer].empty_slots(layer, xp=backend.xp)
    assert len(kept) == {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}[optimizer]
    for arrays in kept:
        assert [array.shape for array in arrays] == [(3, 2), (2,)]
        assert not any(backend.to_numpy(array).any() for array in arrays)
    arrays = [id(array) for layer in kept for array in layer]
    assert len(set(arrays)) == len(arrays), "each may be changed in place"
