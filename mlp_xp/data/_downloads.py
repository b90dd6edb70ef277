"""Download the files of a published data set into a cache folder, and verify them, with
pooch.
"""

import os
import sys
import zipfile
from pathlib import Path

from mlp_xp.data.registry import DATASETS
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.system import CACHE_VARIABLE, cache_folder

TIMEOUT_SECONDS = 20.0  # without data, after which the next mirror is tried


class DownloadError(MlpXpError):
    """Files of a data set that cannot be downloaded from any mirror, or cannot be
    stored.
    """


def fetch(
    name: str, *, cache_dir: str | os.PathLike[str] | None = None
) -> list[Path | zipfile.Path]:
    """Return the four files of a data set in DATASETS, from the cache folder or the
    first mirror that has them.

    A file in the cache with the right checksum is used without network access. A
    downloaded file replaces an old one only when it is complete and its checksum is
    right. Four files in one archive are read there.

    On a terminal, pooch names each file on stderr and shows a progress bar.

    cache_dir: by default the environment variable MLP_XP_CACHE, else the system's cache
    folder. Raises DownloadError, which names each mirror and its fault.
    """
    import pooch
    from requests import RequestException

    source = DATASETS[name]
    cache = Path(cache_dir).expanduser().absolute() if cache_dir else cache_folder()
    folder = cache / source.folder
    seen = sys.stderr is not None and sys.stderr.isatty()
    pooch.get_logger().setLevel("INFO" if seen else "WARNING")
    download = pooch.HTTPDownloader(
        progressbar=seen,
        chunk_size=1 << 16,
        timeout=TIMEOUT_SECONDS,
        # a server that compresses again would change the file
        headers={"Accept-Encoding": "identity"},
    )
    faults, file = list[str](), ""
    for mirror in source.mirrors:
        try:
            # what is there already is only checked
            for file, checksum in source.checksums.items():
                pooch.retrieve(
                    mirror + file,
                    f"sha256:{checksum}",
                    file,
                    folder,
                    downloader=download,
                )
            place = (
                zipfile.Path(folder / source.archive, "gzip/")
                if source.archive
                else folder
            )
            return [place / each for each in source.files]
        except RequestException as error:
            status = (
                error.response is not None
                and f"HTTP status {error.response.status_code}"
            )
            faults.append(f"{mirror}{file}: {status or type(error).__name__}")
        except ValueError:  # as pooch reports it
            faults.append(f"{mirror}{file}: wrong checksum")
        except OSError as error:
            wrong = (
                f"{quoted(folder)} cannot be used for {name}: {error.strerror or error}"
            )
            remedy = f"name another folder, or set {CACHE_VARIABLE}"
            raise DownloadError(wrong, remedy=remedy, setting="cache_dir") from error
    remedy = f"check the network, or put {', '.join(source.checksums)} from {source.home} into {quoted(folder)} by hand"
    raise DownloadError(
        f"{name}: cannot be downloaded: {'; '.join(faults)}", remedy=remedy
    )
