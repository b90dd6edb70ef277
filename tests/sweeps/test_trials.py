"""Members that Optuna chooses, one for each seed.

Optuna has to know only what a killed sweep has left.
"""

import os
import signal
import sys
from pathlib import Path
from subprocess import DEVNULL

import pytest
from helpers import assert_one_line, call, finish, start, wait_until
from sweeping import arguments, assert_as_trained, run_of, sweep

from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.sweeps._trials import Trials
from mlp_xp.sweeps.member import key_of
from mlp_xp.sweeps.plan import SweepOptions, make_plan

pytestmark = pytest.mark.needs("optuna")
VALIDATION = 60
VALUES = {
    "learning_rate": "0.01..0.1",
    "hidden": "2..9",
    "optimizer": ["sgd", "adam"],
    "seed": "3..4",
}
PLAN = make_plan(
    settings_of(Settings(), {"validation": VALIDATION}), VALUES, SweepOptions(optuna=3)
)


def test_a_trial_has_each_seed_and_its_value_is_the_mean():
    trials = Trials(PLAN, ())
    first, second, *others = trials.ask() + trials.ask() + trials.ask()
    assert [member.name for member in (first, second, *others)] == [
        f"{i:04d}" for i in range(6)
    ]
    assert [first.settings.pop("seed"), second.settings.pop("seed")] == [3, 4]
    assert first.settings == second.settings != others[0].settings
    assert 2 <= first.settings["hidden"][0] <= 9
    trials.tell(first, 0.5)
    assert trials._study.trials[0].state.name == "RUNNING"
    trials.tell(second, 0.75)
    assert trials._study.trials[0].value == 0.625
    trials.tell(others[0], 0.5)
    trials.tell(others[1], None)
    assert [each.state.name for each in trials._study.trials] == [
        "COMPLETE",
        "FAIL",
        "RUNNING",
    ]


def test_a_sweep_that_goes_on_tells_optuna_what_its_members_have_shown():
    asked = (before := Trials(PLAN, ())).ask() + before.ask()
    after = Trials(PLAN, asked)
    for trials in (before, after):
        for i, member in enumerate(asked):
            trials.tell(member, 0.25 * i)
    one, other = (
        [(each.params, each.value) for each in trials._study.get_trials(deepcopy=False)]
        for trials in (before, after)
    )
    assert (
        [value for _, value in one] == [value for _, value in other] == [0.125, 0.625]
    )
    for (theirs, _), (ours, _) in zip(one, other, strict=True):
        # a member's settings are rounded
        rate = pytest.approx(theirs["learning_rate"], rel=1e-3)
        assert ours == {**theirs, "learning_rate": rate}
    assert [member.name for member in after.ask()] == ["0004", "0005"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_optuna_chooses_and_goes_on_after_a_kill(data_dir, tmp_path):
    folder, total = tmp_path / "s", 6
    words = "--hidden 2..16 --learning-rate 0.0001..1 --optuna 3 --seed 0..1"
    settings = {
        "epochs": 6,
        "report_every": 20,
        "checkpoint_every": 20,
        "validation": VALIDATION,
        "seed": None,
    }
    words = arguments(data_dir, folder, words, **settings)
    process = start(
        "sweep", *words, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL
    )
    wait_until((run_of(folder, "0003") / "checkpoint.safetensors").exists, process)
    begun = SweepFolder(folder).read().members
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcome = finish(start("sweep", *words))
    assert outcome.code == 0, outcome
    assert "members  6, 3 chosen by Optuna, with 2 runs each" in outcome.out
    members = SweepFolder(folder).read().members
    assert members[: len(begun)] == begun
    assert [member.name for member in members] == [f"{i:04d}" for i in range(total)]
    assert SweepFolder(folder).failures() == {}
    assert_as_trained(folder, tmp_path / "t", "0000", "0005")


@pytest.mark.usefixtures("inline")
def test_a_failed_trial_is_recorded_and_not_repeated(data_dir, tmp_path):
    words = "--hidden 2..9 --learning-rate 1e200 --optuna 2"
    changes = {"validation": VALIDATION, "learning_rate": None}
    for _ in range(2):
        outcome = sweep(data_dir, tmp_path / "s", words, **changes)
        assert outcome.code == 1, outcome
        assert {*SweepFolder(tmp_path / "s").failures()} == {"0000", "0001"}
    assert "member  state" not in outcome.out, "nothing is trained again"


def test_optuna_is_needed_for_its_option_alone(data_dir: Path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    words = "--hidden 2..9 --optuna 1"
    outcome = sweep(data_dir, tmp_path / "s", words, validation=VALIDATION)
    assert_one_line(outcome, 2, "optuna is not installed; install it with: ")
    assert not (tmp_path / "s").exists()


@pytest.mark.usefixtures("inline")
def test_optuna_may_choose_data_that_were_not_loaded_before_the_first_trial(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "\n".join(["x,a,b", *(f"{i}.5,{i % 2},{i // 2 % 2}" for i in range(60))])
    )
    words = "sweep --label a b --test-fraction 0.1 0.2 --dtype float64 float32"
    words = f"{words} --optuna 6 --validation 9 --epochs 1 --hidden 4"
    outcome = call(words, data_dir=table, sweep_dir=tmp_path / "s")
    assert outcome.code == 0, outcome
    index = SweepFolder(tmp_path / "s").read()
    assert {
        key_of(settings_of(index.base, member.settings)) for member in index.members
    } - index.sums.keys()
