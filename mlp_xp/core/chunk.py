"""A chunk of steps as one function of arrays, which a backend may compile as a whole, and what it is called with."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, Prepare
from mlp_xp.core.deferred import BLOCK_SAMPLES, can_defer, make_deferred_block
from mlp_xp.core.dropout import draw_masks
from mlp_xp.core.functional import Array
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES
from mlp_xp.core.plan import Chunk, ceil_divide
from mlp_xp.core.step import State, Step, make_step
from mlp_xp.core.task import CLASSES, Task

# Maximum bytes of inputs per block of steps. Compiled, they stay in a processor core's own cache until their last use;
# without compilation more steps at once save more of what each block costs than the cache does.
BLOCK_BYTES = 2**19
EAGER_BLOCK_BYTES = 3 * 2**20
KEPT_BYTES = 31 * 2**20  # of a block that is freed at the start; glibc's largest threshold is 32 MiB


def steps_per_block(
    config: TrainConfig, batch_size: int, features: int, itemsize: int, *, compiles: bool = False
) -> int:
    """Return the number of steps whose inputs, of `itemsize` bytes each, are gathered at once. See `can_defer`."""
    block_bytes = BLOCK_BYTES if compiles else EAGER_BLOCK_BYTES
    samples = BLOCK_SAMPLES if can_defer(config, compiles=compiles) else block_bytes // (features * itemsize)
    return max(1, samples // batch_size)


class Extras(NamedTuple):
    """What the steps of some runs take, empty for the others; `masks`, `weights`, `penalties` hold one array each."""

    fitted: tuple[Array, ...] = ()
    """Of the data set's `Preparation`."""
    scaling: tuple[Array, ...] = ()
    """The field of the data set."""
    masks: tuple[Array, ...] = ()
    """With dropout: from `dropout.draw_masks`."""
    weights: tuple[Array, ...] = ()
    """Of the samples of each step, (steps, B), in the estimator."""
    penalties: tuple[Array, ...] = ()
    """Of penalised losses, (steps,), in the estimator."""
    counts: tuple[Array, ...] = ()
    """Two, from `fill`, for a chunk that may be filled up with steps that are not to be taken."""


NO_EXTRAS = Extras()


def fill(
    rows: Sequence[np.ndarray], longest: int, block_steps: int
) -> tuple[list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Fill up what a chunk's steps take, (steps, ...) each on the host, with zeros.

    All chunks get one length, that of the longest chunk rounded up to whole blocks, so that one compiled function
    serves them all. Also returns `counts`, how many steps of each block are to be taken, int64 (blocks,), and in how
    many blocks there are any, int64 ().
    """
    steps, size = len(rows[0]), min(longest, block_steps)
    taken = np.clip(steps - size * np.arange(ceil_divide(longest, size)), 0, size)
    filling = size * len(taken) - steps
    filled = [np.concatenate([row, np.zeros((filling, *row.shape[1:]), row.dtype)]) for row in rows]
    return filled, (taken, np.array(np.count_nonzero(taken)))


@np.errstate(over="ignore")  # of a rate and a decay at the ends of their ranges; the losses show it
def step_coefficients(config: TrainConfig, chunk: Chunk, first_step: int, total_steps: int) -> np.ndarray:
    """Return the scale and the optimiser's coefficients for the steps of a chunk, float64 (k, steps).

    The scale includes 1 / B, which makes the gradient of a batch the mean over its samples. first_step: the number of
    the chunk's first step, from 0 at the start of training.
    """
    steps = np.arange(first_step, first_step + chunk.steps)
    rates = SCHEDULES[config.schedule](config.learning_rate, steps, total_steps)
    scale, *others = OPTIMIZERS[config.optimizer].coefficients(rates, steps, config.hyperparameters)
    return np.stack([scale / chunk.batch_size, *others])


def chunk_inputs(
    chunk: Chunk,
    order: np.ndarray,
    config: TrainConfig,
    first_step: int,
    total_steps: int,
    dataset: Dataset,
    backend: Backend,
    longest: Mapping[int, int],
) -> tuple[Array, Array, Extras]:
    """Return the order, the coefficients and the extras of a chunk's steps, on the device; see `make_chunk`.

    order: of the epoch's samples, int64 (n,) on the host. longest: for each batch size the steps of the longest chunk.
    Where one compiled function is to serve all chunks, this one is filled up, see `fill`.
    """
    # Steps come first, because `fill` adds some.
    rows = [order[chunk.start : chunk.stop].reshape(chunk.steps, chunk.batch_size)]
    rows.append(step_coefficients(config, chunk, first_step, total_steps).T)
    if config.dropout:
        rows.append(draw_masks(config, chunk.steps, chunk.batch_size, first_step))
    counts: tuple[np.ndarray, ...] = ()
    if backend.counts_steps and longest.get(chunk.batch_size, 1) > 1:
        features = math.prod(dataset.train_inputs.shape[1:])
        block_steps = steps_per_block(config, chunk.batch_size, features, backend.itemsize, compiles=backend.compiles)
        rows, counts = fill(rows, longest[chunk.batch_size], block_steps)
    samples, coefficients, *masks = rows
    extras = Extras(
        dataset.prepare.fitted,
        dataset.scaling,
        masks=tuple(map(backend.asarray, masks)),
        counts=tuple(map(backend.asarray, counts)),
    )
    return backend.asarray(samples), backend.asarray(coefficients.T, backend.dtype), extras


def with_norm(step: Step, *, xp: Any) -> Step:
    """Return the step with its logits as one row, (B n_L + 1,), that ends with the sum of all squared weights."""

    def step_with_norm(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        flat = [xp.reshape(layer.weights, (-1,)) for layer in state.network]  # before the update
        squares = sum(weights @ weights for weights in flat)
        state, logits = step(state, batch)
        return state, xp.concat([xp.reshape(logits, (-1,)), xp.reshape(squares, (1,))])

    return step_with_norm


@lru_cache(maxsize=8)
def make_chunk(
    config: TrainConfig, backend: Backend, prepare: Prepare, task: Task = CLASSES, *, penalised: bool = False
) -> Callable[..., tuple[State, Array]]:
    """Return `chunk(state, images, labels, order, coefficients) -> state, losses`, compiled where it can be.

    images, labels: the whole training set. prepare: see `Preparation`. task: see `Task`. order: int64 (steps, B),
    the samples of each step. coefficients: (k, steps), the scale and the optimiser's coefficients for each step, in one
    array because each transfer has its cost. A last argument, of `Extras`, is optional. penalised: whether to add to
    each loss half the sum of all squared weights of the network, times the step's number in `Extras.penalties`; the
    gradient of this is weight decay. losses: (steps,); those of steps that fill up mean nothing. The state is donated.
    """
    xp, scan = backend.xp, backend.scan
    config = replace(config, activation=backend.activation(config.activation))  # perhaps the library's own function
    # glibc gives freed memory back to the system, and fetches it again at every step, page by page, until it has once
    # freed a block as large as this; then it keeps up to twice as much.
    np.empty(KEPT_BYTES, np.uint8)
    if can_defer(config, compiles=backend.compiles) and not penalised:
        run_block = make_deferred_block(config, backend, task)
    else:
        step = make_step(config, task, xp=xp)
        run_block = partial(scan, with_norm(step, xp=xp) if penalised else step)

    @np.errstate(over="ignore", invalid="ignore")  # the caller checks the losses
    def chunk(
        state: State,
        images: Array,
        labels: Array,
        order: Array,
        coefficients: Array,
        extras: Extras = NO_EXTRAS,
    ) -> tuple[State, Array]:
        fitted, scaling, masks, weights, penalties, counts = extras
        steps, batch_size = order.shape
        features, outputs = state.network[0].weights.shape[0], state.network[-1].bias.shape[0]
        block_steps = steps_per_block(config, batch_size, features, backend.itemsize, compiles=backend.compiles)

        steps_in_blocks, blocks_begun = counts[:1], counts[1:]

        def block(state: State, xs: tuple[Array, ...]) -> tuple[State, Array]:
            # count: of the block's steps, or nothing. samples (K, B) of K steps; targets (K, B, n_L); coefficients (K,)
            count, (samples, *others) = xs[: len(steps_in_blocks)], xs[len(steps_in_blocks) :]
            taken = xp.take(images, xp.reshape(samples, (-1,)), axis=0)
            x = prepare(taken, *fitted, dtype=backend.dtype, xp=xp)
            return run_block(state, (xp.reshape(x, (*samples.shape, features)), *others), *count)

        targets = xp.take(labels, xp.reshape(order, (-1,)), axis=0)
        targets = task.encode(targets, outputs, scaling, dtype=backend.dtype, device=backend.device, xp=xp)
        targets = xp.reshape(targets, (steps, batch_size, outputs))
        scale, *others = (coefficients[i, ...] for i in range(coefficients.shape[0]))
        if weights:
            scale = xp.reshape(scale, (steps, 1, 1)) * xp.reshape(weights[0], (steps, batch_size, 1))
        place = {} if backend.device is None else {"device": backend.device}  # not every library has the keyword
        ones = xp.ones((steps, batch_size), dtype=backend.dtype, **place)
        xs = (order, ones, targets, *masks, scale, *others)
        rows = []
        # All whole blocks in one loop, then the rest as a shorter block. A chunk with counts has whole blocks only.
        whole = steps - steps % block_steps
        for start, stop, length in ((0, whole, block_steps), (whole, steps, steps - whole)):
            if start < stop:
                # (steps, ...) becomes (blocks, length, ...): scan over blocks of steps, each of which scans its steps.
                blocks = [xp.reshape(x[start:stop, ...], (-1, length, *x.shape[1:])) for x in xs]
                state, block_rows = scan(block, state, (*steps_in_blocks, *blocks), *blocks_begun)
                rows.append(xp.reshape(block_rows, (stop - start, -1)))
        row = xp.concat(rows, axis=0)
        logits = xp.reshape(row[:, : batch_size * outputs], (steps, batch_size, outputs))
        losses = task.loss(logits, targets, xp=xp)
        if weights:
            losses = losses * weights[0]
        losses = xp.mean(losses, axis=-1)
        if penalties:
            losses = losses + 0.5 * penalties[0] * row[:, -1]
        return state, losses

    return backend.jit(chunk, donate=(0,))
