"""Which of your own samples a network is not trained on: a test set, and samples held
out for validation.

Own data may be sorted, so samples are drawn from all of them, and of classes from each
in proportion.
"""

import numpy as np

from mlp_xp.core.task import Task
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import ConfigError
from mlp_xp.errors import Argument, DatasetError


def split_as(
    how: DataOptions, labels: np.ndarray, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples to test on and of the others, as `split` or
    `split_fold` does.

    labels: those of a `Dataset`, on the host. Raises DatasetError and ConfigError if no
        such split is possible.
    """
    rows, classes = len(labels), labels if how.stratify and task.exclusive else None
    if how.cv is None:
        if not 0 < round(how.test_fraction * rows) < rows:
            fault = f"{how.test_fraction!r:.80} of {rows} rows leaves one part empty"
            raise DatasetError(
                fault, remedy="give another share", setting="test_fraction"
            )
        return split(classes, rows, how.test_fraction, how.split_seed)
    # R² of a single sample would always be 0
    if rows < how.cv * (least := 2 if task.floats else 1):
        fault = (
            f"{rows} rows are too few for {how.cv} folds with at least {least} in each"
        )
        raise DatasetError(fault, remedy="give fewer folds", setting="cv")
    if how.fold is None:
        raise ConfigError(
            "is missing",
            remedy=f"say which of the {how.cv} folds to test on, from 0",
            setting="fold",
        )
    return split_fold(classes, rows, how.cv, how.fold, how.split_seed)


def split(
    classes: np.ndarray | None, rows: int, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples to test on and of the others, int64 (n,) each,
    in the order of one shuffle.

    NumPy's RandomState shuffles, the same on every machine. classes: whole numbers
    (rows,), to stratify: each class then has its share of the test samples, rounded so
    that all together are as many as without classes if that is possible: a class of two
    samples or more has at least one in each part, and a single sample is not tested on.
    None: the first samples of the shuffle. Raises DatasetError if no class has two
    samples.
    """
    order = np.random.RandomState(seed).permutation(rows).astype(np.int64)
    wanted = round(share * rows)
    if classes is None:
        return order[:wanted], order[wanted:]
    counts = np.bincount(classes)
    most = np.maximum(counts - 1, 0)
    quotas = share * counts
    taken = np.clip(np.floor(quotas).astype(np.int64), np.minimum(most, 1), most)
    # The largest remainders first, as seats are given to parties; equal ones in the
    # order of the classes.
    for which in np.argsort(taken - quotas, kind="stable"):
        taken[which] += taken.sum() < wanted and taken[which] < most[which]
    if not taken.any():
        raise DatasetError(
            f"all {rows} labels differ, so no class has two samples, one to train and one to test on",
            remedy=(
                "give ",
                Argument("task", "regression"),
                " if they are quantities, or hold out no test set",
            ),
            setting="y",
        )
    chosen = np.zeros(rows, np.bool_)
    shuffled = classes[order]
    for which, count in enumerate(taken):
        chosen[np.flatnonzero(shuffled == which)[:count]] = True
    return order[chosen], order[~chosen]


def split_fold(
    classes: np.ndarray | None, rows: int, folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples in a fold and of the others, as `split` does;
    the folds are disjoint.

    classes: to stratify. The shuffled samples, class by class, are dealt to the folds
    like cards. So the sizes of two folds differ by one at most, and so do the numbers
    of samples that they have of each class.
    """
    order = np.random.RandomState(seed).permutation(rows).astype(np.int64)
    dealt = (
        np.arange(rows)
        if classes is None
        else np.argsort(classes[order], kind="stable")
    )
    chosen = np.zeros(rows, np.bool_)
    chosen[dealt[fold::folds]] = True
    return order[chosen], order[~chosen]


def hold_out(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the numbers of `count` samples to hold out, int64 (count,), in ascending
    order: see `Dataset.hold_out`.

    labels: those of a `Dataset`, on the host. Each class keeps a sample to train on, so
        there may be fewer.
    """
    rows, classes = len(labels), labels if labels.ndim == 1 else None
    if classes is not None and len(np.unique(classes)) == rows:
        classes = None  # no class can be in both parts
    return np.sort(split(classes, rows, count / rows, seed)[0][:count])
