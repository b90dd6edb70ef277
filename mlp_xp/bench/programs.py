"""Whole programs, each as the users of its library write it: `python -m mlp_xp.bench.programs JOB`.

`bench.whole` starts them and takes the times. A program is a generator that yields events, and `main` prints each as a
line of JSON:

    {"ready": true}                                    the data are loaded and the model is built
    {"epochs": 3, "accuracy": 0.97, "loss": 0.08}      after an epoch: accuracy and loss on the test set
    {"end": true, "epochs": 40, "loss": 0.01}          the program is done; perhaps with these

All programs of a workload begin with the same weights and see the same samples in the same order. This file imports
NumPy and nothing of the package, so that no other library waits for it.
"""

import gzip
import importlib
import json
import os
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
MOMENTUM = 0.9
Event = dict[str, Any]
Job = dict[str, Any]
"""`hidden`, `batch_size`, `learning_rate`, `dtype`, `epochs` (the largest number), `seed`, `data_dir`; and `threads`,
or None for as many as the library takes by itself."""


def load(job: Job) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and test images, rows (n, 784) in [0, 1] of the dtype, each with its labels, int64 (n,)."""
    arrays = []
    for part in ("train", "t10k"):
        for name, header in (("images-idx3", 16), ("labels-idx1", 8)):
            with gzip.open(Path(job["data_dir"]) / f"{part}-{name}-ubyte.gz") as file:
                arrays.append(np.frombuffer(file.read(), np.uint8, offset=header))
    x, y, test_x, test_y = arrays
    rows = (each.reshape(-1, 28 * 28).astype(job["dtype"]) / np.dtype(job["dtype"]).type(255) for each in (x, test_x))
    return next(rows), y.astype(np.int64), next(rows), test_y.astype(np.int64)


def initial_layers(job: Job, random: np.random.RandomState) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (inputs, outputs) as He et al., 2015, draw them, and biases (outputs,) of zeros."""
    sizes = (28 * 28, *job["hidden"], CLASSES)
    return [
        (
            (random.standard_normal((inputs, outputs)) * (2 / inputs) ** 0.5).astype(job["dtype"]),
            np.zeros(outputs, job["dtype"]),
        )
        for inputs, outputs in pairwise(sizes)
    ]


def epochs(job: Job, random: np.random.RandomState, samples: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each epoch, from 1, and its samples in order, int64 (n,)."""
    order = np.arange(samples)
    for epoch in range(job["epochs"]):
        order = order[random.permutation(samples)]
        yield epoch + 1, order


def pytorch(job: Job) -> Iterator[Event]:
    """Modules, autograd, an optimiser. Slices of a shuffled copy, which are faster than a DataLoader."""
    import torch
    from torch import nn

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    x, y, test_x, test_y = map(torch.from_numpy, load(job))
    random = np.random.RandomState(job["seed"])
    modules: list[nn.Module] = []
    for weights, bias in initial_layers(job, random):
        linear = nn.Linear(len(weights), len(bias), dtype=x.dtype)
        linear.load_state_dict({"weight": torch.from_numpy(weights.T.copy()), "bias": torch.from_numpy(bias)})
        modules += [linear, nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    cross_entropy = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=job["learning_rate"], momentum=MOMENTUM)
    yield {"ready": True}
    for epoch, order in epochs(job, random, len(y)):
        rows = torch.from_numpy(order)
        for inputs, labels in zip(x[rows].split(job["batch_size"]), y[rows].split(job["batch_size"]), strict=True):
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        with torch.no_grad():
            logits = model(test_x)
            right, loss = (logits.argmax(1) == test_y).double().mean(), cross_entropy(logits, test_y)
        yield {"epochs": epoch, "accuracy": float(right), "loss": float(loss)}


def keras_on_jax(job: Job) -> Iterator[Event]:
    """Keras 3 on JAX: the jitted step from Keras' guide to custom training loops in JAX, faster than `fit`."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    jax.config.update("jax_enable_x64", job["dtype"] == "float64")
    import keras

    keras.config.set_floatx(job["dtype"])
    x, y, test_x, test_y = load(job)
    random = np.random.RandomState(job["seed"])
    hidden = [keras.layers.Dense(units, activation="relu") for units in job["hidden"]]
    model = keras.Sequential([keras.Input(x.shape[1:]), *hidden, keras.layers.Dense(CLASSES)])
    model.set_weights([array for layer in initial_layers(job, random) for array in layer])
    optimizer = keras.optimizers.SGD(job["learning_rate"], momentum=MOMENTUM)
    optimizer.build(model.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_and_updates(trainable: Any, non_trainable: Any, x: Any, y: Any) -> Any:
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return cross_entropy(y, logits), non_trainable

    loss_and_gradient = jax.value_and_grad(loss_and_updates, has_aux=True)

    def train_step(state: Any, x: Any, y: Any) -> Any:
        trainable, non_trainable, kept = state
        (_, non_trainable), gradients = loss_and_gradient(trainable, non_trainable, x, y)
        trainable, kept = optimizer.stateless_apply(kept, gradients, trainable)
        return trainable, non_trainable, kept

    def test_step(state: Any, x: Any, y: Any) -> Any:
        logits, _ = model.stateless_call(*state[:2], x)
        return (logits.argmax(1) == y).mean(), cross_entropy(y, logits)

    train_step = jax.jit(train_step, donate_argnums=0)
    test_step = jax.jit(test_step)
    variables = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state: Any = tuple([variable.value for variable in part] for part in variables)
    yield {"ready": True}
    for epoch, order in epochs(job, random, len(y)):
        images, labels = x[order], y[order]
        for start in range(0, len(y), job["batch_size"]):
            stop = start + job["batch_size"]
            state = train_step(state, images[start:stop], labels[start:stop])
        right, loss = map(float, test_step(state, test_x, test_y))
        yield {"epochs": epoch, "accuracy": right, "loss": loss}


def scikit_learn(job: Job) -> Iterator[Event]:
    """scikit-learn's MLPClassifier, one partial fit per epoch."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    x, y, test_x, test_y = load(job)
    random = np.random.RandomState(job["seed"])
    layers = iter(initial_layers(job, random))

    class Classifier(MLPClassifier):
        """Begins with the weights of the other programs: scikit-learn has no public way to give them."""

        def _init_coef(self, *_: Any) -> tuple[np.ndarray, np.ndarray]:
            return next(layers)

    model = Classifier(
        hidden_layer_sizes=job["hidden"],
        solver="sgd",
        alpha=0,
        batch_size=job["batch_size"],
        learning_rate_init=job["learning_rate"],
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        shuffle=False,
    )
    yield {"ready": True}
    for epoch, order in epochs(job, random, len(y)):
        model.partial_fit(x[order], y[order], classes=range(CLASSES))
        probabilities = model.predict_proba(test_x)
        right = float((probabilities.argmax(axis=1) == test_y).mean())
        yield {"epochs": epoch, "accuracy": right, "loss": log_loss(test_y, probabilities, labels=range(CLASSES))}


def fit(job: Job, module: str, **arguments: str) -> Iterator[Event]:
    """`fit` of scikit-learn's MLPClassifier, or of the package's class of this name, with scikit-learn's defaults."""
    classifier = importlib.import_module(module).MLPClassifier
    x, y, _, _ = load(job)
    model = classifier(random_state=job["seed"], max_iter=job["epochs"], **arguments)
    yield {"ready": True}
    model.fit(x, y)
    yield {"end": True, "epochs": model.n_iter_, "loss": model.loss_curve_[-1]}


def notebook(job: Job) -> Iterator[Event]:
    """An epoch of the notebook's own loop, with its reports."""
    # By its path, so that nothing else of the package is imported.
    spec = spec_from_file_location("notebook", Path(__file__).parent.parent / "parity" / "notebook.py")
    assert spec
    assert spec.loader
    module = sys.modules["notebook"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    data = module.load(job["data_dir"])
    network = module.Notebook()
    yield {"ready": True}

    def report(*_: object) -> None:
        module.accuracy(network, data.test_images, data.test_labels)

    module.trajectory(network, data.train_images, data.train_labels, len(data.train_images), on_report=report)
    output = network.forward(data.test_images).output
    yield {"end": True, "loss": float(module.cross_entropy_loss(data.test_labels, output))}


PROGRAMS = {program.__name__: program for program in (pytorch, keras_on_jax, scikit_learn, fit, notebook)}


def main() -> None:
    """Run the program that the job names, and print its events. Other output goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name, arguments, job = json.loads(sys.argv[1])
    event: Event = {}
    for event in PROGRAMS[name](job, **arguments):
        print(json.dumps(event), file=events, flush=True)
    if not event.get("end"):
        print(json.dumps({"end": True}), file=events, flush=True)


if __name__ == "__main__":
    main()
