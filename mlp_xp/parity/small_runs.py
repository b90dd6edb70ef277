"""Small runs that together use all that the package asks of a library."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlp_xp.backends.opening import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory
from mlp_xp.data.arrays import from_arrays
from mlp_xp.parity.trace import Tracer, trace_run

CONFIG = TrainConfig(hidden=(3,), epochs=1, batch_size=8, warm_up_steps=0, report_every=8)
RICH = replace(
    CONFIG, activation="relu", optimizer="adam", update_order="simultaneous", clip_norm=1.0, weight_decay=0.01,
    dropout=0.2,
)  # fmt: skip


def small_runs(backend: Backend) -> Iterator[tuple[str, Tracer]]:
    """Trace short runs of other settings and of each task, on arrays that are on the device, and yield their names."""
    random = np.random.default_rng(0)
    images, features = random.integers(0, 256, (60, 4, 4), np.uint8), random.standard_normal((60, 3))
    data: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "classes": (images, np.arange(60) % 3),
        "labels": (features, features > 0),
        "regression": (features, features),
    }
    for task, (X, y) in data.items():

        def run(traced: Backend, task: str = task, X: np.ndarray = X, y: np.ndarray = y) -> None:
            dataset = from_arrays(traced.asarray(X), y, 0.3, backend=traced, task=task)
            for _ in trajectory(Job(RICH if task == "classes" else CONFIG, dataset, traced)):
                pass

        yield f"small run for {task}", trace_run(run, backend)
