"""The value of a notebook's cell is shown in a line or two, on every backend."""

import numpy as np
from data_sets import on_device, synthetic, varied

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer
from mlp_xp.core.training import trajectory
from mlp_xp.parity import check
from mlp_xp.runs.loading import load_run

CONFIG = TrainConfig(
    epochs=1, batch_size=20, hidden=(64,), report_every=100, validation=20
)
NETWORK = "(Layer(144 x 64 float64), Layer(64 x 10 float64))"


def test_a_data_set_shows_its_name_and_sizes() -> None:
    dataset = varied(synthetic(300, 100, 12), name="mine")
    images = "images of 12 x 12, 10 classes)"
    assert repr(dataset) == f"Dataset('mine', 300 training and 100 test {images}"
    alone = varied(dataset, test=None)
    assert repr(alone) == f"Dataset('mine', 300 training and 0 test {images}"


def test_a_layer_shows_its_shape_and_dtype() -> None:
    layer = Layer(np.zeros((2, 3), np.float32), np.zeros(3, np.float32))
    assert repr(layer) == "Layer(2 x 3 float32)"


def test_what_parity_returns_shows_its_outcome() -> None:
    dataset = synthetic(40, 20, 6)
    _, comparison = check(TrainConfig(hidden=(4,)), dataset, [open_backend()], 5)
    assert repr(comparison.trajectory) == "Trajectory('numpy', 15 steps)"
    said = "Comparison(Trajectory('numpy', 15 steps), agrees=True, head_room="
    assert repr(comparison).startswith(said)


def test_what_training_returns_shows_its_network(
    tmp_path, backend: Backend, no_pictures
) -> None:
    dataset, run = on_device(synthetic(300, 100, 12), backend), str(tmp_path / "run")
    *_, report = train(CONFIG, dataset, backend, run_dir=run)
    *_, event = trajectory(Job(CONFIG, dataset, backend))
    model = repr(load_run(run))
    for text, start in (
        (repr(report), "Report(epoch=0, sample=280, loss="),
        (repr(event.position.state), "State("),
        (model, "Model("),
    ):
        assert text.startswith(start)
        assert NETWORK in text
        assert "array(" not in text
        assert len(text) < 1000
    assert model.endswith("images of 12 x 12, 10 classes)")
