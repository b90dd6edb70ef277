"""In a notebook the last value of a cell is shown: a line or two, whatever is in it, on every backend."""

import numpy as np
from data_sets import on_device, synthetic

from mlp_xp import TrainConfig, train
from mlp_xp.backend import Backend
from mlp_xp.network import Layer
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.training import trajectory

CONFIG = TrainConfig(epochs=1, hidden=(64,), report_every=100, validation=20)
DATA = synthetic(300, 100, 12)
NETWORK = "(Layer(144 x 64 float64), Layer(64 x 10 float64))"


def test_reports_and_networks(backend: Backend) -> None:
    reports = [*train(CONFIG, on_device(DATA, backend), backend)]
    assert repr(reports[-1].network) == NETWORK
    text = repr(reports[-1])
    assert text.startswith("Report(epoch=0, sample=280, loss=")
    assert NETWORK in text
    assert len(text) < 400


def test_events(backend: Backend) -> None:
    *_, last = trajectory(CONFIG, on_device(DATA, backend), backend)
    text = repr(last)
    assert text.startswith("Event(epoch=0, sample=280, step=290, ")
    assert NETWORK in text
    assert len(text) < 1000
    assert "array" not in text
    assert len(repr(last.position.state)) < 1000


def test_data(backend: Backend) -> None:
    dataset = on_device(DATA._replace(name="mine"), backend)
    assert repr(dataset) == "Dataset('mine', 300 training and 100 test images of 12 x 12, 10 classes)"


def test_models_from_a_path_as_text(tmp_path, backend: Backend) -> None:
    folder = str(tmp_path / "run")
    for _ in train(CONFIG, on_device(DATA, backend), backend, run_dir=folder):
        pass
    model = load_model(folder)
    assert NETWORK in repr(model)
    assert len(repr(model)) < 400


def test_what_is_no_array_is_shown_as_it_is() -> None:
    """As in a transformation's specification of a network's axes."""
    assert repr(Layer(0, None)) == "Layer(weights=0, bias=None)"
    assert repr(Layer(np.zeros((2, 3), np.float32), np.zeros(3, np.float32))) == "Layer(2 x 3 float32)"
