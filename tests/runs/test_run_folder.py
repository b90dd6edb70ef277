"""The run folder's functions: names, what may be written where, metrics."""

import datetime as dt
import json
import math
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, varied
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
from mlp_xp.core.config import ConfigError
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.signature import Preparation, flatten_and_scale
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Report
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import OVERWRITE, REFUSE, RunFolder, metrics_record
from mlp_xp.runs.settings import Settings

pytestmark = pytest.mark.usefixtures("no_pictures")
NOW = dt.datetime(2024, 2, 3, 4, 5, 6)
CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)


def test_the_default_folder_says_data_recipe_backend_and_time_and_is_a_new_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = Settings(data_dir="/some/where/", backend="a.b:c.d")
    assert RunFolder.named(own, "own", NOW).path == Path(
        "runs/where-own-a.b-c.d-20240203-040506"
    )
    runs = [RunFolder.named(Settings(), Path("a/mine.json"), NOW) for _ in range(3)]
    assert not Path("runs").exists(), "nothing is created before a run begins"
    with runs[0].locked(), runs[1].locked(), runs[2].locked():
        paths = [run.path for run in runs]
    name = "mnist-mine-numpy-20240203-040506"
    assert paths == [Path("runs") / each for each in (name, f"{name}-2", f"{name}-3")]
    assert not [*Path("runs").iterdir()], "a folder of a run that did not begin goes"


@pytest.mark.parametrize(
    "kind", ["none", "empty", "run", "other", "another program", "file", "half"]
)
@pytest.mark.parametrize("existing", [REFUSE, OVERWRITE])
def test_where_a_new_run_may_be_written(kind, existing, tmp_path):
    path = tmp_path / "folder"
    if kind == "file":
        path.write_text("")
    elif kind != "none":
        path.mkdir()
    if kind == "run":
        (path / "config.json").write_text(json.dumps(a_config({})))
    if kind == "another program":
        (path / "config.json").write_text("{}")
    if kind == "other":
        (path / "thesis.tex").write_text("mine")
    if kind == "half":  # killed while it began
        (path / ".config.json.77.aside").write_text("{")
        (path / ".lock").write_text("")
    if kind in ("none", "empty", "half") or (kind == "run" and existing == OVERWRITE):
        with RunFolder(path).opened(existing):
            pass
    else:
        with pytest.raises(RunError) as caught, RunFolder(path).opened(existing):
            pass
        assert str(path) in str(caught.value)


def finished_run(folder: Path, config: TrainConfig = CONFIG) -> list[Report]:
    return [*train(config, TINY, open_backend(), run_dir=folder)]


def test_the_library_goes_on_with_its_run_and_refuses_another(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"dear")
    with pytest.raises(RunError, match="neither empty nor a run"):
        finished_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    reports = finished_run(tmp_path / "run")
    assert [(r.epoch, r.sample) for r in reports] == [
        (0, 0),
        (0, 100),
        (1, 0),
        (1, 100),
        (1, 200),
    ]
    (again,) = finished_run(tmp_path / "run")
    assert again[:2] == reports[-1][:2]
    for a, b in zip(again.model.network, reports[-1].model.network, strict=True):
        assert_all_equal(a, b)
    with pytest.raises(
        ConfigError,
        match=r"seed: .*config\.json': a resumed run keeps its settings \(0, not 3\)",
    ):
        finished_run(
            tmp_path / "run",
            TrainConfig(epochs=2, seed=3, hidden=(3,), report_every=100),
        )


def test_no_folder_is_made_for_what_cannot_be_trained_or_stored(tmp_path):
    inverted = varied(
        TINY,
        preparation=Preparation(
            lambda images, **how: 1 - flatten_and_scale(images, **how)
        ),
    )
    for config, dataset, message in (
        (CONFIG, varied(TINY, train_labels=TINY.train.labels + 9), "train.labels"),
        (TrainConfig(batch_size=201), TINY, "batch_size"),
        (CONFIG, inverted, "prepare"),
    ):
        with pytest.raises(MlpXpError, match=message):
            next(train(config, dataset, open_backend(), run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def a_report(**changes) -> Report:
    values = {
        "epoch": 1,
        "sample": 100,
        "loss": 0.1 + 0.2,
        "seconds": 1.5,
        "train_loss": math.pi,
    }
    values |= {
        "samples_per_second": 1e6,
        "model": None,
        "test": Evaluation(5e-324, 1 / 3),
    }
    return Report(**{**values, **changes})


def test_metrics_are_appended_in_full_precision(tmp_path):
    run = RunFolder(tmp_path)
    assert run.reports() == []
    reports = [
        a_report(),
        a_report(epoch=2, test=None, validation=Evaluation(0.25, r2=0.1 + 0.2)),
    ]
    for report in reports:
        run._append(report)
    expected = [
        {k: v for k, v in report._asdict().items() if isinstance(v, int | float)}
        for report in reports
    ]
    expected[0] |= {"test_loss": 5e-324, "accuracy": 1 / 3}
    expected[1] |= {"validation_loss": 0.25, "validation_r2": 0.1 + 0.2}
    assert run.reports() == expected
    assert [
        json.loads(line)
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ] == expected


def test_each_figure_of_an_evaluation_is_reported():
    names = [
        "loss",
        *(
            name
            for name, default in Evaluation._field_defaults.items()
            if default is None
        ),
    ]
    figures = {name: i + 0.5 for i, name in enumerate(names)}
    assert {*figures.values()} <= {
        *metrics_record(a_report(test=Evaluation(**figures))).values()
    }


def test_a_line_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    """And at the first line the name of the file, or a checkpoint could outlast the
    reports that it counts.
    """
    synced = []

    def record(descriptor):
        synced.append(
            (
                stat.S_ISDIR(os.fstat(descriptor).st_mode),
                (tmp_path / "metrics.jsonl").read_bytes(),
            )
        )

    monkeypatch.setattr("os.fsync", record)
    run = RunFolder(tmp_path)
    run._append(a_report())
    first = (tmp_path / "metrics.jsonl").read_bytes()
    assert first.endswith(b"}\n")
    assert b"\r" not in first
    assert synced == [(False, first)] + [(True, first)] * (os.name == "posix")
    synced.clear()
    run._append(a_report())
    assert synced == [(False, (tmp_path / "metrics.jsonl").read_bytes())]


def test_metrics_are_cut_back_to_what_a_checkpoint_knows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"1\n2\n3\n4")
    run = RunFolder(tmp_path)
    with pytest.raises(RunError, match="has 3 reports, the checkpoint expects 4"):
        run._keep_reports(4)
    run._keep_reports(2)
    assert path.read_bytes() == b"1\n2\n"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
    path.unlink()
    run._keep_reports(0)


def test_what_cannot_be_written_is_a_file_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(MlpXpError) as caught:
            finished_run(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        FileError, match=r"'.*metrics\.jsonl': cannot write: No such file"
    ):
        RunFolder(tmp_path / "gone")._append(a_report())


# What a run remembers of its beginning.


def own_data() -> Dataset:
    inputs = np.random.RandomState(0).randn(60, 3)
    return from_arrays(inputs, np.arange(60) % 3, 0.2)


def test_a_run_that_was_stopped_before_its_rows_were_written_begins_again(
    tmp_path, monkeypatch
):
    """The record is written first: a folder without it would not be a run."""

    def full(*args: object) -> None:
        raise FileError("No space left on device", file="rows.safetensors")

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("mlp_xp.runs.run_folder.write_fingerprints", full)
        with pytest.raises(FileError):
            [*train(CONFIG, own_data(), open_backend(), run_dir=folder)]
    assert [*train(CONFIG, own_data(), open_backend(), run_dir=folder)][-1].epoch == 1


def test_a_run_with_relative_paths_resumes_in_another_folder(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    finished_run(Path("source"))
    backend, longer = open_backend(), replace(CONFIG, epochs=3)
    [*train(CONFIG, TINY, backend, run_dir="run", start_from="source")]
    monkeypatch.chdir(tmp_path / "second")
    source, folder = Path("../first/source"), Path("../first/run")
    *_, last = train(longer, TINY, backend, run_dir=folder, start_from=source)
    assert last.epoch == 2


def test_a_resume_that_would_hold_out_other_rows_is_refused(tmp_path):
    dataset, backend = own_data(), open_backend()
    config = replace(CONFIG, validation=12)
    [*train(config, dataset, backend, run_dir=tmp_path)]
    others = replace(dataset, hold_out=lambda _, count, seed: np.arange(count))
    with pytest.raises(RunError, match="rows or their order have changed"):
        [*train(replace(config, epochs=3), others, backend, run_dir=tmp_path)]


def test_a_resume_without_a_checkpoint_needs_the_network_that_it_began_with(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "run"
    finished_run(source)
    backend = open_backend()
    begun = train(CONFIG, TINY, backend, run_dir=folder, start_from=source)
    next(begun)
    begun.close()
    for path in folder.glob("*.safetensors"):
        path.unlink()
    finished_run(source, replace(CONFIG, epochs=4))
    with pytest.raises(RunError, match="has another network now"):
        [*train(CONFIG, TINY, backend, run_dir=folder, start_from=source)]


def test_networks_of_one_run_before_and_after_more_training_are_two(tmp_path):
    finished_run(tmp_path)
    before = load_run(tmp_path)
    finished_run(tmp_path, replace(CONFIG, epochs=4))
    images = TINY.test.inputs
    pooled = predict([before, load_run(tmp_path)], images)
    assert len(pooled.models) == 2
    model_file = tmp_path / "model.safetensors"
    assert len(predict([tmp_path, load_run(model_file)], images).models) == 1


def test_a_model_file_is_evaluated_like_the_folder_of_its_run(tmp_path, monkeypatch):
    """Training rows are left out, also after a change of the current folder."""
    random = np.random.RandomState(0)
    data = random.randn(60, 3), np.arange(60) % 3
    monkeypatch.chdir(tmp_path)
    [*train(CONFIG, from_arrays(*data, 0.2), "numpy", run_dir="run")]
    model = load_run("run/model.safetensors")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    with pytest.warns(MlpXpWarning, match="48 of 60 rows are left out"):
        assert evaluate(model, data).result.samples == 12


def test_a_run_may_be_replaced_by_a_run_that_starts_from_it(tmp_path):
    finished_run(tmp_path)
    before = load_run(tmp_path).sha256
    experiment = Experiment.from_data(CONFIG, TINY, open_backend(), start_from=tmp_path)
    training = RunFolder(tmp_path).training(lambda: experiment, existing=OVERWRITE)
    with training as (_, events):
        list(events)
    assert load_run(tmp_path).sha256 != before
    assert RunFolder(tmp_path).record()["start_from_sha256"] == before


def test_a_record_without_a_setting_is_damaged(tmp_path):
    finished_run(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    del record["settings"]["optimizer"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="optimizer"):
        RunFolder(tmp_path).settings()
