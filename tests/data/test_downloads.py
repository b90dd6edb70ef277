"""Downloads against servers on 127.0.0.1 that fail in every way that a mirror can."""

import contextlib
import gzip
import hashlib
import http.server
import io
import logging
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console

from mlp_xp.backend import Backend
from mlp_xp.data import downloads
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.downloads import DownloadError, cache_folder, fetch
from mlp_xp.data.registry import DATASETS, IDX_FILES, Source
from mlp_xp.show.download_progress import show_downloads

# For a server that says nothing, long enough for one that does on a busy machine.
TIMEOUT = 1.0


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


TRAIN = np.random.default_rng(1).integers(0, 256, (30, 28, 28), dtype=np.uint8)
TEST = np.random.default_rng(2).integers(0, 256, (10, 28, 28), dtype=np.uint8)
TRAIN_LABELS = np.arange(30, dtype=np.uint8) % 10
TEST_LABELS = np.arange(10, dtype=np.uint8)
CONTENT = dict(zip(IDX_FILES, map(idx, (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS)), strict=True))


class Server(NamedTuple):
    url: str
    requests: list[str]
    """The path of each request so far."""


Reply = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


def whole(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def not_found(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_error(404)


def truncated(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def altered(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    whole(handler, content[:-1] + bytes([content[-1] ^ 1]))


def stalling(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """Sends a half and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    wait_for_the_other_end(handler)


def wait_for_the_other_end(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.settimeout(30)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    handler.close_connection = True


@contextlib.contextmanager
def serve(reply: Reply = whole, content: dict[str, bytes] = CONTENT) -> Iterator[Server]:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            name = self.path.rpartition("/")[2]
            with contextlib.suppress(ConnectionError):
                (reply if name in content else not_found)(self, content.get(name, b""))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{server.server_address[1]}/data/", requests)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def dead() -> Iterator[str]:
    """The address of a port at which nobody listens, kept from others by being bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/data/"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(downloads.CACHE_VARIABLE, raising=False)


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the given addresses the mirrors of kmnist, and the test's own files its files."""

    def set_mirrors(*urls: str) -> None:
        checksums = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
        monkeypatch.setitem(DATASETS, "kmnist", DATASETS["kmnist"]._replace(mirrors=urls, checksums=checksums))

    return set_mirrors


def get(cache: Path) -> dict[str, bytes]:
    """What the files that `fetch` returns hold."""
    return {path.name: path.read_bytes() for path in fetch("kmnist", cache_dir=cache, timeout=TIMEOUT)}


def message(cache: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch("kmnist", cache_dir=cache, timeout=TIMEOUT)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert caught.value.exit_code == 2
    return text


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


# The registry.


@pytest.mark.parametrize("name", DATASETS)
def test_the_registry_is_well_formed(name: str) -> None:
    source = DATASETS[name]
    assert set(source.checksums) == ({source.archive} if source.archive else set(source.files))
    for checksum in source.checksums.values():
        assert len(bytes.fromhex(checksum)) == 32
    assert len(set(source.mirrors)) == len(source.mirrors) > 1
    assert all(mirror.startswith(("http://", "https://")) and mirror.endswith("/") for mirror in source.mirrors)
    assert len(set(source.class_names)) == len(source.class_names) == (26 if name == "emnist-letters" else 10)
    assert len(set(source.files)) == 4
    for file, words in zip(source.files, ("train-images", "train-labels", "images", "labels"), strict=True):
        assert words in file
    assert all("train" not in file for file in source.files[2:])


def test_checksums_of_mnist_are_those_of_the_files_in_the_repository(mnist_dir: Path) -> None:
    sums = {name: hashlib.sha256((mnist_dir / name).read_bytes()).hexdigest() for name in IDX_FILES}
    assert DATASETS["mnist"].checksums == sums
    listed = [line.split() for line in (mnist_dir / "SHA256SUMS").read_text().splitlines()]
    assert {name: checksum for checksum, name in listed} == sums


# What works.


def test_download_and_then_offline(tmp_path: Path, mirrors: Callable[..., None]) -> None:
    with serve() as server:
        mirrors(server.url)
        assert get(tmp_path) == CONTENT
        assert sorted(server.requests) == sorted(f"/data/{name}" for name in IDX_FILES)
        assert get(tmp_path) == CONTENT
        assert len(server.requests) == 4
    assert get(tmp_path) == CONTENT
    assert left_behind(tmp_path) == sorted(IDX_FILES)


def test_resumed_with_the_files_that_are_missing(tmp_path: Path, mirrors: Callable[..., None], dead: str) -> None:
    with serve(content={name: CONTENT[name] for name in IDX_FILES[:2]}) as server:
        mirrors(server.url)
        assert "HTTP status 404" in message(tmp_path)
    with serve() as server:
        mirrors(server.url)
        assert get(tmp_path) == CONTENT
        assert server.requests == [f"/data/{name}" for name in IDX_FILES[2:]]


@pytest.mark.parametrize("reply", [not_found, truncated, altered, stalling])
def test_next_mirror(tmp_path: Path, mirrors: Callable[..., None], dead: str, reply: Reply) -> None:
    with serve(reply) as bad, serve() as good:
        mirrors(dead, bad.url, good.url)
        assert get(tmp_path) == CONTENT
        # Once it has failed, it is not asked again while another answers.
        assert bad.requests == [f"/data/{IDX_FILES[0]}"]
        assert good.requests == [f"/data/{name}" for name in IDX_FILES]
    assert left_behind(tmp_path) == sorted(IDX_FILES)


def test_each_mirror_has_only_some_files(tmp_path: Path, mirrors: Callable[..., None]) -> None:
    with (
        serve(content={name: CONTENT[name] for name in IDX_FILES[::2]}) as one,
        serve(content={name: CONTENT[name] for name in IDX_FILES[1::2]}) as other,
    ):
        mirrors(one.url, other.url)
        assert get(tmp_path) == CONTENT


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, mirrors: Callable[..., None]) -> None:
    with serve() as server:
        mirrors(server.url)
        get(tmp_path)
        (tmp_path / "kmnist" / IDX_FILES[1]).write_bytes(CONTENT[IDX_FILES[1]][:-1])
        assert get(tmp_path) == CONTENT
        assert server.requests[4:] == [f"/data/{IDX_FILES[1]}"]


# What fails.


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (not_found, "HTTP status 404"),
        (truncated, "ChunkedEncodingError"),
        (altered, "wrong checksum"),
        (stalling, "ConnectionError"),
    ],
)
def test_every_mirror_fails(tmp_path: Path, mirrors: Callable[..., None], dead: str, reply: Reply, fault: str) -> None:
    """Each is named with its fault, and what was there before is kept."""
    there = tmp_path / "kmnist" / IDX_FILES[0]
    there.parent.mkdir()
    there.write_bytes(b"another version")
    with serve(reply) as bad:
        mirrors(dead, bad.url)
        text = message(tmp_path)
    assert text == (
        f"kmnist: cannot be downloaded: {dead}{IDX_FILES[0]}: ConnectionError; {bad.url}{IDX_FILES[0]}: {fault}; check "
        f"the network, or put {', '.join(IDX_FILES)} from {DATASETS['kmnist'].home} into "
        f"{str(tmp_path / 'kmnist')!r} by hand"
    )
    assert there.read_bytes() == b"another version"
    assert left_behind(tmp_path) == [IDX_FILES[0]]


def test_cache_folder_that_cannot_be(tmp_path: Path, mirrors: Callable[..., None], dead: str) -> None:
    mirrors(dead)
    (tmp_path / "file").write_bytes(b"")
    text = message(tmp_path / "file")
    assert text.startswith(f"cache_dir: {str(tmp_path / 'file' / 'kmnist')!r} cannot be used for kmnist: ")
    assert text.endswith("; name another folder, or set MLP_XP_CACHE")
    (tmp_path / "kmnist" / IDX_FILES[0]).mkdir(parents=True)
    assert "cannot be used for kmnist: Is a directory" in message(tmp_path)


def test_full_disk(tmp_path: Path, mirrors: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill)
    mirrors("http://127.0.0.1/")
    assert "cannot be used for kmnist: No space left on device" in message(tmp_path)


# Where, and what is seen.


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    assert cache_folder() == Path(pooch.os_cache("mlp_xp"))
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    assert cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("~/c") == tmp_path / "c"
    monkeypatch.chdir(tmp_path)
    assert cache_folder("d") == tmp_path / "d"


def test_nothing_is_printed(
    tmp_path: Path, mirrors: Callable[..., None], dead: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import pooch

    said = io.StringIO()
    handler = logging.StreamHandler(said)  # pooch's own writes to whatever stderr was when it was imported
    pooch.get_logger().addHandler(handler)
    try:
        with serve() as server:
            mirrors(dead, server.url)
            with show_downloads(Console()) as progress:
                fetch("kmnist", cache_dir=tmp_path, progress=progress)
    finally:
        pooch.get_logger().removeHandler(handler)
    assert said.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_progress(tmp_path: Path, mirrors: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 1000)
    told: list[tuple[str, int, int]] = []
    with serve() as server:
        mirrors(server.url)
        fetch("kmnist", cache_dir=tmp_path, progress=lambda *values: told.append(values))
    for name, data in CONTENT.items():
        done = [count for file, count, expected in told if file == name and expected == len(data)]
        assert done == sorted(done)
        assert done[-1] == len(data)
    assert {file for file, _, _ in told} == set(IDX_FILES)


def test_progress_on_a_terminal(tmp_path: Path, mirrors: Callable[..., None]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with serve() as server:
        mirrors(server.url)
        with show_downloads(console) as progress:
            fetch("kmnist", cache_dir=tmp_path, progress=progress)
    for name in IDX_FILES:
        assert name in console.file.getvalue()


# Data sets that were downloaded.


def test_load_by_name(tmp_path: Path, mirrors: Callable[..., None], backend: Backend) -> None:
    with serve() as server:
        mirrors(server.url)
        assert load_dataset("kmnist", cache_dir=tmp_path).train_images.shape == (30, 28, 28)
        dataset = load_dataset("kmnist", backend, cache_dir=tmp_path)
        assert len(server.requests) == 4
    assert dataset.class_names == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    for array, expected in zip(dataset[:4], (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS), strict=True):
        assert array.dtype == backend.xp.uint8
        np.testing.assert_array_equal(backend.to_numpy(array), expected)


def emnist(monkeypatch: pytest.MonkeyPatch, url: str, archive: bytes) -> None:
    for name in ("emnist-digits", "emnist-letters"):
        source: Source = DATASETS[name]
        checksums = {"gzip.zip": hashlib.sha256(archive).hexdigest()}
        monkeypatch.setitem(DATASETS, name, source._replace(mirrors=(url,), checksums=checksums))


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def upright(count: int, rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, rows, columns), dtype=np.uint8)


# Not square, so that a transposition left out, or one too many, shows in the shape too.
LETTER_IMAGES = {"train": upright(60, 5, 3, 1), "test": upright(52, 5, 3, 2)}
LETTER_LABELS = {"train": np.arange(60, dtype=np.uint8) % 26 + 1, "test": np.arange(52, dtype=np.uint8) % 26 + 1}
DIGIT_IMAGES = {"train": upright(20, 4, 4, 3), "test": upright(10, 4, 4, 4)}
DIGIT_LABELS = {"train": np.arange(20, dtype=np.uint8) % 10, "test": np.arange(10, dtype=np.uint8)}
EMNIST_FILES = {
    f"gzip/emnist-{split}-{part}-{content}-ubyte.gz": data
    for split, images, labels in (("letters", LETTER_IMAGES, LETTER_LABELS), ("digits", DIGIT_IMAGES, DIGIT_LABELS))
    for part in ("train", "test")
    for content, data in (
        ("images-idx3", idx(np.ascontiguousarray(images[part].transpose(0, 2, 1)))),
        ("labels-idx1", idx(labels[part])),
    )
}


def test_emnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    archive = zipped(EMNIST_FILES)
    with serve(content={"gzip.zip": archive}) as server:
        emnist(monkeypatch, server.url, archive)
        assert load_dataset("emnist-letters", cache_dir=tmp_path).train_images.shape == (60, 5, 3)
        letters = load_dataset("emnist-letters", backend, cache_dir=tmp_path)
        digits = load_dataset("emnist-digits", backend, cache_dir=tmp_path)
        assert server.requests == ["/data/gzip.zip"]
    assert letters.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert digits.class_names == tuple("0123456789")
    for dataset, images, labels, first in (
        (letters, LETTER_IMAGES, LETTER_LABELS, 1),
        (digits, DIGIT_IMAGES, DIGIT_LABELS, 0),
    ):
        np.testing.assert_array_equal(backend.to_numpy(dataset.train_images), images["train"])
        np.testing.assert_array_equal(backend.to_numpy(dataset.train_labels), labels["train"] - first)
        np.testing.assert_array_equal(backend.to_numpy(dataset.test_images), images["test"])
        np.testing.assert_array_equal(backend.to_numpy(dataset.test_labels), labels["test"] - first)
    # Once the four files are out of it, the archive is not needed.
    (tmp_path / "emnist" / "gzip.zip").unlink()
    assert load_dataset("emnist-digits", cache_dir=tmp_path).train_images.shape == (20, 4, 4)
    assert left_behind(tmp_path) == sorted(name.removeprefix("gzip/") for name in EMNIST_FILES)


def test_mnist_is_taken_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.data.datasets.fetch", lambda *_, **__: pytest.fail("downloaded"))
    assert load_dataset(cache_dir=tmp_path).train_images.shape == (60000, 28, 28)


def test_mnist_is_downloaded_where_there_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    monkeypatch.setattr("mlp_xp.data.datasets.MNIST_DIR", tmp_path / "nowhere")
    with serve() as server:
        source = DATASETS["mnist"]._replace(mirrors=(server.url,), checksums=checksums)
        monkeypatch.setitem(DATASETS, "mnist", source)
        dataset = load_dataset(cache_dir=tmp_path)
    np.testing.assert_array_equal(dataset.train_images, TRAIN)
    assert dataset.class_names == tuple("0123456789")
