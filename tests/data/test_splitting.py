"""Which samples are tested on or held out.

Each class in proportion, from one shuffle, the same on every machine.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, StratifiedKFold

from mlp_xp import TrainConfig, from_arrays, open_backend
from mlp_xp.core.job import Job
from mlp_xp.data._splitting import hold_out, split, split_fold
from mlp_xp.errors import DatasetError


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=80),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32 - 1),
)
def test_each_class_is_in_both_parts(
    classes: list[int], share: float, seed: int
) -> None:
    labels = np.array(classes, np.uint8)
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(DatasetError):
            split(labels, len(labels), share, seed)
        return
    held, left = split(labels, len(labels), share, seed)
    places = np.argsort(np.random.RandomState(seed).permutation(len(labels)))
    for part in (held, left):
        assert (np.diff(places[part]) > 0).all(), "in the order of the shuffle"
    assert sorted([*held, *left]) == [*range(len(labels))]
    taken = np.bincount(labels[held], minlength=len(counts))
    for count, many in zip(counts, taken, strict=True):
        assert many == 0 if count < 2 else 1 <= many < count
        assert count < 2 or abs(many - share * count) <= 1 or many in (1, count - 1)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=80),
    st.data(),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_folds_are_disjoint_and_even(
    classes: list[int], data: st.DataObject, seed: int, stratify: bool
) -> None:
    """Of each class, a fold has what scikit-learn gives one of its folds."""
    labels, rows = np.array(classes, np.uint8), len(classes)
    count = data.draw(st.integers(2, rows))
    parts = [
        split_fold(labels if stratify else None, rows, count, fold, seed)
        for fold in range(count)
    ]
    places = np.argsort(np.random.RandomState(seed).permutation(rows))
    for tested, trained in parts:
        assert sorted([*tested, *trained]) == [*range(rows)]
        assert all((np.diff(places[part]) > 0).all() for part in (tested, trained)), (
            "in the order of the shuffle"
        )
    assert sorted(np.concatenate([tested for tested, _ in parts])) == [*range(rows)]
    theirs = KFold(count)
    if stratify and np.bincount(labels).max() >= count:
        theirs = StratifiedKFold(count)
    # that a class has fewer samples than there are folds
    with warnings.catch_warnings(action="ignore"):
        expected = [tested for _, tested in theirs.split(labels, labels)]
    assert sorted(len(tested) for tested, _ in parts) == sorted(map(len, expected))
    for kind in np.unique(labels) if stratify else []:
        ours = [(labels[tested] == kind).sum() for tested, _ in parts]
        assert max(ours) - min(ours) <= 1
        if isinstance(theirs, StratifiedKFold):
            assert sorted(ours) == sorted(
                (labels[tested] == kind).sum() for tested in expected
            )


def test_the_split_is_the_same_on_every_machine() -> None:
    held, left = split(np.arange(20) % 3 // 2, 20, 0.3, 7)
    # of classes with 14 and 6 samples 4 and 2
    assert held.tolist() == [1, 17, 2, 0, 18, 6]
    assert len(left) == 14
    assert (
        split(None, 20, 0.3, 7)[0].tolist()
        == np.random.RandomState(7).permutation(20)[:6].tolist()
    )


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        ([i % 30 for i in range(90)], 5),
        ([*[70] * 70, *(i // 2 for i in range(20))], 5),
        ([*range(9)], 2),
    ],
)
def test_as_many_as_are_wanted_are_held_out_of_many_classes(classes, wanted):
    chosen = hold_out(np.array(classes), wanted, 0)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) == wanted


@pytest.mark.parametrize(
    "classes", [[0] * 85 + [1] * 5, [0] * 40 + [1] * 40 + [2] * 2 + [*range(3, 11)]]
)
@pytest.mark.parametrize("wanted", [40, 70, 80, 87, 88, 89])
def test_a_class_keeps_a_sample_to_train_on(classes, wanted):
    """If too many are wanted, fewer are taken.

    The share of a single sample is not taken elsewhere.
    """
    labels, most, single = (
        np.array(classes),
        90 - len({*classes}),
        (np.bincount(classes) == 1).sum(),
    )
    dataset = from_arrays(np.arange(90.0)[:, None], labels, task="classes")
    backend = open_backend()
    for seed in range(5):
        trained = labels[
            Job(
                TrainConfig(validation=wanted, warm_up_steps=0, seed=seed),
                dataset,
                backend,
            ).rows
        ]
        assert 0 <= min(wanted, most) - (90 - len(trained)) <= single
        assert {*trained} == {*classes}
