"""Files from anybody's hand: no regular file, a bomb, a record of nonsense. Each is refused in one line, at once."""

import contextlib
import gzip
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torture_files
from data_sets import TINY, write_idx_folder
from helpers import PATIENCE, Outcome, assert_one_line, call, finish, start
from PIL import Image
from safetensors.numpy import save

from mlp_xp.api import evaluate_run, plot_run, predict_pictures, train
from mlp_xp.backend import open_backend
from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.data.csv_files import CsvError, read_csv
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.pictures import PictureError, prepare_picture
from mlp_xp.data.reading import EXPANSION, MODEST
from mlp_xp.errors import MlpXpError, printable
from mlp_xp.regular import UnfitFileError, open_regular, read_regular
from mlp_xp.runs import records
from mlp_xp.runs.checkpoints import load_model, not_finite, read_tensors, write_tensors
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import read_config, read_metrics
from mlp_xp.runs.settings import Settings, check_foreign, flatten
from mlp_xp.show.gallery import read_curves

MIB = 1 << 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose data are in a folder of its own."""
    place = tmp_path_factory.mktemp("run")
    dataset = load_dataset(write_idx_folder(place / "data", TINY))
    config = TrainConfig(epochs=1, hidden=(4,), optimizer="momentum", report_every=100)
    list(train(config, dataset, open_backend(), run_dir=place / "run"))
    return place / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def change(path: Path, **fields: Any) -> None:
    """Replace fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_settings(folder: Path, **fields: Any) -> None:
    record = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", settings={**record["settings"], **fields})


# What is no regular file.


@contextlib.contextmanager
def no_file(kind: str, path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            stack.enter_context(contextlib.chdir(path.parent))  # a socket's path may have some hundred bytes only
            server.bind(path.name)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)
        yield


KINDS = ["fifo", "socket", "folder", "/dev/zero", "/dev/stdin", "loop"]
WORDS = re.compile("regular file|directory|folder|symbolic links|FIFO|device")


def in_time(name: str, *args: Any) -> Outcome:
    """Run a command in a process of its own, which a deadline ends if it waits for a writer."""
    return finish(start(name, *args, stdin=subprocess.PIPE))


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    with no_file(kind, tmp_path / "loop"):
        for read in (open_regular, lambda path: read_regular(path, 9)):
            with pytest.raises(OSError, match=WORDS):
                read(tmp_path / "loop")


def test_a_link_to_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(UnfitFileError, match="more than 6 bytes"):
        read_regular(tmp_path / "link", 6)


def test_a_file_that_waits_for_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like /proc/kmsg, it looks regular; here it is a pipe that nobody has written to."""
    (tmp_path / "kmsg.png").write_bytes(b"")
    original, read_end, write_end = os.open, *os.pipe()

    def opened(path: Any, *args: Any, **options: Any) -> int:
        if path != tmp_path / "kmsg.png":
            return original(path, *args, **options)
        descriptor = os.dup(read_end)
        os.set_blocking(descriptor, False)
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr("mlp_xp.regular._check", lambda mode, path: None)
    with pytest.raises(UnfitFileError, match="has nothing to read yet"):
        read_regular(tmp_path / "kmsg.png", 9)
    with pytest.raises(PictureError, match="has nothing to read yet"):
        prepare_picture(tmp_path / "kmsg.png")
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.json", ["evaluate"]),
        ("model.safetensors", ["evaluate"]),
        ("metrics.jsonl", ["plot"]),
        ("result.json", ["plot"]),
        ("checkpoint.safetensors", ["train", "--resume"]),
        ("metrics.jsonl", ["train", "--resume"]),
    ],
)
def test_a_fifo_in_place_of_a_runs_file(name: str, command: list[str], copy: Path) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert_one_line(in_time(*command, copy), 2, name, "is not a regular file but a FIFO")


def test_a_fifo_in_place_of_other_files(run: Path, tmp_path: Path) -> None:
    data = write_idx_folder(tmp_path / "data", TINY)
    (data / "t10k-labels-idx1-ubyte").unlink()
    os.mkfifo(data / "t10k-labels-idx1-ubyte")
    assert_one_line(in_time("evaluate", run, "--data-dir", data), 2, "t10k-labels-idx1-ubyte", "but a FIFO")
    os.mkfifo(tmp_path / "fifo")
    outcome = in_time("predict", run, tmp_path / "fifo")
    assert_one_line(outcome, 1, "fifo'", "is not a regular file but a FIFO")
    assert_one_line(in_time("train", "--config", tmp_path / "fifo"), 2, "fifo'", "is not a regular file but a FIFO")


def test_data_that_a_config_names_may_be_anything(copy: Path) -> None:
    for place in ("/dev/zero", "/dev/stdin", "/nowhere", "\x1b[31m"):
        change_settings(copy, data_dir=place)
        outcome = call("evaluate", copy)
        assert_one_line(outcome, 2, repr(place)[1:-1])
        assert outcome.err.strip().isprintable()


# Bombs.

MEASURE = """
import re, sys
try:
    exec(sys.argv[1])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
print(int(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1]) // 1024)
"""


def peak(code: str) -> tuple[str, int]:
    """Run code in a process of its own; return its error and the MiB that it took at most, with all libraries."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the memory is read from Linux's /proc")
    command = [sys.executable, "-c", MEASURE, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=True)
    *error, most = done.stdout.splitlines()
    return "\n".join(error), int(most)


def bomb(path: Path, start: bytes, piece: bytes, times: int) -> Path:
    """Write the beginning of a gzip file: `start` and many equal pieces, of which only one is compressed."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    path.write_bytes(head + block * times)
    return path


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (b"0,0,0,0,0\n" * 100_000, "expands to more than"),
        (b"\n" * MIB, "expands to more than"),
        (b"0," * (MIB // 2), "line 1: has more than"),
        (b"\0" * MIB, "line 1: has more than"),
    ],
    ids=["lines", "empty lines", "one line", "zeros"],
)
def test_a_bomb_as_csv(piece: bytes, message: str, tmp_path: Path) -> None:
    path = bomb(tmp_path / "train.csv.gz", b"", piece, 2048)
    assert path.stat().st_size < 4 * MIB
    error, most = peak(f"from mlp_xp.data.csv_files import read_csv; read_csv({str(path)!r})")
    assert error.startswith(f"CsvError: {str(path)!r}: ")
    assert message in error
    assert most < 300


def test_a_bomb_of_two_gigabytes_as_idx(tmp_path: Path) -> None:
    """The header promises what comes."""
    head = bytes([0, 0, 8, 1]) + (2048 * MIB).to_bytes(4, "big")
    path = bomb(tmp_path / "labels.gz", head, bytes(16 * MIB), 128)
    assert path.stat().st_size < 3 * MIB
    error, most = peak(f"from mlp_xp.data.idx import read_idx; read_idx({str(path)!r})")
    assert "expands to more than" in error
    assert most < 300


def test_a_stream_that_expands_modestly_is_read(tmp_path: Path) -> None:
    """All black images are a small file, and no bomb."""
    assert EXPANSION > 20
    images = np.zeros((MODEST // 1000, 10, 10), np.uint8)
    head = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(head + images.tobytes()))
    assert path.stat().st_size * EXPANSION < MODEST
    from mlp_xp.data.idx import read_idx

    np.testing.assert_array_equal(read_idx(path), images)


def test_a_long_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("1,0\n\n2,0\n" + "0," * (1 << 23))
    with pytest.raises(CsvError, match=r"long\.csv': line 4: has more than 8388608 characters"):
        read_csv(path)


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (100_000, 100_000), (10**9, 1), (2**31, 2**31)])
def test_pictures_of_nonsensical_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size, zlib.compress(bytes(1000))))
    with pytest.raises(PictureError, match=r"bomb\.png': (has more than|is a damaged|is not a picture)"):
        prepare_picture(path)


def test_a_picture_that_a_program_would_draw(tmp_path: Path) -> None:
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    image = Image.fromarray(np.kron(TINY.test_images[0], np.ones((9, 9), np.uint8)))
    image.save(tmp_path / "seven.eps")
    shutil.copy(tmp_path / "seven.eps", tmp_path / "seven.png")
    for name in ("seven.eps", "seven.png"):
        with pytest.raises(PictureError, match="is not a picture that Pillow can read"):
            prepare_picture(tmp_path / name)


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "F", "LA"])
def test_pictures_of_rare_modes(mode: str, tmp_path: Path) -> None:
    drawn = np.full((60, 60), 255, np.uint8)
    drawn[10:50, 25:35] = 0
    image = Image.fromarray(drawn)
    wide = Image.fromarray(drawn.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    wide.save(tmp_path / "one.tif")
    image.save(tmp_path / "one.png")
    expected, found = (prepare_picture(tmp_path / name).astype(int) for name in ("one.png", "one.tif"))
    assert np.abs(found - expected).max() <= 3


def test_an_animation_is_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.kron(each, np.ones((9, 9), np.uint8))) for each in TINY.test_images[:3]]
    frames[0].save(tmp_path / "all.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "first.gif")
    np.testing.assert_array_equal(prepare_picture(tmp_path / "all.gif"), prepare_picture(tmp_path / "first.gif"))


# Records.

REPORT = {"epoch": 0, "sample": 0, "loss": 1.0, "accuracy": 0.5, "seconds": 0.1, "train_loss": 1.0, "test_loss": 2.0,
          "samples_per_second": 9.0}  # fmt: skip
VALUES = ["null", "NaN", "Infinity", "-Infinity", '"1"', "true", "[]", "[1]", "{}", "1e999", "1" * 400, "1" * 5000]


@pytest.mark.parametrize("name", REPORT)
@pytest.mark.parametrize("value", [*VALUES, "1.5"])
def test_a_report_with_a_wrong_value_is_named(name: str, value: str, copy: Path) -> None:
    text = json.dumps({**REPORT, name: "here"}).replace('"here"', value)
    if value == "1.5" and name not in ("epoch", "sample", "accuracy"):
        pytest.skip("a number may have a fraction")
    (copy / "metrics.jsonl").write_text(f"{json.dumps(REPORT)}\n{text}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl', line 2: is damaged: ") as caught:
        read_curves(copy)
    (copy / "metrics.jsonl").write_text("")
    (copy / "result.json").write_text(text)
    with pytest.raises(RunError, match=r"result\.json': is damaged: ") as other:
        read_curves(copy)
    for error in (caught.value, other.value):
        assert str(error).isprintable()
        assert len(str(error)) < 500
        assert error.exit_code == 2
        if value in ("null", '"1"', "true", "[]", "[1]", "{}", "1.5"):
            assert f"the field {name!r} is {json.loads(value)!r}, but it must be " in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "is damaged: "),
        (b"[" * 9000, "is damaged: "),
        (b"{}", "it has no field 'epoch'"),
        (b"null", "None is not a JSON object"),
        (b"", "is damaged: "),
        (json.dumps(REPORT).replace("{", '{"epoch": 3, ').encode(), "the field 'epoch' is there twice"),
        (b" " * 20000, "has more than 16384 bytes"),
        (json.dumps({**REPORT, "x": "\ud800\x1b"}).encode(), ""),
        (json.dumps(REPORT).encode() + b"\r", ""),
        (b"\xef\xbb\xbf" + json.dumps(REPORT).encode(), ""),
    ],
)
def test_lines_of_nonsense(content: bytes, message: str, copy: Path) -> None:
    """A field that is not known is ignored, as are the marks that Windows' editors leave."""
    (copy / "metrics.jsonl").write_bytes(content + b"\n")
    if not message:
        assert read_metrics(copy)[0].items() >= REPORT.items()
        return
    with pytest.raises(RunError, match=rf"metrics\.jsonl', line 1: .*{re.escape(message)}"):
        read_metrics(copy)


def test_a_file_beyond_its_limit_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "result.json"):
        shutil.copy(copy / name, copy / "whole")
        os.truncate(copy / name, 1 << 40)
        with pytest.raises(RunError, match=rf"{name}': has more than 1048576 bytes"):
            read_curves(copy)
        (copy / "whole").replace(copy / name)
    monkeypatch.setattr(records, "LINES_LIMIT", 300)
    with pytest.raises(RunError, match=r"metrics\.jsonl': has more than 300 bytes"):
        read_curves(copy)
    os.truncate(copy / "model.safetensors", 1 << 40)
    with pytest.raises(RunError, match=r"model\.safetensors': has more than 17179869184 bytes"):
        load_model(copy)


CONFIG_VALUES = {
    "train_samples": [None, 0, -1, 1.5, True, "200", [200], 2**60],
    "image_shape": [None, [], [0], [6, 6, 6, 6], [0, 6], [6, -6], [6.0, 6], ["6", "6"], {"6": 6}, "66", [10**8, 6]],
    "class_names": [None, [], "ab", [1, 2], [None], ["x" * 2000], {"a": 1}],
    "data_crc32": [None, 3, "x" * 99, []],
    "versions": [None, [], {"numpy": 2}],
    "threads": [None, [], {"cpus": []}, {"number": 0}, {"number": 2000}, {"number": "2"}],
    "device": [3, [], {}],
    "machine": [None, 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, each) for name, values in CONFIG_VALUES.items() for each in values])
def test_a_configuration_with_a_wrong_value_is_named(name: str, value: Any, copy: Path) -> None:
    change(copy / "config.json", **{name: value})
    with pytest.raises(RunError, match=rf"config\.json': is damaged: the field '{name}' is .*, but it must be "):
        read_config(copy)


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "a", [], {}, "\0", 10**400, [None], [[1]], float("nan")])
@pytest.mark.parametrize("name", flatten(Settings()))
def test_settings_of_nonsense_are_one_line(name: str, value: Any, copy: Path) -> None:
    change_settings(copy, **{name: value})
    fault = None
    try:
        settings, _ = read_config(copy)
    except MlpXpError as error:
        fault = error
    if fault:
        assert str(fault).isprintable()
        assert fault.exit_code == 2
        assert len(str(fault)) < 600
    elif name == "dataset":
        assert value in (None, "a")
        assert settings.dataset is None, "the run has a data_dir"
    else:
        kept = flatten(settings)[name]
        assert kept == (tuple(value) if name == "hidden" else value)
        assert type(kept) in (type(value), tuple, float)


# Models and checkpoints.


def altered(path: Path, alter: Any, **facts: Any) -> None:
    """Change a file of tensors, and give it a checksum of its own."""
    tensors, old = read_tensors(path)
    write_tensors(path, alter(tensors) or tensors, {**old, **facts})


MODEL_FACTS = {
    "image_shape": ["[100000, 100000]", "[6]", "[6, 6, 6]", "[0, 0]", "[-6, -6]", "[6.0, 6.0]", "null", "[36, 1]"],
    "class_names": ["[]", "null", "[1]", '["a"]', '"0123456789"', "x", json.dumps([str(i) for i in range(11)])],
    "activation": ["relu", "evil", ""],
    "dtype": ["float32", "float16", "int64", "object", ""],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, each) for name, values in MODEL_FACTS.items() for each in values])
def test_a_model_that_contradicts_itself_is_refused(name: str, value: str, copy: Path) -> None:
    altered(copy / "model.safetensors", lambda tensors: None, **{name: value})
    with pytest.raises(RunError, match=rf"model\.safetensors'.*{name}") as caught:
        load_model(copy)
    assert str(caught.value).isprintable()


def test_an_image_shape_of_a_forged_run_is_refused_before_any_allocation(copy: Path) -> None:
    """The model and the configuration agree; only the arrays do not."""
    for shape in ([65536, 65536], [100000, 100000]):
        altered(copy / "model.safetensors", lambda tensors: None, image_shape=json.dumps(shape))
        change(copy / "config.json", image_shape=shape)
        with pytest.raises(RunError, match=r"has shape \(36, 4\)|the field 'image_shape' is \[100000, 100000\]"):
            load_model(copy)


ARRAYS = {
    "nan": lambda a: np.full_like(a, np.nan),
    "inf": lambda a: np.full_like(a, -np.inf),
    "float32": lambda a: a.astype(np.float32),
    "int64": lambda a: a.astype(np.int64),
    "float16": lambda a: a.astype(np.float16),
    "flat": lambda a: np.append(a.ravel(), 1.0),
    "deeper": lambda a: a[None],
    "empty": lambda a: a[:0],
    "scalar": lambda a: np.array(1.0),
}


@pytest.mark.parametrize("file", ["model.safetensors", "checkpoint.safetensors"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_a_network_cannot_use_are_refused(kind: str, file: str, copy: Path) -> None:
    for name in ("network.0.weights", "network.1.bias"):
        shutil.copy(copy / file, copy / "whole")
        altered(copy / file, lambda tensors, name=name: {**tensors, name: ARRAYS[kind](tensors[name])})
        outcome = call("evaluate", copy) if file.startswith("model") else call("train", "--resume", copy)
        assert_one_line(outcome, 2, file, name)
        (copy / "whole").replace(copy / file)


def test_a_diverged_model_is_used_by_nothing(copy: Path, tmp_path: Path) -> None:
    altered(copy / "model.safetensors", lambda t: {**t, "network.1.bias": np.full(10, np.nan)})
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    for command in (["evaluate", copy], ["predict", copy, tmp_path / "a.png"], ["plot", copy]):
        assert_one_line(call(*command), 2, "the array network.1.bias has values that are not finite")
    assert not_finite({"a": np.ones(3), "b": np.array([1.0, np.inf]), "c": np.array([np.nan])}) == "b"
    assert not_finite({"a": np.ones((0, 3)), "b": np.array(1.0, np.float32)}) is None


def test_a_model_whose_outputs_are_not_finite_is_used_by_nothing(copy: Path, tmp_path: Path) -> None:
    """Its weights are finite, but their products are not."""
    huge = {"network.0.weights": np.full((36, 4), 1e307), "network.1.weights": np.full((4, 10), 1e308)}
    huge["network.1.weights"][:, ::2] *= -1
    altered(copy / "model.safetensors", lambda t: {**t, **huge})
    change_settings(copy, activation="relu")
    altered(copy / "model.safetensors", lambda t: t, activation="relu")
    picture = tmp_path / "b.png"
    Image.fromarray(np.pad(np.full((5, 5), 255, np.uint8), 9)).save(picture)
    for command in (["evaluate", copy], ["predict", copy, picture, "--json"], ["plot", copy]):
        outcome = call(*command)
        assert_one_line(outcome, 2, "model.safetensors", "its outputs are not finite", "lower learning rate")
        assert not outcome.out
    for use in (evaluate_run, plot_run, lambda folder: predict_pictures(folder, [picture])):
        with pytest.raises(RunError, match="outputs are not finite"):
            use(copy)


def test_a_model_whose_loss_is_not_finite_is_not_evaluated(copy: Path) -> None:
    """Its outputs are finite, but they differ by more than the largest number."""
    biases = np.where(np.arange(10) % 2, 1.7e308, -1.7e308)
    altered(copy / "model.safetensors", lambda t: {**t, "network.1.bias": biases})
    assert_one_line(call("evaluate", copy), 2, "model.safetensors", "its outputs are not finite")


POSITIONS = {
    "epoch": [None, -1, 1, 2**60, 1.5, "0", True],
    "sample": [None, -1, 2**60, 1.5, [], 0, 7, 199, 201, 2**53],
    "step": [None, 0, 1.5, "1", 1, 209, 2**53],
    "reports": [None, -1, 2**60, {}, 0, 1, 3, 2**53],
    "seconds": [None, -1, float("nan"), float("inf"), "1", 1e308],
    "loss": [None, float("nan"), "1", 10**400, -1],
    "tally": [
        None,
        [],
        [1, 2],
        [1, 2, 3, 4],
        ["a", 1, 1],
        [1, 1.5, 1],
        {},
        [1, 0, 1],
        [1, 2**53, 1],
        [-1, 99, 1],
        [1, 99, 1e308],
    ],
    "best": [[], [1], [2, 0], ["a", 0], {}, 1, [0.5, 0]],
}


@pytest.mark.parametrize(("name", "value"), [(name, each) for name, values in POSITIONS.items() for each in values])
def test_a_position_of_nonsense_is_refused(name: str, value: Any, copy: Path) -> None:
    path = copy / "checkpoint.safetensors"
    position = json.loads(read_tensors(path)[1]["position"])
    altered(path, lambda tensors: None, position=json.dumps({**position, name: value}))
    parts = ["is not a number"] if isinstance(value, float) and not math.isfinite(value) else [name]
    if (name, repr(value)) == ("epoch", "1"):  # of a longer run, so that the run's own epochs are too few
        assert_one_line(call("train", "--resume", copy), 2, "--epochs: 1 is too few: ")
    else:
        assert_one_line(call("train", "--resume", copy), 2, "checkpoint.safetensors", *parts)
    altered(path, lambda tensors: None, position=json.dumps({k: v for k, v in position.items() if k != name}))
    assert_one_line(call("train", "--resume", copy), 2, "checkpoint.safetensors", f"no field {name!r}")


@pytest.mark.parametrize("content", ["", "3", "[]", "null", "{", "[" * 5000, '{"hidden": [99999999999]}', '{"a": 1}'])
def test_settings_of_nonsense_in_a_checkpoint_are_refused(content: str, copy: Path) -> None:
    altered(copy / "checkpoint.safetensors", lambda tensors: None, settings=content)
    assert_one_line(call("train", "--resume", copy), 2, "checkpoint.safetensors")


def test_a_network_larger_than_the_checkpoints_is_refused_before_it_is_made(copy: Path) -> None:
    change_settings(copy, hidden=[3000] * 2)
    assert_one_line(call("train", "--resume", copy), 2, "hidden [4]", "[3000, 3000]")


def test_a_header_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = save({"a": np.zeros(2)}, {"x": "y" * (1 << 24)})
    path.write_bytes(content)
    with pytest.raises(RunError, match="16777216 of them in its header"):
        read_tensors(path)
    path.write_bytes(b"\xff" * 8 + content[8:])
    with pytest.raises(RunError, match="of them in its header"):
        read_tensors(path)


# What a file must not decide.


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a mark if it is imported, and is no array namespace."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\nx = 1\n")
    monkeypatch.syspath_prepend(folder)
    yield tmp_path / "mark"
    sys.modules.pop("evil", None)


def test_a_module_that_only_a_file_names_is_not_imported(copy: Path, evil: Path, tmp_path: Path) -> None:
    change_settings(copy, backend="evil:x")
    for source in (["--resume", copy], ["--config", copy / "config.json", "--run-dir", tmp_path / "new"]):
        outcome = call("train", *source)
        assert_one_line(outcome, 2, "'evil:x'", "--backend evil:x")
        assert not evil.exists()
        assert not (tmp_path / "new").exists()
    change_settings(copy, backend="numpy")
    for command in ("evaluate", "plot"):
        shutil.copy(copy / "config.json", tmp_path / "config.json")
        change_settings(copy, backend="evil:x")
        assert call(command, copy).code == 0  # they take their own option, numpy by default
        shutil.move(tmp_path / "config.json", copy / "config.json")
    assert not evil.exists()


def test_a_module_is_imported_if_the_user_names_it_too(copy: Path, evil: Path) -> None:
    change_settings(copy, backend="evil:x")
    outcome = call("train", "--resume", copy, "--backend", "evil:x")
    assert_one_line(outcome, 2, "backend evil:x: ")
    assert evil.exists()
    assert call("train", "--resume", copy, "--backend", "numpy").code == 0
    with pytest.raises(ConfigError, match=r"backend: 'file' wants the module 'a:b'"):
        check_foreign(Settings(backend="a:b"), None, "'file'")
    check_foreign(Settings(backend="a:b"), "a:b", "'file'")
    check_foreign(Settings(), None, "'file'")


def test_class_names_do_not_reach_the_terminal_as_they_are(copy: Path, tmp_path: Path) -> None:
    names = ["\x1b[31mred\x07", "a\nb", "\u202eright", "é", "数", *"56789"]
    altered(copy / "model.safetensors", lambda tensors: None, class_names=json.dumps(names))
    change(copy / "config.json", class_names=names)
    Image.fromarray(np.kron(TINY.test_images[0], np.ones((9, 9), np.uint8))).save(tmp_path / "\x1b[32m.png")
    shown = call("evaluate", copy).out + call("predict", copy, tmp_path).out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31mred\\x07" in shown
    assert "é" in shown
    assert "数" in shown
    assert printable("a b é \udcff\ue000") == "a b é \\udcff\\ue000"


def test_the_folder_of_a_new_run_is_in_runs(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the data of somebody's configuration are."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    write_idx_folder(tmp_path / "a" / "data", TINY)
    monkeypatch.chdir(place)
    change_settings(copy, dataset="../data", data_dir=None)
    assert call("train", "--config", copy / "config.json").code == 0
    (made,) = (place / "runs").iterdir()
    assert made.name.startswith("data-numpy-")


# All together, at random but the same each time; `python tests/torture_files.py 300` for long.


def test_some_cases_of_the_torture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """Without those that draw all pictures or train from the start, which take long."""
    commands = {name: files for name, files in torture_files.READ.items() if name not in ("plot one", "config")}
    monkeypatch.setattr(torture_files, "READ", commands)
    folders = torture_files.make_folders(tmp_path)
    sound = torture_files.sound_results(folders, tmp_path)
    kinds = []
    for number in range(30):
        place = tmp_path / str(number)
        place.mkdir()
        case, command, outcome, result = torture_files.run_case(number, 0, folders, place)
        kinds.append(torture_files.judge(outcome, result, sound.get(command, result), case))
        assert not kinds[-1].isupper(), (kinds[-1], number, command, case, outcome)
    assert kinds.count("refused") > 10
    assert "fine" in kinds
