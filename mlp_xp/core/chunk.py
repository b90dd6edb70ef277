"""A chunk of steps as one function of arrays, which a backend may compile as a whole, and what it is called with."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Prepare
from mlp_xp.core.deferred import BLOCK_SAMPLES, Block, can_defer, make_deferred_block
from mlp_xp.core.dropout import draw_masks
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.loop import scan_blocks
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES, Rates
from mlp_xp.core.step import Batch, State, make_step
from mlp_xp.core.task import Scaling, Task

# Maximum bytes of inputs per block of steps. Compiled, they stay in a processor core's own cache until their last use;
# without compilation more steps at once save more of what each block costs than the cache does.
BLOCK_BYTES = 2**19
EAGER_BLOCK_BYTES = 3 * 2**20
KEPT_BYTES = 31 * 2**20  # of a block that is freed at the start; glibc's largest threshold is 32 MiB
NO_SAMPLE = -1  # in a step that fills up a chunk


class TrainingSet(NamedTuple):
    """What a chunk reads of a data set, on the device; see `Dataset`."""

    inputs: Array
    labels: Array
    fitted: tuple[Array, ...] = ()
    """The arrays of the data set's `Preparation`."""
    scaling: Scaling = ()


class Steps(NamedTuple):
    """What the steps of a chunk take in addition, for k steps on B samples; on the host or on the device."""

    samples: Array
    """The numbers of their samples, int64 (k, B)."""
    kept: Array
    """What dropout keeps, uint8 (k, B, units); see `Batch`."""
    rates: Rates
    """Those of their optimiser, (k,) each."""

    def fill(self, steps: int) -> "Steps":
        """Add steps that are not to be taken, so that there are `steps` of them. On the host.

        They serve a backend with `counts_steps`: chunks of one length share one compiled function.
        """
        more = steps - len(self.samples)
        return Steps(
            np.pad(self.samples, ((0, more), (0, 0)), constant_values=NO_SAMPLE),
            np.pad(self.kept, ((0, more), (0, 0), (0, 0))),
            Rates(*(np.pad(each, (0, more)) for each in self.rates.used())),
        )

    def to_device(self, backend: Backend) -> "Steps":
        """Copy the arrays to the backend's device."""
        rates = Rates(*(backend.asarray(each, backend.dtype) for each in self.rates.used()))
        return Steps(backend.asarray(self.samples), backend.asarray(self.kept), rates)


@np.errstate(over="ignore")  # of a rate and a decay at the ends of their ranges; the losses show it
def make_steps(config: TrainConfig, samples: np.ndarray, first_step: int, total_steps: int) -> Steps:
    """Return what the steps on these samples, (k, B), take, on the host.

    first_step: the number of the first one, from 0 at the start of training. total_steps: of the whole training.
    """
    k, batch_size = samples.shape
    steps = np.arange(first_step, first_step + k)
    learning_rates = SCHEDULES[config.schedule](config.learning_rate, steps, total_steps)
    rates = OPTIMIZERS[config.optimizer].rates(learning_rates, steps, config)
    rates = rates._replace(error=rates.error / batch_size)  # the gradient of a batch is the mean over its samples
    return Steps(samples, draw_masks(config, k, batch_size, first_step), rates)


def steps_per_block(config: TrainConfig, batch_size: int, features: int, backend: Backend) -> int:
    """Return the number of steps whose inputs are gathered at once."""
    block_bytes = BLOCK_BYTES if backend.compiles else EAGER_BLOCK_BYTES
    deferred = can_defer(config, compiles=backend.compiles)
    return max(1, (BLOCK_SAMPLES if deferred else block_bytes // (features * backend.itemsize)) // batch_size)


def make_plain_block(config: TrainConfig, task: Task, backend: Backend) -> Block:
    """Return a block of any number of steps."""
    step = make_step(config, task, xp=backend.xp)

    def take(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, kept, *numbers = row
        return step(state, Batch(x, targets, kept), Rates(*numbers))

    return lambda state, batch, rates, count: backend.scan(take, state, (*batch, *rates.used()), count)


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, prepare: Prepare, task: Task
) -> Callable[[State, TrainingSet, Steps], tuple[State, Array]]:
    """Return `chunk(state, training_set, steps) -> state, losses`, compiled where it can be.

    prepare: see `Preparation`. losses: (k,), of each step before its update; those of steps that fill up mean nothing.
    The state is donated.
    """
    xp = backend.xp
    config = replace(config, activation=backend.activation(config.activation))  # perhaps the library's own function
    # glibc gives freed memory back to the system, and fetches it again at every step, page by page, until it has once
    # freed a block as large as this; then it keeps up to twice as much.
    np.empty(KEPT_BYTES, np.uint8)
    make_block = make_deferred_block if can_defer(config, compiles=backend.compiles) else make_plain_block
    run_block = make_block(config, task, backend)

    @np.errstate(over="ignore", invalid="ignore")  # the caller checks the losses
    def chunk(state: State, training_set: TrainingSet, steps: Steps) -> tuple[State, Array]:
        inputs, labels, fitted, scaling = training_set
        (k, batch_size), samples = steps.samples.shape, steps.samples
        features, outputs = state.network[0].weights.shape[0], state.network[-1].bias.shape[0]
        size = steps_per_block(config, batch_size, features, backend)
        counts = backend.counts_steps and k > 1 and (k < size or k % size == 0)  # as all have that are filled up

        def block(state: State, rows: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, kept, *numbers = rows
            taken = xp.take(inputs, xp.reshape(samples, (-1,)), axis=0)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            batch = Batch(xp.reshape(x, (*samples.shape, features)), targets, kept)
            return run_block(state, batch, Rates(*numbers), count(samples[:, 0]) if counts else None)

        def count(samples: Array) -> Array:
            return xp.sum(xp.astype(samples != NO_SAMPLE, xp.int64))

        taken = xp.take(labels, xp.reshape(samples, (-1,)), axis=0)
        targets = task.encode(taken, outputs, scaling, dtype=backend.dtype, device=backend.device, xp=xp)
        targets = xp.reshape(targets, (k, batch_size, outputs))
        rows = (samples, targets, steps.kept, *steps.rates.used())
        blocks = count(samples[::size, 0]) if counts else None
        state, logits = scan_blocks(backend.scan, block, state, rows, size, blocks, xp=xp)
        return state, xp.mean(task.loss(logits, targets, xp=xp), axis=-1)

    return backend.jit(chunk, donate=(0,))
