"""Going on with a run: to the same bits, from anywhere, on any backend; and what is no checkpoint of it is refused."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, on_device, write_idx_folder
from helpers import (
    arrays_of,
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    metrics,
    options,
    small_settings,
    without_times,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from mlp_xp.api import train
from mlp_xp.backend import Backend, open_backend
from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.data.datasets import load_dataset
from mlp_xp.device import initial_state
from mlp_xp.files import FileError
from mlp_xp.parity.compare import longest_dot_product, tolerance
from mlp_xp.runs import checkpoints, run_folder
from mlp_xp.runs.checkpoints import load_checkpoint, save_checkpoint
from mlp_xp.runs.recording import train_in_folder
from mlp_xp.runs.run_folder import RunError
from mlp_xp.runs.settings import Settings
from mlp_xp.training import Event, layer_sizes, trajectory

# Each optimiser, each schedule, deferred and plain steps, with a network kept by validation and without.
VARIANTS = {
    "sgd": {},
    "momentum": {"optimizer": "momentum", "schedule": "cosine", "batch_size": 7},
    "adam": {
        "optimizer": "adam",
        "batch_size": 16,
        "validation": 40,
        "patience": 1,
        "weight_decay": 0.01,
        "activation": "tanh",
        "hidden": [6, 5],
    },
    "patience": {"batch_size": 3, "epochs": 12, "validation": 30, "patience": 2, "schedule": "cosine"},
}
pytestmark = pytest.mark.usefixtures("no_pictures")
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_optimizer = pytest.mark.parametrize("variant", ["sgd", "momentum", "adam"])


def configuration(variant: str) -> TrainConfig:
    record = small_settings(**VARIANTS[variant])
    return TrainConfig(**{**record, "hidden": tuple(record["hidden"])})


def on_host(event: Event, backend: Backend) -> dict:
    """All of an event that must be the same when it comes again, as host values."""
    position = event.position
    host = {name: getattr(position, name) for name in ("epoch", "sample", "step", "reports", "loss")}
    host |= {"checkpoint": event.checkpoint, "losses": event.losses.tobytes(), "tally": position.tally[:2]}
    arrays = [*arrays_of(position.state.network, backend.to_numpy)]
    arrays += [a for slots in position.state.slots for a in arrays_of(slots, backend.to_numpy)]
    if position.best:
        host["best"] = position.best[1:]
        arrays += arrays_of(position.best.network, backend.to_numpy)
    if event.report:
        host["report"] = without_times(run_folder.metrics_record(event.report))
        arrays += arrays_of(event.report.network, backend.to_numpy)
    host["arrays"] = [(array.dtype.str, array.shape, array.tobytes()) for array in arrays]
    return host


def go_on(folder: Path, settings: Settings, backend: Backend) -> list[dict]:
    config, dataset = settings.train, on_device(TINY, backend)
    fresh, _ = initial_state(config, layer_sizes(config, dataset), backend)
    start = load_checkpoint(folder, settings, fresh, backend)
    return [on_host(event, backend) for event in trajectory(config, dataset, backend, start)]


@every_optimizer
def test_goes_on_to_the_same_bits_from_any_place(variant, backend, tmp_path):
    assert_goes_on(variant, backend, tmp_path)


def test_goes_on_to_the_same_bits_until_patience_ends(tmp_path):
    assert_goes_on("patience", open_backend(), tmp_path)


def assert_goes_on(variant: str, backend: Backend, tmp_path: Path) -> None:
    """From every place that the generator yields after the warm-up, a checkpoint or not; fewer where it is slow."""
    config = configuration(variant)
    settings = Settings(backend=backend.name, train=config)
    whole = []
    for i, event in enumerate(trajectory(config, on_device(TINY, backend), backend)):
        if event.position.epoch >= 0:
            (tmp_path / str(i)).mkdir()
            save_checkpoint(tmp_path / str(i), event.position, settings, backend)
        whole.append(on_host(event, backend))
    assert whole[-1]["epoch"] >= 1
    places = [i for i, event in enumerate(whole) if event["epoch"] >= 0]
    middle = [i for i in places if whole[i]["checkpoint"] and 0 < whole[i]["sample"] < 160]
    assert middle, "some checkpoints are in the middle of an epoch"
    if backend.name != "numpy":
        places = [places[0], middle[len(middle) // 2], places[-2], places[-1]]
    for i in places:
        rest = go_on(tmp_path / str(i), settings, backend)
        if i < len(whole) - 1:
            assert rest == whole[i + 1 :]
        else:  # it was over: all that is left to say is said again
            assert rest == whole[-1:]


def test_a_finished_run_is_saved_as_it_ended(tmp_path):
    """Its closing report takes time, too, which a run that is gone on with begins after."""
    settings, backend = Settings(train=configuration("sgd")), open_backend()
    *_, end = train_in_folder(tmp_path, settings, TINY, backend)
    fresh, _ = initial_state(settings.train, layer_sizes(settings.train, TINY), backend)
    assert load_checkpoint(tmp_path, settings, fresh, backend).seconds == end.position.seconds == end.report.seconds


def test_a_checkpoint_with_settings_that_are_not_known_is_named(tmp_path):
    """As one of a later version would have them."""
    settings, backend = Settings(train=configuration("sgd")), open_backend()
    *_, end = train_in_folder(tmp_path, settings, TINY, backend)
    path = tmp_path / "checkpoint.safetensors"
    tensors, facts = checkpoints.read_tensors(path)
    record = {**json.loads(facts["settings"]), "input_noise": 0.5}
    checkpoints.write_tensors(path, tensors, {**facts, "settings": json.dumps(record)})
    with pytest.raises(ConfigError) as caught:
        load_checkpoint(tmp_path, settings, end.position.state, backend)
    assert str(caught.value).startswith(f"{str(path)!r}: the field 'input_noise' is not known")


def test_variants_end_as_they_should():
    """Else the tests above would prove less than they seem to."""
    ends = {}
    for variant in VARIANTS:
        backend = open_backend()
        ends[variant] = [*trajectory(configuration(variant), TINY, backend)][-1].position
    assert ends["sgd"].best is None
    assert ends["adam"].best is not None
    assert ends["patience"].epoch < configuration("patience").epochs - 1, "it ran out of patience"
    assert ends["patience"].best.epoch < ends["patience"].epoch


@every_optimizer
def test_goes_on_elsewhere_within_the_parity_tolerance(variant, backend, tmp_path):
    """Begun on NumPy, from the middle of the second epoch on with each other backend."""
    numpy, config = open_backend(), replace(configuration(variant), epochs=3)
    settings = Settings(train=config)
    saved, losses = None, []
    for event in trajectory(config, TINY, numpy):
        position = event.position
        if saved is None and position.epoch == 1 and event.checkpoint and position.sample < 160:
            save_checkpoint(tmp_path, position, settings, numpy)
            saved, losses = position.step, []
        else:
            losses.append(event.losses)
        end = event
    assert saved

    dataset = on_device(TINY, backend)
    fresh, _ = initial_state(config, layer_sizes(config, dataset), backend)
    start = load_checkpoint(tmp_path, replace(settings, backend=backend.name), fresh, backend)
    assert start.step == saved
    there = []
    for event in trajectory(config, dataset, backend, start):
        there.append(event.losses)
        other_end = event
    assert other_end.position.step == end.position.step
    losses, there = np.concatenate(losses), np.concatenate(there)
    allowed = tolerance(np.arange(1, len(losses) + 1), "float64", longest_dot_product(config, TINY))
    assert (np.abs(there - losses) <= allowed * np.maximum(1, np.abs(losses))).all()
    for a, b in zip(arrays_of(other_end.report.network, backend.to_numpy), arrays_of(end.report.network, np.array),
                    strict=True):  # fmt: skip
        assert np.abs(a - b).max() <= allowed[-1] * max(1, np.abs(b).max())
    assert other_end.report.accuracy == end.report.accuracy


# The command.


@pytest.fixture(scope="module")
def whole_runs(data_dir, tmp_path_factory) -> dict[str, Path]:
    """An uninterrupted run of each variant."""
    folder = tmp_path_factory.mktemp("whole")
    for variant, changes in VARIANTS.items():
        arguments = options(small_settings(**changes))
        assert call("train", "--data-dir", data_dir, "--run-dir", folder / variant, *arguments).code == 0
    return {variant: folder / variant for variant in VARIANTS}


@every_variant
def test_a_resumed_run_has_the_same_files(variant, data_dir, whole_runs, tmp_path, monkeypatch):
    """Dead right after any write, once after another."""
    folder, whole = tmp_path / "run", whole_runs[variant]
    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(**VARIANTS[variant]))]
    writes = (
        (run_folder.append_metrics, 2),
        (checkpoints.save_model, 1),
        (save_checkpoint, 2),
        (run_folder.append_metrics, 3),
    )
    for write, calls in writes:
        with monkeypatch.context() as patch:
            die_at(patch, write, calls)
            assert_one_line(call("train", *arguments), 130, "interrupted")
        arguments = ["--resume", folder]
    assert len(metrics(folder)) > 3
    outcome = call("train", *arguments)
    assert outcome.err == ""
    assert outcome.code == 0
    assert_same_run(folder, whole)
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings == json.loads((whole / "config.json").read_text())["settings"]


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(whole_runs, tmp_path):
    folder = shutil.copytree(whole_runs["adam"], tmp_path / "run")
    for _ in range(2):
        outcome = call("train", "--resume", folder)
        assert (outcome.code, outcome.err) == (0, "")
        assert "\nthis run had ended; --epochs N trains it longer\n" in outcome.out
        assert "accuracy  " not in outcome.out
        assert_same_run(folder, whole_runs["adam"])


def test_a_run_that_died_before_its_first_checkpoint_starts_over(data_dir, whole_runs, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(patch, run_folder.append_metrics, 1)
        arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings())]
        assert call("train", *arguments).code == 130
    assert len(metrics(folder)) == 1
    assert not (folder / "checkpoint.safetensors").exists()
    assert call("train", "--resume", folder).code == 0
    assert_same_run(folder, whole_runs["sgd"])


def test_a_run_that_died_while_it_was_being_made_can_be_made_again(data_dir, tmp_path, monkeypatch):
    """Even its config.json was only half written; what was left aside is tidied away."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.json.123.aside").write_text('{"settings": {"ep')
    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings())]
    assert call("train", *arguments).code == 0
    assert not [*folder.glob(".*")]
    (folder / ".checkpoint.safetensors.123.aside").write_text("half")
    assert call("train", "--resume", folder).code == 0
    assert not [*folder.glob(".*")]


def test_starting_over_never_leaves_a_folder_without_settings(whole_runs, tmp_path, monkeypatch):
    """Else a kill in that moment would lose what is to be trained."""
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    for name in ("checkpoint.safetensors", "model.safetensors", "result.json"):
        (folder / name).unlink()

    def full(path, data):
        raise FileError("full")

    monkeypatch.setattr(run_folder, "write_whole", full)
    assert_one_line(call("train", "--resume", folder), 1, "full")
    monkeypatch.undo()
    assert call("train", "--resume", folder).code == 0
    assert_same_run(folder, whole_runs["sgd"])


def test_the_backend_may_be_another(whole_runs, data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(patch, save_checkpoint, 3)
        arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings())]
        assert call("train", *arguments).code == 130
    outcome = call("train", "--resume", folder, "--backend", "array-api-strict", "--device", "device1")
    assert outcome.code == 0
    assert "array-api-strict" in outcome.out
    there, here = metrics(folder), metrics(whole_runs["sgd"])
    assert [(r["epoch"], r["sample"]) for r in there] == [(r["epoch"], r["sample"]) for r in here]
    assert there != here
    np.testing.assert_allclose([r["loss"] for r in there], [r["loss"] for r in here], rtol=1e-10)
    assert [r["accuracy"] for r in there] == [r["accuracy"] for r in here]


def test_a_device_of_another_backend_is_not_asked_for(data_dir, tmp_path):
    """A run that the library began names its device, which the next library need not have."""
    backend = open_backend("jax")
    dataset = load_dataset(data_dir, backend)
    record = small_settings(epochs=2)
    config = TrainConfig(**{**record, "hidden": tuple(record["hidden"])})
    reports = train(config, dataset, backend, run_dir=tmp_path / "run")
    for _ in range(5):
        next(reports)
    reports.close()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["device"] == "cpu:0"
    outcome = call("train", "--resume", tmp_path / "run", "--backend", "numpy")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.fixture
def no_threads_chosen(monkeypatch):
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_threads_chosen")
@pytest.mark.parametrize(
    ("recorded", "variables", "words", "used", "told"),
    [
        ({"number": 1}, {}, [], "1: as when the run began", ""),
        ({"number": 3}, {}, [], "3: as when the run began", ""),
        ({"number": 3, "cpus": 777}, {"OMP_NUM_THREADS": "1"}, [], "3: as when the run began", ""),
        ({"number": 3}, {"OMP_NUM_THREADS": "1"}, ["--threads", "3"], "3: as given", ""),
        ({"number": 3}, {}, ["--threads", "2"], "2: as given", "started with 3 threads and is resumed with 2 threads,"),
        ({"number": 3}, {}, ["--threads", "auto"], "3: as when the run began", ""),
        ({}, {}, [], "1: a forward pass of 198 multiply-adds is too small for more", ""),  # of an older run
    ],
)
def test_a_run_goes_on_with_its_threads(recorded, variables, words, used, told, whole_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.runs.recording.cpus", lambda: 3)
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    change_threads(folder, recorded)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    other = call("train", "--resume", folder, "--backend", "array-api-strict")
    assert (other.code, other.err) == (0, ""), "another library has other bits anyway"
    outcome = call("train", "--resume", folder, *words)
    assert outcome.code == 0
    assert f"\nthreads  {used}\n" in outcome.out
    if told:
        assert outcome.err.startswith(f"warning: {str(folder)!r}: the run was {told}")
    assert outcome.err.count("\n") == bool(told)
    record = json.loads((folder / "config.json").read_text())["threads"]
    assert record == {**record, **recorded}, "on how many the run began"
    assert record.get("resumed_with") == ("2 threads" if told else None)


@pytest.mark.usefixtures("no_threads_chosen")
def test_fewer_cpus_than_threads_are_told(whole_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.runs.recording.cpus", lambda: 1)
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    change_threads(folder, {"number": 2})
    assert_one_line(
        call("train", "--resume", folder), 0, "on 2 threads (as when the run began), but has 1 CPU, so it is "
    )


def change_threads(folder: Path, recorded: dict) -> None:
    """Let the run have been started under such facts."""
    record = json.loads((folder / "config.json").read_text())
    record["threads"] = {"cpus": record["threads"]["cpus"], **recorded}
    (folder / "config.json").write_text(json.dumps(record))


@pytest.mark.usefixtures("no_threads_chosen")
def test_another_number_of_cpus_is_told_of_a_library_that_uses_them_all(data_dir, tmp_path):
    """JAX, which has started in this process and keeps its threads."""
    folder = tmp_path / "run"
    arguments = ["--data-dir", data_dir, "--run-dir", folder, "--backend", "jax", "--device", "cpu"]
    assert call("train", *arguments, *options(small_settings(epochs=1))).code == 0
    outcome = call("train", "--resume", folder)
    assert (outcome.code, outcome.err) == (0, "")
    number = json.loads((folder / "config.json").read_text())["threads"]["number"]
    change_threads(folder, {"number": 777})
    outcome = call("train", "--resume", folder)
    assert outcome.code == 0
    assert outcome.err.count("\n") == 1
    assert "was started with 777 threads and is resumed with " in outcome.err
    assert_one_line(
        call("train", "--resume", folder, "--threads", number + 1),
        2, f"--threads: backend jax cannot compute on {number + 1} threads: JAX took {number} when it started",
    )  # fmt: skip


def test_data_may_have_moved_but_must_be_the_runs(whole_runs, data_dir, tmp_path):
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    moved = shutil.copytree(data_dir, tmp_path / "moved")
    assert call("train", "--resume", folder, "--data-dir", moved).code == 0
    assert_same_run(folder, whole_runs["sgd"])
    fewer = write_idx_folder(
        tmp_path / "fewer", TINY._replace(train_images=TINY.train_images[:150], train_labels=TINY.train_labels[:150])
    )
    assert_one_line(call("train", "--resume", folder, "--data-dir", fewer), 2, "train_samples 200", "150")
    images = TINY.train_images.copy()
    images[-1, -1, -1] ^= 1
    other = write_idx_folder(tmp_path / "other", TINY._replace(train_images=images))
    assert_one_line(call("train", "--resume", folder, "--data-dir", other), 2, "data_crc32")
    smaller = write_idx_folder(
        tmp_path / "smaller",
        TINY._replace(train_images=TINY.train_images[:, 1:, :], test_images=TINY.test_images[:, 1:, :]),
    )
    assert_one_line(call("train", "--resume", folder, "--data-dir", smaller), 2, "image_shape [6, 6]", "[5, 6]")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--epochs", "2"], ["--epochs: 2 is too few: the run in ", "has already come to epoch 3; give at least as m"]),
        (["--learning-rate", "0.1"], ["--learning-rate", "(0.05, not 0.1)"]),
        (["--hidden", "4", "4"], ["--hidden", "([4], not [4, 4])"]),
        (["--dtype", "float32"], ["--dtype", "('float64', not 'float32')"]),
        (["--checkpoint-every", "0"], ["--checkpoint-every"]),
        (["--run-dir", "elsewhere"], ["--run-dir: a resumed run stays in its own folder"]),
        (["--overwrite"], ["--overwrite: a resumed run stays in its own folder"]),
    ],
)
def test_a_changed_setting_is_refused(arguments, parts, whole_runs):
    before = {path.name: path.read_bytes() for path in whole_runs["sgd"].iterdir()}
    assert_one_line(call("train", "--resume", whole_runs["sgd"], *arguments), 2, *parts)
    assert {path.name: path.read_bytes() for path in whole_runs["sgd"].iterdir()} == before


def test_the_same_setting_given_again_is_fine(whole_runs, tmp_path):
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    assert call("train", "--resume", folder, "--epochs", 3, "--hidden", 4).code == 0


# Checkpoints that do not fit.


def test_a_configuration_that_was_changed_is_named(whole_runs, tmp_path):
    for name, value in {"seed": 1, "optimizer": "adam", "hidden": [5], "dtype": "float32"}.items():
        folder = shutil.copytree(whole_runs["sgd"], tmp_path / name)
        record = json.loads((folder / "config.json").read_text())
        old = record["settings"][name]
        record["settings"][name] = value
        (folder / "config.json").write_text(json.dumps(record))
        outcome = call("train", "--resume", folder)
        assert_one_line(outcome, 2, "checkpoint.safetensors", f"made with {name} {old!r}", repr(value))


def rewrite(path: Path, change) -> None:
    """Let `change` alter the tensors of a checkpoint, and give it a sum of its own again: no accident, another file."""
    tensors, facts = checkpoints.read_tensors(path)
    change(tensors)
    checkpoints.write_tensors(path, tensors, facts)


def test_arrays_that_lack_or_have_another_shape_are_named(whole_runs, tmp_path):
    def lack(tensors):
        del tensors["kept.0.1.bias"]

    def widen(tensors):
        tensors["network.0.weights"] = np.zeros((36, 7))

    for change, parts in (
        (lack, ["has no array kept.0.1.bias"]),
        (widen, ["network.0.weights has shape (36, 7)", "(36, 4)"]),
    ):
        folder = shutil.copytree(whole_runs["momentum"], tmp_path / change.__name__)
        rewrite(folder / "checkpoint.safetensors", lambda tensors: None)
        assert call("train", "--resume", folder).code == 0
        rewrite(folder / "checkpoint.safetensors", change)
        assert_one_line(call("train", "--resume", folder), 2, "checkpoint.safetensors", *parts)


def test_files_of_another_kind_are_refused(whole_runs, tmp_path):
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    path = folder / "checkpoint.safetensors"
    shutil.copy(folder / "model.safetensors", path)
    assert_one_line(call("train", "--resume", folder), 2, "checkpoint.safetensors", "is not a checkpoint")
    for metadata in (None, {"mlp_xp": "[]"}, {"mlp_xp": "{"}, {"mlp_xp": "[" * 100_000}, {"other": "{}"}):
        save_file({"network.0.bias": np.zeros(3)}, path, metadata)
        assert_one_line(call("train", "--resume", folder), 2, "checkpoint.safetensors", "altered")
    path.unlink()
    path.mkdir()
    assert_one_line(call("train", "--resume", folder), 2, "checkpoint.safetensors")


def test_metrics_that_lack_reports_are_refused(whole_runs, tmp_path):
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:-1]))
    assert_one_line(call("train", "--resume", folder), 2, "metrics.jsonl", f"{len(lines) - 1} reports")
    (folder / "metrics.jsonl").unlink()
    assert_one_line(call("train", "--resume", folder), 2, "metrics.jsonl", "is missing")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, bytes, Settings, dict, dict]:
    """A folder to write checkpoints to, and a small one with what it holds, read by the library alone."""
    folder = tmp_path_factory.mktemp("checkpoint")
    backend, settings = open_backend(), Settings(train=TrainConfig(epochs=1, hidden=(2,)))
    *_, event = trajectory(settings.train, TINY, backend)
    save_checkpoint(folder, event.position, settings, backend)
    path = folder / "checkpoint.safetensors"
    return folder, path.read_bytes(), settings, *contents(path)


def contents(path: Path) -> tuple[dict, dict]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}, file.metadata()  # noqa: SIM118


def assert_refused(checkpoint, data: bytes) -> None:
    """In one line; or, where the change is in a place without meaning, such as white space, read right."""
    folder, _, settings, tensors, facts = checkpoint
    path = folder / "checkpoint.safetensors"
    path.write_bytes(data)
    backend = open_backend()
    fresh, _ = initial_state(settings.train, (36, 2, 10), backend)
    try:
        load_checkpoint(folder, settings, fresh, backend)
    except RunError as error:
        message = str(error)
    else:
        assert contents(path) == (tensors, facts)
        return
    assert repr(str(path)) in message
    assert "\n" not in message


def test_a_checkpoint_cut_off_anywhere_is_refused(checkpoint):
    data = checkpoint[1]
    for length in {*range(0, len(data), 23), *range(12), len(data) - 1}:
        assert_refused(checkpoint, data[:length])
    assert_refused(checkpoint, data + b"\0")


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_checkpoint_with_any_byte_changed_is_refused(checkpoint, data):
    content = bytearray(checkpoint[1])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert_refused(checkpoint, bytes(content))


def test_a_changed_number_is_refused_by_its_sum(whole_runs, tmp_path):
    """The last byte is a number's: nothing but the sum can tell."""
    folder = shutil.copytree(whole_runs["sgd"], tmp_path / "run")
    content = bytearray((folder / "checkpoint.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "checkpoint.safetensors").write_bytes(content)
    assert_one_line(call("train", "--resume", folder), 2, "checkpoint.safetensors", "was altered", "SHA-256")
