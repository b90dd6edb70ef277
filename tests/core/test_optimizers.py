"""Clipping, and the masks of dropout; `test_trajectories.py` compares whole runs, with
all optimisers and schedules.
"""

from dataclasses import replace

import numpy as np
import pytest

from mlp_xp import TrainConfig
from mlp_xp.core.dropout import draw_masks, with_dropout
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.network import Layer
from mlp_xp.core.optimizers import clip_by_norm


def test_a_short_gradient_is_not_clipped_and_one_that_overflows_is_no_number(backend32):
    """A gradient clipped to 0 would learn nothing in silence; this way the run ends as
    diverged.
    """
    for size, limit, factor in ((3.0, 1e6, 1.0), (1e20, 1.0, np.nan)):
        weights, bias, limit = map(backend32.asarray, (np.full((3, 2), size, np.float32), np.ones(2, np.float32),
                                                       np.array(limit, np.float32)))  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):  # as in training
            ((_, clipped),) = clip_by_norm(
                [(0, Layer(weights, bias))], limit, xp=backend32.xp
            )
        for actual, given in zip(clipped, (weights, bias), strict=True):
            np.testing.assert_array_equal(
                backend32.to_numpy(actual), factor * backend32.to_numpy(given)
            )


# Dropout.

CONFIG = TrainConfig(batch_size=7, hidden=(9, 4), dropout=0.3)


def test_masks_are_a_function_of_seed_and_step():
    """However a run is cut into chunks, and for a smaller last batch too."""
    whole = draw_masks(CONFIG, 10, 7, 100)
    assert (whole.shape, whole.dtype) == ((10, 7, 13), np.uint8)
    for first, steps in ((0, 3), (3, 6), (9, 1)):
        np.testing.assert_array_equal(
            draw_masks(CONFIG, steps, 7, 100 + first), whole[first : first + steps]
        )
    np.testing.assert_array_equal(draw_masks(CONFIG, 1, 2, 100)[0], whole[0, :2])
    assert not np.array_equal(draw_masks(replace(CONFIG, seed=1), 10, 7, 100), whole)
    assert len({each.tobytes() for each in whole}) == 10
    assert draw_masks(replace(CONFIG, dropout=0.0), 10, 7, 100).shape == (10, 7, 0)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.999])
def test_the_share_of_units_that_is_dropped(p):
    """Within five standard deviations, for every unit and in all; the kept ones make up
    for the others.
    """
    config = replace(CONFIG, dropout=p)
    kept = draw_masks(config, 4000, 7, 0)
    assert abs(kept.mean() - (1 - p)) <= 5 * (p * (1 - p) / kept.size) ** 0.5
    assert (
        np.abs(kept.mean(axis=(0, 1)) - (1 - p)).max()
        <= 5 * (p * (1 - p) / (kept.size / 13)) ** 0.5
    )
    layers = with_dropout([ACTIVATIONS["relu"]] * 2, kept[0], config, float, xp=np)
    np.testing.assert_array_equal(
        np.concatenate([layer.mask for layer in layers], axis=1), kept[0] / (1 - p)
    )
    assert [layer.mask.shape for layer in layers] == [(7, 9), (7, 4)]
