"""Data sets by name: where their files are, what is in them, and how they come, verified, into a cache folder."""

import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.errors import MlpXpError, not_installed

CACHE_VARIABLE = "MLP_XP_CACHE"
# Of silence, and for each CHUNK_BYTES: a mirror that is slower is given up.
TIMEOUT_SECONDS = 20.0
CHUNK_BYTES = 1 << 13

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

Progress = Callable[[str, int, int], None]
"""Told, while a file comes in, its name, the bytes that are here and the bytes expected (0 where not known)."""


class DownloadError(MlpXpError):
    """Files of a data set that cannot be had, from no mirror, or cannot be kept."""


class Source(NamedTuple):
    """A data set that others publish."""

    class_names: tuple[str, ...]
    home: str
    """Where its authors describe it."""
    mirrors: tuple[str, ...]
    """Addresses that end in a slash, each with all the files, the best first."""
    checksums: dict[str, str]
    """The SHA-256 of each file to download."""
    folder: str
    """In the cache folder, its own."""
    files: tuple[str, str, str, str] = IDX_FILES
    """Training images and labels, test images and labels: as downloaded, or in the archive's folder `gzip`."""
    archive: str | None = None
    """The one file to download where the four are in a ZIP archive."""
    first_label: int = 0
    """The label of the first class."""
    transposed: bool = False
    """Whether the images are stored column by column."""


def _emnist(split: str, class_names: tuple[str, ...], first_label: int = 0) -> Source:
    train, test = f"emnist-{split}-train", f"emnist-{split}-test"
    return Source(
        class_names,
        "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        ("https://biometrics.nist.gov/cs_links/EMNIST/", "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/"),
        {"gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
        "emnist",
        (
            f"{train}-images-idx3-ubyte.gz",
            f"{train}-labels-idx1-ubyte.gz",
            f"{test}-images-idx3-ubyte.gz",
            f"{test}-labels-idx1-ubyte.gz",
        ),
        "gzip.zip",
        first_label,
        transposed=True,
    )


def _checksums(*sums: str) -> dict[str, str]:
    return dict(zip(IDX_FILES, sums, strict=True))


# The checksums are those that TensorFlow Datasets records for the same files (tensorflow_datasets/url_checksums);
# MNIST's are those of the files in data/mnist too.
DATASETS: dict[str, Source] = {
    "mnist": Source(
        DIGITS,
        "http://yann.lecun.com/exdb/mnist/",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        _checksums(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        "mnist",
    ),
    "fashion-mnist": Source(
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "https://github.com/zalandoresearch/fashion-mnist",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        _checksums(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        "fashion-mnist",
    ),
    "kmnist": Source(
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "https://github.com/rois-codh/kmnist",
        # The only host that is known to have them; either scheme.
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        _checksums(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        "kmnist",
    ),
    "emnist-digits": _emnist("digits", DIGITS),
    "emnist-letters": _emnist("letters", LETTERS, first_label=1),
}


class SlowMirrorError(Exception):
    """A mirror that sends next to nothing."""


def fetch(
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[Path, Path, Path, Path]:
    """The four files of a data set in DATASETS, from the cache folder or else from the first mirror that gives them.

    Each file is put in place once it is whole and its checksum is right; until then whatever was there stays. What is
    there with the right checksum is taken without any network. The four files of an archive are checked as the archive
    is, and then taken as they are.

    cache_dir: by default what the variable MLP_XP_CACHE says, else the system's folder for caches. timeout: the seconds
    of silence after which a mirror is given up. Raises DownloadError, which names each mirror and what was wrong there.
    """
    source = DATASETS[name]
    try:
        folder = cache_folder(cache_dir) / source.folder
        files = [folder / file for file in source.files]
        if source.archive is None:
            _fetch_all(name, source, folder, progress, timeout)
        elif not all(file.is_file() for file in files):
            _fetch_all(name, source, folder, progress, timeout)
            _extract(folder / source.archive, files)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DownloadError(
            f"{name}: {str(folder / str(source.archive))!r} is not the archive it should be: {error}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{name}: the cache folder {str(folder)!r} cannot be used: {error.strerror or error}; "
            f"name another with --cache-dir or {CACHE_VARIABLE}"
        ) from error
    train_images, train_labels, test_images, test_labels = files
    return train_images, train_labels, test_images, test_labels


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where downloads are kept: `cache_dir`, else what MLP_XP_CACHE says, else in the system's folder for caches."""
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or _pooch().os_cache("mlp_xp")
    return Path(chosen).expanduser().absolute()


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError:
        raise DownloadError(f"downloads need pooch, which {not_installed('pooch')}") from None
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
                headers={"Accept-Encoding": "identity"},  # a server that gzips what is gzipped would change the file
            )
            try:
                with _quiet(pooch):
                    pooch.retrieve(mirror + file, f"sha256:{checksum}", file, folder, downloader=downloader)
                break
            except (RequestException, ConnectionError, TimeoutError, ValueError, SlowMirrorError) as error:
                faults.append(f"{mirror}{file}: {_cause(error, timeout)}")
                # For the next file the others come first: a dead mirror is waited for once, not four times.
                mirrors.append(mirrors.pop(mirrors.index(mirror)))
        else:
            there = f" (the {file} that is there has a wrong checksum)" if (folder / file).exists() else ""
            raise DownloadError(
                f"{name}: cannot be downloaded: {'; '.join(faults)}; check the network, or put "
                f"{', '.join(source.checksums)} from {source.home} into {str(folder)!r} by hand{there}, or give a "
                "folder of your own with --data-dir"
            )


def _cause(error: Exception, timeout: float) -> str:
    from requests import HTTPError, RequestException
    from requests.exceptions import ChunkedEncodingError

    chain = list(_chain(error))
    if any(isinstance(link, SlowMirrorError | TimeoutError) for link in chain):
        return f"too slow: gave up after {timeout:g} s"
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, ChunkedEncodingError):
        return "the transfer broke off"
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
    """A progress bar as pooch drives one: it tells `progress`, and gives up a slow mirror."""

    def __init__(self, file: str, progress: Progress | None, timeout: float) -> None:
        self.file, self.progress, self.timeout = file, progress, timeout
        self.total = 0
        self.reset()

    def reset(self) -> None:
        self.done = 0
        self.since = time.monotonic()

    def update(self, count: int) -> None:
        # The timeout of a socket restarts with every byte, so a mirror that drips would never meet it.
        if time.monotonic() - self.since > self.timeout:
            raise SlowMirrorError
        self.done = min(self.done + count, self.total or sys.maxsize)
        if self.progress is not None:
            self.progress(self.file, self.done, self.total)
        self.since = time.monotonic()

    def close(self) -> None:
        pass


def _extract(archive: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive) as members:
        for file in files:
            aside = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                with members.open(f"gzip/{file.name}") as packed, aside.open("wb") as copy:
                    shutil.copyfileobj(packed, copy)
                aside.replace(file)
            finally:
                aside.unlink(missing_ok=True)
