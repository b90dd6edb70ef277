"""Activations of one's own: the check of their derivatives, and training with one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic
from helpers import arrays_of
from numerics import assert_near

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.backend import BackendError
from mlp_xp.deferred import can_defer
from mlp_xp.functional import ACTIVATIONS, Activation, gelu, gelu_derivative, relu, sigmoid, tanh
from mlp_xp.gradient_check import GradientError, check_gradient
from mlp_xp.metrics import predict
from mlp_xp.runs.run_folder import RunError


def softplus(x: Any, /, *, xp: Any) -> Any:
    return xp.log1p(xp.exp(-xp.abs(x))) + relu(x, xp=xp)


def softplus_derivative(x: Any, /, *, xp: Any) -> Any:
    return sigmoid(x, xp=xp)


SOFTPLUS = Activation(softplus, softplus_derivative, of="input")


def test_a_right_derivative_passes(backend):
    for activation in (*ACTIVATIONS, SOFTPLUS):
        check_gradient(activation, backend=backend)


@pytest.mark.parametrize(
    "wrong",
    [
        Activation(sigmoid, lambda y, /, *, xp: y * (1 + y)),
        Activation(tanh, lambda y, /, *, xp: 1 - y * y + 1e-6),
        Activation(gelu, gelu_derivative),  # of the output
        Activation(relu, lambda y, /, *, xp: y * float("nan")),
    ],
)
def test_a_wrong_derivative_is_found(wrong):
    with pytest.raises(GradientError, match=r"^the derivative does not fit the function: at x = -?\d\.\d\d it is "):
        check_gradient(wrong)


def test_what_cannot_be_checked():
    with pytest.raises(BackendError, match=r"^dtype: float32 is too coarse for differences; open it with float64"):
        check_gradient("tanh", backend=open_backend(dtype="float32"))
    for function in (lambda x, /, *, xp: xp.sum(x), lambda x, /, *, xp: xp.astype(x, xp.float32)):
        with pytest.raises(GradientError, match="it must keep dtype and shape"):
            check_gradient(Activation(function, function))


def test_an_activation_of_ones_own_trains(backend, tmp_path):
    """Softplus, whose derivative takes its input; deferred or not."""
    dataset = on_device(synthetic(150, 20, 6), backend)
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
