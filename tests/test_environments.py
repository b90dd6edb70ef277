"""Training where something is missing.

The output, the home folder, the locale, a folder to write to, or Matplotlib.
"""

import os
from pathlib import Path

import pytest
from helpers import (
    assert_one_line,
    call,
    finish,
    metrics,
    options,
    small_settings,
    start,
)

pytestmark = pytest.mark.posix
STRANGE = b"caf\xe9".decode("utf-8", "surrogateescape")  # not UTF-8


@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_run_with_closed_outputs_and_no_matplotlib_is_whole(words, run) -> None:
    close = "os.close(1); os.close(2)"
    assert finish(start("train", *words, first=close)) == (0, "", "")
    assert metrics(run)
    assert call("evaluate", run).code == 0


@pytest.mark.slow  # without its cache Matplotlib looks at all fonts
@pytest.mark.parametrize("name", [STRANGE])
def test_neither_a_home_folder_nor_names_in_utf_8(words, run, tmp_path) -> None:
    """As in a container, and on a system with the locale C.

    Matplotlib wants a cache for the pictures.
    """
    gone = str(tmp_path / "gone")
    env = {
        "HOME": gone,
        "XDG_CACHE_HOME": gone,
        "MPLCONFIGDIR": "",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    outcome = finish(start("train", *words, env=env))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.isascii()
    assert (run / "curves.png").exists()
    assert call("train", resume=run).code == 0


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere"
)
def test_a_folder_that_may_not_be_written_to(words, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_one_line(call("train", *words), 1, str(tmp_path), "Permission denied")


@pytest.fixture
def name() -> str:
    """The name of the folder of the run."""
    return "run"


@pytest.fixture
def run(name: str, tmp_path: Path) -> Path:
    return tmp_path / name


@pytest.fixture
def words(data_dir: Path, run: Path) -> list[str]:
    """The command line of a short training."""
    return options(small_settings(epochs=1, data_dir=data_dir, run_dir=run))
