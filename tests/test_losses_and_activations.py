"""Gradients of every loss and activation, custom activations, dropout and clipping: against autograd and formulas."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic
from helpers import arrays_of
from numerics import assert_near

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.backend import Backend, BackendError, installed
from mlp_xp.config import ConfigError
from mlp_xp.dataset import Dataset
from mlp_xp.deferred import can_defer
from mlp_xp.dropout import draw_masks, scaled_masks
from mlp_xp.functional import ACTIVATIONS, Activation, gelu, gelu_derivative, relu, sigmoid, tanh
from mlp_xp.gradient_check import GradientError, check_gradient
from mlp_xp.losses import LOSSES
from mlp_xp.metrics import predict
from mlp_xp.network import Layer, backward, forward_pass
from mlp_xp.runs.run_folder import RunError
from mlp_xp.training import trajectory

HOST = synthetic(150, 20, 6)
SIZES = (5, 4, 3, 2)
RANDOM = np.random.default_rng(3)
NETWORK = [Layer(RANDOM.normal(size=shape), RANDOM.normal(size=shape[1])) for shape in pairwise(SIZES)]
X = RANDOM.normal(size=(6, 5))
TARGETS = {
    "classes": np.eye(2)[RANDOM.integers(0, 2, 6)],
    "labels": RANDOM.integers(0, 2, (6, 2)).astype(float),
    "regression": RANDOM.normal(size=(6, 2)),
}
MASKS = [RANDOM.integers(0, 2, (6, units)) / 0.7 for units in SIZES[1:-1]]
TOLERANCE = 1e-12


def torch_gradients(task: str, activation: str, masks: list[np.ndarray]) -> list[np.ndarray]:
    import torch
    from torch.nn import functional as F  # noqa: N812

    functions = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "gelu": lambda x: F.gelu(x, approximate="tanh"),
        "identity": lambda x: x,
    }
    parameters = [torch.tensor(array, requires_grad=True) for layer in NETWORK for array in layer]
    a, targets = torch.tensor(X), torch.tensor(TARGETS[task])
    for i in range(2):
        a = functions[activation](a @ parameters[2 * i] + parameters[2 * i + 1])
        a = a * torch.tensor(masks[i]) if masks else a
    z = a @ parameters[4] + parameters[5]
    loss = {
        "classes": lambda: F.cross_entropy(z, targets),
        "labels": lambda: F.binary_cross_entropy_with_logits(z, targets, reduction="none").sum(dim=1).mean(),
        "regression": lambda: 0.5 * F.mse_loss(z, targets, reduction="none").sum(dim=1).mean(),
    }[task]()
    loss.backward()
    return [np.array(loss.item()), *(p.grad.numpy() for p in parameters)]


@pytest.mark.parametrize("masks", [[], MASKS], ids=["", "dropout"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", LOSSES)
def test_gradients_are_those_of_pytorch(task, activation, masks, backend: Backend):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    network = [Layer(*map(backend.asarray, layer)) for layer in NETWORK]
    x, targets, *on = map(backend.asarray, (X, TARGETS[task], *masks))
    how: dict[str, Any] = {"activation": ACTIVATIONS[activation], "masks": on, "xp": backend.xp}
    inputs, seen, logits = forward_pass(network, x, **how)
    loss = backend.xp.mean(LOSSES[task].loss(logits, targets, xp=backend.xp))
    error = LOSSES[task].derivative(logits, targets, xp=backend.xp) / 6
    gradients = [
        array
        for layer in backward(network, inputs, seen, error, backend.xp.ones_like(error[:, 0]), **how)
        for array in layer
    ]
    expected = torch_gradients(task, activation, masks)
    for one, other in zip([loss, *gradients], expected, strict=True):
        assert_near(backend.to_numpy(one), other, TOLERANCE)


def test_losses_of_extreme_outputs(backend: Backend):
    """They neither overflow nor round small losses to 0; the values are those of exact arithmetic."""
    z = backend.asarray(np.array([[1000.0], [-1000.0], [40.0], [-40.0], [0.0], [1.5e308], [-1.5e308], [1.5e308]]))
    t = backend.asarray(np.array([[1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [0.0]]))
    losses = backend.to_numpy(LOSSES["labels"].loss(z, t, xp=backend.xp))
    expected = [0, 1000, np.log1p(np.exp(-40)), 40, np.log(2), 0, 1.5e308, 1.5e308]
    np.testing.assert_allclose(losses, expected, rtol=1e-14)


def test_gelu_is_that_of_jax_and_pytorch(backend: Backend):
    x = np.linspace(-8, 8, 1001)
    actual = backend.to_numpy(gelu(backend.asarray(x), xp=backend.xp))
    import jax

    open_backend("jax")
    assert_near(actual, np.asarray(jax.nn.gelu(jax.numpy.asarray(x), approximate=True)), 1e-14)
    if installed("torch"):
        import torch

        assert_near(actual, torch.nn.functional.gelu(torch.tensor(x), approximate="tanh").numpy(), 1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_right_derivative_passes_the_check(activation, backend: Backend):
    check_gradient(activation, backend=backend)


def softplus(x: Any, /, *, xp: Any) -> Any:
    return xp.log1p(xp.exp(-xp.abs(x))) + relu(x, xp=xp)


def softplus_derivative(x: Any, /, *, xp: Any) -> Any:
    return sigmoid(x, xp=xp)


SOFTPLUS = Activation(softplus, softplus_derivative, of="input")


@pytest.mark.parametrize(
    "wrong",
    [
        Activation(sigmoid, lambda y, /, *, xp: y * (1 + y)),
        Activation(tanh, lambda y, /, *, xp: 1 - y * y + 1e-6),
        Activation(gelu, gelu_derivative),  # of the output
        Activation(relu, lambda y, /, *, xp: y * float("nan")),
        SOFTPLUS._replace(of="output"),
    ],
)
def test_a_wrong_derivative_is_found(wrong):
    with pytest.raises(GradientError, match=r"^the derivative does not fit the function: at x = -?\d\.\d\d it is "):
        check_gradient(wrong)


def test_the_check_refuses_float32():
    """Where every derivative would be called wrong."""
    with pytest.raises(BackendError, match=r"^dtype: float32 is too coarse for differences; open it with float64"):
        check_gradient("tanh", backend=open_backend(dtype="float32"))


def test_an_activation_that_changes_shape_or_dtype_is_refused():
    backend = open_backend()
    for function in (lambda x, /, *, xp: xp.sum(x), lambda x, /, *, xp: xp.astype(x, xp.float32)):
        with pytest.raises(GradientError, match="it must keep dtype and shape"):
            check_gradient(Activation(function, function), backend=backend)


def test_an_activation_of_ones_own_trains(backend: Backend, tmp_path):
    """Softplus, whose derivative takes its input; deferred or not."""
    check_gradient(SOFTPLUS)
    dataset = on_device(HOST, backend)
    base = TrainConfig(epochs=1, hidden=(7,), activation=SOFTPLUS, init="glorot", report_every=150, learning_rate=0.05)
    assert can_defer(base)
    ends = []
    for config in (base, replace(base, defer_updates=False)):
        *_, last = train(config, dataset, backend)
        ends.append(np.concatenate([array.ravel() for array in arrays_of(last.network, backend.to_numpy)]))
    assert_near(ends[0], ends[1], 1e-11)
    assert last.train_loss < 3
    p = predict(last.network, dataset.test_images, activation=SOFTPLUS, backend=backend)
    assert_near(backend.to_numpy(p).sum(axis=1), np.ones(20), 1e-14)
    with pytest.raises(RunError, match="the activation is a pair of functions, which a run folder cannot store"):
        next(train(base, dataset, backend, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_activations_compare_and_hash_by_their_functions():
    one, other = (TrainConfig(activation=Activation(softplus, softplus_derivative, of="input")) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != TrainConfig(activation=SOFTPLUS._replace(of="output"))
    with pytest.raises(ConfigError, match="activation: 3 is not a string"):
        TrainConfig(activation=3)


# Dropout.

DROPPED = TrainConfig(
    epochs=2, batch_size=7, hidden=(9, 4), dropout=0.3, init="glorot", update_order="simultaneous", report_every=60
)


def test_masks_are_a_function_of_seed_and_step():
    """However a run is cut into chunks, and whatever the size of the batch before."""
    whole = draw_masks(DROPPED, 10, 7, 100)
    assert whole.shape == (10, 7, 13)
    assert whole.dtype == np.uint8
    for first, steps in ((0, 3), (3, 6), (9, 1)):
        np.testing.assert_array_equal(draw_masks(DROPPED, steps, 7, 100 + first), whole[first : first + steps])
    assert not np.array_equal(draw_masks(replace(DROPPED, seed=1), 10, 7, 100), whole)
    assert len({each.tobytes() for each in whole}) == 10


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.999])
def test_the_share_of_units_that_is_dropped(p):
    """Within five standard deviations, for every unit and in total; the kept ones make up for the others."""
    kept = draw_masks(replace(DROPPED, dropout=p), 4000, 7, 0)
    n = kept.size
    assert abs(kept.mean() - (1 - p)) <= 5 * (p * (1 - p) / n) ** 0.5
    per_unit = kept.mean(axis=(0, 1))
    assert np.abs(per_unit - (1 - p)).max() <= 5 * (p * (1 - p) / (n / 13)) ** 0.5
    masks = scaled_masks(kept[0], replace(DROPPED, dropout=p), float, xp=open_backend().xp)
    assert [mask.shape for mask in masks] == [(7, 9), (7, 4)]
    assert {*np.concatenate([mask.ravel() for mask in masks]).tolist()} <= {0.0, 1 / (1 - p)}


def dropped_trajectory(config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """The same run by PyTorch's autograd, with the masks as draws of their own."""
    import torch

    random = np.random.RandomState(config.seed)
    sizes = (36, *config.hidden, 10)
    parameters = []
    for shape in pairwise(sizes):
        parameters += [random.standard_normal(shape) * (2 / sum(shape)) ** 0.5, np.zeros(shape[1])]
    tensors = [torch.tensor(array, requires_grad=True) for array in parameters]
    optimizer = torch.optim.SGD(tensors, lr=config.learning_rate)
    batches, order = [np.array([1])] * config.warm_up_steps, np.arange(150)
    for _ in range(config.epochs):
        order = order[random.permutation(150)]
        batches += [order[i : i + config.batch_size] for i in range(0, 150, config.batch_size)]
    losses = []
    for step, batch in enumerate(batches):
        kept = draw_masks(config, 1, len(batch), step)[0] / (1 - config.dropout)
        a = torch.tensor(HOST.train_images[batch].reshape(len(batch), 36) / 255)
        for i, mask in enumerate((kept[:, :9], kept[:, 9:])):
            a = torch.sigmoid(a @ tensors[2 * i] + tensors[2 * i + 1]) * torch.tensor(mask)
        labels = torch.tensor(HOST.train_labels[batch].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(a @ tensors[4] + tensors[5], labels)
        optimizer.zero_grad()
        loss.backward()
        if config.clip_norm:
            norm = torch.cat([tensor.grad.ravel() for tensor in tensors]).norm().item()
            for tensor in tensors:
                tensor.grad *= min(1, config.clip_norm / norm)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


@pytest.mark.parametrize("clip_norm", [0.0, 0.2])
def test_a_run_with_dropout_and_clipping_is_that_of_autograd(clip_norm, backend: Backend):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    config = replace(DROPPED, clip_norm=clip_norm, learning_rate=0.3)
    events = [*trajectory(config, on_device(HOST, backend), backend)]
    losses, parameters = dropped_trajectory(config)
    assert_near(np.concatenate([event.losses for event in events]), losses, 1e-11)
    network = events[-1].report.network
    assert_near(np.concatenate([a.ravel() for a in arrays_of(network, backend.to_numpy)]), parameters, 1e-11)


@pytest.mark.parametrize("settings", [{}, {"update_order": "layerwise", "batch_size": 1}, {"optimizer": "adam"}])
def test_all_backends_drop_the_same(settings, backend: Backend):
    config = replace(DROPPED, **settings)
    one, other = (
        np.concatenate([event.losses for event in trajectory(config, on_device(HOST, each), each)])
        for each in (backend, open_backend())
    )
    assert_near(one, other, 1e-10)


def test_dropout_leaves_weights_and_shuffles_as_they_are():
    """The first step of a run differs by its masks alone, and its sample is the same."""
    backend = open_backend()
    events = [next(trajectory(replace(DROPPED, dropout=p), HOST, backend)) for p in (1e-9, 0.0)]
    assert events[0].losses[0] == pytest.approx(events[1].losses[0], rel=1e-7)


def test_dropout_of_a_layer_switches_deferred_updates_off():
    plain = TrainConfig()
    assert can_defer(plain)
    assert not can_defer(replace(plain, dropout=0.1))
    assert not can_defer(replace(plain, clip_norm=0.1, update_order="simultaneous"))


def test_a_run_with_dropout_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])  # pictures take a second each
    backend = open_backend()
    config = replace(DROPPED, checkpoint_every=40, epochs=3, clip_norm=1.0, optimizer="adamw", activation="gelu")
    *_, expected = train(config, HOST, backend, run_dir=tmp_path / "whole")
    first = train(config, HOST, backend, run_dir=tmp_path / "cut")
    for report in first:
        if report.epoch == 1 and report.sample > 0:
            break
    first.close()
    *_, last = train(config, HOST, backend, run_dir=tmp_path / "cut")
    for one, other in zip(arrays_of(last.network, np.array), arrays_of(expected.network, np.array), strict=True):
        np.testing.assert_array_equal(one, other)
    assert last.test_loss == expected.test_loss


def test_dropout_may_be_for_tables_too(backend: Backend):
    x = RANDOM.normal(size=(80, 3))
    config = replace(DROPPED, activation="gelu", dropout=0.1, hidden=(20,), epochs=30, learning_rate=0.1)
    *_, last = train(config, Dataset.from_arrays(x, x[:, :1] * 2, 0.25, backend=backend), backend)
    assert last.r2 > 0.7
