"""Training where something is missing: the output, the home folder, the locale, a
folder to write to, Matplotlib.
"""

import json
import os
from pathlib import Path

import pytest
from helpers import assert_one_line, call, finish, options, small_settings, start

pytestmark = pytest.mark.posix
STRANGE = b"caf\xe9".decode("utf-8", "surrogateescape")  # a name that is not UTF-8


def words(data_dir: Path, folder: Path) -> list[object]:
    return [
        "--data-dir",
        data_dir,
        "--run-dir",
        folder,
        *options(small_settings(epochs=1)),
    ]


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_run_with_closed_outputs_and_no_matplotlib_is_whole(
    data_dir: Path, tmp_path: Path
) -> None:
    close = "; ".join(f"os.close({number})" for number in (1, 2))
    assert finish(start("train", *words(data_dir, tmp_path / "run"), first=close)) == (
        0,
        "",
        "",
    )
    assert [
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert call("evaluate", tmp_path / "run").code == 0


@pytest.mark.slow  # without its cache Matplotlib looks at all fonts
def test_neither_a_home_folder_nor_names_in_utf_8(
    data_dir: Path, tmp_path: Path
) -> None:
    """As in a container, and on a system with the locale C; with pictures, for which
    Matplotlib wants a cache.
    """
    gone = str(tmp_path / "gone")
    env = {
        "HOME": gone,
        "XDG_CACHE_HOME": gone,
        "MPLCONFIGDIR": "",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
    }
    outcome = finish(
        start(
            "train",
            *words(data_dir, tmp_path / STRANGE),
            env={**env, "PYTHONCOERCECLOCALE": "0"},
        )
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.isascii()
    assert (tmp_path / STRANGE / "curves.png").exists()
    assert call("train", "--resume", tmp_path / STRANGE).code == 0


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere"
)
def test_a_folder_that_may_not_be_written_to(data_dir: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_one_line(
        call("train", *words(data_dir, tmp_path / "run")),
        1,
        str(tmp_path),
        "Permission denied",
    )
