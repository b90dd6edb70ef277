"""An argument of a wrong type is one line that names it, for every public function."""

import pytest
from data_sets import TINY

from mlp_xp import (
    MlpXpError,
    TrainConfig,
    check_gradients,
    evaluate,
    export_onnx,
    export_page,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    plot_curves,
    plot_run,
    predict,
    sweep,
    train,
)
from mlp_xp.parity import assert_parity, check, trace

CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=100)
IMAGES = TINY.test.inputs
WRONG = {
    "config": [
        lambda: [*train(None, TINY)],
        lambda: [*check(None, TINY, ["numpy"], 1)],
        lambda: trace(5, TINY, "numpy", 1),
    ],
    "dataset": [
        lambda: [*check(CONFIG, None, ["numpy"], 1)],
        lambda: load_dataset(None),
        lambda: load_dataset(3),
    ],
    "backend": [
        lambda: [*train(CONFIG, TINY, 5)],
        lambda: load_dataset("mnist", 5),
        lambda: from_arrays([[1.0]] * 4, [0, 1, 0, 1], backend=5),
        lambda: open_backend(None),
        lambda: [*check(CONFIG, TINY, [5], 1)],
        lambda: trace(CONFIG, TINY, 5, 1),
    ],
    "gradients": [lambda: check_gradients(len, 5, IMAGES, W=IMAGES)],
    "x": [
        lambda: check_gradients(len, len, "numpy"),
        lambda: check_gradients(len, len, None),
    ],
    "y": [lambda: check_gradients(len, len, IMAGES, y=IMAGES)],
    "loss": [lambda: check_gradients((len, len), len, IMAGES)],
    "learning_rate": [
        lambda: check_gradients(len, len, IMAGES, learning_rate="1"),
        lambda: check_gradients(len, len, IMAGES, learning_rate=0),
    ],
    "stored": [lambda: check_gradients(len, len, IMAGES, stored=1)],
    "samples": [lambda: check_gradients(len, len, IMAGES, samples=5)],
    "parameters": [lambda: check_gradients(len, len, IMAGES, parameters={"W": 1}, b=1)],
    "steps": [
        lambda: assert_parity("numpy", steps=None),
        lambda: trace(CONFIG, TINY, "numpy", [1]),
    ],
    "models": [
        lambda: evaluate(5),
        lambda: evaluate(None),
        lambda: evaluate([5]),
        lambda: predict(3, IMAGES),
        lambda: export_onnx(None, "a.onnx"),
        lambda: export_page(None, "a.html"),
    ],
    "path": [
        lambda: load_run(5),
        lambda: export_onnx("run", None),
        lambda: export_page("run", None),
    ],
    "title": [lambda: export_page("run", "a.html", title=5)],
    "run_dir": [lambda: plot_run(None), lambda: [*train(CONFIG, TINY, run_dir=5)]],
    "run_dirs": [lambda: plot_curves(5, "a.png"), lambda: plot_curves([5], "a.png")],
    "output": [lambda: plot_curves("run", None)],
    "values": [lambda: sweep(None)],
    "base": [
        lambda: sweep({"seed": [0]}, 5),
        lambda: sweep({"seed": [1, 2]}, {"epochs": 1}),
    ],
}
CASES = [
    pytest.param(name, call, id=f"{name}-{i}")
    for name, calls in WRONG.items()
    for i, call in enumerate(calls)
]


@pytest.mark.parametrize(("name", "call"), CASES)
def test_an_argument_of_a_wrong_type_is_named_in_one_line(name, call):
    with pytest.raises(MlpXpError) as caught:
        call()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
