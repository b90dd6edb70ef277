"""How far rounding may make a run deviate from the reference.

`tolerance` derives the allowed deviation from eps. `amplification` measures it where
training amplifies rounding errors.
"""

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.training import DivergenceError
from mlp_xp.declared import ConfigError
from mlp_xp.parity._trajectory import Trajectory, measure, record
from mlp_xp.parity.rounding import RandomRounding

SAFETY = 10
"""How many times the expected rounding error is allowed."""
ROUNDING_RUNS = 3
"""Runs with random rounding: as many as stochastic arithmetic usually takes."""
MARGIN = 10
"""How many times the deviation of these runs is allowed."""


def tolerance(steps: np.ndarray, dtype: str, length: int) -> np.ndarray:
    """Return the derived tolerance after `steps`: SAFETY eps sqrt(length steps).

    It is a relative deviation, (n,), after each of the steps (n,). The longest sum in a
    step has `length` terms: the largest number of inputs, or the batch size.

    The rounding error of a dot product of `length` terms, relative to the sum of their
    absolute values, is at most length * eps. It grows with sqrt(length) * eps if the
    errors are independent with mean zero (Higham and Mary, 2019, A new approach to
    probabilistic rounding error analysis). A factor lambda of this analysis, here
    SAFETY, sets the probability of a larger error. With 10, the probability is
    negligible. Libraries sum in different orders, so two libraries may deviate by this
    much in one step. Where training neither amplifies nor damps deviations, independent
    deviations add up as sqrt(steps).

    This assumes that sums do not cancel: a deviation is then as small relative to the
    sum as to the sum of absolute values. The deviation of a wrong computation does not
    shrink with eps. In float64 it is larger than the tolerance by orders of magnitude.
    Where training amplifies deviations, as with a high learning rate, see
    `amplification`.

    Deformed images need no term of their own. Positions in an image are rounded by a
    few eps times its side. From one pixel to the next, a feature changes by at most 1,
    so it is rounded by as much. The side of an image of n features is sqrt(n).
    """
    eps = float(np.finfo(dtype).eps)
    return SAFETY * eps * np.sqrt(length * np.asarray(steps, dtype=np.float64))


def amplification(
    config: TrainConfig,
    dataset: Dataset,
    dtype: str,
    reference: Trajectory,
    derived: np.ndarray,
) -> np.ndarray:
    """Return the deviation to allow where training may amplify rounding errors.

    It is the derived tolerance times a factor of at least 1, float64 (steps,). NumPy
    trains ROUNDING_RUNS times with random rounding (see `rounding`). The factor is
    MARGIN times the largest ratio of deviation to derived tolerance in these runs, up
    to each step and in any quantity. Raises ConfigError if one of the runs diverges.
    """
    steps = len(derived) - config.warm_up_steps
    factors = np.ones(derived.shape)
    for seed in range(ROUNDING_RUNS):
        try:
            run = record(config, dataset, RandomRounding(dtype, seed), steps)
        except DivergenceError as error:
            raise ConfigError(
                f"rounding alone makes this training diverge in {dtype}, so that "
                "nothing can be compared",
                remedy="use fewer steps, a lower learning rate, or float64",
                setting="dtype",
            ) from error
        for deviations in measure(run, reference).values():
            i = deviations.steps - 1
            np.maximum.at(factors, i, MARGIN * deviations.values / derived[i])
    return np.maximum.accumulate(factors) * derived
