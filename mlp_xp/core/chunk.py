"""A chunk of steps as one function of arrays, which a backend may compile as a whole, and what it is called with."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Prepare
from mlp_xp.core.deferred import BLOCK_SAMPLES, can_defer, make_deferred_block
from mlp_xp.core.dropout import draw_masks
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES, Rates
from mlp_xp.core.step import Batch, State, make_block
from mlp_xp.core.task import Scaling, Task

# Maximum bytes of inputs per block of steps. Compiled, they stay in a processor core's own cache until their last use;
# without compilation more steps at once save more of what each block costs than the cache does.
BLOCK_BYTES = 2**19
EAGER_BLOCK_BYTES = 3 * 2**20
NO_SAMPLE = -1


class TrainingSet(NamedTuple):
    """What a chunk reads of a data set, on the device; see `Dataset`."""

    inputs: Array
    labels: Array
    fitted: tuple[Array, ...] = ()
    """The arrays of the data set's `Preparation`."""
    scaling: Scaling = ()


class Steps(NamedTuple):
    """What the steps of a chunk take in addition, on the device: `blocks` blocks of K steps on B samples each."""

    samples: Array
    """The numbers of their samples, int64 (blocks, K, B). If the last block is not full, its remaining steps have
    NO_SAMPLE and are not taken."""
    kept: Array
    """What dropout keeps, uint8 (blocks, K, B, units); see `Batch`."""
    rates: Array
    """The four `Rates` of their optimiser, (4, blocks, K)."""


@np.errstate(over="ignore")  # of a rate and a decay at the ends of their ranges; the losses show it
def make_steps(
    config: TrainConfig,
    backend: Backend,
    samples: np.ndarray,
    blocks: tuple[int, int],
    first_step: int,
    total_steps: int,
) -> Steps:
    """Return the steps on these samples, int64 (k, B) on the host.

    blocks: the number of blocks, and of steps in each; together they have room for k steps or more. first_step: the
    number of the first one, from 0 at the start of training. total_steps: of the whole training.
    """
    k, batch_size = samples.shape
    numbers = np.arange(first_step, first_step + k)
    learning_rates = SCHEDULES[config.schedule](config.learning_rate, numbers, total_steps)
    rates = OPTIMIZERS[config.optimizer].rates(learning_rates, numbers, config)
    rates = rates._replace(error=rates.error / batch_size)  # the gradient of a batch is the mean over its samples
    kept = draw_masks(config, k, batch_size, first_step)

    def filled(array: np.ndarray, filling: int = 0) -> np.ndarray:
        every = np.full((math.prod(blocks), *array.shape[1:]), filling, array.dtype)
        every[:k] = array
        return every.reshape(*blocks, *array.shape[1:])

    # The rates are one array, because each transfer to a device takes as long as several steps.
    rates_of_all = np.stack([filled(each) for each in rates])
    return Steps(
        backend.asarray(filled(samples, NO_SAMPLE)),
        backend.asarray(filled(kept)),
        backend.asarray(rates_of_all, backend.dtype),
    )


def steps_per_block(config: TrainConfig, batch_size: int, features: int, backend: Backend) -> int:
    """Return the number of steps whose inputs are gathered at once."""
    block_bytes = BLOCK_BYTES if backend.compiles else EAGER_BLOCK_BYTES
    deferred = can_defer(config, compiles=backend.compiles)
    return max(1, (BLOCK_SAMPLES if deferred else block_bytes // (features * backend.itemsize)) // batch_size)


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, prepare: Prepare, task: Task
) -> Callable[[State, TrainingSet, Steps], tuple[State, Array]]:
    """Return `chunk(state, training_set, steps) -> state, losses`, compiled where it can be.

    prepare: see `Preparation`. losses: of each step before its update, (blocks K,); those of steps that fill up mean
    nothing. The state is donated.
    """
    xp = backend.xp
    deferred = can_defer(config, compiles=backend.compiles)
    run_block = (make_deferred_block if deferred else make_block)(config, task, backend)

    def chunk(state: State, training_set: TrainingSet, steps: Steps) -> tuple[State, Array]:
        inputs, labels, fitted, scaling = training_set
        blocks, size, batch_size = steps.samples.shape
        features, outputs = state.network[0].weights.shape[0], state.network[-1].bias.shape[0]
        counts = backend.counts_steps and blocks * size > 1

        def count(samples: Array) -> Array | None:
            return xp.sum(xp.astype(samples != NO_SAMPLE, xp.int64)) if counts else None

        def block(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, kept, *rates = row
            taken = xp.take(inputs, xp.reshape(samples, (-1,)), axis=0)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            batch = Batch(xp.reshape(x, (*samples.shape, features)), targets, kept)
            return run_block(state, batch, Rates(*rates), count(samples[:, 0]))

        taken = xp.take(labels, xp.reshape(steps.samples, (-1,)), axis=0)
        targets = task.encode(taken, outputs, scaling, dtype=backend.dtype, device=backend.device, xp=xp)
        targets = xp.reshape(targets, (blocks, size, batch_size, outputs))
        rates = (steps.rates[i, ...] for i in range(len(Rates._fields)))
        rows = (steps.samples, targets, steps.kept, *rates)
        state, logits = backend.scan(block, state, rows, count(steps.samples[:, 0, 0]))
        return state, xp.reshape(xp.mean(task.loss(logits, targets, xp=xp), axis=-1), (-1,))

    return backend.jit(chunk, donate=(0,))
