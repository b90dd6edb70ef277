"""Which of your own samples a network is not trained on: a test set, and samples held out for validation.

Own data may be sorted, so samples are drawn from all of them, and of classes from each in proportion.
"""

import numpy as np

from mlp_xp.errors import Argument, DatasetError


def split(classes: np.ndarray | None, rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples to test on and of the others, int64 (n,) each, in the order of one shuffle.

    NumPy's RandomState shuffles, the same on every machine. classes: whole numbers (rows,), to stratify: each class
    then has its share of the test samples, rounded so that all together are as many as without classes if that is
    possible: a class of two samples or more has at least one in each part, and a single sample is not tested on. None:
    the first samples of the shuffle. Raises DatasetError if no class has two samples.
    """
    order = np.random.RandomState(seed).permutation(rows).astype(np.int64)
    wanted = round(share * rows)
    if classes is None:
        return order[:wanted], order[wanted:]
    counts = np.bincount(classes)
    most = np.maximum(counts - 1, 0)
    quotas = share * counts
    taken = np.clip(np.floor(quotas).astype(np.int64), np.minimum(most, 1), most)
    # The largest remainders first, as seats are given to parties; equal ones in the order of the classes.
    for which in np.argsort(taken - quotas, kind="stable"):
        taken[which] += taken.sum() < wanted and taken[which] < most[which]
    if not taken.any():
        raise DatasetError(
            f"all {rows} labels differ, so no class has two samples, one to train and one to test on",
            remedy=("give ", Argument("task", "regression"), " if they are quantities, or hold out no test set"),
            setting="y",
        )
    chosen = np.zeros(rows, np.bool_)
    shuffled = classes[order]
    for which, count in enumerate(taken):
        chosen[np.flatnonzero(shuffled == which)[:count]] = True
    return order[chosen], order[~chosen]


def hold_out(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the numbers of `count` samples to hold out, int64 (count,), in ascending order: see `Dataset.hold_out`.

    labels: those of a `Dataset`, on the host. A class with two samples or more keeps one to train on, so there may be
    fewer.
    """
    rows, classes = len(labels), labels if labels.ndim == 1 else None
    if classes is not None and len(np.unique(classes)) == rows:
        classes = None  # no class can be in both parts
    chosen, left = split(classes, rows, count / rows, seed)
    if classes is not None:
        # `split` may choose too few. Of the others, one sample stays in each class that has two or more, and those that
        # are the only one of their class are taken last.
        counts, (kinds, first) = np.bincount(classes), np.unique(classes[left], return_index=True)
        rest = np.delete(left, first[counts[kinds] > 1])
        chosen = np.concatenate([chosen, rest[np.argsort(counts[classes[rest]] == 1, kind="stable")]])
    return np.sort(chosen[:count])
