"""Members that Optuna chooses: what a kill may leave between two writes, built by hand, and what it prunes."""

import json
import os
import signal
from pathlib import Path
from subprocess import DEVNULL

import pytest
from helpers import assert_one_line, call, finish, start, wait_until
from sweeping import SMALL, arguments, assert_as_trained

from mlp_xp.runs import sweep_index
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_index import read_index
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps.folder import open_sweep, read_endings, run_of
from mlp_xp.sweeps.grid import Plan, make_plan
from mlp_xp.sweeps.member import Ending, Task, train_member
from mlp_xp.sweeps.trials import Trials

pytestmark = pytest.mark.needs("optuna", "sqlalchemy")
VALIDATION = 60


@pytest.fixture
def plan(data_dir) -> Plan:
    """The plan of two trials, as the command of `go_on` makes it."""
    small = {name: value for name, value in SMALL.items() if name not in ("learning_rate", "hidden")}
    config = settings_of(Settings(), {**small, "validation": VALIDATION, "data_dir": str(data_dir)})
    return make_plan(config, {"learning_rate": "0.01..0.1", "hidden": "2..9"}, trials=2)


@pytest.fixture
def sums(plan) -> dict[str, str]:
    return {key: source.crc32 for key, source in running.load_sources([("", plan.base)], None).items()}


@pytest.fixture
def trials(plan, sums, tmp_path, inline) -> Trials:
    """An empty study in the folder of a sweep."""
    with open_sweep(tmp_path / "s", plan, sums):
        pass
    return Trials(tmp_path / "s", plan)


def go_on(folder: Path, data_dir: Path, *words: object):
    given = ["--hidden", "2..9", "--learning-rate", "0.01..0.1", "--optuna", 2, "--jobs", 2, *words]
    changes = {"validation": VALIDATION, "learning_rate": None}
    return call("sweep", *arguments(data_dir, folder, *given, **changes))


def study_in(folder: Path):
    """Return Optuna's study of a sweep, whose file is closed after each use."""
    import optuna
    from sqlalchemy.pool import NullPool

    url = f"sqlite:///{folder / places.STUDY}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    return optuna.load_study(study_name="sweep", storage=storage)


def states(folder: Path) -> list[str]:
    """Return the states of all trials, in Optuna's own words."""
    return [trial.state.name for trial in study_in(folder).trials]


def test_a_pruning_that_only_optuna_knows_is_not_repeated_but_a_failure_is(trials, plan, sums, data_dir, tmp_path):
    folder = tmp_path / "s"
    first, second = trials.ask() + trials.ask()
    places.write_index(folder, plan, (first, second), sums)
    trials.tell(first, None, pruned=True)
    trials.tell(second, None)
    outcome = go_on(folder, data_dir)
    assert outcome.code == 0, outcome
    assert {*read_endings(folder, sweep_index.PRUNINGS)} == {"0000"}
    assert not run_of(folder, "0000").exists()
    assert (run_of(folder, "0001") / "result.json").exists()


def test_a_trial_that_was_begun_just_before_a_kill_is_a_member_if_it_has_all_parameters(trials, data_dir, tmp_path):
    """Optuna stores a trial, then each of its parameters; the index comes after both."""
    folder = tmp_path / "s"
    (first,) = trials.ask()
    torn = trials._study.ask()
    torn.suggest_float("learning_rate", 0.01, 0.1, log=True)
    assert read_index(folder).members == ()
    outcome = go_on(folder, data_dir)
    assert outcome.code == 0, outcome
    assert read_index(folder).members[0] == first
    assert [each.name for each in read_index(folder).members] == ["0000", "0001"]
    assert (folder / "summary.csv").read_text().count("\nrun,") == 2
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.parametrize("content", [None, b"garbage" * 1000])
def test_a_lost_or_damaged_study_is_one_line_and_nothing_is_lost(content, trials, plan, sums, data_dir, tmp_path):
    folder = tmp_path / "s"
    places.write_index(folder, plan, trials.ask() + trials.ask(), sums)
    before = (folder / "sweep.json").read_bytes()
    (folder / places.STUDY).unlink()
    if content:
        (folder / places.STUDY).write_bytes(content)
    assert_one_line(go_on(folder, data_dir), 2, "optuna.db", "restore it from a copy")
    assert (folder / "sweep.json").read_bytes() == before


@pytest.mark.usefixtures("inline")
def test_a_trial_is_trained_with_each_seed_and_its_value_is_the_mean(data_dir, tmp_path):
    words = ["--hidden", "2..9", "--seed", "3..4", "--optuna", 1, "--jobs", 2]
    folder = tmp_path / "s"
    outcome = call("sweep", *arguments(data_dir, folder, *words, validation=VALIDATION, seed=None))
    assert outcome.code == 0, outcome
    assert "members  2, 1 chosen by Optuna, with 2 seeds each" in outcome.out
    first, second = read_index(folder).members
    assert (first.settings["seed"], second.settings["seed"]) == (3, 4)
    assert first.settings["hidden"] == second.settings["hidden"]
    accuracies = [sweep_index.read_result(run_of(folder, f"000{i}"))["validation_accuracy"] for i in range(2)]
    assert [trial.value for trial in study_in(folder).trials] == pytest.approx([sum(accuracies) / 2])


def test_the_other_seeds_of_a_pruned_trial_are_not_trained(plan, sums, tmp_path):
    plan, folder = make_plan(plan.base, {"hidden": "2..9", "seed": [0, 1, 2]}, trials=3), tmp_path / "s"
    with open_sweep(folder, plan, sums) as index:
        trials = Trials(folder, plan)
        asked = trials.ask() + trials.ask() + trials.ask()
        for member, score in zip(asked[:3], (0.5, 0.75, 0.25), strict=True):
            assert states(folder) == ["RUNNING"] * 3
            trials.tell(member, score)
        assert states(folder) == ["COMPLETE", "RUNNING", "RUNNING"]
        assert trials._study.trials[0].value == 0.5
        assert [trials.trial(member) is not None for member in asked[3:6]] == [True, False, False]
        trials.tell(asked[3], None, pruned=True)
        trials.tell(asked[4], 0.9)  # was running when the first was pruned
        assert states(folder) == ["COMPLETE", "PRUNED", "RUNNING"]
        assert [trials.is_pruned(member) for member in asked[:6]] == [False] * 3 + [True] * 3
        # A failure ends a trial only when no other run of it may report to Optuna any more.
        for member, score in zip(asked[6:], (0.5, None, 0.5), strict=True):
            assert states(folder)[2] == "RUNNING"
            trials.tell(member, score)
        assert states(folder)[2] == "FAIL"
        # The same command later.
        sweep = running._Sweep(plan, folder, running.How(), index)
        assert [(ending.name, ending.state) for ending in sweep.earlier()] == [(f"000{i}", "pruned") for i in (3, 4, 5)]
    task = Task("0005", plan.base, tmp_path / "none", "", tmp_path / "stop", pruned=True)
    assert train_member(task).state == sweep_index.PRUNED
    assert not (tmp_path / "none").exists()


def test_a_record_is_on_disk_before_optuna_learns_of_it(plan, sums, tmp_path, trials, monkeypatch):
    folder = tmp_path / "s"
    (member,) = trials.ask()
    places.write_index(folder, plan, (member,), sums)
    sweep = running._Sweep(plan, folder, running.How(), read_index(folder))
    monkeypatch.setattr(sweep.trials, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sweep.note(Ending(member.name, sweep_index.FAILED, error="E", reason="r"))
    assert {*read_endings(folder)} == {"0000"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_optuna_chooses_and_prunes_and_goes_on_after_a_kill(data_dir, tmp_path):
    folder, total = tmp_path / "s", 9
    words = ["--hidden", "2..16", "--learning-rate", "0.0001..1", "--optuna", total]
    settings = {"epochs": 6, "report_every": 20, "checkpoint_every": 20, "validation": 60}
    words = arguments(data_dir, folder, *words, **settings)
    process = start("sweep", *words, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL)
    wait_until((run_of(folder, "0003") / "checkpoint.safetensors").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcome = finish(start("sweep", *words))
    assert outcome.code == 0, outcome
    index, pruned = read_index(folder), read_endings(folder, "pruned.json")
    assert [member.name for member in index.members] == [f"{i:04d}" for i in range(total)]
    done = [name for name in (m.name for m in index.members) if (run_of(folder, name) / "result.json").exists()]
    assert sorted([*done, *pruned]) == [f"{i:04d}" for i in range(total)]
    assert pruned, "with these learning rates, some must be worse than most"
    assert read_endings(folder) == {}
    trials = study_in(folder).trials
    accuracies = {n: json.loads((run_of(folder, n) / "result.json").read_text())["validation_accuracy"] for n in done}
    assert {f"{t.number:04d}": t.value for t in trials if t.state.name == "COMPLETE"} == accuracies
    assert {f"{t.number:04d}" for t in trials if t.state.name == "PRUNED"} == {*pruned}
    assert_as_trained(folder, tmp_path / "t", *done[:2])
