"""What a sweep says about its progress; for its runs see tests/sweeps."""

from mlp_xp.commands.sweep import Standing, member_line
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INTERRUPTED
from mlp_xp.sweeps.member import Ending

BEST = Ending("0001", FINISHED, {"train_loss": 0.5, "validation_accuracy": 0.9}, seconds=2.0)


def test_how_far_it_is():
    standing = Standing(5)
    for ending in (
        Ending("0000", FINISHED, {"train_loss": 0.5, "validation_accuracy": 0.8}, earlier=True),
        BEST,
        Ending("0002", FAILED, reason="no memory"),
        Ending("0003", INTERRUPTED),
    ):
        standing.add(ending)
    assert standing.line() == "3 of 5 done, 1 failed, best 0001: held out 90.00 %"
    assert standing.closing() == "2 of 5 members finished, 1 failed, 1 interrupted (1 of them before this command)"


def test_a_member_is_a_row_with_its_settings():
    row = member_line(BEST._replace(settings={"learning_rate": 1e9, "hidden": [5, 4]}))
    *figures, settings = row.split(maxsplit=6)
    assert figures == ["0001", FINISHED, "0.50000", "90.00", "%", "2.0"]
    assert settings == "learning rate 1000000000, hidden 5,4"
