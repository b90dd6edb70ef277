"""A chunk of steps as one function of arrays, which a backend may compile as a whole."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Prepare, encode
from mlp_xp.deferred import BLOCK_STEPS, can_defer, make_deferred_block
from mlp_xp.functional import Array
from mlp_xp.losses import LOSSES
from mlp_xp.steps import State, make_step

# Maximum bytes of inputs per block of steps: they stay in a processor core's own cache until their last use.
BLOCK_BYTES = 2**19


def steps_per_block(config: TrainConfig, batch_size: int, features: int, itemsize: int) -> int:
    """Return the number of steps whose inputs, of `itemsize` bytes each, are gathered at once."""
    return BLOCK_STEPS if can_defer(config) else max(1, BLOCK_BYTES // (batch_size * features * itemsize))


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, prepare: Prepare, task: str = "classes"
) -> Callable[..., tuple[State, Array]]:
    """Return `chunk(state, images, labels, order, coefficients, fitted=(), masks=()) -> state, losses`, compiled.

    images, labels: the whole training set. prepare, fitted: see `Preparation`. task: see `Dataset`. order: int64
    (steps, B), the samples of each step. coefficients: (k, steps), the scale and the optimiser's coefficients for each
    step, in one array because each transfer has its cost. masks: from `dropout.draw_masks`, alone in a tuple, with
    dropout. losses: (steps,). The state is donated.
    """
    xp, scan = backend.xp, backend.scan
    loss = LOSSES[task]
    if can_defer(config):
        run_block = make_deferred_block(config, backend, loss)
    else:
        run_block = partial(scan, make_step(config, loss, xp=xp))

    @np.errstate(over="ignore", invalid="ignore")  # the caller checks the losses
    def chunk(
        state: State,
        images: Array,
        labels: Array,
        order: Array,
        coefficients: Array,
        fitted: tuple[Array, ...] = (),
        masks: tuple[Array, ...] = (),
    ) -> tuple[State, Array]:
        steps, batch_size = order.shape
        features, outputs = state.network[0].weights.shape[0], state.network[-1].bias.shape[0]
        block_steps = steps_per_block(config, batch_size, features, xp.finfo(backend.dtype).bits // 8)

        def block(state: State, xs: tuple[Array, ...]) -> tuple[State, Array]:
            samples, *others = xs  # samples (K, B) of K steps; targets (K, B, n_L); each coefficient (K,)
            taken = xp.take(images, xp.reshape(samples, (-1,)), axis=0)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            return run_block(state, (xp.reshape(x, (*samples.shape, features)), *others))

        targets = xp.take(labels, xp.reshape(order, (-1,)), axis=0)
        targets = encode(targets, outputs, task=task, dtype=backend.dtype, device=backend.device, xp=xp)
        targets = xp.reshape(targets, (steps, batch_size, outputs))
        xs = (order, targets, *masks, *(coefficients[i, ...] for i in range(coefficients.shape[0])))
        logits = []
        # All whole blocks in one loop, then the rest as a shorter block.
        whole = steps - steps % block_steps
        for start, stop, length in ((0, whole, block_steps), (whole, steps, steps - whole)):
            if start < stop:
                # (steps, ...) becomes (blocks, length, ...): scan over blocks of steps, each of which scans its steps.
                blocks = [xp.reshape(x[start:stop, ...], (-1, length, *x.shape[1:])) for x in xs]
                state, block_logits = scan(block, state, tuple(blocks))
                logits.append(xp.reshape(block_logits, (stop - start, batch_size, outputs)))
        return state, xp.mean(loss.loss(xp.concat(logits, axis=0), targets, xp=xp), axis=-1)

    return backend.jit(chunk, donate=(0,))
