"""What the tasks share: pooling, decisions, and the form of their values."""

import pickle

import numpy as np
import pytest

from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_predictions_of_an_ensemble_are_the_mean_of_its_members(task):
    z = np.random.RandomState(0).normal(size=(3, 5, 4)) * 20
    members = [task.link(each, xp=np) for each in z]
    np.testing.assert_allclose(task.link(task.pool(z), xp=np), np.mean(members, axis=0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("task", [CLASSES, LABELS], ids=repr)
def test_the_loss_of_an_ensemble_is_finite_where_probabilities_underflow(task):
    z = np.zeros((2, 1, 3))
    z[:, 0, 0] = 3000.0, 4000.0  # so sure of what is wrong
    targets = np.array([[0.0, 1.0, 0.0]])
    assert 2000 < task.loss(task.pool(z), targets, xp=np)[0] < 4001


def test_decisions():
    p = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert CLASSES.decide(p, ("a", "b", "c"), xp=np).tolist() == ["b", "a"]
    assert LABELS.decide(p, ("a", "b", "c"), xp=np).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert REGRESSION.decide(p, ("a", "b", "c"), xp=np).tolist() == p.tolist()
    assert REGRESSION.decide(p[:, :1], ("a",), xp=np).tolist() == [0.2, 0.6]


def test_a_task_survives_a_pickle_and_can_be_a_key():
    assert [pickle.loads(pickle.dumps(task)) for task in TASKS.values()] == [*TASKS.values()]
    assert {*TASKS.values()} == {CLASSES, LABELS, REGRESSION}
