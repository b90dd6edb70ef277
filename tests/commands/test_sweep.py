"""What a sweep says about its members; for its runs see tests/sweeps."""

from mlp_xp.commands.sweep import member_line
from mlp_xp.runs.sweep_index import FINISHED
from mlp_xp.sweeps.member import Ending

BEST = Ending("0001", FINISHED, {"train_loss": 0.5, "validation_accuracy": 0.9}, seconds=2.0)


def test_a_member_is_a_row_with_its_settings():
    row = member_line(BEST._replace(settings={"learning_rate": 1e9, "hidden": [5, 4]}))
    *figures, settings = row.split(maxsplit=6)
    assert figures == ["0001", FINISHED, "0.50000", "90.00", "%", "2.0"]
    assert settings == "learning rate 1000000000, hidden 5,4"
