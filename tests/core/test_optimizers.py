"""Clipped gradients, and the masks of dropout.

tests/test_trajectories.py compares whole runs, with all optimisers and schedules.
"""

from dataclasses import replace

import numpy as np
import pytest
from numerics import assert_all_equal

from mlp_xp import TrainConfig
from mlp_xp.core.dropout import draw_masks, with_dropout
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.network import Layer
from mlp_xp.core.optimizers import clip_by_norm


@pytest.mark.parametrize(
    ("size", "limit", "factor"),
    [(3.0, 1e6, 1.0), (1e20, 1.0, np.nan)],
    ids=["short", "overflows"],
)
def test_a_short_gradient_is_not_clipped_and_one_that_overflows_is_no_number(
    size, limit, factor, backend32
):
    """A gradient clipped to 0 would learn nothing in silence.

    This way the run ends as diverged.
    """
    given = Layer(np.full((3, 2), size, np.float32), np.ones(2, np.float32))
    layer, limit = Layer(*map(backend32.asarray, given)), np.array(limit, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # as in training
        ((_, clipped),) = clip_by_norm(
            [(0, layer)], backend32.asarray(limit), xp=backend32.xp
        )
    expected = [factor * array for array in given]
    assert_all_equal(map(backend32.to_numpy, clipped), expected)


# Dropout.

CONFIG = TrainConfig(batch_size=7, hidden=(9, 4), dropout=0.3)


def test_masks_depend_on_seed_and_step_alone():
    """However a run is cut into chunks, and for a smaller last batch too."""
    whole = draw_masks(CONFIG, 10, 7, 100)
    assert (whole.shape, whole.dtype) == ((10, 7, 13), np.uint8)
    for first, steps, size in ((0, 3, 7), (3, 6, 7), (9, 1, 7), (0, 1, 2)):
        part = draw_masks(CONFIG, steps, size, 100 + first)
        np.testing.assert_array_equal(part, whole[first : first + steps, :size])
    assert len(np.unique(whole, axis=0)) == 10
    other = draw_masks(replace(CONFIG, seed=1), 10, 7, 100)
    assert not np.array_equal(other, whole)


def test_masks_are_empty_without_dropout():
    assert draw_masks(TrainConfig(), 10, 7, 100).shape == (10, 7, 0)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.999])
def test_dropout_keeps_the_share_in_the_settings_of_every_unit(p):
    """Within five standard deviations, and in all."""
    kept = draw_masks(replace(CONFIG, dropout=p), 4000, 7, 0)
    error = 5 * (p * (1 - p) / kept.size) ** 0.5
    assert abs(kept.mean() - (1 - p)) <= error
    of_units = kept.mean(axis=(0, 1))
    assert np.abs(of_units - (1 - p)).max() <= error * 13**0.5


def test_units_that_are_kept_make_up_for_the_others():
    (kept,) = draw_masks(CONFIG, 1, 7, 0)
    layers = with_dropout([ACTIVATIONS["relu"]] * 2, kept, CONFIG, float, xp=np)
    expected = kept / (1 - 0.3)
    assert_all_equal([layer.mask for layer in layers], np.split(expected, [9], axis=1))
