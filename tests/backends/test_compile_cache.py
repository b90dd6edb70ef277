"""The folder for compiled functions: where it is, that it stays small and whole, and
that it never stops a run.
"""

import os
import subprocess
import sys
import warnings
from hashlib import sha256
from pathlib import Path

import jax
import pytest
from data_sets import TINY, on_device

from mlp_xp.backends import jax_backend
from mlp_xp.backends.jax_backend import compile_cache
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("MLP_XP_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


def test_the_folder_is_made_for_this_user_alone(cache):
    assert compile_cache("some") == cache / "some"
    assert compile_cache("some") == cache / "some"
    if os.name == "posix":
        assert (cache / "some").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "what",
    [
        "a file",
        *(
            pytest.param(each, marks=pytest.mark.posix)
            for each in ("others may write", "another's", "no home")
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_none(what, cache, monkeypatch):
    if what == "a file":
        cache.parent.mkdir()
        cache.write_text("")
    elif what == "others may write":
        (cache / "some").mkdir(parents=True)
        (cache / "some").chmod(0o770)
    elif what == "another's":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    elif what == "no home":
        monkeypatch.setenv("MLP_XP_CACHE", "~nobody-of-this-name/cache")
    assert compile_cache("some") is None


@pytest.mark.posix
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    ("what", "usable"),
    [
        ("mine", True),
        ("others may write", False),
        ("as /tmp", True),
        ("another's", False),
        ("another's link", False),
    ],
)
def test_nobody_else_can_put_another_folder_in_its_place(
    what, usable, linked, cache, monkeypatch
):
    """Whether the path leads there itself, or by a link."""
    above = cache.parent / "real" if linked else cache
    above.mkdir(parents=True, mode=0o700)
    if linked:
        cache.symlink_to("real")
    above.chmod({"others may write": 0o777, "as /tmp": 0o1777}.get(what, 0o755))
    foreign = {"another's": above, "another's link": cache}.get(what)

    def lstat(path: Path) -> os.stat_result:
        status = os.lstat(path)
        return (
            os.stat_result((*status[:4], 12345, *status[5:]))
            if path == foreign
            else status
        )

    monkeypatch.setattr(Path, "lstat", lstat)
    assert (compile_cache("some") is not None) is usable


FOLDER = f"jax-{jax_backend._threads().number}"


@pytest.mark.parametrize(
    "chosen",
    [{"jax_compilation_cache_dir": "mine"}, {"jax_enable_compilation_cache": False}],
    ids=["folder", "off"],
)
def test_what_the_user_has_chosen_stays(chosen, cache):
    config, before = jax.config, {}
    chosen = {
        "jax_enable_compilation_cache": True,
        "jax_compilation_cache_dir": None,
    } | chosen
    for name, value in chosen.items():
        before[name] = getattr(config, name)
        config.update(name, value)
    try:
        with warnings.catch_warnings():
            jax_backend._set_compile_cache(jax)
        assert {name: getattr(config, name) for name in chosen} == chosen
    finally:
        for name, value in before.items():
            config.update(name, value)
    assert not cache.exists()


# Whole runs.


def train() -> str:
    """Train for an epoch on JAX, and return a checksum of all losses, weights and the
    accuracy.
    """
    backend = open_backend("jax")
    config = TrainConfig(epochs=1, hidden=(), report_every=200, defer_updates=False)
    numbers = sha256()
    for event in trajectory(Job(config, on_device(TINY, backend), backend)):
        numbers.update(event.losses.tobytes())
    assert event.report is not None
    for layer in event.report.model.network:
        for array in layer:
            numbers.update(backend.to_numpy(array).tobytes())
    return f"{numbers.hexdigest()} {event.report.test}"


PROGRAM = """
import sys
import jax
hits = []
jax.monitoring.register_event_listener(lambda name, **others: hits.append(name) if name.endswith("cache_hits") else 0)
sys.path[:0] = sys.argv[1:]
from test_compile_cache import train
print(train(), len(hits))
"""


@pytest.mark.slow
def test_runs_share_what_is_compiled_and_have_the_bits_of_those_without(cache):
    """Whether the folder, which those with as many threads share, is empty or damaged."""
    expected = train()
    env = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_COMPILATION_CACHE"}

    def run_program() -> tuple[str, int]:
        here = Path(__file__).parent
        command = [
            sys.executable,
            "-W",
            "error",
            "-c",
            PROGRAM,
            here,
            here.parent,
            here.parent / "tools",
        ]
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, env=env
        )
        assert (run.returncode, run.stderr) == (0, "")
        said, _, hits = run.stdout.strip().rpartition(" ")
        return said, int(hits)

    assert run_program() == (expected, 0)
    folder = cache / FOLDER
    entries = sorted(folder.glob("*-cache"))
    first, second, third = entries[:3]
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
