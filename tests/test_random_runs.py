"""Whole runs with random settings, against PyTorch's autograd and the papers' update rules.

What a test of one setting does not show is what two of them do together: dropout and clipping, decay without biases and
the notebook's order of updates, smaller last batches and a schedule. The settings avoid what magnifies rounding: second
moments without a memory (beta_2 = 0) or a tiny epsilon let Adam turn a rounded zero into a whole step.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from numerics import assert_near

from mlp_xp import TrainConfig, open_backend
from mlp_xp.dataset import Dataset
from mlp_xp.dropout import draw_masks
from mlp_xp.training import trajectory

torch = pytest.importorskip("torch")

TOLERANCE = 1e-10  # promised to users
SCALES = {
    "notebook": lambda inputs, outputs: 1.0,
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,
}
ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda z: z,
    "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
}
LOSSES = {
    "classes": torch.nn.functional.cross_entropy,
    "labels": lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z),
    "regression": lambda z, y: 0.5 * ((z - y) ** 2).sum() / len(z),
}


class Case(NamedTuple):
    config: TrainConfig
    X: np.ndarray
    y: np.ndarray
    task: str


def random_case(seed: int) -> Case:
    random = np.random.RandomState(seed)

    def choose(*values: Any) -> Any:
        return values[random.randint(len(values))]

    samples, task = random.randint(12, 70), choose("classes", "labels", "regression")
    X = random.standard_normal((samples, random.randint(1, 20)))
    y = {
        "classes": np.arange(samples) % random.randint(2, 8),
        "labels": (np.arange(samples)[:, None] + np.arange(3)) % 2,
        "regression": random.standard_normal((samples, 2)),
    }[task]
    optimizer, order = choose("sgd", "momentum", "adam", "adamw"), choose("layerwise", "simultaneous")
    hidden = tuple(random.randint(1, 16, random.randint(0, 4)).tolist())
    validation = choose(0, 0, 4) if task != "classes" else 0
    config = TrainConfig(
        epochs=random.randint(1, 3),
        batch_size=choose(1, 2, 5, samples - validation),
        learning_rate=choose(0.001, 0.01),
        hidden=hidden,
        seed=random.randint(2**31),
        report_every=random.randint(1, 2 * samples),
        warm_up_steps=choose(0, 3),
        update_order=order,
        activation=choose(*ACTIVATIONS),
        init=choose(*SCALES),
        optimizer=optimizer,
        schedule=choose("constant", "cosine"),
        weight_decay=choose(0.0, 0.1),
        decay_bias=choose(True, False),
        momentum=choose(0.0, 0.9),
        nesterov=optimizer == "momentum" and choose(True, False),
        beta_1=choose(0.9, 0.0),
        beta_2=choose(0.999, 0.9),
        epsilon=1e-3,
        dropout=choose(0.0, 0.3) if hidden else 0.0,
        clip_norm=choose(0.0, 0.3, 3.0) if order == "simultaneous" else 0.0,
        validation=validation,
        checkpoint_every=choose(0, random.randint(1, samples)),
        defer_updates=choose(True, False),
    )
    return Case(config, X, y, task)


def autograd_run(case: Case, sizes: tuple[int, ...]) -> tuple[list[float], list[Any]]:
    """Return the loss before every step, and the weights and biases at the end."""
    config, task = case.config, case.task
    random = np.random.RandomState(config.seed)
    layers = []
    for pair in pairwise(sizes):
        weights = random.standard_normal(pair) * SCALES[config.init](*pair)
        layers.append([torch.tensor(weights), torch.zeros(pair[1], dtype=torch.float64)])
    samples = len(case.X) - config.validation
    batches, order = [np.array([1])] * config.warm_up_steps, np.arange(samples)
    for _ in range(config.epochs):
        order = order[random.permutation(samples)]
        batches += [order[i : i + config.batch_size] for i in range(0, samples, config.batch_size)]
    X, y = torch.tensor(case.X), torch.tensor(case.y)
    y = y if task == "classes" else y.double()
    kept: dict[Any, Any] = {}
    losses = []

    def update(i: int, gradients: Any, t: int) -> None:
        rate = config.learning_rate
        if config.schedule == "cosine":
            rate *= (1 + np.cos(np.pi * (t - 1) / len(batches))) / 2
        for is_bias, (w, g) in enumerate(zip(layers[i], gradients, strict=True)):
            decay = 0.0 if is_bias and not config.decay_bias else config.weight_decay
            m, v = kept.get((i, is_bias), (0.0, 0.0))
            if config.optimizer == "adamw":
                w -= rate * decay * w
            else:
                g = g + decay * w
            if config.optimizer == "sgd":
                w -= rate * g
            elif config.optimizer == "momentum":
                v = config.momentum * v + g
                w -= rate * (g + config.momentum * v if config.nesterov else v)
            else:
                m = config.beta_1 * m + (1 - config.beta_1) * g
                v = config.beta_2 * v + (1 - config.beta_2) * g * g
                root = (v / (1 - config.beta_2**t)) ** 0.5
                w -= rate * m / (1 - config.beta_1**t) / (root + config.epsilon)
            kept[i, is_bias] = m, v

    for t, rows in enumerate(batches, 1):
        masks = [torch.ones(1)] * len(config.hidden)
        if config.dropout:
            units = torch.tensor(draw_masks(config, 1, len(rows), t - 1)[0]).double() / (1 - config.dropout)
            masks = torch.split(units, config.hidden, dim=1)
        a, between = X[rows], []
        for i, layer in enumerate(layers):
            # Autograd from here down to the layer below: in the notebook's order, the error passes updated weights.
            a = a.detach().requires_grad_()
            w, b = (each.clone().requires_grad_() for each in layer)
            z = a @ w + b
            between.append((a, w, b, z))
            if i < len(config.hidden):
                a = ACTIVATIONS[config.activation](z) * masks[i]
                between[-1] += (a,)
        loss = LOSSES[task](z, y[rows])
        losses.append(loss.item())
        (error,) = torch.autograd.grad(loss, z, retain_graph=True)
        gradients = []
        for i in reversed(range(len(layers))):
            a, w, b, z, *_ = between[i]
            gradients.insert(0, torch.autograd.grad(z, (w, b), error, retain_graph=True))
            if config.update_order == "layerwise":
                update(i, gradients[0], t)
                below = error @ layers[i][0].T
            else:
                (below,) = torch.autograd.grad(z, a, error, retain_graph=True)
            if i:
                (error,) = torch.autograd.grad(between[i - 1][4], between[i - 1][3], below)
        if config.update_order == "simultaneous":
            norm = sum((g * g).sum() for pair in gradients for g in pair) ** 0.5
            factor = config.clip_norm / norm if 0 < config.clip_norm < norm else 1.0
            for i, pair in enumerate(gradients):
                update(i, [factor * g for g in pair], t)
    return losses, [each.numpy() for layer in layers for each in layer]


@pytest.mark.parametrize("seed", range(24))
def test_random_settings_are_those_of_pytorch(seed: int) -> None:
    case, backend = random_case(seed), open_backend()
    dataset = Dataset.from_arrays(case.X, case.y, task=case.task, standardize=False, scale_targets=False)
    events = [*trajectory(case.config, dataset, backend)]
    sizes = (case.X.shape[1], *case.config.hidden, len(dataset.class_names))
    losses, parameters = autograd_run(case, sizes)
    assert_near(np.concatenate([event.losses for event in events]), np.array(losses), TOLERANCE)
    last = [array for layer in events[-1].position.state.network for array in layer]
    for actual, expected in zip(last, parameters, strict=True):
        assert_near(actual, expected, TOLERANCE)
