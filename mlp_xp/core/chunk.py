"""A chunk: many steps as one function of arrays, which a backend may compile."""

import math
from collections.abc import Callable, Sequence
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


# A rate or a decay at the end of its range may overflow. The losses show it.
@np.errstate(over="ignore")
def step_inputs(
    configs: Sequence[TrainConfig],
    dtype: str,
    samples: np.ndarray,
    weights: np.ndarray,
    first_step: int,
    total_steps: int,
) -> tuple[np.ndarray, ...]:
    """Return the inputs of k steps on B samples each, besides the state and the data.

    These are four arrays on the host:

    - the numbers of the samples, int64 (k, B), as given;
    - the hidden units that dropout keeps, uint8 (k, B, units), as in `Batch`;
    - the weights of the samples, (k, B, 1 or 0) of the dtype, as in `Batch`;
    - the four `Rates`, (k, 4) of the dtype, in one array because each transfer to a
      device takes as long as several steps.

    For a stack of K networks, all but the rates have an axis of length K behind k.

    `configs` are the settings of each network. They differ in their seeds. `weights`
    are the weights of all samples, (n, 1 or 0). `first_step` is the number of the first
    step, from 0 at the start of training. `total_steps` is the number of steps of the
    whole training.
    """
    config = configs[0]
    k, batch_size = samples.shape[0], samples.shape[-1]
    numbers = np.arange(first_step, first_step + k)
    schedule = SCHEDULES[config.schedule]
    learning_rates = schedule(config.learning_rate, numbers, total_steps)
    rates = OPTIMIZERS[config.optimizer].rates(learning_rates, numbers, config)
    # The gradient of a batch is the mean over its samples.
    rates = rates._replace(error=rates.error / batch_size)
    (kept,) = for_each(
        configs, samples, lambda each: (draw_masks(each, k, batch_size, first_step),)
    )
    return (
        samples,
        kept,
        weights[samples].astype(dtype),
        np.stack(rates, axis=-1, dtype=dtype),
    )


def for_each(
    configs: Sequence[TrainConfig],
    samples: np.ndarray,
    draw: Callable[[TrainConfig], tuple[np.ndarray, ...]],
) -> tuple[np.ndarray, ...]:
    """Return arrays (k, B, ...) drawn for a network, or (k, K, B, ...) for a stack.

    The samples, (k, B) or (k, K, B), tell which. `draw(config)` returns the arrays of a
    network.
    """
    drawn = [draw(config) for config in configs]
    if samples.ndim == 2:
        return drawn[0]
    return tuple(np.stack(arrays, axis=1) for arrays in zip(*drawn, strict=True))


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig,
    backend: Backend,
    prepare: Callable[..., Array],
    task: Task,
    most_steps: int,
) -> Callable[[State, tuple[Any, ...], tuple[Any, ...]], tuple[State, Array]]:
    """Return `chunk(state, data, steps) -> state, losses`, compiled where it can be.

    The state is donated. The losses, (k,), are the loss of each step before its update,
    with the weights of samples. For a stack of K networks, they are (k, K).

    - `prepare` is the function of a `Preparation`.
    - `most_steps` is the number of steps of the longest chunk.
    - `data` are the inputs and labels to train on, the arrays of the preparation, and
      the units or None, on the device.
    - `steps` are the arrays of `step_inputs`, followed by the arrays of
      `draw_deformations`, if any, on the host. `Backend.jit` copies them to the device,
      and may fill them up.
    """
    xp = backend.xp
    is_deferred = can_defer(config, compiles=backend.compiles)
    make = make_deferred_block if is_deferred else make_block
    run_block = make(config, task, backend)

    def chunk(
        state: State, data: tuple[Any, ...], steps: tuple[Any, ...]
    ) -> tuple[State, Array]:
        inputs, labels, fitted, units = data
        samples, kept, weights, rates, *drawn = steps
        features = state.network[0].weights.shape[-2]
        outputs = state.network[-1].bias.shape[-1]
        shape = tuple(inputs.shape[1:])
        deform = make_deform(config, shape, backend) if drawn else None

        # Inputs are large, so each block prepares its own. Targets are made for the
        # whole chunk.
        def block(state: State, rows: tuple[Array, ...]) -> tuple[State, Array]:
            samples, targets, kept, weights, rates, *drawn = rows
            taken = xp.take(inputs, xp.reshape(samples, (-1,)), axis=0)
            if deform:
                taken = deform(taken, *drawn)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            x = xp.reshape(x, (*samples.shape, features))
            batch = Batch(x, targets, kept, weights)
            columns = (rates[:, i] for i in range(rates.shape[1]))
            return run_block(state, batch, Rates(*columns))

        taken_labels = xp.take(labels, xp.reshape(samples, (-1,)), axis=0)
        targets = task.encode(
            taken_labels,
            outputs,
            units,
            dtype=backend.dtype,
            device=backend.device,
            xp=xp,
        )
        targets = xp.reshape(targets, (*samples.shape, outputs))

        most_samples = BLOCK_SAMPLES
        if not is_deferred:
            sample_bytes = features * np.dtype(backend.dtype_name).itemsize
            most_samples = backend.block_bytes // sample_bytes
        state, logits = backend.scan_blocks(
            block,
            state,
            (samples, targets, kept, weights, rates, *drawn),
            size=max(1, most_samples // math.prod(samples.shape[1:])),
        )
        losses = task.loss(logits, targets, xp=xp)
        if weights.shape[-1]:
            losses = losses * weights[..., 0]
        return state, xp.mean(losses, axis=-1)

    return backend.jit(chunk, donate=(0,), most_steps=most_steps)
