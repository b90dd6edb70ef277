"""Whether data fit a network, and networks each other, by their signatures."""

from types import SimpleNamespace

import pytest

from mlp_xp.core.signature import Signature
from mlp_xp.core.task import CLASSES, LABELS

NAMED = ("cat", "dog")
NUMBERED = ("0", "1")


def signature(outputs=NAMED, shape=(2,), form="arrays", task=CLASSES) -> Signature:
    return Signature(shape, outputs, task, form=form)


@pytest.mark.parametrize(
    ("network", "data", "fits"),
    [
        (signature(NAMED), signature(NUMBERED), True),
        (signature(NUMBERED), signature(NAMED), True),
        (signature(NAMED), signature(("1", "2")), False),
        (signature(NAMED), signature(("0", "1", "2")), False),
        (signature(NAMED), signature(("dog", "cat")), False),
        (signature(NAMED, form="columns"), signature(NUMBERED, form="columns"), False),
    ],
)
def test_numbers_from_0_stand_for_as_many_names_of_arrays(network, data, fits):
    assert (network.difference(data) == "") == fits
    assert network.difference(data, together=True)


def test_networks_without_columns_are_used_together_if_their_inputs_are_equal():
    one, other = signature(shape=(2,)), signature(shape=(3,))
    assert one.difference(one, together=True) == ""
    assert one.difference(other, together=True).startswith("inputs")


def test_unnamed_features_have_no_other_names():
    named = Signature((2,), NAMED, columns=SimpleNamespace(feature_names=("x", "y")))
    swapped = Signature((2,), NAMED, columns=SimpleNamespace(feature_names=("y", "x")))
    others = Signature((2,), NAMED, columns=SimpleNamespace(feature_names=("x", "z")))
    unnamed = signature()
    assert named.features_difference(unnamed) == ""
    assert unnamed.features_difference(named) == ""
    assert named.features_difference(swapped) == ""
    assert named.features_difference(others) == "columns x, y, not x, z"
    assert named.features_difference(signature(shape=(3,))) == "inputs 2, not 3"


def test_outputs_are_the_same_with_the_same_task_and_names():
    assert signature().has_outputs_of(signature(shape=(5,)))
    assert not signature().has_outputs_of(signature(task=LABELS))
    assert not signature().has_outputs_of(signature(NUMBERED))
