"""Downloads against servers on 127.0.0.1 that fail as mirrors do."""

import contextlib
import gzip
import hashlib
import http.server
import io
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_sets import idx_bytes
from rich.console import Console

from mlp_xp.data import downloads
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.downloads import DownloadError, cache_folder, fetch
from mlp_xp.data.registry import DATASETS, IDX_FILES
from mlp_xp.show.download_progress import show_downloads


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(idx_bytes(array), mtime=0)


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


def answer(handler: http.server.BaseHTTPRequestHandler, content: bytes, sent: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:sent])


def not_found(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_error(404)


def truncated(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content, len(content) // 2)


def altered(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content[:-1] + bytes([content[-1] ^ 1]))


def stalling(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """Sends a half, and then nothing until the other end gives up."""
    answer(handler, content, len(content) // 2)
    handler.wfile.flush()
    handler.connection.settimeout(30)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    handler.close_connection = True


@contextlib.contextmanager
def serve(reply: Reply = answer, content: dict[str, bytes] = CONTENT) -> Iterator[Server]:
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
    """Makes the given addresses the mirrors of a data set, and the test's own files its files."""

    def set_mirrors(*urls: str, name: str = "kmnist") -> None:
        checksums = {file: hashlib.sha256(data).hexdigest() for file, data in CONTENT.items()}
        monkeypatch.setitem(DATASETS, name, DATASETS[name]._replace(mirrors=urls, checksums=checksums))

    return set_mirrors


def get(cache: Path) -> dict[str, bytes]:
    """What the files that `fetch` returns hold."""
    return {path.name: path.read_bytes() for path in fetch("kmnist", cache_dir=cache, timeout=1)}


def message(cache: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch("kmnist", cache_dir=cache, timeout=1)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 2
    return str(caught.value)


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_the_registry_is_well_formed(mnist_dir: Path) -> None:
    for name, source in DATASETS.items():
        assert {*source.checksums} == ({source.archive} if source.archive else {*source.files})
        assert all(len(bytes.fromhex(checksum)) == 32 for checksum in source.checksums.values())
        assert all(mirror.startswith(("http://", "https://")) and mirror.endswith("/") for mirror in source.mirrors)
        assert len({*source.class_names}) == len(source.class_names) == (26 if name == "emnist-letters" else 10)
        kinds = ("train-images", "train-labels", "images", "labels")
        assert all(kind in file for kind, file in zip(kinds, source.files, strict=True))
    assert len({source.folder for source in DATASETS.values() if source.files == IDX_FILES}) == 3
    sums = {name: hashlib.sha256((mnist_dir / name).read_bytes()).hexdigest() for name in IDX_FILES}
    listed = [line.split() for line in (mnist_dir / "SHA256SUMS").read_text().splitlines()]
    assert DATASETS["mnist"].checksums == sums == {name: checksum for checksum, name in listed}


def test_downloaded_once_checked_and_fetched_again_if_damaged(tmp_path: Path, mirrors: Any) -> None:
    with serve(content={name: CONTENT[name] for name in IDX_FILES[:2]}) as server:
        mirrors(server.url)
        assert "HTTP status 404" in message(tmp_path)
    with serve() as server:
        mirrors(server.url)
        assert get(tmp_path) == CONTENT
        assert server.requests == [f"/data/{name}" for name in IDX_FILES[2:]]
        (tmp_path / "kmnist" / IDX_FILES[1]).write_bytes(CONTENT[IDX_FILES[1]][:-1])
        assert get(tmp_path) == CONTENT
        assert server.requests[2:] == [f"/data/{IDX_FILES[1]}"]
    assert get(tmp_path) == CONTENT  # without a network
    assert left_behind(tmp_path) == sorted(IDX_FILES)


@pytest.mark.parametrize("reply", [not_found, stalling])
def test_next_mirror(tmp_path: Path, mirrors: Any, dead: str, reply: Reply) -> None:
    with serve(reply) as bad, serve() as good:
        mirrors(dead, bad.url, good.url)
        assert get(tmp_path) == CONTENT
        # Once it has failed, it is not asked again while another answers.
        assert bad.requests == [f"/data/{IDX_FILES[0]}"]
        assert good.requests == [f"/data/{name}" for name in IDX_FILES]
    assert left_behind(tmp_path) == sorted(IDX_FILES)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (not_found, "HTTP status 404"),
        (truncated, "ChunkedEncodingError"),
        (altered, "wrong checksum"),
        (stalling, "ConnectionError"),
    ],
)
def test_every_mirror_fails(tmp_path: Path, mirrors: Any, dead: str, reply: Reply, fault: str) -> None:
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


def test_cache_folder_that_cannot_be_used(tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    (tmp_path / "file").write_bytes(b"")
    text = message(tmp_path / "file")
    assert text.startswith(f"cache_dir: {str(tmp_path / 'file' / 'kmnist')!r} cannot be used for kmnist: ")
    assert text.endswith("; name another folder, or set MLP_XP_CACHE")

    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill)
    assert "cannot be used for kmnist: No space left on device" in message(tmp_path)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    assert cache_folder() == Path(pooch.os_cache("mlp_xp"))
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    assert cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("~/c") == tmp_path / "c"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, terminal: bool) -> None:
    """It is told in bytes, drawn on a terminal, and nothing else is printed."""
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 1000)
    told: list[tuple[str, int, int]] = []
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with serve() as server, show_downloads(console) as draw:
        mirrors(server.url)
        fetch("kmnist", cache_dir=tmp_path, progress=lambda *values: (told.append(values), draw(*values)))
    for name, data in CONTENT.items():
        done = [count for file, count, expected in told if file == name and expected == len(data)]
        assert done == sorted(done)
        assert done[-1] == len(data)
        assert (name in console.file.getvalue()) is terminal
    assert capfd.readouterr() == ("", "")


# Not square, so that a transposition left out, or one too many, shows in the shape too.
LETTERS = {
    part: np.random.default_rng(n).integers(0, 256, (n, 5, 3), np.uint8) for part, n in (("train", 60), ("test", 52))
}
EMNIST = {
    f"gzip/emnist-{split}-{part}-{content}-ubyte.gz": idx(array)
    for split, first, classes in (("letters", 1, 26), ("digits", 0, 10))
    for part, images in LETTERS.items()
    for content, array in (
        ("images-idx3", np.ascontiguousarray(images.transpose(0, 2, 1))),
        ("labels-idx1", (np.arange(len(images)) % classes + first).astype(np.uint8)),
    )
}


def test_emnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in EMNIST.items():
            archive.writestr(name, data)
    with serve(content={"gzip.zip": packed.getvalue()}) as server:
        checksums = {"gzip.zip": hashlib.sha256(packed.getvalue()).hexdigest()}
        for name in ("emnist-digits", "emnist-letters"):
            source = DATASETS[name]._replace(mirrors=(server.url,), checksums=checksums)
            monkeypatch.setitem(DATASETS, name, source)
        sets = [(load_dataset(f"emnist-{split}", cache_dir=tmp_path), split) for split in ("letters", "digits")]
        assert server.requests == ["/data/gzip.zip"]
    for dataset, split in sets:
        names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if split == "letters" else "0123456789"
        assert dataset.class_names == tuple(names)
        for (images, labels), expected in zip((dataset[:2], dataset[2:4]), LETTERS.values(), strict=True):
            np.testing.assert_array_equal(images, expected)
            assert images.flags.c_contiguous
            np.testing.assert_array_equal(labels, np.arange(len(expected)) % len(names))
    # Once the four files are out of it, the archive is not needed.
    (tmp_path / "emnist" / "gzip.zip").unlink()
    assert load_dataset("emnist-digits", cache_dir=tmp_path).name == "emnist-digits"
    assert left_behind(tmp_path) == sorted(name.removeprefix("gzip/") for name in EMNIST)


def test_mnist_is_downloaded_only_where_there_is_no_repository(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mlp_xp.data.datasets.fetch", lambda *_, **__: pytest.fail("downloaded"))
        assert load_dataset(cache_dir=tmp_path).train_inputs.shape == (60000, 28, 28)
    monkeypatch.setattr("mlp_xp.data.datasets.MNIST_DIR", tmp_path / "nowhere")
    with serve() as server:
        mirrors(server.url, name="mnist")
        dataset = load_dataset(cache_dir=tmp_path)
    for array, expected in zip(dataset[:4], (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS), strict=True):
        np.testing.assert_array_equal(array, expected)
