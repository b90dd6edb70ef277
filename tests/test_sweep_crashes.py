"""What a kill of a sweep may leave between two of its writes: built by hand, then the same command goes on."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, assert_same_run, call
from test_sweep import SMALL, TOO_FAST, arguments, run_of

from mlp_xp.commands.stopping import InterruptedTrainingError, catch_signals
from mlp_xp.commands.sweep import StopAtOnce
from mlp_xp.runs import sweep_index
from mlp_xp.runs.lock import InUseError, locked
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_index import read_index
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps import member as members
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps.folder import open_sweep, read_endings
from mlp_xp.sweeps.grid import Plan, make_plan, settings_of

VALIDATION = 60


@pytest.fixture
def plan(data_dir) -> Plan:
    """Of two trials, as the command of `go_on` makes it."""
    small = {name: value for name, value in SMALL.items() if name not in ("learning_rate", "hidden")}
    config = settings_of(Settings(), {**small, "validation": VALIDATION, "data_dir": str(data_dir)})
    return make_plan(config, {"learning_rate": "0.01..0.1", "hidden": "2..9"}, trials=2)


def go_on(folder: Path, data_dir: Path, *words: object):
    given = ["--hidden", "2..9", "--learning-rate", "0.01..0.1", "--optuna", 2, "--jobs", 2, *words]
    changes = {"validation": VALIDATION, "learning_rate": None}
    return call("sweep", *arguments(data_dir, folder, *given, **changes))


@pytest.fixture
def trials(plan, tmp_path):
    """An empty study in the folder of a sweep."""
    pytest.importorskip("optuna")
    from mlp_xp.sweeps.trials import Trials

    with open_sweep(tmp_path / "s", plan):
        pass
    return Trials(tmp_path / "s", plan)


def states(folder: Path) -> list[str]:
    """Return the states of all trials, in Optuna's own words."""
    return [trial.state.name for trial in study_in(folder).trials]


def study_in(folder: Path):
    """Optuna's study of a sweep, whose file is closed after each use."""
    import optuna
    from sqlalchemy.pool import NullPool

    url = f"sqlite:///{folder / places.STUDY}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    return optuna.load_study(study_name="sweep", storage=storage)


def test_a_pruning_that_only_optuna_knows_is_not_repeated(trials, plan, data_dir, tmp_path):
    folder = tmp_path / "s"
    (member,) = trials.ask()
    places.write_index(folder, plan, (member,))
    trials.tell(member, None, pruned=True)
    outcome = go_on(folder, data_dir)
    assert outcome.code == 0, outcome
    assert {*read_endings(folder, sweep_index.PRUNINGS)} == {"0000"}
    assert not run_of(folder, "0000").exists()
    assert (run_of(folder, "0001") / "result.json").exists()


def test_a_failure_that_only_optuna_knows_happens_again(trials, plan, data_dir, tmp_path):
    folder = tmp_path / "s"
    (member,) = trials.ask()
    places.write_index(folder, plan, (member,))
    trials.tell(member, None)
    outcome = go_on(folder, data_dir)
    assert outcome.code == 0, outcome
    assert (run_of(folder, "0000") / "result.json").exists()


def test_a_failed_trial_is_tried_again_and_optuna_learns_the_result_once(trials, plan, data_dir, tmp_path):
    folder = tmp_path / "s"
    (member,) = trials.ask()
    places.write_index(folder, plan, (member,))
    places.write_endings(folder, {"0000": {"error": "Killed", "reason": "no memory"}})
    trials.tell(member, None)
    assert go_on(folder, data_dir, "--retry-failed").code == 0
    assert go_on(folder, data_dir, "--retry-failed").code == 0
    assert read_endings(folder) == {}
    results = [json.loads((run_of(folder, f"000{i}") / "result.json").read_text()) for i in range(2)]
    study = study_in(folder)
    assert sorted(t.value for t in study.trials if t.value is not None) == sorted(
        result["validation_accuracy"] for result in results
    )
    assert len(read_index(folder).members) == 2


def test_a_trial_without_all_its_parameters_is_no_member(trials, plan, data_dir, tmp_path):
    """Optuna stores a trial, then each of its parameters."""
    folder = tmp_path / "s"
    (first,) = trials.ask()
    torn = trials._study.ask()
    torn.suggest_float("learning_rate", 0.01, 0.1, log=True)
    places.write_index(folder, plan, (first,))
    outcome = go_on(folder, data_dir)
    assert outcome.code == 0, outcome
    assert [each.name for each in read_index(folder).members] == ["0000", "0001"]
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE"]


def test_the_index_has_a_trial_that_was_begun_just_before_a_kill(trials, data_dir, tmp_path):
    folder = tmp_path / "s"
    begun = trials.ask() + trials.ask()
    assert read_index(folder).members == ()
    assert go_on(folder, data_dir).code == 0
    assert read_index(folder).members == begun
    assert (folder / "summary.csv").read_text().count("\nrun,") == 2


def test_a_study_that_lacks_members_is_refused_and_nothing_is_lost(trials, plan, data_dir, tmp_path):
    folder = tmp_path / "s"
    places.write_index(folder, plan, trials.ask() + trials.ask())
    before = (folder / "sweep.json").read_bytes()
    (folder / places.STUDY).unlink()
    outcome = go_on(folder, data_dir)
    assert outcome.code == 2
    assert "optuna.db' does not have the trials in sweep.json" in outcome.err
    assert (folder / "sweep.json").read_bytes() == before


def test_a_trial_is_trained_with_each_seed_and_its_value_is_the_mean(data_dir, tmp_path):
    pytest.importorskip("optuna")
    words = ["--hidden", "2..9", "--seed", "3..4", "--optuna", 1, "--jobs", 2]
    folder = tmp_path / "s"
    outcome = call("sweep", *arguments(data_dir, folder, *words, validation=VALIDATION, seed=None))
    assert outcome.code == 0, outcome
    assert "members  2, 1 chosen by Optuna, with 2 seeds each" in outcome.out
    first, second = read_index(folder).members
    assert (first.settings["seed"], second.settings["seed"]) == (3, 4)
    assert first.settings["hidden"] == second.settings["hidden"]
    accuracies = [sweep_index.read_result(run_of(folder, f"000{i}"))["validation_accuracy"] for i in range(2)]
    study = study_in(folder)
    assert [trial.value for trial in study.trials] == pytest.approx([sum(accuracies) / 2])


def test_the_other_seeds_of_a_pruned_trial_are_not_trained(plan, tmp_path):
    pytest.importorskip("optuna")
    from mlp_xp.sweeps.trials import Trials

    plan = make_plan(plan.base, {"hidden": "2..9", "seed": [0, 1, 2]}, trials=2)
    with open_sweep(tmp_path / "s", plan):
        trials = Trials(tmp_path / "s", plan)
        asked = trials.ask() + trials.ask()
        for member, score in zip(asked[:3], (0.5, 0.75, 0.25), strict=True):
            assert states(tmp_path / "s") == ["RUNNING", "RUNNING"]
            trials.tell(member, score)
        assert states(tmp_path / "s") == ["COMPLETE", "RUNNING"]
        assert trials._study.trials[0].value == 0.5
        assert [trials.trial(member) is not None for member in asked[3:]] == [True, False, False]
        trials.tell(asked[3], None, pruned=True)
        trials.tell(asked[4], 0.9)  # was running when the first was pruned
        assert states(tmp_path / "s") == ["COMPLETE", "PRUNED"]
        assert [trials.is_pruned(member) for member in asked] == [False] * 3 + [True] * 3
        # The same command later, and in the same one.
        sweep = running._Sweep(plan, tmp_path / "s", running.How(), ())
        assert [(ending.name, ending.state) for ending in sweep.earlier()] == [(f"000{i}", "pruned") for i in (3, 4, 5)]
        # A failure ends a trial only when no other run of it may report to Optuna any more.
        (tmp_path / "t").mkdir()
        other = Trials(tmp_path / "t", plan)
        asked = other.ask()
        for member, score in zip(asked, (0.5, None, 0.5), strict=True):
            assert states(tmp_path / "t") == ["RUNNING"]
            other.tell(member, score)
        assert states(tmp_path / "t") == ["FAIL"]
    task = members.Task("0005", plan.base, tmp_path / "none", None, pruned=True)
    assert members.train_member(task).state == sweep_index.PRUNED
    assert not (tmp_path / "none").exists()


def test_a_record_is_on_disk_before_optuna_learns_of_it(plan, tmp_path, trials):
    """A failure that is not the first within a second, too."""
    folder = tmp_path / "s"
    asked = trials.ask() + trials.ask()
    sweep = running._Sweep(plan, folder, running.How(), asked)
    for member in asked:
        sweep.note(members.Ending(member.name, sweep_index.FAILED, error="E", reason="r"))
    assert {*read_endings(folder)} == {"0000", "0001"}


@pytest.fixture
def done(data_dir, tmp_path) -> Path:
    folder = tmp_path / "s"
    assert call("sweep", *arguments(data_dir, folder, "--hidden", 4, "--seed", "0..1")).code == 0
    return folder


def test_a_run_that_was_received_but_not_put_in_place_is_kept(done, data_dir):
    result = (run_of(done, "0000") / "result.json").read_bytes()
    run_of(done, "0000").rename(done / "members" / ".0000")
    # And one that was not received completely.
    shutil.copytree(run_of(done, "0001"), done / "members" / ".0001")
    (done / "members" / ".0001" / "result.json").unlink()
    outcome = call("sweep", *arguments(data_dir, done, "--hidden", 4, "--seed", "0..1"))
    assert outcome.code == 0, outcome
    assert "2 of them before this command" in outcome.out
    assert (run_of(done, "0000") / "result.json").read_bytes() == result
    assert sorted(path.name for path in (done / "members").iterdir()) == ["0000", "0001"]


def test_a_run_that_is_received_replaces_no_folder_in_use(done, monkeypatch):
    files = {path.name: path.read_bytes() for path in run_of(done, "0000").iterdir()}
    (run_of(done, "0000") / "result.json").unlink()
    index = read_index(done)
    plan = make_plan(index.base, {"seed": [0, 1]})
    sweep = running._Sweep(plan, done, running.How(cluster="dask://h:1"), index.members)
    monkeypatch.setattr(members, "PATIENCE", 0.0)
    ending = members.Ending("0000", sweep_index.FINISHED, files=files)
    sources = running.load_sources([("", plan.base)], None)
    with locked(run_of(done, "0000")):
        with pytest.raises(InUseError):
            sweep._receive(ending)
        with pytest.raises(InUseError):
            [*sweep.tasks(sources, lambda: False)]
    assert not (run_of(done, "0000") / "result.json").exists()
    sweep._receive(ending)
    assert (run_of(done, "0000") / "result.json").exists()


def test_a_signal_waits_until_a_run_is_in_place():
    stop = StopAtOnce()
    order = []

    def receive():
        with stop.held_back():
            os.kill(os.getpid(), signal.SIGINT)
            order.append("in place")
        order.append("not reached")

    with catch_signals(stop), pytest.raises(InterruptedTrainingError):
        receive()
    assert order == ["in place"]
    with pytest.raises(InterruptedTrainingError):
        stop.handle(signal.SIGINT, None)


def a_task(data_dir: Path, **changes: object) -> tuple[members.Task, tuple[np.ndarray, ...]]:
    settings = settings_of(Settings(data_dir=str(data_dir)), {**SMALL, "hidden": (4,), **changes})
    source = next(iter(running.load_sources([("", settings)], None).values()))
    return members.Task("0000", settings, None, source.facts), source.arrays


@pytest.mark.parametrize("what", ["mkdir", "write"])
def test_a_worker_whose_disk_is_full_fails_no_member(what, data_dir, monkeypatch):
    task, arrays = a_task(data_dir)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"mkdir": ("tempfile.mkdtemp", full), "write": ("os.fsync", full)}[what])
    ending = members.train_member(task, *arrays)
    assert ending.state == sweep_index.INTERRUPTED
    assert "No space left on device" in ending.reason


def test_a_member_of_a_worker_that_diverges_has_failed(data_dir):
    task, arrays = a_task(data_dir, learning_rate=float(TOO_FAST))
    assert members.train_member(task, *arrays).state == sweep_index.FAILED


def test_a_bug_in_a_member_is_no_lost_worker():
    ray = pytest.importorskip("ray")
    from mlp_xp.sweeps.cluster import ray_losses

    lost = ray_losses(ray.exceptions)
    assert issubclass(ray.exceptions.WorkerCrashedError, lost)
    assert issubclass(ray.exceptions.RayActorError, lost)
    assert not issubclass(ray.exceptions.RayTaskError, lost)


def test_a_member_whose_process_is_killed_is_trained_again_after_the_others(monkeypatch):
    calls = []

    def in_processes(work, width):
        for task, arrays in work:
            calls.append((task.name, width))
            killed = task.name == "c" or (task.name == "a" and width == 2)
            yield (task, arrays), None if killed else members.Ending(task.name, sweep_index.FINISHED)

    monkeypatch.setattr(running, "in_processes", in_processes)
    tasks, said = [(members.Task(name, Settings(), None, (), ""), ()) for name in "abc"], []
    endings = [*running._on_this_machine(iter(tasks), 2, said.append)]
    assert calls == [("a", 2), ("b", 2), ("c", 2), ("a", 1), ("c", 1)]
    assert [(each.name, each.state) for each in endings] == [("b", "finished"), ("a", "finished"), ("c", "failed")]
    assert [line.split()[4] for line in said] == ["a", "c"]


def test_a_sweep_of_the_library_is_checked_when_it_is_called(data_dir, tmp_path):
    import mlp_xp

    with pytest.raises(mlp_xp.errors.MlpXpError, match="nonsense"):
        mlp_xp.sweep({"nonsense": [1]})
    with pytest.raises(mlp_xp.errors.MlpXpError, match="jobs"):
        mlp_xp.sweep({"seed": [1, 2]}, jobs=0)
    assert iter(mlp_xp.sweep({"seed": [1, 2]}, sweep_dir=tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_the_library_takes_the_settings_of_training_alone(data_dir, tmp_path):
    import mlp_xp

    with pytest.raises(mlp_xp.errors.MlpXpError, match=r"base: .* is neither Settings nor a TrainConfig"):
        mlp_xp.sweep({"seed": [1, 2]}, {"epochs": 1})
    config = mlp_xp.TrainConfig(epochs=1, hidden=(4,), batch_size=50)
    values = {"seed": [1, 2], "data_dir": [str(data_dir)]}
    assert [each.state for each in mlp_xp.sweep(values, config, sweep_dir=tmp_path / "s")] == ["finished"] * 2
    assert read_index(tmp_path / "s").base.train == config


def test_the_callers_environment_stays_as_it_is(done, data_dir, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    before = dict(os.environ)
    assert call("sweep", *arguments(data_dir, done.with_name("t"), "--hidden", 4, "--seed", "0..1")).code == 0
    assert dict(os.environ) == before
    assert_same_run(run_of(done, "0000"), run_of(done.with_name("t"), "0000"))


@pytest.mark.parametrize("content", [b"garbage" * 1000, b""])
def test_a_damaged_study_is_one_line(content, trials, plan, data_dir, tmp_path):
    folder = tmp_path / "s"
    places.write_index(folder, plan, trials.ask())
    (folder / places.STUDY).write_bytes(content)
    assert_one_line(go_on(folder, data_dir), 2, "optuna.db", "restore it from a copy")


@pytest.mark.parametrize("file", ["result.json", "config.json"])
def test_a_damaged_member_stops_no_other_and_is_no_success(file, done, data_dir):
    (run_of(done, "0000") / file).write_text("{")
    shutil.rmtree(run_of(done, "0001"))
    outcome = call("sweep", *arguments(data_dir, done, "--hidden", 4, "--seed", "0..1"))
    assert outcome.code == 1, outcome
    assert f"{file}': is " in outcome.out + outcome.err
    assert (run_of(done, "0001") / "result.json").exists()
    assert (run_of(done, "0000") / file).read_text() == "{"


def test_damaged_reports_of_a_member_cost_only_the_pictures(done, data_dir):
    pytest.importorskip("matplotlib")
    (run_of(done, "0000") / "metrics.jsonl").write_text("{\n")
    outcome = call("sweep", *arguments(data_dir, done, "--hidden", 4, "--seed", "0..1"))
    assert outcome.code == 0, outcome
    assert "not drawn: " in outcome.out
    assert "metrics.jsonl" in outcome.out


def test_a_member_whose_files_are_damaged_says_what_to_do(done, data_dir):
    run = run_of(done, "0000")
    (run / "result.json").unlink()
    (run / "checkpoint.safetensors").write_bytes(b"damaged")
    words = arguments(data_dir, done, "--hidden", 4, "--seed", "0..1")
    outcome = call("sweep", *words)
    assert outcome.code == 1, outcome
    assert f"remove {str(run)!r} and give --retry-failed" in read_endings(done)["0000"]["reason"]
    shutil.rmtree(run)
    assert call("sweep", *words, "--retry-failed").code == 0


def test_no_more_processes_are_started_than_members_are_left(done, data_dir, monkeypatch):
    shutil.rmtree(run_of(done, "0001"))
    widths = []
    monkeypatch.setattr(running, "in_processes", lambda work, width: widths.append(width) or iter(()))
    call("sweep", *arguments(data_dir, done, "--hidden", 4, "--seed", "0..1", "--jobs", 30))
    assert {*widths} == {1}
