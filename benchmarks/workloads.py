"""What the contestants of the benchmark train."""

from typing import Any, NamedTuple

import numpy as np

STEPS, EPOCH, FIT = "steps", "epoch", "fit"


class Workload(NamedTuple):
    """A network, a batch size and the number of steps of a round to train."""

    name: str
    title: str
    batch_size: int
    hidden: tuple[int, ...]
    dtype: str
    init: str
    learning_rate: float
    steps: int
    kind: str = STEPS
    """STEPS: processes stay alive, and a round is a number of steps. Else a round is a
    new process, and its time is that of an EPOCH with the notebook's reports, or of
    scikit-learn's FIT.
    """


class Job(NamedTuple):
    """The argument of a contestant's process.

    It holds a contestant, its workload, its threads and the data folder.
    """

    contestant: str
    workload: Workload
    threads: int
    data_dir: str

    @property
    def dtype(self) -> Any:
        """The workload's dtype as a NumPy scalar type."""
        return np.dtype(self.workload.dtype).type


ONE, SMALL = "784-64-10, one sample a step", "784-64-10, batches of"
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "one-float64",
            f"{ONE}, float64",
            1,
            (64,),
            "float64",
            "notebook",
            0.01,
            5000,
        ),
        Workload(
            "one-float32",
            f"{ONE}, float32",
            1,
            (64,),
            "float32",
            "notebook",
            0.01,
            5000,
        ),
        Workload(
            "batch-128",
            f"{SMALL} 128, float32",
            128,
            (64,),
            "float32",
            "notebook",
            0.1,
            468,
        ),
        Workload(
            "batch-128-wide",
            "784-800-10, batches of 128, float32",
            128,
            (800,),
            "float32",
            "glorot",
            0.1,
            78,
        ),
        Workload(
            "batch-1024-deep",
            "784-2048-2048-10, batches of 1024, float32",
            1024,
            (2048, 2048),
            "float32",
            "glorot",
            0.01,
            4,
        ),
        Workload(
            "first-epoch",
            f"{ONE}, float64: first epoch",
            1,
            (64,),
            "float64",
            "notebook",
            0.01,
            1,
            EPOCH,
        ),
        *(
            Workload(
                f"fit-{dtype}",
                f"MLPClassifier().fit, {dtype}",
                1,
                (100,),
                dtype,
                "glorot",
                0.001,
                1,
                FIT,
            )
            for dtype in ("float64", "float32")
        ),
    )
}
QUICK = ("one-float64", "one-float32", "batch-128")
QUICK_ROUNDS = 3


def curve(batch_size: int, hidden: int, steps: int) -> Workload:
    """Return a workload with one hidden layer.

    At its learning rate no loss overflows.
    """
    title = f"784-{hidden}-10, batches of {batch_size}, float32"
    return Workload(
        title, title, batch_size, (hidden,), "float32", "glorot", 0.01, steps
    )


# The points of each curve of docs/performance-curves.png.
CURVES = {
    "batch size": {
        size: curve(size, 64, max(4, 5000 // size))
        for size in (2**i for i in range(11))
    },
    "hidden units": {
        width: curve(128, width, min(156, max(4, 10000 // width)))
        for width in (16, 64, 256, 1024, 2048)
    },
}
