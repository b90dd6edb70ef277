"""Downloads against servers on 127.0.0.1 that fail as mirrors do."""

import contextlib
import gzip
import hashlib
import http.server
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import arrays_in, idx_bytes
from numerics import assert_all_equal

from mlp_xp.data import _downloads as downloads
from mlp_xp.data._downloads import DownloadError, fetch
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.registry import DATASETS, IDX_FILES

pytestmark = pytest.mark.needs("pooch")

RANDOM = np.random.default_rng(1)
IMAGES = [
    RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8) for count in (30, 10)
]
ARRAYS = [
    IMAGES[0],
    np.arange(30, dtype=np.uint8) % 10,
    IMAGES[1],
    np.arange(10, dtype=np.uint8),
]
CONTENT = {
    name: gzip.compress(idx_bytes(array), mtime=0)
    for name, array in zip(IDX_FILES, ARRAYS, strict=True)
}


def test_the_registry_is_well_formed() -> None:
    for name, source in DATASETS.items():
        assert {*source.checksums} == (
            {source.archive} if source.archive else {*source.files}
        )
        assert all(
            len(bytes.fromhex(checksum)) == 32 for checksum in source.checksums.values()
        )
        assert all(
            mirror.startswith(("http://", "https://")) and mirror.endswith("/")
            for mirror in source.mirrors
        )
        assert (
            len({*source.class_names})
            == len(source.class_names)
            == (26 if name == "emnist-letters" else 10)
        )
        kinds = ("train-images", "train-labels", "images", "labels")
        assert all(kind in file for kind, file in zip(kinds, source.files, strict=True))


def test_the_own_copy_of_mnist_has_its_checksums(mnist_dir: Path) -> None:
    sums = {
        name: hashlib.sha256((mnist_dir / name).read_bytes()).hexdigest()
        for name in IDX_FILES
    }
    lines = (mnist_dir / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in map(str.split, lines)}
    assert DATASETS["mnist"].checksums == sums == listed


def test_downloaded_once_checked_and_fetched_again_if_damaged(
    tmp_path: Path, mirrors: Any
) -> None:
    with serve(content={name: CONTENT[name] for name in IDX_FILES[:2]}) as (url, _):
        mirrors(url)
        assert "HTTP status 404" in message(tmp_path)
    with serve() as (url, requests):
        mirrors(url)
        assert get(tmp_path) == CONTENT
        assert requests == [*IDX_FILES[2:]]
        (tmp_path / "kmnist" / IDX_FILES[1]).write_bytes(CONTENT[IDX_FILES[1]][:-1])
        assert get(tmp_path) == CONTENT
        assert requests[2:] == [IDX_FILES[1]]
    assert get(tmp_path) == CONTENT  # without a network
    assert left_behind(tmp_path) == sorted(IDX_FILES)


def test_a_mirror_that_has_failed_is_not_asked_again_while_another_answers(
    tmp_path: Path, mirrors: Any, dead: str
) -> None:
    with serve("stalling") as (bad, asked), serve() as (good, requests):
        mirrors(dead, bad, good)
        assert get(tmp_path) == CONTENT
        assert asked == [IDX_FILES[0]]
        assert requests == [*IDX_FILES]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("nothing", "HTTP status 404"),
        ("half", "ChunkedEncodingError"),
        ("altered", "wrong checksum"),
    ],
)
def test_every_mirror_fails(
    tmp_path: Path, mirrors: Any, dead: str, reply: str, fault: str
) -> None:
    """Each is named with its fault, and what was there before is kept."""
    there = tmp_path / "kmnist" / IDX_FILES[0]
    there.parent.mkdir()
    there.write_bytes(b"another version")
    with serve(reply) as (bad, _):
        mirrors(dead, bad)
        text = message(tmp_path)
    first = IDX_FILES[0]
    of_each = f"{dead}{first}: ConnectionError; {bad}{first}: {fault}; check"
    assert text.startswith(f"kmnist: cannot be downloaded: {of_each}")
    assert DATASETS["kmnist"].home in text
    assert there.read_bytes() == b"another version"
    assert left_behind(tmp_path) == [IDX_FILES[0]]


def test_cache_folder_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    (tmp_path / "file").write_bytes(b"")
    place = str(tmp_path / "file" / "kmnist")
    assert message(tmp_path / "file").startswith(
        f"cache_dir: '{place}' cannot be used for kmnist: "
    )

    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill)
    assert "cannot be used for kmnist: No space left on device" in message(tmp_path)


def test_where_the_cache_is(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument, or the variable, or the system's folder."""
    monkeypatch.setattr(downloads, "cache_folder", lambda: tmp_path / "system")
    with serve() as (url, _):
        mirrors(url)
        assert {path.parent for path in fetch("kmnist")} == {
            tmp_path / "system" / "kmnist"
        }
        assert get(tmp_path / "b") == CONTENT


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """A bar for each file is drawn on a terminal; nothing is printed elsewhere."""
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", shown)
    with serve() as (url, _):
        mirrors(url)
        fetch("kmnist", cache_dir=tmp_path)
    assert shown.getvalue().count("100%") == (len(CONTENT) if terminal else 0)
    assert terminal or not shown.getvalue()


def test_emnist(tmp_path: Path, mirrors: Any) -> None:
    """Both sets are in one archive.

    Images are stored column by column. Letters are numbered from 1.
    """
    # Not square, so that a transposition left out, or one too many, shows in the shape
    # too.
    images = {
        part: RANDOM.integers(0, 256, (count, 5, 3), np.uint8)
        for part, count in (("train", 60), ("test", 52))
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for split, first, classes in (("letters", 1, 26), ("digits", 0, 10)):
            for part, array in images.items():
                labels = (np.arange(len(array)) % classes + first).astype(np.uint8)
                for name, each in (
                    ("images-idx3", array.transpose(0, 2, 1)),
                    ("labels-idx1", labels),
                ):
                    data = gzip.compress(idx_bytes(np.ascontiguousarray(each)))
                    archive.writestr(
                        f"gzip/emnist-{split}-{part}-{name}-ubyte.gz", data
                    )
    content = {"gzip.zip": packed.getvalue()}
    with serve(content=content) as (url, requests):
        for split, names in (
            ("letters", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            ("digits", "0123456789"),
        ):
            mirrors(url, name=f"emnist-{split}", content=content)
            dataset = load_dataset(f"emnist-{split}", cache_dir=tmp_path)
            assert dataset.signature.outputs == tuple(names)
            assert_all_equal(
                [dataset.train.inputs, dataset.test.inputs], images.values()
            )
            assert all(
                x.flags.c_contiguous
                for x in [dataset.train.inputs, dataset.test.inputs]
            )
            assert_all_equal(
                [dataset.train.labels, dataset.test.labels],
                [np.arange(len(each)) % len(names) for each in images.values()],
            )
        assert requests == ["gzip.zip"]
    # without a network
    assert load_dataset("emnist-digits", cache_dir=tmp_path).name == "emnist-digits"
    assert left_behind(tmp_path) == ["gzip.zip"]


def test_mnist_is_downloaded_only_where_there_is_no_repository(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlp_xp.data.datasets.MNIST_DIR", tmp_path / "nowhere")
    with serve() as (url, requests):
        mirrors(url, name="mnist")
        dataset = load_dataset(cache_dir=tmp_path)
        assert len(requests) == 4
    assert_all_equal(arrays_in(dataset), ARRAYS)


# Servers that fail as mirrors do.


@contextlib.contextmanager
def serve(
    reply: str = "whole", content: dict[str, bytes] = CONTENT
) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server and the names of the files that it was asked for.

    reply: what it sends: the whole file; "half" of it; half and then nothing,
        "stalling"; one bit "altered"; "nothing".
    """
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            requests.append(name)
            if name not in content or reply == "nothing":
                self.send_error(404)
                return
            data = content[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            sent = {"whole": data, "altered": data[:-1] + bytes([data[-1] ^ 1])}.get(
                reply, data[: len(data) // 2]
            )
            with contextlib.suppress(OSError):
                self.wfile.write(sent)
                if reply == "stalling":  # until the other end gives up
                    self.wfile.flush()
                    self.connection.settimeout(30)
                    self.connection.recv(1)
                    self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/data/", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def dead() -> Iterator[str]:
    """The address of a port, bound by this process, at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/data/"


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the given addresses the mirrors of a data set, of the test's own files."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(downloads.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 1)

    def set_mirrors(
        *urls: str, name: str = "kmnist", content: dict[str, bytes] = CONTENT
    ) -> None:
        checksums = {
            file: hashlib.sha256(data).hexdigest() for file, data in content.items()
        }
        monkeypatch.setitem(
            DATASETS, name, DATASETS[name]._replace(mirrors=urls, checksums=checksums)
        )

    return set_mirrors


def get(cache: Path) -> dict[str, bytes]:
    """What the files that `fetch` returns hold."""
    return {path.name: path.read_bytes() for path in fetch("kmnist", cache_dir=cache)}


def message(cache: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch("kmnist", cache_dir=cache)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 2
    return str(caught.value)


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())
