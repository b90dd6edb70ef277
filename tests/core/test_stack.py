"""A stack of networks: each network is trained as it would be alone."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from data_sets import on_device
from numerics import assert_near, trajectory_tolerance

from mlp_xp import TrainConfig, from_arrays
from mlp_xp.core.job import Job
from mlp_xp.core.network import Network
from mlp_xp.core.stack import member_seed, members
from mlp_xp.core.training import DivergenceError, Event, in_training, trajectory

NETWORKS = 3
ROWS, FEATURES, HELD_OUT = 70, 6, 15
random = np.random.RandomState(2)
X = random.standard_normal((ROWS, FEATURES))
Z = X[:, :3] + 0.5 * random.standard_normal((ROWS, 3))
LABELS = {
    "classes": np.argmax(Z, axis=1),
    "labels": (Z > 0).astype(int),
    "regression": Z[:, 0] + np.sin(Z[:, 1]),
}
# 55 samples in batches of 8 are 7 steps, the last with 7 samples: 308 steps.
CONFIG = TrainConfig(
    epochs=44,
    batch_size=8,
    hidden=(5, 4),
    learning_rate=0.01,
    init="glorot",
    validation=HELD_OUT,
    report_every=55,
    seed=2**32 - 1,
)
CASES = {
    "sgd": ({"defer_updates": False}, "classes", False),
    "simultaneous": (
        {"update_order": "simultaneous", "activation": "tanh"},
        "labels",
        False,
    ),
    "momentum": (
        {"optimizer": "momentum", "nesterov": True, "weight_decay": 0.01},
        "regression",
        True,
    ),
    "adam": ({"optimizer": "adam", "dropout": 0.25}, "labels", False),
    "adamw": (
        {
            "optimizer": "adamw",
            "weight_decay": 0.1,
            "schedule": "cosine",
            "dropout": 0.1,
        },
        "classes",
        True,
    ),
    "clipping": (
        {"clip_norm": 0.05, "update_order": "simultaneous", "activation": "relu"},
        "regression",
        False,
    ),
    "one sample": (
        {"batch_size": 1, "epochs": 6, "warm_up_steps": 2},
        "classes",
        False,
    ),
    "many samples": (
        {"batch_size": 55, "epochs": 300, "activation": "gelu"},
        "classes",
        False,
    ),
    "stopping": (
        {
            "optimizer": "adam",
            "learning_rate": 0.03,
            "patience": 2,
            "epochs": 60,
            "seed": 2**32 - 3,
        },
        "classes",
        False,
    ),
}

QUICK = ["adamw", "stopping"]
OTHERS = [
    pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in QUICK
]


def make_job(case: str, backend, networks: int = NETWORKS, **changes) -> Job:
    settings, task, has_weights = CASES[case]
    weights = np.linspace(0.5, 2, ROWS) if has_weights else None
    dataset = from_arrays(X, LABELS[task], task=task, sample_weight=weights)
    config = replace(CONFIG, **{**settings, **changes})
    return Job(config, on_device(dataset, backend), backend, networks)


def alone(job: Job, number: int) -> Job:
    """Return the job of a network of a stack alone, with the same held-out samples."""
    seed = member_seed(job.config.seed, number)
    single = Job(replace(job.config, seed=seed), job.dataset, job.backend)
    single.held_out, single.rows, single.weights = job.held_out, job.rows, job.weights
    return single


def on_host(network: Network, backend) -> np.ndarray:
    arrays = [backend.to_numpy(array) for layer in network for array in layer]
    return np.concatenate([array.ravel() for array in arrays])


def ends_of_epochs(job: Job) -> Iterator[Event]:
    """Yield the events with a report. The state is valid until the next one."""
    return (event for event in trajectory(job) if event.report)


@pytest.mark.parametrize("case", [*QUICK, *OTHERS])
def test_each_network_is_trained_as_alone(case, backend):
    """Compare the weights after each report, and the results at the end.

    Adam divides by the root of the mean squared gradient. It may amplify differences by
    the ratio of the largest root to the smallest, here at most 100.
    """
    job = make_job(case, backend)
    histories = [{}, {}, {}]
    for event in ends_of_epochs(job):
        position = event.position
        if event.closing:
            closing = event
            continue
        rows = in_training(job, position, position.epoch)
        states = members(position.state.network)
        places = range(NETWORKS) if backend.compiles else rows
        for number, network in zip(places, states, strict=True):
            if number in rows:
                histories[number][position.step] = on_host(network, backend)
    kept = members(closing.report.model.network)
    scale = 100 if job.config.optimizer.startswith("adam") else 1
    steps = job.total_steps
    tolerance = scale * trajectory_tolerance(steps, FEATURES)
    for number, history in enumerate(histories):
        expected, losses = {}, []
        single = alone(job, number)
        for event in ends_of_epochs(single):
            if event.closing:
                best = on_host(event.report.model.network, backend)
                assert_near(on_host(kept[number], backend), best, tolerance)
                assert (
                    closing.position.best.marks[number].epoch == event.report.kept_epoch
                )
            else:
                network = event.position.state.network
                expected[event.position.step] = on_host(network, backend)
                losses.append(event.report.train_loss)
        assert history.keys() == expected.keys()
        assert len(losses) > 1
        for step, weights in expected.items():
            assert_near(history[step], weights, tolerance)
    lengths = {len(history) for history in histories}
    assert (len(lengths) > 1) == (case == "stopping"), "networks end at their own time"


def place_of_divergence(job: Job) -> tuple[int, int, str]:
    """Return the epoch, the sample and the message."""
    with pytest.raises(DivergenceError) as caught:
        for _ in trajectory(job):
            pass
    said = str(caught.value)
    sample, epoch = re.search(r"sample (\d+) .*of epoch (\d+)", said).groups()
    return int(epoch), int(sample), said


def test_the_first_network_to_diverge_is_named(backend):
    """The whole run fails, where this network alone fails."""
    job = make_job("clipping", backend, clip_norm=0, learning_rate=10.0)
    places = [place_of_divergence(alone(job, number)) for number in (1, 2)]
    assert [place[:2] for place in places] == [(0, 32), (0, 24)]
    epoch, sample, said = place_of_divergence(job)
    assert (epoch, sample) == (0, 24)
    assert "of network 3 " in said
