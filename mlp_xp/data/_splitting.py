"""Choose the samples to test on, and the samples to hold out for validation.

Your own data may be sorted, so samples are drawn from all rows, and from each class in
proportion.
"""

import numpy as np

from mlp_xp.core.task import Task
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import ConfigError
from mlp_xp.errors import Argument, DatasetError


def split_as(
    how: DataOptions, labels: np.ndarray, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples to test on, and of the others.

    This is `split_fold` with how.cv, and otherwise `split`. labels: as in a `Dataset`,
    but on the host. Raises DatasetError and ConfigError if the split is not possible.
    """
    rows = len(labels)
    classes = labels if how.stratify and task.exclusive else None
    if how.cv is None:
        if not 0 < round(how.test_fraction * rows) < rows:
            raise DatasetError(
                f"{how.test_fraction!r:.80} of {rows} rows leaves one part empty",
                remedy="give another share",
                setting="test_fraction",
            )
        return split(classes, rows, how.test_fraction, how.split_seed)
    # R² of a single sample would always be 0
    least = 2 if task.floats else 1
    if rows < how.cv * least:
        raise DatasetError(
            f"{rows} rows are too few for {how.cv} folds with at least {least} in each",
            remedy="give fewer folds",
            setting="cv",
        )
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
    """Return the numbers of the samples to test on, and of the others, int64 (n,) each.

    Both are in the order of one shuffle by NumPy's RandomState. It is the same on every
    machine. classes: whole numbers (rows,), to stratify: each class has its share of
    the test samples, see `_counts_to_test`. If None, the first samples of the shuffle
    are test samples. Raises DatasetError if no class has two samples.
    """
    order = _shuffled(rows, seed)
    wanted = round(share * rows)
    if classes is None:
        return order[:wanted], order[wanted:]
    # Older releases of NumPy refuse uint64.
    counts = _counts_to_test(np.bincount(classes.astype(np.int64)), share, wanted)
    if not counts.any():
        regression = Argument("task", "regression")
        rest = " if they are numbers, or, for no test set, give "
        raise DatasetError(
            f"all {rows} labels differ, so no class has two samples, "
            "one to train and one to test on",
            remedy=("give ", regression, rest, Argument("test_fraction", 0)),
            setting="y",
        )
    chosen = np.zeros(rows, np.bool_)
    shuffled = classes[order]
    for label, count in enumerate(counts):
        chosen[np.flatnonzero(shuffled == label)[:count]] = True
    return order[chosen], order[~chosen]


def _counts_to_test(counts: np.ndarray, share: float, wanted: int) -> np.ndarray:
    """Return the number of samples to test on of each class, int64 (classes,).

    They are rounded to preserve the total, `wanted`, if possible. A class with two
    samples or more has at least one in each part. A single sample is not tested on.
    """
    most = np.maximum(counts - 1, 0)
    quotas = share * counts
    taken = np.clip(np.floor(quotas).astype(np.int64), np.minimum(most, 1), most)
    # The largest remainders first, as seats are given to parties. Equal remainders are
    # in the order of the classes.
    for label in np.argsort(taken - quotas, kind="stable"):
        if taken.sum() < wanted and taken[label] < most[label]:
            taken[label] += 1
    return taken


def split_fold(
    classes: np.ndarray | None, rows: int, folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples in a fold, and of the others, as `split` does.

    The folds are disjoint. The shuffled samples are dealt to the folds like cards. So
    the sizes of two folds differ by at most one. classes: to stratify. The samples are
    then dealt class by class, so the numbers of samples of a class in two folds differ
    by at most one, too.
    """
    order = _shuffled(rows, seed)
    dealt = np.arange(rows)
    if classes is not None:
        dealt = np.argsort(classes[order], kind="stable")
    chosen = np.zeros(rows, np.bool_)
    chosen[dealt[fold::folds]] = True
    return order[chosen], order[~chosen]


def hold_out(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the numbers of the samples to hold out: see `Dataset.hold_out`.

    They are ascending, int64 (count,). There are fewer if a class would have no sample
    to train on. labels: as in a `Dataset`, but on the host.
    """
    rows = len(labels)
    classes = labels if labels.ndim == 1 else None
    if classes is not None and len(np.unique(classes)) == rows:
        classes = None  # no class can be in both parts
    held, _ = split(classes, rows, count / rows, seed)
    return np.sort(held[:count])


def _shuffled(rows: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).permutation(rows).astype(np.int64)
