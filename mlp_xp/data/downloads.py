"""Download the files of a published data set into a cache folder, and verify them, with pooch."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

from mlp_xp.data.registry import DATASETS, Source
from mlp_xp.errors import MlpXpError

CACHE_VARIABLE = "MLP_XP_CACHE"
TIMEOUT_SECONDS = 20.0  # without data, after which the next mirror is tried


class DownloadError(MlpXpError):
    """Files of a data set that cannot be downloaded from any mirror, or cannot be stored."""


def fetch(name: str, *, cache_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the four files of a data set in DATASETS, from the cache folder or the first mirror that has them.

    A file in the cache with the right checksum is used without network access. A downloaded file replaces an old one
    only when it is complete and its checksum is right. The checksum of an archive is checked when it is downloaded; the
    four files extracted from it are then used as they are.

    On a terminal, pooch names each file on stderr and shows a progress bar.

    cache_dir: by default the environment variable MLP_XP_CACHE, else the system's cache folder. Raises
    DownloadError, which names each mirror and its fault.
    """
    source = DATASETS[name]
    folder = cache_folder(cache_dir) / source.folder
    files = [folder / file for file in source.files]
    try:
        if source.archive is None:
            _download(name, source, folder)
        elif not all(file.is_file() for file in files):
            _download(name, source, folder)
            with zipfile.ZipFile(folder / source.archive) as archive, tempfile.TemporaryDirectory(dir=folder) as aside:
                for file in files:
                    Path(archive.extract(f"gzip/{file.name}", aside)).replace(file)
    except OSError as error:
        wrong = f"{str(folder)!r} cannot be used for {name}: {error.strerror or error}"
        remedy = f"name another folder, or set {CACHE_VARIABLE}"
        raise DownloadError(wrong, remedy=remedy, setting="cache_dir") from error
    return files


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of downloads: `cache_dir`, else MLP_XP_CACHE, else one in the system's cache folder."""
    import pooch

    return Path(cache_dir or os.environ.get(CACHE_VARIABLE) or pooch.os_cache("mlp_xp")).expanduser().absolute()


def _download(name: str, source: Source, folder: Path) -> None:
    import pooch
    from requests import RequestException

    seen = sys.stderr is not None and sys.stderr.isatty()
    pooch.get_logger().setLevel("INFO" if seen else "WARNING")
    download = pooch.HTTPDownloader(
        progressbar=seen,
        chunk_size=1 << 16,
        timeout=TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},  # a server that compresses again would change the file
    )
    faults, file = list[str](), ""
    for mirror in source.mirrors:
        try:
            for file, checksum in source.checksums.items():  # what is there already is only checked
                pooch.retrieve(mirror + file, f"sha256:{checksum}", file, folder, downloader=download)
            return
        except RequestException as error:
            status = error.response is not None and f"HTTP status {error.response.status_code}"
            faults.append(f"{mirror}{file}: {status or type(error).__name__}")
        except ValueError:  # as pooch reports it
            faults.append(f"{mirror}{file}: wrong checksum")
    remedy = f"check the network, or put {', '.join(source.checksums)} from {source.home} into {str(folder)!r} by hand"
    raise DownloadError(f"{name}: cannot be downloaded: {'; '.join(faults)}", remedy=remedy)
