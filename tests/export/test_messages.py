"""A network without a page or an ONNX file is refused, and older files stay."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_sets import varied
from helpers import first_state, pattern
from sklearn.exceptions import ConvergenceWarning

from mlp_xp import Activation, TrainConfig, export_onnx, export_page, from_arrays
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer
from mlp_xp.core.task import LABELS
from mlp_xp.errors import MlpXpError
from mlp_xp.estimator import MLPClassifier
from mlp_xp.runs.records import RunError

NUMPY = open_backend()
CONFIG = TrainConfig(hidden=(4,), warm_up_steps=0)
BYTES = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
FLOATS = BYTES / 255
KINDS = np.arange(40) % 3
FRAME = pd.DataFrame({"island": [*"abca"] * 10, "length": [np.nan, *range(39)]})


def untrained(X, **changes):
    job = Job(CONFIG, from_arrays(X, KINDS, task="classes"), NUMPY)
    model = job.model(first_state(CONFIG, job.sizes, NUMPY).network)
    return varied(model, **changes)


def page(X, file="a.html", **changes):
    """Return the writing of a page."""
    data = from_arrays(X, KINDS, task="classes")
    return lambda: export_page(untrained(X, **changes), file, data=data)


def graph(*inputs, file="m.onnx", **options):
    """Return the writing of an ONNX file, of a network for each of the inputs."""
    return lambda: export_onnx([untrained(X) for X in inputs], file, **options)


def two_tasks():
    export_onnx([untrained(BYTES), untrained(BYTES, task=LABELS)], "m.onnx")


def one_class():
    estimator = MLPClassifier((2,), max_iter=1)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(FLOATS[:, 0], ["a"] * 40)
    estimator.to_onnx("m.onnx")


PICTURES = "a page is for grey pictures, ... ; this network takes"

# By the kind of the error: what is done, and how the message begins.
REFUSED = {
    MlpXpError: [
        (
            lambda: export_page([untrained(BYTES), untrained(FLOATS)], "a.html"),
            "an ensemble has no page; give one of its runs",
        ),
        (
            page(BYTES, activation=Activation(*ACTIVATIONS["relu"])),
            "its activation or its preparation is a function of your own, which a page "
            "cannot have; use predict",
        ),
        (
            page(np.stack([BYTES] * 3, axis=-1)),
            f"{PICTURES} images of 4 x 4 x 3; use predict",
        ),
        (page(BYTES[:, :3]), f"{PICTURES} images of 3 x 4"),
        (page(FLOATS), f"{PICTURES} images of 4 x 4"),
        (page(np.tile(FLOATS[:, 0], 51)), f"{PICTURES} samples of 204 features"),
        (
            page(BYTES),
            "a page would have 0.0 MB, more than the 0 that a browser opens at once; "
            "train",
        ),
        (
            page(BYTES, network=[Layer(np.ones((16, 3)), np.full(3, 1e39))]),
            "its weights are too large for float32, in which a page has them; train it",
        ),
        (
            page(BYTES, "a.png"),
            "'a.png' is not the name of an HTML file; give one that ends in .html",
        ),
        (
            graph(BYTES, file="m.txt"),
            "'m.txt' is not the name of an ONNX file; give one that ends in .onnx",
        ),
    ],
    RunError: [(two_tasks, "'the network': ... task labels, not classes")],
    ValueError: [
        (one_class, "the training data had only one class, and a file has two or more")
    ],
}


def branches(z, /, *, xp):
    return (z, z) if xp.max(z) > 0 else (-z, z)


def counts(z, /, *, xp):
    return np.asarray(z, np.float64), z


def computing(function):
    """Return the writing of a network that computes with NumPy."""

    def write():
        model = untrained(BYTES, activation=Activation(function, None))
        model.predict(BYTES)
        export_onnx(model, "m.onnx")

    return write


def naming(column):
    return graph(FRAME.rename(columns={"length": column}))


RECORDED = (
    "'the network': its activation or preparation may only call the functions of `xp`, "
    "and not read values; ndonnx says"
)
NAME = "'the network': the name of a column ... ; rename it ... "
SCALED = (
    "some networks were trained on bytes, others on floats of about 0 to 1; export "
    "them one by one"
)

# The same of MlpXpError, where the packages for ONNX are needed.
GRAPHS = [
    (computing(branches), RECORDED),
    (computing(counts), RECORDED),
    (
        graph(FRAME, FRAME.assign(island=KINDS)),
        "'the network': its column 'island' is a number, for others a category; export "
        "them one by one",
    ),
    (naming("classes"), f"{NAME}classes"),
    (naming(""), NAME),
    # the name of a node in the graph
    (naming("Where_0_output"), f"{NAME}Where_0_output"),
    (graph(BYTES, FLOATS), SCALED),
    (graph(FLOATS, BYTES), SCALED),
    (
        graph(1e50 * FLOATS, dtype="float32"),
        "'the network': float32 does not hold its numbers; export it in float64",
    ),
]
NEEDED = pytest.mark.needs("onnx", "ndonnx", "onnxruntime")
CASES = [(kind, *row) for kind, rows in REFUSED.items() for row in rows]
CASES += [pytest.param(MlpXpError, *row, marks=NEEDED) for row in GRAPHS]


@pytest.mark.parametrize(("kind", "use", "said"), CASES)
def test_what_cannot_be_written_is_refused(
    kind, use, said, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlp_xp.export.page.LARGEST", 20_000)
    before = {"a.html": b"old page", "m.onnx": b"old graph"}
    for name, content in before.items():
        Path(name).write_bytes(content)
    with pytest.raises(kind, match=rf"\A{pattern(said)}.*\Z"):
        use()
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
