"""In a notebook the last value of a cell is shown: a line or two, whatever is in it, on
every backend.
"""

import numpy as np
from data_sets import on_device, synthetic, varied

from mlp_xp import TrainConfig, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer
from mlp_xp.core.training import trajectory
from mlp_xp.runs.run_folder import load_run

CONFIG = TrainConfig(
    epochs=1, batch_size=20, hidden=(64,), report_every=100, validation=20
)
NETWORK = "(Layer(144 x 64 float64), Layer(64 x 10 float64))"


def test_what_a_cell_shows(tmp_path, backend: Backend, monkeypatch) -> None:
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    dataset = on_device(varied(synthetic(300, 100, 12), name="mine"), backend)
    assert (
        repr(dataset)
        == "Dataset('mine', 300 training and 100 test images of 12 x 12, 10 classes)"
    )
    alone = varied(dataset, test=None)
    assert (
        repr(alone)
        == "Dataset('mine', 300 training and 0 test images of 12 x 12, 10 classes)"
    )
    *_, report = train(CONFIG, dataset, backend, run_dir=str(tmp_path / "run"))
    *_, event = trajectory(Job(CONFIG, dataset, backend))
    for value, start in (
        (report, "Report(epoch=0, sample=280, loss="),
        (event.position.state, "State("),
        (load_run(str(tmp_path / "run")), "Model("),
    ):
        text = repr(value)
        assert text.startswith(start)
        assert NETWORK in text
        assert "array(" not in text
        assert len(text) < 1000
    assert text.endswith("images of 12 x 12, 10 classes)")
    assert (
        repr(Layer(np.zeros((2, 3), np.float32), np.zeros(3, np.float32)))
        == "Layer(2 x 3 float32)"
    )
