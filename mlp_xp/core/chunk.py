"""A chunk of steps as one function of arrays, which a backend may compile as a whole,
and what it is called with.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.deferred import BLOCK_SAMPLES, can_defer, make_deferred_block
from mlp_xp.core.deform import make_deform
from mlp_xp.core.dropout import draw_masks
from mlp_xp.core.functional import Array
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES, Rates
from mlp_xp.core.step import Batch, State, make_block
from mlp_xp.core.task import Task


# a rate or a decay at the end of its range may overflow; the losses show it
@np.errstate(over="ignore")
def step_inputs(
    config: TrainConfig,
    dtype: str,
    samples: np.ndarray,
    weights: np.ndarray,
    first_step: int,
    total_steps: int,
) -> tuple[np.ndarray, ...]:
    """Return what k steps on B samples each need besides the state and the data, on the
    host.

    These are the numbers of their samples, int64 (k, B), as given; what dropout keeps,
    uint8 (k, B, units), and the samples' weights, (k, B, 1 or 0), see `Batch`; and the
    four `Rates` of their optimiser, (k, 4) of the dtype: one array, as each transfer to
    a device takes as long as several steps. weights: those of all samples, (n, 1 or 0).
    first_step: the number of the first one, from 0 at the start of training.
    total_steps: the steps of the whole training.
    """
    k, batch_size = samples.shape
    numbers = np.arange(first_step, first_step + k)
    learning_rates = SCHEDULES[config.schedule](
        config.learning_rate, numbers, total_steps
    )
    rates = OPTIMIZERS[config.optimizer].rates(learning_rates, numbers, config)
    # the gradient of a batch is the mean over its samples
    rates = rates._replace(error=rates.error / batch_size)
    kept = draw_masks(config, k, batch_size, first_step)
    return (
        samples,
        kept,
        weights[samples].astype(dtype),
        np.stack(rates, axis=-1, dtype=dtype),
    )


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig,
    backend: Backend,
    prepare: Callable[..., Array],
    task: Task,
    most_steps: int,
) -> Callable[[State, tuple[Any, ...], tuple[Any, ...]], tuple[State, Array]]:
    """Return `chunk(state, data, steps) -> state, losses`, compiled where it can be.

    prepare: see `Preparation`. most_steps: the length of the longest chunk. data: the
    inputs and labels to train on, `Model.fitted` and the units, or None, on the
    device. steps: those of `step_inputs`, and of `draw_deformations` if there are any,
    on the host; `Backend.jit` copies them to the device, and may fill them up. losses:
    the loss of each step before its update, (k,), in which weights count. The state is
    donated.
    """
    xp = backend.xp
    deferred = can_defer(config, compiles=backend.compiles)
    run_block = (make_deferred_block if deferred else make_block)(config, task, backend)

    def chunk(
        state: State, data: tuple[Any, ...], steps: tuple[Any, ...]
    ) -> tuple[State, Array]:
        (inputs, labels, fitted, units), (numbers, kept, weights, rates, *drawn) = (
            data,
            steps,
        )
        k, batch_size = numbers.shape
        features, outputs = (
            state.network[0].weights.shape[0],
            state.network[-1].bias.shape[0],
        )
        deform = (
            make_deform(config, tuple(inputs.shape[1:]), backend) if drawn else None
        )

        # Inputs are large, so each block prepares its own. Targets are made for the
        # whole chunk.
        def block(state: State, rows: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, kept, weights, rates, *drawn = rows
            taken = xp.take(inputs, xp.reshape(samples, (-1,)), axis=0)
            if deform:
                taken = deform(taken, *drawn)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            batch = Batch(
                xp.reshape(x, (*samples.shape, features)), targets, kept, weights
            )
            return run_block(
                state, batch, Rates(*(rates[:, i] for i in range(rates.shape[1])))
            )

        taken = xp.take(labels, xp.reshape(numbers, (-1,)), axis=0)
        targets = task.encode(
            taken, outputs, units, dtype=backend.dtype, device=backend.device, xp=xp
        )
        targets = xp.reshape(targets, (k, batch_size, outputs))
        sample_bytes = features * np.dtype(backend.dtype_name).itemsize
        most_samples = (
            BLOCK_SAMPLES if deferred else backend.block_bytes // sample_bytes
        )
        size = max(1, most_samples // batch_size)
        state, logits = backend.scan_blocks(
            block, state, (numbers, targets, kept, weights, rates, *drawn), size
        )
        losses = task.loss(logits, targets, xp=xp)
        return state, xp.mean(
            losses * weights[..., 0] if weights.shape[-1] else losses, axis=-1
        )

    return backend.jit(chunk, donate=(0,), most_steps=most_steps)
