"""Download the files of a published data set into a cache folder, and verify them."""

import os
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_xp.data.registry import DATASETS, Source
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.regular import open_regular

CACHE_VARIABLE = "MLP_XP_CACHE"
# Without any data, or for one chunk of CHUNK_BYTES; the next mirror is then tried.
TIMEOUT_SECONDS = 20.0
CHUNK_BYTES = 1 << 13
# The most that is read of a file whose size is not announced. The largest of the data sets' files has 0.6 GB.
LARGEST_FILE = 1 << 32

Progress = Callable[[str, int, int], None]
"""Called during a download with the file's name, the bytes received and the bytes expected (0 if unknown)."""


class DownloadError(MlpXpError):
    """Files of a data set that cannot be downloaded from any mirror, or cannot be stored."""


class SlowMirrorError(Exception):
    """A mirror that sends data too slowly."""


class EndlessFileError(Exception):
    """A mirror that sends more than it announced, or more than LARGEST_FILE."""


def fetch(
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[Path, Path, Path, Path]:
    """Return the four files of a data set in DATASETS, from the cache folder or the first mirror that has them.

    A file in the cache with the right checksum is used without network access. A downloaded file replaces an old one
    only when it is complete and its checksum is right. The checksum of an archive is checked when it is downloaded; the
    four files extracted from it are then used as they are.

    cache_dir: by default the environment variable MLP_XP_CACHE, else the system's cache folder. timeout: seconds
    without data after which the next mirror is tried. Raises DownloadError, which names each mirror and its fault.
    """
    source = DATASETS[name]
    try:
        folder = cache_folder(cache_dir) / source.folder
        files = [folder / file for file in source.files]
        _check_regular([folder / file for file in source.checksums] + files)
        if source.archive is None:
            _fetch_all(name, source, folder, progress, timeout)
        elif not all(file.is_file() for file in files):
            _fetch_all(name, source, folder, progress, timeout)
            _extract(folder / source.archive, files)
    except OSError as error:
        raise DownloadError(
            f"{str(folder)!r} cannot be used for {name}: {error.strerror or error}; name another folder, or set "
            f"{CACHE_VARIABLE}",
            setting="cache_dir",
        ) from error
    train_images, train_labels, test_images, test_labels = files
    return train_images, train_labels, test_images, test_labels


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of downloads: `cache_dir`, else MLP_XP_CACHE, else one in the system's cache folder."""
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or _pooch().os_cache("mlp_xp")
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:  # ~name, where no such user exists
        raise DownloadError(
            f"{str(chosen)!r} starts with the home of an unknown user; name another folder, or set {CACHE_VARIABLE}",
            setting="cache_dir",
        ) from error


def _check_regular(paths: list[Path]) -> None:
    """Raise OSError for a FIFO or device in the cache, which pooch would wait for. A missing file is fetched."""
    for path in paths:
        if path.exists():
            open_regular(path).close()


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DownloadError(f"downloads need pooch, which {not_installed('pooch')}") from error
    return pooch


def _fetch_all(name: str, source: Source, folder: Path, progress: Progress | None, timeout: float) -> None:
    pooch = _pooch()
    from requests import RequestException

    mirrors = list(source.mirrors)
    for file, checksum in source.checksums.items():
        faults = []
        for mirror in tuple(mirrors):
            downloader = pooch.HTTPDownloader(
                progressbar=_Watch(file, progress, timeout),
                chunk_size=CHUNK_BYTES,
                timeout=timeout,
                headers={"Accept-Encoding": "identity"},  # a server that compresses again would change the file
            )
            try:
                with _quiet(pooch):
                    pooch.retrieve(mirror + file, f"sha256:{checksum}", file, folder, downloader=downloader)
                break
            except (
                RequestException,
                ConnectionError,
                TimeoutError,
                ValueError,
                SlowMirrorError,
                EndlessFileError,
            ) as error:
                if type(error) is ValueError and "does not match the known hash" not in str(error):
                    raise  # a defect: pooch reports only wrong checksums this way
                faults.append(f"{mirror}{file}: {_cause(error, timeout)}")
                # The next file starts with the other mirrors, so that a dead mirror costs one timeout, not four.
                mirrors.append(mirrors.pop(mirrors.index(mirror)))
        else:
            there = f" (the existing {file} has a wrong checksum)" if (folder / file).exists() else ""
            raise DownloadError(
                f"{name}: cannot be downloaded: {'; '.join(faults)}; check the network, or put "
                f"{', '.join(source.checksums)} from {source.home} into {str(folder)!r} by hand{there}, or give a "
                "folder of your own data"
            )


def _cause(error: Exception, timeout: float) -> str:
    from requests import HTTPError, RequestException
    from requests.exceptions import ChunkedEncodingError

    chain = list(_chain(error))
    if any(isinstance(link, SlowMirrorError | TimeoutError) for link in chain):
        return f"too slow: gave up after {timeout:g} s"
    if isinstance(error, EndlessFileError):
        return "it sends more than it announced, or than any file of a data set has"
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, ChunkedEncodingError):
        return "the connection was lost during the transfer"
    if isinstance(error, ValueError) and not isinstance(error, RequestException):
        return "wrong checksum"
    reasons = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
    return " ".join(f"no connection: {reasons[-1] if reasons else type(error).__name__}".split())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _quiet(pooch: Any) -> Iterator[None]:
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


class _Watch:
    """A progress bar in the form that pooch expects. It calls `progress` and raises SlowMirrorError."""

    def __init__(self, file: str, progress: Progress | None, timeout: float) -> None:
        self.file, self.progress, self.timeout = file, progress, timeout
        self.total = 0
        self.reset()

    def reset(self) -> None:
        self.done = self.received = 0
        self.since = time.monotonic()

    def update(self, count: int) -> None:
        # A socket's timeout restarts with every byte, so a mirror that sends single bytes would never reach it.
        if time.monotonic() - self.since > self.timeout:
            raise SlowMirrorError
        # A mirror that compresses, in spite of the request, can send more. pooch counts the last chunk as a full one.
        self.received += count
        if self.received > (self.total or LARGEST_FILE) + CHUNK_BYTES:
            raise EndlessFileError
        self.done = min(self.done + count, self.total or sys.maxsize)
        if self.progress is not None:
            self.progress(self.file, self.done, self.total)
        self.since = time.monotonic()

    def close(self) -> None:
        pass


def _extract(archive: Path, files: list[Path]) -> None:
    """Extract files from the folder `gzip` of an archive. Raises DownloadError if they are missing or damaged."""
    try:
        with zipfile.ZipFile(archive) as members:
            packed = [members.getinfo(f"gzip/{file.name}") for file in files]
            for member, file in zip(packed, files, strict=True):
                aside = file.with_name(f".{file.name}.{os.getpid()}")
                try:
                    with members.open(member) as stream, aside.open("wb") as copy:
                        shutil.copyfileobj(stream, copy)
                    aside.replace(file)
                finally:
                    aside.unlink(missing_ok=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:  # KeyError: from getinfo
        raise DownloadError(f"{str(archive)!r}: is not the expected archive: {error}; fetch it again") from error
