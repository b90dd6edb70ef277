"""The notebook's own numbers: what it prints, and at every step what its retelling computes."""

import numpy as np
import pytest
from numerics import assert_near, trajectory_tolerance
from printed import PRINTED, Figures

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job
from mlp_xp.core.library import Backend
from mlp_xp.core.step import initial_state
from mlp_xp.core.training import trajectory
from mlp_xp.data.datasets import load_dataset
from mlp_xp.parity import notebook

LAST = PRINTED.reports[-1]
STEPS = LAST.epoch * 60000 + LAST.sample + 1
PIXELS = 28 * 28
# Backends that take many steps within seconds; the others take fewer.
FAST = {"numpy", "jax"}


def assert_printed(reports: list[Figures], printed: tuple[Figures, ...]) -> None:
    """Losses to a relative 1e-9, all else exactly: what is promised to users."""
    assert len(reports) == len(printed)
    for report, line in zip(reports, printed, strict=True):
        assert report._replace(loss=0.0) == line._replace(loss=0.0)
        assert report.loss == pytest.approx(line.loss, rel=1e-9, abs=0.0)


def retell(folder, steps: int) -> np.ndarray:
    """Losses of the warm-up and of the first steps by the retelling, whose reports are compared on the way."""
    data, network, reports = notebook.prepared(load_dataset(folder)), notebook.Notebook(), []

    def report(epoch: int, sample: int, loss: float) -> None:
        share = notebook.accuracy(network, data.test_inputs, data.test_labels)
        reports.append(Figures(epoch, sample, loss, share))

    losses = notebook.trajectory(network, data.train_inputs, data.train_labels, steps, on_report=report)
    np.testing.assert_allclose(losses[0], PRINTED.warm_up, rtol=1e-9)
    assert_printed(reports, PRINTED.reports[: len(reports)])
    return np.concatenate(losses)


def assert_as_printed(dataset: Dataset, backend: Backend, steps: int, retold: np.ndarray) -> int:
    """Train with default settings; return how many lines of the notebook's were compared."""
    events = [*trajectory(Job(TrainConfig(), dataset, backend), stop_after=10 + steps)]
    losses = np.concatenate([event.losses for event in events])
    np.testing.assert_allclose(losses[:10], PRINTED.warm_up, rtol=1e-9)
    reports = [event.report for event in events if event.report]
    found = [Figures(each.epoch, each.sample, each.loss, each.test.accuracy) for each in reports]
    assert_printed(found, PRINTED.reports[: len(found)])
    assert_near(losses, retold[: len(losses)], trajectory_tolerance(len(losses), PIXELS))
    return len(found)


@pytest.fixture(scope="session")
def retold(mnist_dir) -> np.ndarray:
    return retell(mnist_dir, 10001)


@pytest.mark.every_backend
def test_the_first_lines(mnist, backend, retold):
    """The untrained network's output is printed with nine digits, so half of one in the ninth is allowed."""
    state, _ = initial_state(TrainConfig(), (PIXELS, 64, 10), backend)
    output = Job(TrainConfig(), mnist, backend).model(state.network).outputs(mnist.train_inputs[:1, ...])
    np.testing.assert_allclose(backend.to_numpy(output), [PRINTED.first_output], rtol=5e-9)
    is_fast = backend.name in FAST
    assert assert_as_printed(mnist, backend, 10001 if is_fast else 1000, retold) == 1 + is_fast


@pytest.mark.slow
def test_every_printed_line(mnist, backend, mnist_dir):
    if backend.name in FAST:
        assert assert_as_printed(mnist, backend, STEPS, retell(mnist_dir, STEPS)) == len(PRINTED.reports) == 15


def test_the_default_settings_are_the_notebooks():
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.learning_rate, config.hidden) == (5, 1, 0.01, (64,))
    assert (config.seed, config.report_every, config.warm_up_steps) == (0, 10000, 10)
    assert (config.update_order, config.activation, config.init) == ("layerwise", "sigmoid", "notebook")
    assert (config.optimizer, config.schedule, config.weight_decay) == ("sgd", "constant", 0.0)
    assert config.validation == 0
