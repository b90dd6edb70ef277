"""Several networks, trained one after the other, and averaged as one network.

The mean of the outputs of networks with the same layers is again a network: it has
their hidden layers side by side, and takes the mean at its last layer. Therefore a run
of several networks has one `Model`, like any other run.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.step import State, initial_state, to_device
from mlp_xp.core.training import Event, Position, Report, trajectory

# Runs of several networks with seeds close to each other have no network in common.
_BETWEEN_SEEDS = 2**16


def average(networks: Sequence[Network], backend: Backend) -> Network:
    """Return a network whose outputs are the means of the outputs of several networks.

    All networks have layers of the same sizes, and arrays on the device of the backend.
    NumPy computes the average on the host, so that it has the same bits for every
    library.
    """
    count, last, joined = len(networks), len(networks[0]) - 1, []
    for depth, layers in enumerate(zip(*networks, strict=True)):
        blocks = [backend.to_numpy(layer.weights) for layer in layers]
        bias = np.stack([backend.to_numpy(layer.bias) for layer in layers])
        if depth:
            # (network, unit, network, unit): 0 between units of different networks
            inputs, outputs = blocks[0].shape
            weights = np.zeros((count, inputs, count, outputs), blocks[0].dtype)
            for i, block in enumerate(blocks):
                weights[i, :, i, :] = block
        else:
            # (input, network, unit): all networks read the same inputs
            weights = np.stack(blocks, axis=1)
        if depth == last:
            weights, bias = weights.sum(axis=-2) / count, bias.sum(axis=0) / count
        joined.append(Layer(weights.reshape(-1, bias.size), bias.reshape(-1)))
    return to_device(tuple(joined), backend)


def trajectories(
    job: Job, networks: int, start: Position | None = None, *, trained: Network = ()
) -> Iterator[Event]:
    """Train networks one after the other, and yield the events of all of them.

    The networks differ in their seeds. They hold out the same samples, because the
    samples held out from one network alone would not be new to the average. An event
    with a checkpoint follows the last step of each network. The closing event is about
    the average.

    Arguments and errors are as for `trajectory`. For a single network, the events are
    those of `trajectory`, too. Several networks cannot begin with trained layers.
    """
    if networks == 1:
        yield from trajectory(job, start, trained=trained)
        return
    assert not trained
    if start is None:
        start = _beginning(job, Position(State((), ())))
    position = start
    for number in range(len(start.finished), networks):
        for event in trajectory(_member(job, number), position):
            report = event.report
            if not event.closing:
                if report:
                    report = report._replace(network=number + 1)
                yield event._replace(report=report)
                continue
            # The network is finished.
            assert report
            finished = (*event.position.finished, report.model.network)
            if len(finished) == networks:
                yield event._replace(report=_about_average(job, report, finished))
            else:
                yield event._replace(report=None, closing=False)
                before = event.position._replace(finished=finished)
                position = _beginning(_member(job, number + 1), before)


def _member(job: Job, number: int) -> Job:
    """Return the job of a network. It holds out the samples of `job`."""
    member = copy(job)
    seed = (job.config.seed + _BETWEEN_SEEDS * number) % 2**32
    member.config = replace(job.config, seed=seed)
    return member


def _beginning(job: Job, before: Position) -> Position:
    """Return the first position of a network, after the networks before it."""
    random = np.random.RandomState(job.config.seed)
    return Position(
        initial_state(job.config, job.initial_network(random), job.backend),
        reports=before.reports,
        seconds=before.seconds,
        finished=before.finished,
    )


def _about_average(job: Job, report: Report, networks: Sequence[Network]) -> Report:
    """Return the closing report of the last network, with results of the average.

    The model and its results on samples are of the average. All other figures, such as
    `epoch`, `loss` and `train_loss`, stay those of the last network.
    """
    model = job.model(average(networks, job.backend))
    report = report._replace(model=model, kept_epoch=None)
    test, held_out = job.dataset.test, job.held_out
    if test is not None:
        report = report._replace(test=model.evaluate(test.inputs, test.labels))
    if held_out is not None:
        result = model.evaluate(held_out.inputs, held_out.labels)
        report = report._replace(validation=result)
    return report
