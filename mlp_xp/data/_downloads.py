"""Download published data sets into a cache folder, and verify them, with pooch."""

import os
import sys
import zipfile
from pathlib import Path

from mlp_xp.data.registry import DATASETS
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.system import CACHE_VARIABLE, cache_folder

TIMEOUT_SECONDS = 20.0  # without data, before the next mirror is tried


class DownloadError(MlpXpError):
    """Files of a data set cannot be downloaded from any mirror, or cannot be stored."""


def fetch(
    name: str, *, cache_dir: str | os.PathLike[str] | None = None
) -> list[Path | zipfile.Path]:
    """Return the four files of a data set in DATASETS, from the cache or a mirror.

    The mirrors are tried in their order. A file in the cache with the right checksum is
    used without network access. A downloaded file replaces an old file only when it is
    complete and its checksum is right. Files in an archive are read from the archive.

    On a terminal, pooch names each file on stderr and shows a progress bar.

    cache_dir: by default the environment variable MLP_XP_CACHE, or the system's cache
    folder. Raises DownloadError with the fault of each mirror.
    """
    import pooch
    from requests import RequestException

    source = DATASETS[name]
    cache = Path(cache_dir).expanduser().absolute() if cache_dir else cache_folder()
    folder = cache / source.folder
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    pooch.get_logger().setLevel("INFO" if on_terminal else "WARNING")
    downloader = pooch.HTTPDownloader(
        progressbar=on_terminal,
        chunk_size=1 << 16,
        timeout=TIMEOUT_SECONDS,
        # a server that compresses again would change the file
        headers={"Accept-Encoding": "identity"},
    )
    faults = list[str]()
    file = ""
    for mirror in source.mirrors:
        try:
            for file, checksum in source.checksums.items():
                # downloads only if the file is not there already
                pooch.retrieve(
                    mirror + file,
                    f"sha256:{checksum}",
                    file,
                    folder,
                    downloader=downloader,
                )
            if source.archive:
                archive = zipfile.Path(folder / source.archive, "gzip/")
                return [archive / each for each in source.files]
            return [folder / each for each in source.files]
        except RequestException as error:
            reason = type(error).__name__
            if error.response is not None:
                reason = f"HTTP status {error.response.status_code}"
            faults.append(f"{mirror}{file}: {reason}")
        except ValueError:  # as pooch reports a wrong checksum
            faults.append(f"{mirror}{file}: wrong checksum")
        except OSError as error:
            reason = error.strerror or str(error)
            raise DownloadError(
                f"{quoted(folder)} cannot be used for {name}: {reason}",
                remedy=f"name another folder, or set {CACHE_VARIABLE}",
                setting="cache_dir",
            ) from error
    wanted = ", ".join(source.checksums)
    raise DownloadError(
        f"{name}: cannot be downloaded: {'; '.join(faults)}",
        remedy=f"check the network, or put {wanted} from {source.home} into "
        f"{quoted(folder)} by hand",
    )
