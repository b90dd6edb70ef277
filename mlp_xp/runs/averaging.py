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
from mlp_xp.core.network import Layer, Network, initial_layers
from mlp_xp.core.step import State, initial_state, to_device
from mlp_xp.core.training import Event, Position, Report, trajectory

# Runs of several networks with seeds close to each other have no network in common.
_BETWEEN_SEEDS = 2**16


def seeds_of(seed: int, networks: int) -> list[int]:
    """Return the seeds of networks. The first is the seed of the run."""
    return [(seed + _BETWEEN_SEEDS * number) % 2**32 for number in range(networks)]


def sizes_of_average(sizes: Sequence[int], networks: int) -> tuple[int, ...]:
    """Return the sizes of the layers of an average, for the sizes of one network."""
    inputs, *hidden, outputs = sizes
    return (inputs, *(networks * units for units in hidden), outputs)


def average(networks: Sequence[Network]) -> Network:
    """Return a network on the host whose outputs are the means of others' outputs.

    The networks are on the host too, and have layers of the same sizes. For one
    network, the result has the same numbers.
    """
    count = len(networks)
    *hidden, last = zip(*networks, strict=True)
    layers = []
    for depth, parts in enumerate(hidden):
        blocks = [part.weights for part in parts]
        # All networks have the same inputs. Later layers have no weights between them.
        weights = _block_diagonal(blocks) if depth else np.hstack(blocks)
        layers.append(Layer(weights, np.concatenate([part.bias for part in parts])))
    shares = [part.weights / count for part in last]
    weights = np.vstack(shares) if hidden else np.sum(shares, axis=0)
    bias = np.sum([part.bias / count for part in last], axis=0)
    return (*layers, Layer(weights, bias))


def _block_diagonal(blocks: Sequence[np.ndarray]) -> np.ndarray:
    count, (rows, columns) = len(blocks), blocks[0].shape
    joined = np.zeros((count, rows, count, columns), blocks[0].dtype)
    for i, block in enumerate(blocks):
        joined[i, :, i, :] = block
    return joined.reshape(count * rows, count * columns)


def average_on_device(networks: Sequence[Network], backend: Backend) -> Network:
    """Return the average of networks on the device. See `average`."""
    on_host = []
    for network in networks:
        on_host.append(tuple(Layer(*map(backend.to_numpy, each)) for each in network))
    return to_device(average(on_host), backend)


def trajectories(
    job: Job, networks: int, start: Position | None = None, *, trained: Network = ()
) -> Iterator[Event]:
    """Train networks one after the other, and yield the events of all of them.

    The networks differ in their seeds. They hold out the same samples, so that these
    are new to the average. An event with a checkpoint follows the last step of each
    network. The closing event is about the average.

    Arguments and errors are as for `trajectory`, whose events those of a single network
    are. Only a single network can begin with trained layers.
    """
    if networks == 1:
        yield from trajectory(job, start, trained=trained)
        return
    finished: list[Network] = []
    position = _beginning(job, Position(State((), ())))
    for number in range(networks):
        for event in trajectory(_member(job, networks, number), position):
            if event.closing:
                break
            yield event
        assert event.report
        finished.append(event.report.model.network)
        if len(finished) < networks:
            yield event._replace(report=None, closing=False)
            following = _member(job, networks, number + 1)
            position = _beginning(following, event.position)
    yield event._replace(report=_about_average(job, event.report, finished))


def _member(job: Job, networks: int, number: int) -> Job:
    """Return the job of a network. It holds out the samples of `job`."""
    member = copy(job)
    seed = seeds_of(job.config.seed, networks)[number]
    member.config = replace(job.config, seed=seed)
    return member


def _beginning(job: Job, before: Position) -> Position:
    """Return the first position of a network, after the networks before it."""
    random = np.random.RandomState(job.config.seed)
    network = initial_layers(job.sizes, random, job.config.init)
    return Position(
        initial_state(job.config, network, job.backend),
        reports=before.reports,
        seconds=before.seconds,
    )


def _about_average(job: Job, report: Report, networks: Sequence[Network]) -> Report:
    """Return the closing report of the last network, about the average instead."""
    model = job.model(average_on_device(networks, job.backend))
    report = report._replace(model=model)
    if job.dataset.test is not None:
        test = model.evaluate(job.dataset.test.inputs, job.dataset.test.labels)
        report = report._replace(test=test)
    if job.held_out is not None:
        validation = model.evaluate(job.held_out.inputs, job.held_out.labels)
        report = report._replace(validation=validation)
    return report
