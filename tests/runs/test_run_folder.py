"""The folder of a run.

Its name, where it may be written, its reports, and how the library goes on with it.
"""

import datetime as dt
import json
import math
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY
from helpers import arrays_of, files
from numerics import assert_all_equal
from run_folders import a_config

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Report
from mlp_xp.data.options import DataOptions
from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.recording import RunWriter, metrics_record, open_training
from mlp_xp.runs.records import RunError
from mlp_xp.runs.resuming import kept_lines
from mlp_xp.runs.run_folder import Existing, RunFolder
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps.plan import SweepOptions, make_plan

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)
LONGER = replace(CONFIG, epochs=4)


def trained(
    folder: Path | str,
    config: TrainConfig = CONFIG,
    dataset: Dataset = TINY,
    **options: Any,
) -> list[Report]:
    """Train in a folder, and return all reports."""
    return [*train(config, dataset, open_backend(), run_dir=folder, **options)]


# Where a run is written.

NOW = dt.datetime(2024, 2, 3, 4, 5, 6)


def test_the_default_folder_says_data_recipe_backend_and_time():
    own = Settings(data_dir="/some/where/", backend="a.b:c.d")
    expected = Path("runs/where-own-a.b-c.d-20240203-040506")
    assert RunFolder.named(own, "own", NOW).path == expected


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("price", "price"),
        ("sale price (€)", "sale_price_€"),
        ("a,b", "a_b"),
        ('<>:"/\\|?*\n\t', ""),
        ("..", ""),
        ("房价，元/平方米", "房价，元_平方米"),
        ("ग्रेड", "ग्रेड"),
        ("\u200b\ud800ok\x00 ", "ok"),
        ("x" * 99, "x" * 30),
        ("価" * 99, "価" * 30),
        (None, ""),
    ],
)
def test_default_folders_of_tables_have_the_label(label, part):
    """In characters that Windows allows, and shells take without quotes."""
    settings = Settings(data_dir="t.csv", data_options=DataOptions(label=label))
    middle = f"-{part}" if part else ""
    run = RunFolder.named(settings, "own", NOW).path
    assert run == Path(f"runs/t.csv{middle}-own-numpy-20240203-040506")
    plan = make_plan(settings, {"seed": [0, 1]}, SweepOptions())
    name = plan.folder().path.name
    assert re.fullmatch(rf"sweep-t\.csv{re.escape(middle)}-numpy-[0-9a-f]{{8}}", name)
    for path in (run, plan.folder().path):
        assert not {*path.name} & {*'<>:"/\\|?* '}
        assert path.name.isprintable()
        assert len(path.name.encode()) < 255


def test_the_default_folder_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [RunFolder.named(Settings(), Path("a/mine.json"), NOW) for _ in range(3)]
    assert not Path("runs").exists(), "nothing is created before a run begins"
    with runs[0].locked(), runs[1].locked(), runs[2].locked():
        paths = [run.path for run in runs]
    name = "mnist-mine-numpy-20240203-040506"
    assert paths == [Path("runs") / each for each in (name, f"{name}-2", f"{name}-3")]
    assert not [*Path("runs").iterdir()], "a folder of a run that did not begin goes"


RUN = {"config.json": json.dumps(a_config({}))}
UNREADABLE = {"config.json": json.dumps({**a_config({}), "format": 1})}
FOREIGN = {"config.json": json.dumps({"theme": "dark", "settings": {}})}
KILLED_EARLY = {".config.json.77.aside": "{", ".lock": ""}


def write_files(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "existing"),
    [
        ({}, Existing.REFUSE),
        (KILLED_EARLY, Existing.REFUSE),
        (KILLED_EARLY, Existing.OVERWRITE),
        (RUN, Existing.OVERWRITE),
        (UNREADABLE, Existing.OVERWRITE),  # its error says to train again
    ],
)
def test_a_run_may_be_written_into_an_empty_folder_or_over_a_run(
    files, existing, tmp_path
):
    write_files(tmp_path / "folder", files)
    with RunFolder(tmp_path / "folder").opened(existing):
        pass


@pytest.mark.parametrize(
    ("files", "existing"),
    [
        (RUN, Existing.REFUSE),
        (UNREADABLE, Existing.RESUME),
        ({"config.json": "{}"}, Existing.OVERWRITE),  # of another program
        (FOREIGN, Existing.OVERWRITE),
        ({"config.json": "{"}, Existing.OVERWRITE),
        ({"thesis.tex": "mine"}, Existing.REFUSE),
        ({"thesis.tex": "mine"}, Existing.OVERWRITE),
    ],
)
def test_a_run_is_not_written_over_anything_else(files, existing, tmp_path):
    folder = tmp_path / "folder"
    write_files(folder, files)
    with pytest.raises(RunError) as caught, RunFolder(folder).opened(existing):
        pass
    assert str(folder) in str(caught.value)
    assert {path.name for path in folder.iterdir()} == files.keys()


# Reports.


def a_report(**changes) -> Report:
    values = {
        "epoch": 1,
        "sample": 100,
        "loss": 0.1 + 0.2,
        "seconds": 1.5,
        "train_loss": math.pi,
        "samples_per_second": 1e6,
        "model": None,
        "test": Evaluation(5e-324, 1 / 3),
    }
    return Report(**{**values, **changes})


def test_reports_are_appended_in_full_precision(tmp_path):
    run, held_out = RunFolder(tmp_path), Evaluation(0.25, r2=0.1 + 0.2)
    assert run.reports() == []
    RunWriter(run, None).append(a_report())
    RunWriter(run, None).append(a_report(epoch=2, test=None, validation=held_out))
    common = {"sample": 100, "loss": 0.1 + 0.2, "seconds": 1.5, "train_loss": math.pi}
    common["samples_per_second"] = 1e6
    expected = [
        {**common, "epoch": 1, "test_loss": 5e-324, "accuracy": 1 / 3},
        {**common, "epoch": 2, "validation_loss": 0.25, "validation_r2": 0.1 + 0.2},
    ]
    assert run.reports() == expected
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [*map(json.loads, lines)] == expected


def test_each_figure_of_an_evaluation_is_reported():
    defaults = Evaluation._field_defaults.items()
    names = ["loss", *(name for name, default in defaults if default is None)]
    figures = {name: i + 0.5 for i, name in enumerate(names)}
    record = metrics_record(a_report(test=Evaluation(**figures)))
    assert {*figures.values()} <= {*record.values()}


def test_a_line_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    """And at the first line the name of the file.

    Or a checkpoint could outlast the reports that it counts.
    """
    path, run, synced = tmp_path / "metrics.jsonl", RunFolder(tmp_path), []

    def record(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_folder, path.read_bytes()))

    monkeypatch.setattr("os.fsync", record)
    RunWriter(run, None).append(a_report())
    first = path.read_bytes()
    assert first.endswith(b"}\n")
    assert b"\r" not in first
    RunWriter(run, None).append(a_report())
    expected = [(False, first), (True, first), (False, path.read_bytes())]
    if os.name != "posix":
        del expected[1]
    assert synced == expected


def test_a_report_that_cannot_be_written_names_the_file(tmp_path):
    said = r"'.*metrics\.jsonl': cannot write: No such file"
    with pytest.raises(FileError, match=said):
        RunWriter(RunFolder(tmp_path / "gone"), None).append(a_report())


def test_reports_are_cut_back_to_those_that_a_checkpoint_counts(tmp_path):
    path, run = tmp_path / "metrics.jsonl", RunFolder(tmp_path)
    path.write_bytes(b"1\n2\n3\n4")
    with pytest.raises(RunError, match="has 3 reports, the checkpoint expects 4"):
        kept_lines(run, 4)
    assert kept_lines(run, 2) == [b"1", b"2"]
    path.unlink()
    assert kept_lines(run, 0) == []


# The library goes on with a run.


def test_a_run_that_has_ended_gives_its_last_report_again(tmp_path):
    reports = trained(tmp_path)
    places = [(report.epoch, report.sample) for report in reports]
    assert places == [(0, 0), (0, 100), (1, 0), (1, 100), (1, 200)]
    before = files(tmp_path)
    (again,) = trained(tmp_path)
    assert files(tmp_path) == before
    assert again[:2] == reports[-1][:2]
    expected = arrays_of(reports[-1].model.network, np.asarray)
    assert_all_equal(arrays_of(again.model.network, np.asarray), expected)


@pytest.fixture
def own_data() -> Dataset:
    inputs = np.random.RandomState(0).randn(60, 3)
    return from_arrays(inputs, np.arange(60) % 3, 0.2, task="classes")


def test_a_run_that_was_stopped_before_its_rows_were_written_begins_again(
    own_data, tmp_path, monkeypatch
):
    """The record is written first: a folder without it would not be a run."""

    def full(*args: object) -> None:
        raise FileError("No space left on device", file="rows.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr("mlp_xp.runs.recording.write_fingerprints", full)
        with pytest.raises(FileError):
            trained(tmp_path, CONFIG, own_data)
    assert trained(tmp_path, CONFIG, own_data)[-1].epoch == 1


def test_a_run_with_relative_paths_resumes_in_another_folder(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    trained("source")
    trained("run", start_from="source")
    monkeypatch.chdir(tmp_path / "second")
    reports = trained("../first/run", LONGER, start_from="../first/source")
    assert reports[-1].epoch == 3


def test_a_resume_that_would_hold_out_other_rows_is_refused(own_data, tmp_path):
    config = replace(CONFIG, validation=12)
    trained(tmp_path, config, own_data)
    others = replace(own_data, hold_out=lambda _, count, seed: np.arange(count))
    with pytest.raises(RunError, match="rows or their order have changed"):
        trained(tmp_path, replace(config, epochs=3), others)


def test_a_resume_without_a_checkpoint_needs_the_network_that_it_began_with(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "run"
    trained(source)
    begun = train(CONFIG, TINY, open_backend(), run_dir=folder, start_from=source)
    next(begun)
    begun.close()
    for path in folder.glob("*.safetensors"):
        path.unlink()
    trained(source, LONGER)
    with pytest.raises(RunError, match="has another network now"):
        trained(folder, start_from=source)


def test_a_run_records_the_network_that_it_began_with(tmp_path, monkeypatch):
    """Though the run to start from is trained further meanwhile."""
    source, read = tmp_path / "source", []
    trained(source)

    def read_and_train_further(path: str) -> Model:
        read.append(load_run(path))
        trained(source, replace(CONFIG, epochs=2 + len(read)))
        return read[-1]

    name = "mlp_xp.runs.experiment.load_run"
    monkeypatch.setattr(name, read_and_train_further)
    trained(tmp_path / "run", start_from=source)
    recorded = RunFolder(tmp_path / "run").record()["start_from_sha256"]
    assert [model.sha256 for model in read] == [recorded]


def test_a_run_may_be_replaced_by_a_run_that_starts_from_it(tmp_path):
    trained(tmp_path)
    before = load_run(tmp_path).sha256
    experiment = Experiment.from_data(CONFIG, TINY, open_backend(), start_from=tmp_path)
    run = RunFolder(tmp_path)
    training = open_training(run, lambda: experiment, existing=Existing.OVERWRITE)
    with training as (_, events):
        list(events)
    assert load_run(tmp_path).sha256 != before
    assert RunFolder(tmp_path).record()["start_from_sha256"] == before


# Its network.


def test_networks_of_one_run_before_and_after_more_training_are_two(tmp_path):
    trained(tmp_path)
    before = load_run(tmp_path)
    trained(tmp_path, LONGER)
    pooled = predict([before, load_run(tmp_path)], TINY.test.inputs)
    assert len(pooled.models) == 2


def test_a_model_file_is_evaluated_like_the_folder_of_its_run(
    own_data, tmp_path, monkeypatch
):
    """Training rows are counted, also after a change of the current folder."""
    monkeypatch.chdir(tmp_path)
    trained("run", CONFIG, own_data)
    model = load_run("run/model.safetensors")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    data = np.random.RandomState(0).randn(60, 3), np.arange(60) % 3
    with pytest.warns(MlpXpWarning, match="48 of 60 rows"):
        assert evaluate(model, data).result.samples == 60
