"""What cannot be trained on or used is refused in one line, and writes no file."""

from dataclasses import replace

import numpy as np
import pytest
from data_sets import on_device, synthetic, varied
from helpers import first_state, pattern

from mlp_xp import Activation, TrainConfig, from_arrays, train
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.plan import Chunk
from mlp_xp.core.task import LABELS
from mlp_xp.core.training import DivergenceError, check_losses
from mlp_xp.declared import ConfigError
from mlp_xp.errors import DatasetError, MlpXpError
from mlp_xp.runs.records import RunError

CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20, warm_up_steps=0)
HOST = synthetic(60, 20, 6)
IMAGES, KINDS = HOST.train.inputs, HOST.train.labels
TARGETS = np.stack([KINDS, KINDS], axis=1) / 2
NUMBERS = from_arrays(IMAGES / 255, TARGETS)


def settings(samples=100, **given):
    """Return the check of settings for a number of samples."""
    return lambda _: TrainConfig(**given).resolve(samples)


def training(dataset=HOST, run_dir="run", settings=None, **changes):
    """Return training on a backend, with other fields of the data or the settings."""

    def train_on(backend):
        placed = on_device(varied(dataset, **changes), backend)
        config = replace(CONFIG, **settings or {})
        return [*train(config, placed, backend, run_dir=run_dir)]

    return train_on


def model(backend, **changes):
    job = Job(CONFIG, on_device(HOST, backend), backend)
    network = first_state(CONFIG, job.sizes, backend).network
    return varied(job.model(network), **changes)


def evaluation(inputs, labels=KINDS):
    """Return an evaluation of a model on a backend."""
    return lambda backend: model(backend).evaluate(
        backend.asarray(inputs), backend.asarray(labels)
    )


def of_networks(*losses):
    """Return the losses of steps, each a number or a row for several networks."""
    return np.array(losses).reshape(len(losses), -1)


def deforming(X):
    """Return training on deformed images."""
    return training(from_arrays(X, KINDS, task="classes"), settings={"deform": True})


SHAPE = "inputs: their shape is (60, 5, 6); give one or more, (n, 6, 6"
DIVERGED = "training diverged: the"
GREY = "deform: needs images in shades of grey, uint8 (n, rows, columns), not"

# By the kind of the error: what is done on a backend, and how the message begins.
REFUSED = {
    ConfigError: [
        (settings(hidden=(64, 0)), "hidden: 0 is out of range; it must be at least 1"),
        (
            settings(patience=2),
            "patience: 2 needs held-out samples; hold some out with validation",
        ),
        (
            settings(dropout=0.2, hidden=()),
            "dropout: needs a hidden layer; add one, or leave this at 0",
        ),
        (
            settings(nesterov=True),
            'nesterov: is not possible with sgd; use optimizer="momentum"',
        ),
        (
            settings(clip_norm=1.0),
            "clip_norm: needs all gradients before any update; "
            'use update_order="simultaneous"',
        ),
        (
            settings(validation=2.5),
            "validation: 2.5 is out of range; it must be a whole number, or a share",
        ),
        (settings(epochs="3"), "epochs: '3' is not a whole number"),
        (settings(epochs=2.5), "epochs: 2.5 is not a whole number"),
        (settings(epochs=True), "epochs: True is not a whole number"),
        (settings(seed=None), "seed: None is not a whole number"),
        (settings(learning_rate="0.1"), "learning_rate: '0.1' is not a number"),
        (settings(activation=3), "activation: 3 is not a string"),
        (settings(hidden=64), "hidden: 64 is not a list of whole numbers"),
        (settings(hidden="64"), "hidden: '64' is not a list of whole numbers"),
        (settings(hidden=[64.5]), "hidden: 64.5 is not a whole number"),
        (settings(defer_updates=1), "defer_updates: 1 is not true or false"),
        (
            settings(batch_size=101),
            "batch_size: 101 is out of range; it must be at most the 100 training",
        ),
        (
            settings(batch_size=91, validation=10),
            "batch_size: 91 is out of range; it must be at most the 90 training",
        ),
        (
            settings(validation=100),
            "validation: 100 is out of range; it must be below the 100 training",
        ),
        (
            settings(samples=1),
            "warm_up_steps: 10 is out of range; it must be 0 for a single training",
        ),
        # A float image would be standardised pixel by pixel. A stroke moved to an empty
        # place would become huge.
        (
            deforming(IMAGES[:, 0]),
            f"{GREY} float samples of 6 features; leave it out",
        ),
        (
            deforming(np.stack([IMAGES] * 3, axis=-1)),
            f"{GREY} images of 6 x 6 x 3; leave it out",
        ),
        (
            deforming(IMAGES / 1),
            f"{GREY} float images of 6 x 6; leave it out",
        ),
    ],
    DatasetError: [
        (
            training(train_labels=np.uint8([*KINDS[1:], 10])),
            "train.labels: they range from 0 to 10; give 0 to 9,",
        ),
        (
            training(test_labels=np.int8([*HOST.test.labels[1:], -1])),
            "test.labels: they range from -1 to 9; give 0 to 9,",
        ),
        (training(outputs=()), "train.labels: they range from 0 to 9; give 0 to -1,"),
        (
            training(train_labels=KINDS / 1),
            "train.labels: their dtype is float64; give integers",
        ),
        (
            training(train_labels=np.eye(10, dtype=np.uint8)[KINDS]),
            "train.labels: their shape is (60, 10), where (60,) is",
        ),
        (
            training(NUMBERS, train_labels=TARGETS[:, :1]),
            "train.labels: their shape is (60, 1), where (60, 2) is",
        ),
        (
            training(NUMBERS, train_labels=TARGETS * [1, np.nan]),
            "train.labels: they range from nan to nan; give finite",
        ),
        (
            training(NUMBERS, task=LABELS, train_labels=np.full((60, 2), 2)),
            "train.labels: they range from 2 to 2; give 0 or 1",
        ),
        # They would broadcast: an accuracy of 7 is possible.
        (
            evaluation(IMAGES, KINDS[:1]),
            "labels: their shape is (1,), where (60,) is expected",
        ),
        (
            evaluation(IMAGES, KINDS[:, None]),
            "labels: their shape is (60, 1), where (60,) is expected",
        ),
        (
            training(train_inputs=IMAGES / 255),
            "train.inputs: their dtype is float64; give uint8, which is scaled",
        ),
        (
            training(train_inputs=IMAGES.astype(int)),
            "train.inputs: their dtype is int64; give uint8, which is scaled",
        ),
        (
            training(NUMBERS, train_inputs=np.float32(IMAGES)),
            "train.inputs: their dtype is float32; give uint8 or float64",
        ),
        (
            training(test_inputs=HOST.test.inputs[..., None]),
            "test.inputs: their shape is (20, 6, 6, 1); give one or more, (n, 6, 6)",
        ),
        (
            training(test_inputs=IMAGES[:0]),
            "test.inputs: their shape is (0, 6, 6); give one or more, (n, 6, 6)",
        ),
        (
            training(test_inputs=None),
            "test.inputs: they are builtins.NoneType, the backend is",
        ),
        (evaluation(IMAGES[:, 1:]), SHAPE),
        (lambda here: model(here).logits(here.asarray(IMAGES[:, 1:])), SHAPE),
        (lambda here: model(here).predictions(here.asarray(IMAGES[:, 1:])), SHAPE),
        (
            lambda backend: next(train(CONFIG, [HOST], backend)),
            "dataset: is a list; make a Dataset by load_dataset or from_arrays",
        ),
        (
            training(weights=np.zeros(60)),
            "weights: give numbers of at least 0 for all samples, not all",
        ),
    ],
    MlpXpError: [
        (
            lambda here: model(here, units=(np.inf, 1.0)).predictions(
                here.asarray(IMAGES)
            ),
            "'the network': its outputs, or its loss, are not finite ... ; correct the",
        ),
    ],
    RunError: [
        (
            training(settings={"activation": Activation(np.tanh, np.tanh)}),
            "the activation is a pair of functions, which a run folder cannot store",
        ),
    ],
    DivergenceError: [
        (
            lambda _: check_losses(of_networks(1, np.nan, np.inf), 3, Chunk(100, 3, 7)),
            f"{DIVERGED} loss at sample 107 of epoch 3 is nan; lower the learning rate "
            "or choose another",
        ),
        (
            lambda _: check_losses(of_networks(np.inf, 1), 0, Chunk(0, 2, 1)),
            f"{DIVERGED} loss at sample 0 of epoch 0 is inf;",
        ),
        (
            lambda _: check_losses(of_networks(np.nan), WARM_UP_EPOCH, Chunk(1, 1, 1)),
            f"{DIVERGED} loss at sample 1 of the warm-up is nan;",
        ),
        (
            lambda _: check_losses(
                of_networks([1, 1], [1, np.inf]), 2, Chunk(0, 2, 7), (0, 4)
            ),
            f"{DIVERGED} loss at sample 7 of network 5 of epoch 2 is inf;",
        ),
        # A single step: its loss is from before the update, and there is no other.
        (
            training(synthetic(1), run_dir=None, settings={"learning_rate": 1e300}),
            f"{DIVERGED} network or optimiser state after 1 samples of epoch 0 is not",
        ),
        # Finite weights may overflow in use.
        (
            training(
                synthetic(1),
                run_dir=None,
                settings={
                    "hidden": (8,),
                    "learning_rate": 1e200,
                    "activation": "relu",
                    "update_order": "simultaneous",
                },
            ),
            f"{DIVERGED} test loss after 1 samples of epoch 0 is ... ; lower",
        ),
    ],
}


@pytest.mark.parametrize(
    ("use", "kind", "said"),
    [(use, kind, said) for kind, rows in REFUSED.items() for use, said in rows],
)
def test_what_cannot_be_trained_on_or_used_is_refused(
    use, kind, said, backend, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=rf"\A{pattern(said)}.*\Z") as caught:
        use(backend)
    assert caught.value.exit_code == (1 if kind is DivergenceError else 2)
    assert not [*tmp_path.iterdir()], "a folder was made"
