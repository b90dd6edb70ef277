"""Download the files of a published data set into a cache folder, and verify them, with pooch."""

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from mlp_xp.data.registry import DATASETS, Source
from mlp_xp.errors import MlpXpError

CACHE_VARIABLE = "MLP_XP_CACHE"
TIMEOUT_SECONDS = 20.0  # without data, after which the next mirror is tried
CHUNK_BYTES = 1 << 16

Progress = Callable[[str, int, int], None]
"""Called during a download with the file's name, the bytes received and the bytes expected (0 if unknown)."""


class DownloadError(MlpXpError):
    """Files of a data set that cannot be downloaded from any mirror, or cannot be stored."""


def fetch(
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> list[Path]:
    """Return the four files of a data set in DATASETS, from the cache folder or the first mirror that has them.

    A file in the cache with the right checksum is used without network access. A downloaded file replaces an old one
    only when it is complete and its checksum is right. The checksum of an archive is checked when it is downloaded; the
    four files extracted from it are then used as they are.

    cache_dir: by default the environment variable MLP_XP_CACHE, else the system's cache folder. timeout: seconds
    without data after which the next mirror is tried. Raises DownloadError, which names each mirror and its fault.
    """
    source = DATASETS[name]
    folder = cache_folder(cache_dir) / source.folder
    files = [folder / file for file in source.files]
    try:
        if source.archive is None:
            _download(name, source, folder, progress, timeout)
        elif not all(file.is_file() for file in files):
            _download(name, source, folder, progress, timeout)
            with zipfile.ZipFile(folder / source.archive) as archive, tempfile.TemporaryDirectory(dir=folder) as aside:
                for file in files:
                    Path(archive.extract(f"gzip/{file.name}", aside)).replace(file)
    except OSError as error:
        raise DownloadError(
            f"{str(folder)!r} cannot be used for {name}: {error.strerror or error}; name another folder, or set "
            f"{CACHE_VARIABLE}",
            setting="cache_dir",
        ) from error
    return files


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of downloads: `cache_dir`, else MLP_XP_CACHE, else one in the system's cache folder."""
    import pooch

    return Path(cache_dir or os.environ.get(CACHE_VARIABLE) or pooch.os_cache("mlp_xp")).expanduser().absolute()


def _download(name: str, source: Source, folder: Path, progress: Progress | None, timeout: float) -> None:
    import pooch
    from requests import RequestException

    pooch.get_logger().setLevel("WARNING")  # its lines would stand between the progress bars
    mirrors = list(source.mirrors)
    for file, checksum in source.checksums.items():
        faults = []
        for mirror in tuple(mirrors):
            download = pooch.HTTPDownloader(
                progressbar=_Bar(file, progress),
                chunk_size=CHUNK_BYTES,
                timeout=timeout,
                headers={"Accept-Encoding": "identity"},  # a server that compresses again would change the file
            )
            try:
                pooch.retrieve(mirror + file, f"sha256:{checksum}", file, folder, downloader=download)
                break
            except RequestException as error:
                status = error.response is not None and f"HTTP status {error.response.status_code}"
                faults.append(f"{mirror}{file}: {status or type(error).__name__}")
            except ValueError:  # as pooch reports it
                faults.append(f"{mirror}{file}: wrong checksum")
            # The next file starts with the other mirrors, so that a dead mirror costs one timeout, not four.
            mirrors.append(mirrors.pop(mirrors.index(mirror)))
        else:
            raise DownloadError(
                f"{name}: cannot be downloaded: {'; '.join(faults)}; check the network, or put "
                f"{', '.join(source.checksums)} from {source.home} into {str(folder)!r} by hand"
            )


class _Bar:
    """A progress bar in the form that pooch expects, which calls `progress`."""

    total = 0

    def __init__(self, file: str, progress: Progress | None) -> None:
        self.file, self.progress = file, progress
        self.reset()

    def reset(self) -> None:
        self.done = 0

    def update(self, count: int) -> None:
        self.done += count  # pooch counts the last chunk as a full one
        if self.progress is not None:
            self.progress(self.file, min(self.done, self.total or self.done), self.total)

    def close(self) -> None:
        pass
