"""Files from anybody's hand: no regular file, a bomb, a record of nonsense. Each is refused in one line, at once."""

import contextlib
import gzip
import json
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
from data_sets import TINY, write_idx_folder
from helpers import PATIENCE, Outcome, assert_one_line, call, finish, start
from PIL import Image

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.csv_files import CsvError, read_csv
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.pictures import PictureError, prepare_picture
from mlp_xp.data.reading import EXPANSION, MODEST
from mlp_xp.regular import UnfitFileError, open_regular, read_regular

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
