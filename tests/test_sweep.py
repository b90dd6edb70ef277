"""Sweeps: the members of a grid, the same bits as `train`, kills and signals, failures, and what is refused."""

import contextlib
import csv
import itertools
import json
import os
import random
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL
from types import SimpleNamespace

import numpy as np
import pytest
from backends import open_or_skip
from helpers import (
    PATIENCE,
    assert_one_line,
    assert_same_run,
    call,
    finish,
    on_a_terminal,
    options,
    small_settings,
    start,
    wait_until,
)
from hypothesis import given
from hypothesis import strategies as st

import mlp_xp
from mlp_xp.backend import BackendError, installed
from mlp_xp.commands.sweep import HEADER, HELD_OUT
from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.runs.lock import locked
from mlp_xp.runs.settings import Settings, parse_settings
from mlp_xp.runs.sweep_index import read_index
from mlp_xp.sweeps.folder import read_endings, run_of
from mlp_xp.sweeps.grid import MOST_MEMBERS, examples, make_plan, parse_span, settings_of

SMALL = {name: value for name, value in small_settings().items() if name != "hidden"}
# Diverges in the warm-up or at the first report.
TOO_FAST = "1e200"


def arguments(data_dir: Path, folder: Path, *more: object, **changes: object) -> list:
    """Return the options of a sweep on TINY; a change with the value None leaves the option out."""
    settings = {name: value for name, value in {**SMALL, **changes}.items() if value is not None}
    return ["--data-dir", data_dir, "--sweep-dir", folder, *options(settings), *more]


def assert_as_trained(folder: Path, data_dir: Path, place: Path, *names: str) -> None:
    """Assert that members are what `train` makes of the settings in their own config.json, in folders of its own."""
    for name in names:
        expected = place / name
        config = run_of(folder, name) / "config.json"
        if not expected.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mlp_xp.commands.train.draw_pictures", lambda *_: None)
                outcome = call("train", "--config", config, "--run-dir", expected)
            assert outcome.code == 0, outcome
        assert parse_settings(config)[0] == parse_settings(expected / "config.json")[0]
        assert_same_run(run_of(folder, name), expected)
        names = {path.name for path in expected.iterdir()} - {".lock", ".holder"}
        assert {path.name for path in run_of(folder, name).iterdir()} - {".lock", ".holder"} == names


def test_without_joblib_there_is_no_cluster_and_nothing_is_printed_but_the_error(data_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    words = arguments(data_dir, tmp_path / "s", "--cluster", "dask://h:1")
    outcome = call("sweep", *words)
    assert outcome.out == ""
    assert_one_line(outcome, 2, "--cluster: joblib, which runs the members, is not installed; install it with: ")
    assert not (tmp_path / "s").exists()


# --- the grid ---------------------------------------------------------------------------------------------------------

VALUES = {
    "seed": st.integers(0, 2**32 - 1),
    "epochs": st.integers(1, 100),
    "learning_rate": st.floats(1e-6, 10.0),
    "hidden": st.lists(st.integers(1, 999), min_size=0, max_size=3).map(tuple),
    "optimizer": st.sampled_from(["sgd", "momentum", "adam"]),
    "defer_updates": st.booleans(),
    "dtype": st.sampled_from(["float32", "float64"]),
}
grids = st.fixed_dictionaries(
    {}, optional={name: st.lists(values, min_size=1, max_size=3, unique=True) for name, values in VALUES.items()}
)


@given(grids)
def test_a_grid_has_each_combination_once(grid):
    plan = make_plan(Settings(), grid)
    names = [name for name, values in grid.items() if len(values) > 1]
    wanted = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert plan.total == len(plan.members) == len(wanted)
    assert [member.settings for member in plan.members] == [{n: each[n] for n in names} for each in wanted]
    assert len({member.name for member in plan.members}) == len(wanted)
    for name, values in grid.items():
        if len(values) == 1:
            where = plan.base if hasattr(plan.base, name) else plan.base.train
            assert getattr(where, name) == values[0]


@given(st.integers(0, 1000), st.integers(1, 300))
def test_a_range_of_whole_numbers_has_both_ends(first, more):
    plan = make_plan(Settings(), {"seed": f"{first}..{first + more}"})
    assert [member.settings["seed"] for member in plan.members] == [*range(first, first + more + 1)]


@given(st.integers(1, 10), st.integers(0, 5), st.floats(1e-5, 1e-2), st.floats(2e-2, 10))
def test_samples_are_different_and_in_their_ranges_and_have_each_seed(number, seed, low, high):
    values = {"seed": "3..5", "learning_rate": f"{low}..{high}", "hidden": "8..64", "optimizer": ["sgd", "adam"]}
    plan = make_plan(Settings(), values, samples=number, seed=seed)
    assert plan == make_plan(Settings(), values, samples=number, seed=seed)
    assert plan.total == len(plan.members) == 3 * number
    seeds: dict[str, list[int]] = {}
    for member in plan.members:
        rest = repr({name: value for name, value in member.settings.items() if name != "seed"})
        seeds.setdefault(rest, []).append(member.settings["seed"])
    assert [*seeds.values()] == number * [[3, 4, 5]]
    for member in plan.members:
        assert low <= member.settings["learning_rate"] <= high
        assert 8 <= member.settings["hidden"][0] <= 64
        assert member.settings["optimizer"] in ("sgd", "adam")


def test_a_learning_rate_is_drawn_log_uniformly_and_epochs_uniformly():
    plan = make_plan(Settings(), {"learning_rate": "0.0001..1", "epochs": "1..9999"}, samples=2000)
    for name, middle in (("learning_rate", 0.01), ("epochs", 5000)):
        below = sum(member.settings[name] < middle for member in plan.members)
        assert abs(below - 1000) < 5 * (2000 / 4) ** 0.5, name  # five standard deviations of a fair coin


def test_hidden_is_spelled_as_layers_with_commas(tmp_path, data_dir):
    given = {"hidden": [64, (512, 256)]}
    assert [m.settings["hidden"] for m in make_plan(Settings(), given).members] == [(64,), (512, 256)]
    outcome = call("sweep", *arguments(data_dir, tmp_path / "s", "--hidden", "512,256", 64, "--seed", "5..3"))
    assert_one_line(outcome, 2, "--seed: the range '5..3' is empty")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seed", "5..3"], ["--seed: the range '5..3' is empty", "smaller number first"]),
        (["--seed", "1..x"], ["--seed: '1..x' is not a range of whole numbers"]),
        (["--seed"], ["--seed: expected at least one argument"]),
        (["--seed", 1, 2, 1], ["--seed: 1 is given twice"]),
        (["--seed", "0..3", 2], ["--seed: 2 is given twice"]),
        (["--seed", f"0..{MOST_MEMBERS}"], ["--seed: the range", "more than 100000"]),
        (["--seed", "0..999", "--epochs", "1..999"], ["the grid has 999000 members"]),
        (["--learning-rate", "0.1..1"], ["--learning-rate: the range 0.1..1.0 is to be sampled from"]),
        (["--optimizer", "sgd", "adams"], ["--optimizer: 'adams' is not known", "in member 0001: optimizer adams"]),
        (["--patience", 0, 1], ["--patience: 1 is out of range", "in member 0001: patience 1"]),
        (["--validation", 0, 300], ["--validation: 300 is out of range", "in a member with validation 300"]),
        (["--defer-updates", "true", "perhaps"], ["--defer-updates: 'perhaps' is neither true nor false"]),
        (["--run-dir", "x"], ["--run-dir: unknown argument"]),
        (["--sed", 1, 2], ["--sed: unknown argument (did you mean --seed?)"]),
        (["--backend", "numpy", "nunpy"], ["--backend: 'nunpy' is not known", "in a member with backend nunpy"]),
        (["--recipe", "smal"], ["--recipe: 'smal' is not known"]),
        (["--epochs", 1, 2, "--random", 3], ["--random: 3 different settings are wanted, but there are only 2"]),
        (["--seed", "0..9", "--random", 3], ["--random: no setting but the seed has several values or a range"]),
        (["--seed", "0..999", "--epochs", "1..999", "--random", 200], ["--random: 200 settings with 1000 seeds each"]),
        (["--seed", "0.5..2", "--random", 2], ["--seed: '0.5..2' is not a range of whole numbers"]),
        (["--random", 0], ["--random: 0 is out of range"]),
        (["--random", 1, "--optuna", 1], ["--random: members are either drawn"]),
        (["--optuna", 3], ["--optuna: no setting but the seed has several values"]),
        (["--optuna", 3, "--epochs", 1, 2], ["--validation: 0 held-out samples, but Optuna"]),
        (["--jobs", 0], ["--jobs: 0 is out of range"]),
        (["--device-memory", "-1"], ["--device-memory: -1.0 is out of range"]),
        (["--cluster", "host:1"], ["--cluster: 'host:1' is not an address such as dask://"]),
        (["--cluster", "dask://h:1", "--jobs", 2], ["--jobs: a cluster has its own number of processes"]),
        (["--data-dir", "/nowhere"], ["--data-dir: '/nowhere': no such folder"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(words, parts, tmp_path, data_dir):
    changes = {"epochs": None} if "--epochs" in words else {}
    outcome = call("sweep", *arguments(data_dir, tmp_path / "s", *words, **changes))
    assert_one_line(outcome, 2, *parts)
    assert not (tmp_path / "s").exists()


def test_the_largest_trial_that_optuna_may_choose_is_checked():
    """Its memory depends on several settings together."""
    values = {"hidden": "8..4096", "batch_size": [16, 8192], "seed": "0..9"}
    plan = make_plan(replace(Settings(), train=TrainConfig(validation=100)), values, trials=3)
    checked = [settings.train for _, settings in examples(plan)]
    assert any((each.hidden, each.batch_size) == ((4096,), 8192) for each in checked)


@pytest.mark.parametrize("word", ["5..5", "1..inf", "nan..1"])
def test_what_is_wrong_with_a_range_is_said(word):
    wrong = {"5..5": "has only one number; give 5 alone", "1..inf": "is not finite", "nan..1": "is not finite"}[word]
    with pytest.raises(ConfigError, match=wrong):
        parse_span(word, whole=word == "5..5")


def test_values_of_the_library_are_checked_too():
    for values, setting in (({"sed": [1]}, "sed"), ({"seed": []}, "seed"), ({"seed": ["x"]}, "seed")):
        with pytest.raises(ConfigError) as caught:
            make_plan(Settings(), values)
        assert caught.value.setting == setting


# --- a whole sweep ----------------------------------------------------------------------------------------------------

WORDS = ["--hidden", "4", "5,3", "--learning-rate", "0.05", TOO_FAST, "--seed", "0..1"]
GOOD, BAD = ("0000", "0001", "0002", "0003"), ("0004", "0005", "0006", "0007")
"""The settings vary in the order of the fields: learning rate, hidden, seed."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of what `train` makes of the members."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    """A sweep with four good and four diverging members."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    return folder, call("sweep", *arguments(data_dir, folder, *WORDS))


def test_members_have_the_bits_of_train(whole, data_dir, trained):
    folder, outcome = whole
    assert outcome.code == 1, outcome
    assert_as_trained(folder, data_dir, trained, *GOOD)
    index = read_index(folder)
    assert index.total == len(index.members) == 8
    assert [(m.settings["hidden"], m.settings["seed"]) for m in index.members[:4]] == [
        ((4,), 0), ((4,), 1), ((5, 3), 0), ((5, 3), 1),
    ]  # fmt: skip
    for member in index.members[:4]:
        settings = parse_settings(run_of(folder, member.name) / "config.json")[0]
        assert settings == settings_of(index.base, member.settings)


def test_failed_members_are_recorded_and_stop_no_other(whole):
    folder, outcome = whole
    failures = read_endings(folder)
    assert {*failures} == {*BAD}
    assert {each["error"] for each in failures.values()} == {"DivergenceError"}
    assert all(each["reason"].startswith("training diverged: ") for each in failures.values())
    assert "4 of 8 members finished, 4 failed" in outcome.out


def test_a_pipe_gets_one_line_for_each_member(whole):
    _, outcome = whole
    lines = [line for line in outcome.out.splitlines() if line[:6].strip().isdecimal()]
    assert sorted(line.split()[0] for line in lines) == [*GOOD, *BAD]
    assert outcome.out.count("\nat once  ") == outcome.out.count(HEADER.replace(HELD_OUT, "")) == 1
    assert {line.split()[1] for line in lines} == {"finished", "failed"}
    assert outcome.err == ""


ANEW = {"summary.csv", "summary.json", "curves.png", "settings.png", "heatmap.png"}


def state_of_files(folder: Path) -> dict:
    """Of all files but those that every command writes anew."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in ANEW]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_the_same_command_repeats_nothing(whole, data_dir):
    folder, _ = whole
    before = state_of_files(folder)
    again = call("sweep", *arguments(data_dir, folder, *WORDS))
    assert again.code == 1, again
    assert "8 of them before this command" in again.out
    assert "at once" not in again.out
    assert HEADER.partition(HELD_OUT)[0] not in again.out
    assert state_of_files(folder) == before


def test_failed_members_are_tried_again_on_request(whole, data_dir):
    folder, _ = whole
    before = state_of_files(folder / "members" / GOOD[0])
    again = call("sweep", *arguments(data_dir, folder, *WORDS, "--retry-failed"))
    assert again.code == 1, again
    assert "4 of them before this command" in again.out
    assert {*read_endings(folder)} == {*BAD}
    assert state_of_files(folder / "members" / GOOD[0]) == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([*WORDS[:6], "--seed", "0..2"], ["seed was 0 1, and is now 0 1 2"]),
        (WORDS[:6], ["seed was 0 1, and is now not varied"]),
        ([*WORDS, "--optimizer", "adam"], ["optimizer was sgd, and is now adam"]),
        ([*WORDS, "--random", 3], ["kind was grid, and is now random"]),
    ],
)  # fmt: skip
def test_the_folder_of_another_sweep_is_refused(words, parts, whole, data_dir):
    folder, _ = whole
    before = state_of_files(folder)
    outcome = call("sweep", *arguments(data_dir, folder, *words))
    assert_one_line(outcome, 2, "--sweep-dir: ", "belongs to another sweep: ", *parts)
    assert state_of_files(folder) == before


def test_a_folder_of_something_else_and_one_in_use_are_refused(whole, data_dir, tmp_path):
    folder, _ = whole
    member = run_of(folder, GOOD[0])
    assert_one_line(call("sweep", *arguments(data_dir, member)), 2, "--sweep-dir: ", "is neither empty nor a sweep")
    (tmp_path / "file").touch()
    assert_one_line(call("sweep", *arguments(data_dir, tmp_path / "file")), 2, "--sweep-dir: ", "is not a folder")
    with locked(folder):
        outcome = call("sweep", *arguments(data_dir, folder, *WORDS))
    assert_one_line(outcome, 2, repr(str(folder)), f"is in use by process {os.getpid()}")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda record: record["members"][1].update(name="../x"), "member 1 is damaged"),
        (lambda record: record["members"][1]["settings"].update(seed=-1), "member 0001: seed: -1 is out of range"),
        (lambda record: record.update(format=2), "the field 'format' is 2"),
        (lambda record: record.pop("members"), "it has no field 'members'"),
    ],
)
def test_an_altered_index_is_refused(change, part, whole, tmp_path):
    record = json.loads((whole[0] / "sweep.json").read_text())
    change(record)
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(mlp_xp.errors.MlpXpError, match=r"sweep\.json") as caught:
        read_index(tmp_path)
    assert part in str(caught.value)


def test_the_library_does_the_same(whole, data_dir, tmp_path):
    base = replace(read_index(whole[0]).base, train=replace(read_index(whole[0]).base.train, learning_rate=0.05))
    endings = [*mlp_xp.sweep({"hidden": [4, (5, 3)], "seed": range(2)}, base, sweep_dir=tmp_path / "s", jobs=1)]
    assert sorted(ending.name for ending in endings) == [*GOOD]
    for ending in endings:
        assert ending.state == "finished"
        assert_same_run(run_of(tmp_path / "s", ending.name), run_of(whole[0], ending.name))
        assert ending.result == json.loads((run_of(tmp_path / "s", ending.name) / "result.json").read_text())
    again = [*mlp_xp.sweep({"hidden": [4, (5, 3)], "seed": [0, 1]}, base, sweep_dir=tmp_path / "s")]
    assert [(each.name, each.earlier, each.result) for each in again] == [
        (each.name, True, each.result) for each in sorted(endings)
    ]


def test_every_library_gives_the_bits_of_train(data_dir, tmp_path):
    backends = ["array-api-strict", "jax"] + ["torch"] * installed("torch")
    for name in backends:
        open_or_skip(name)
    outcome = call("sweep", *arguments(data_dir, tmp_path / "s", "--hidden", 4, "--backend", *backends, epochs=1))
    assert outcome.code == 0, outcome
    assert_as_trained(tmp_path / "s", data_dir, tmp_path, *(f"{i:04d}" for i in range(len(backends))))


# --- kills, signals, memory -------------------------------------------------------------------------------------------

LONG = {"epochs": 12, "report_every": 20, "checkpoint_every": 20}
LONG_WORDS = ["--hidden", "4", "--seed", "0..3"]
ALL = ("0000", "0001", "0002", "0003")


def sample_of(folder: Path, name: str) -> int:
    """Return how many reports a member has given."""
    with contextlib.suppress(FileNotFoundError):
        return (run_of(folder, name) / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def progress(folder: Path) -> int:
    return sum(sample_of(folder, name) for name in ALL)


def finished(folder: Path) -> dict:
    """Return the files of the members that have ended, which must never change again."""
    done = [run_of(folder, name) for name in ALL if (run_of(folder, name) / "result.json").exists()]
    return {path: content for run in done for path, content in state_of_files(run).items() if path.name[0] != "."}


@pytest.mark.parametrize("whom", ["the command", "all processes"])
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_sweep_that_is_killed_at_random_ends_in_the_same_bits(whom, data_dir, tmp_path, trained_long):
    folder, generator = tmp_path / "s", random.Random(whom)
    last, done = 0, {}
    for _ in range(2):
        words = arguments(data_dir, folder, *LONG_WORDS, **LONG)
        process = start("sweep", *words, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL)
        goal = last + generator.randrange(1, 150)
        wait_until(lambda: process.poll() is not None or progress(folder) >= goal, SimpleNamespace(poll=lambda: None))  # noqa: B023
        time.sleep(generator.random() / 20)  # so that it may be anywhere
        if whom == "the command":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        last = progress(folder)
        now = finished(folder)
        assert {path: now[path] for path in done} == done
        done = now
    outcome = finish(start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG)))
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    now = finished(folder)
    assert {path: now[path] for path in done} == done
    assert_as_trained(folder, data_dir, trained_long, *ALL)
    assert {path.name for path in folder.iterdir()} - ANEW == {"sweep.json", "members"}


@pytest.fixture(scope="module")
def trained_long(tmp_path_factory) -> Path:
    """The folder of what `train` makes of the members of a longer sweep."""
    return tmp_path_factory.mktemp("trained_long")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_signal_saves_all_members_and_the_command_goes_on(number, code, data_dir, tmp_path, trained_long):
    folder = tmp_path / "s"
    process = start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG), start_new_session=True)
    wait_until(lambda: progress(folder) > 10, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    outcome = finish(process)
    assert_one_line(outcome, code, "interrupted after ", " of 4 members; the same command goes on")
    started = [name for name in ALL if sample_of(folder, name) and not (run_of(folder, name) / "result.json").exists()]
    assert started
    for name in started:
        assert (run_of(folder, name) / "checkpoint.safetensors").exists()
        with locked(run_of(folder, name)):
            pass
    assert finish(start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG))).code == 0
    assert_as_trained(folder, data_dir, trained_long, *ALL)


def worker_of(folder: Path, name: str) -> int | None:
    """Return the process that trains a member."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((run_of(folder, name) / ".holder").read_text().split()[0])
    return None


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_member_whose_process_is_killed_goes_on(data_dir, tmp_path, trained_long):
    folder = tmp_path / "s"
    process = start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG))
    wait_until(lambda: sample_of(folder, "0001") > 5 and worker_of(folder, "0001"), process)
    os.kill(worker_of(folder, "0001"), signal.SIGKILL)
    outcome = finish(process)
    assert outcome.code == 0, outcome
    assert "the process of member 0001 was killed; it goes on later, alone" in outcome.out
    assert_as_trained(folder, data_dir, trained_long, *ALL)


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_member_whose_process_is_always_killed_has_failed(data_dir, tmp_path, trained_long):
    """As by the system, for a member that needs more memory than there is."""
    folder = tmp_path / "s"
    # Too long for the test, unless it is killed.
    process = start(
        "sweep",
        *arguments(data_dir, folder, "--hidden", 4, "--epochs", 12, 100_000, "--jobs", 2, **{**LONG, "epochs": None}),
    )
    killed, end = set(), time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < end
        worker = worker_of(folder, "0001")
        if worker and worker not in killed and sample_of(folder, "0001"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        time.sleep(0.01)
    outcome = finish(process)
    assert outcome.code == 1, outcome
    assert len(killed) == 2
    assert "its process was killed" in read_endings(folder)["0001"]["reason"]
    assert (run_of(folder, "0000") / "result.json").exists()


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_disk_that_cannot_be_written_ends_the_command_and_fails_no_member(data_dir, tmp_path):
    """The same command goes on when the disk is well: no member is recorded as failed."""
    folder, words = tmp_path / "s", ["--hidden", "4", "--seed", "0..1"]
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    wide = {**SMALL, "hidden": 400}  # its checkpoint is larger, and so is the data set
    outcome = finish(start("sweep", *arguments(data_dir, folder, *words[2:], **wide), first=limited))
    assert_one_line(outcome, 1, "cannot write: File too large", "the same command goes on")
    assert read_endings(folder) == {}
    assert finish(start("sweep", *arguments(data_dir, folder, *words[2:], **wide))).code == 0


def test_the_memory_of_the_data_is_shared_where_the_library_can(backend):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shared = backend.shared(array)
    assert np.array_equal(backend.to_numpy(shared), array)
    array[0, 0] = 9
    assert (backend.to_numpy(shared)[0, 0] == 9) == (backend.share is not None)


def test_numpy_and_pytorch_share():
    assert open_or_skip("numpy").share
    assert open_or_skip("torch").share


def test_a_device_that_is_not_there_is_refused_first(data_dir, tmp_path):
    with pytest.raises(BackendError, match="in a member with device cuda:7"):
        [*mlp_xp.sweep({"device": ["cpu", "cuda:7"]}, Settings(data_dir=str(data_dir)), sweep_dir=tmp_path / "s")]
    assert not (tmp_path / "s").exists()


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_terminal_of_80_columns_shows_how_far_it_is(data_dir, tmp_path):
    code, said = on_a_terminal("sweep", *arguments(data_dir, tmp_path / "s", *LONG_WORDS, **LONG, validation=40))
    assert code == 0, said
    text = said.decode()
    assert re.search(r"0 of 4 done, [1-9]\d* running", text), text  # before the first has ended
    assert "of 4 done, " in text
    assert "best 000" in text
    assert ": held out " in text
    assert "4 of 4 members finished" in text


# --- Optuna -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_optuna_chooses_and_prunes_and_goes_on_after_a_kill(data_dir, tmp_path):
    pytest.importorskip("optuna")
    folder, total = tmp_path / "s", 9
    words = ["--hidden", "2..16", "--learning-rate", "0.0001..1", "--optuna", total]
    settings = {**LONG, "epochs": 6, "validation": 60}
    process = start(
        "sweep",
        *arguments(data_dir, folder, *words, **settings),
        start_new_session=True,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    wait_until((run_of(folder, "0003") / "checkpoint.safetensors").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcome = finish(start("sweep", *arguments(data_dir, folder, *words, **settings)))
    assert outcome.code == 0, outcome
    index, pruned = read_index(folder), read_endings(folder, "pruned.json")
    assert [member.name for member in index.members] == [f"{i:04d}" for i in range(total)]
    done = [name for name in (m.name for m in index.members) if (run_of(folder, name) / "result.json").exists()]
    assert sorted([*done, *pruned]) == [f"{i:04d}" for i in range(total)]
    assert pruned, "with these learning rates, some must be worse than most"
    assert read_endings(folder) == {}
    import optuna

    pool = pytest.importorskip("sqlalchemy.pool").NullPool  # closes the file after each use
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}", engine_kwargs={"poolclass": pool})
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    accuracies = {n: json.loads((run_of(folder, n) / "result.json").read_text())["validation_accuracy"] for n in done}
    assert {f"{t.number:04d}": t.value for t in trials if t.state.name == "COMPLETE"} == accuracies
    assert {f"{t.number:04d}" for t in trials if t.state.name == "PRUNED"} == {*pruned}
    assert_as_trained(folder, data_dir, tmp_path / "t", *done[:2])


@pytest.mark.parametrize(("test_fraction", "backend"), [(0.25, "numpy"), (0, "numpy"), (0, "jax"), (0, "torch")])
def test_members_train_on_your_own_table_with_the_bits_of_train(tmp_path, test_fraction, backend):
    open_or_skip(backend)
    rng = np.random.default_rng(0)
    features, kinds = rng.normal(size=(80, 3)), rng.integers(0, 2, 80)
    lines = ["a,b,c,kind", *(f"{a},{b},{c},{'xy'[kind]}" for (a, b, c), kind in zip(features, kinds, strict=True))]
    table = tmp_path / "own.csv"
    table.write_text("\n".join(lines))
    words = ["--data-dir", table, "--label", "kind", "--recipe", "small", "--epochs", 1, "--hidden", 4]
    words += ["--test-fraction", test_fraction, "--validation", 10, "--backend", backend]
    outcome = call("sweep", *words, "--seed", 0, 1, "--sweep-dir", tmp_path / "s", "--jobs", 1)
    assert outcome.code == 0, outcome
    assert call("train", *words, "--seed", 1, "--run-dir", tmp_path / "r").code == 0
    model = "model.safetensors"
    assert (tmp_path / "s" / "members" / "0001" / model).read_bytes() == (tmp_path / "r" / model).read_bytes()


def test_a_regression_is_ranked_by_r2_on_held_out_samples(tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("a,b\n" + "\n".join(f"{i / 7},{i / 3}" for i in range(60)))
    words = ["--data-dir", table, "--label", "b", "--task", "regression", "--epochs", 2, "--validation", 20]
    words += ["--hidden", 4, "--seed", 0, 1, "--learning-rate", 0.0001, 0.01, "--sweep-dir", tmp_path / "s"]
    outcome = call("sweep", *words)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "ranked by the mean R² on the held-out samples, never by the test set" in outcome.out
    results = [json.loads((run_of(tmp_path / "s", f"000{i}") / "result.json").read_text()) for i in range(4)]
    means = [sum(result["validation_r2"] for result in results[i : i + 2]) / 2 for i in (0, 2)]
    rows = [*csv.DictReader((tmp_path / "s" / "summary.csv").read_text().splitlines())]
    best = means.index(max(means))
    assert rows[0]["learning_rate"] == ("0.0001", "0.01")[best]
    assert [float(row["validation_r2"]) for row in rows[:2]] == pytest.approx(sorted(means, reverse=True), rel=1e-11)
    assert float(rows[0]["test_r2"]) == pytest.approx(sum(r["r2"] for r in results[2 * best :][:2]) / 2, rel=1e-11)
    assert not rows[1]["test_r2"]
    rmse = sum(r["rmse"] for r in results[2 * best :][:2]) / 2
    assert float(rows[0]["test_rmse"]) == pytest.approx(rmse, rel=1e-11)
    assert f" on the test set, root mean squared error {rmse:.4g}, loss " in outcome.out
    shown = {line.split()[0]: line for line in outcome.out.splitlines() if line[:6].strip().isdecimal()}
    assert all(f" R² {result['validation_r2']:.4f} " in shown[f"000{i}"] for i, result in enumerate(results))
    assert_one_line(call("runs", tmp_path / "s", "--sort", "test_rmse"), 2, "looks better there")
    assert not any("accuracy" in name for name in rows[0])
    ordered = [row.split()[0] for row in call("runs", tmp_path / "s", "--sort", "validation_r2").out.splitlines()[2:]]
    assert ordered == sorted(ordered, key=lambda name: -results[int(name)]["validation_r2"])
    assert_one_line(call("runs", tmp_path / "s", "--sort", "test_r2"), 2, "validation_r2")


def test_an_activation_of_ones_own_is_refused_before_anything_is_written(tmp_path):
    base = Settings(train=TrainConfig(activation=ACTIVATIONS["relu"]))
    with pytest.raises(ConfigError, match="activation: it is a pair of functions, which a run folder cannot store"):
        mlp_xp.sweep({"seed": [0, 1]}, base, sweep_dir=tmp_path / "s")
    assert not (tmp_path / "s").exists()
