"""Files of a run or of data that are damaged: one line that names the file, and no silently wrong number."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call, options, small_settings
from PIL import Image
from safetensors.numpy import save_file

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """A finished run, in a folder with its data and a picture."""
    folder = tmp_path_factory.mktemp("runs")
    data = shutil.copytree(data_dir, folder / "data")
    Image.new("L", (9, 9)).save(folder / "picture.png")
    outcome = call("train", "--data-dir", data, "--run-dir", folder / "run", *options(small_settings(epochs=1)))
    assert (outcome.code, outcome.err) == (0, "")
    return folder / "run"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])


def change(**values: object) -> Change:
    """Change settings in config.json."""

    def apply(path: Path) -> None:
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "settings": {**record["settings"], **values}}))

    return apply


@pytest.mark.parametrize(
    ("file", "damage", "command", "words"),
    [
        ("run/model.safetensors", cut, "evaluate run", ""),
        ("run/model.safetensors", flip, "evaluate run", ""),
        ("run/model.safetensors", flip, "predict run picture.png", ""),
        ("run/model.safetensors", lambda path: save_file({"a": np.ones(3)}, path), "plot run", ""),
        ("run/checkpoint.safetensors", cut, "train --resume run --epochs 2", ""),
        ("run/checkpoint.safetensors", flip, "train --resume run --epochs 2", ""),
        ("run/metrics.jsonl", lambda path: path.write_text('{"epoch": NaN}\n{}\n'), "plot run", "line 1"),
        ("run/metrics.jsonl", lambda path: path.write_text('{"epoch": 1}\n'), "plot run", "no field 'sample'"),
        ("run/metrics.jsonl", cut, "train --resume run --epochs 2", "reports"),
        ("run/result.json", cut, "train --resume run --epochs 2", ""),
        ("run/config.json", cut, "evaluate run", ""),
        ("run/config.json", change(momentum=2.0), "train --resume run", "momentum"),
        ("run/config.json", change(speed=2.0), "train --resume run", "speed"),
        ("data/train-labels-idx1-ubyte", flip, "train --resume run --epochs 2", "started with other data"),
        ("data/t10k-images-idx3-ubyte", flip, "evaluate run", "started with other data"),
        ("data/t10k-images-idx3-ubyte", cut, "evaluate run", ""),
    ],
)
def test_a_damaged_file_is_named(
    file: str, damage: Change, command: str, words: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shutil.copytree(run.parent, tmp_path / "copy")
    config = place / "run" / "config.json"
    config.write_text(config.read_text().replace(str(run.parent), str(place)))
    monkeypatch.chdir(place)
    damage(place / file)
    name, *arguments = command.split()
    assert_one_line(call(name, *arguments), 2, "run" if file.startswith("data") and words else file, words)
