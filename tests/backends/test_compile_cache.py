"""The folder for compiled functions is private and whole, and never stops a run."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from data_sets import TINY, on_device
from helpers import arrays_of

from mlp_xp.backends import jax_backend
from mlp_xp.backends.jax_backend import compile_cache
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory

HERE = Path(__file__).parent


def test_the_folder_is_made_for_this_user_alone(cache):
    assert compile_cache("some") == cache / "some"
    assert compile_cache("some") == cache / "some"
    if os.name == "posix":
        assert (cache / "some").stat().st_mode & 0o777 == 0o700


def test_a_file_is_no_folder(cache):
    cache.parent.mkdir()
    cache.write_text("")
    assert compile_cache("some") is None


@pytest.mark.posix
def test_a_folder_of_a_user_without_a_home_is_none(monkeypatch):
    monkeypatch.setenv("MLP_XP_CACHE", "~nobody-of-this-name/cache")
    assert compile_cache("some") is None


@pytest.mark.posix
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    ("mode", "foreign", "usable"),
    [
        (0o755, "", True),
        (0o777, "", False),
        (0o1777, "", True),  # as /tmp
        (0o755, "the folder", False),
        (0o755, "the path", False),
    ],
)
def test_nobody_else_can_put_another_folder_in_its_place(
    mode, foreign, usable, linked, cache, monkeypatch
):
    """Whether the path leads to the folder itself, or by a link."""
    folder = cache.parent / "real" if linked else cache
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(mode)
    if linked:
        cache.symlink_to("real")
    others = {"the folder": folder, "the path": cache}.get(foreign)

    def lstat(path: Path) -> SimpleNamespace:
        status = os.lstat(path)
        owner = 12345 if path == others else status.st_uid
        return SimpleNamespace(st_mode=status.st_mode, st_uid=owner)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert (compile_cache("some") is not None) is usable


@pytest.mark.parametrize(("folder", "enabled"), [("mine", True), (None, False)])
def test_the_users_choice_of_a_cache_stays(folder, enabled, cache):
    config = SimpleNamespace(
        jax_compilation_cache_dir=folder, jax_enable_compilation_cache=enabled
    )
    # A change would fail, because there is no `update`.
    jax_backend._set_compile_cache(SimpleNamespace(config=config))
    assert not cache.exists()


# Whole runs.


@pytest.mark.slow
@pytest.mark.needs("jax")
def test_runs_share_compiled_code_and_have_the_bits_of_runs_without(cache):
    """Whether the folder of runs with as many threads is empty or damaged."""
    expected = train()
    assert run_program() == (expected, 0)
    folder = cache / f"jax-{jax_backend._threads().number}"
    entries = sorted(folder.glob("*-cache"))
    first, second, third, *_ = entries
    # One is incomplete, one has a wrong byte, one cannot be read. The byte is one of
    # the checksum: some others may change and leave the same data, where a distance of
    # zlib's then names an equal copy.
    first.write_bytes(first.read_bytes()[:-9])
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.write_bytes(data)
    third.unlink()
    third.mkdir()
    assert run_program() == (expected, len(entries) - 3)


def train() -> str:
    """Train for an epoch on JAX.

    Return a checksum of all losses and weights, and the accuracy.
    """
    backend = open_backend("jax")
    config = TrainConfig(epochs=1, hidden=(), report_every=200, defer_updates=False)
    events = [*trajectory(Job(config, on_device(TINY, backend), backend))]
    report = events[-1].report
    arrays = [event.losses for event in events]
    arrays += arrays_of(report.model.network, backend.to_numpy)
    numbers = b"".join(array.tobytes() for array in arrays)
    return f"{sha256(numbers).hexdigest()} {report.test}"


def run_program() -> tuple[str, int]:
    """Train in another process. Return the checksum, and the hits in the cache."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_COMPILATION_CACHE"}
    folders = HERE, HERE.parent, HERE.parent / "tools"
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *folders]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (run.returncode, run.stderr) == (0, "")
    said, _, hits = run.stdout.strip().rpartition(" ")
    return said, int(hits)


PROGRAM = """
import sys
import jax
hits = []
def listen(name, **others):
    hits.extend([name] * name.endswith("cache_hits"))
jax.monitoring.register_event_listener(listen)
sys.path[:0] = sys.argv[1:]
from test_compile_cache import train
print(train(), len(hits))
"""


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """The folder of all caches, which does not exist yet."""
    folder = tmp_path / "new" / "cache"
    monkeypatch.setenv("MLP_XP_CACHE", str(folder))
    return folder
