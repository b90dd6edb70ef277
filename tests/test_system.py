"""The differences between Windows and POSIX systems.

tests/tools/wine.py runs the other tests on Windows' own Python.
"""

import errno
import os
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlp_xp import system
from mlp_xp.backends import memory
from mlp_xp.commands import process
from mlp_xp.system import command_line, exists, has_lost, is_closed_pipe, python

DEAD = 2**22 + 1  # more than the largest number of a process


def test_a_command_line_is_quoted_for_the_shell_of_the_system(monkeypatch):
    words = ["C:\\my runs\\a", "it's", "", "b"]
    monkeypatch.setattr(system, "WINDOWS", False)
    assert shlex.split(command_line(words)) == words
    monkeypatch.setattr(system, "WINDOWS", True)
    assert command_line(words) == '"C:\\my runs\\a" "it\'s" "" b'
    assert command_line(["C:\\a b\\", '\\"']) == '"C:\\a b\\\\" "\\\\\\""'


@pytest.mark.parametrize(
    "word", ["C:\\R&D\\run", "a;b", "(1)", "64,32", "a|b", "1>2", "^", "#1"]
)
def test_a_word_that_shells_of_windows_give_a_meaning_is_quoted(word, monkeypatch):
    monkeypatch.setattr(system, "WINDOWS", True)
    assert command_line([word]) == f'"{word}"'


@pytest.mark.parametrize("windows", [True, False])
def test_a_shell_starts_this_python_by_a_word(windows, monkeypatch, tmp_path):
    """PowerShell takes a quoted path for a text."""
    path = tmp_path / "with a space" / "python"
    path.parent.mkdir()
    path.write_text("")
    monkeypatch.setattr(system, "WINDOWS", windows)
    monkeypatch.setattr(system.sys, "executable", str(path))
    monkeypatch.setattr(shutil, "which", path.with_name)
    assert python() == ("python" if windows else shlex.quote(str(path)))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert python() == (f'"{path}"' if windows else shlex.quote(str(path)))


def test_a_process_exists_until_it_has_ended():
    assert exists(os.getpid())
    assert not exists(DEAD)
    assert not has_lost(os.getppid())
    assert has_lost(DEAD) == (os.name == "posix"), (
        "on Windows only a child of a pool knows"
    )


@pytest.mark.parametrize("windows", [True, False])
def test_a_pipe_that_its_reader_closed_is_invalid_on_windows(windows, monkeypatch):
    monkeypatch.setattr(system, "WINDOWS", windows)
    assert is_closed_pipe(BrokenPipeError())
    assert is_closed_pipe(OSError(errno.EINVAL, "Invalid argument")) is windows
    of_a_file = OSError(errno.EINVAL, "Invalid argument", "a?")
    of_windows = OSError(errno.EINVAL, "Incorrect function")
    of_windows.winerror = 1
    assert not is_closed_pipe(of_a_file)
    assert not is_closed_pipe(of_windows)


@pytest.mark.parametrize(
    ("windows", "chosen", "encoding"),
    [(True, None, "utf-8"), (True, "cp936", "cp936"), (False, None, "cp936")],
)
def test_on_windows_a_file_gets_utf_8_unless_the_user_has_chosen(
    windows, chosen, encoding, monkeypatch, tmp_path
):
    """A Chinese Windows has cp936, and no table can be read again in it."""
    monkeypatch.setattr(process, "WINDOWS", windows)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if chosen:
        monkeypatch.setenv("PYTHONIOENCODING", chosen)
    with (tmp_path / "out").open("w", encoding="cp936") as stream:
        assert process.encoding_of(stream) == encoding


@pytest.mark.needs("psutil")
def test_memory_is_estimated_where_the_counters_of_swap_are_switched_off(monkeypatch):
    import psutil

    def switched_off():
        raise RuntimeError("performance counters are disabled")

    machine = SimpleNamespace(available=1000, free=500)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(psutil, "swap_memory", lambda: machine)
    assert memory._of_other_systems() == 1500
    monkeypatch.setattr(psutil, "swap_memory", switched_off)
    assert memory._of_other_systems() == 1000
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory._of_other_systems() == sys.maxsize, "not known"


@pytest.mark.linux
@pytest.mark.needs("psutil")
def test_the_memory_of_linux_is_that_of_psutil():
    import psutil

    expected = psutil.virtual_memory().available + psutil.swap_memory().free
    assert memory._of_machine() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, "~/.cache/mlp_xp"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/mlp_xp"),
        ("darwin", {}, "~/Library/Caches/mlp_xp"),
        ("win32", {}, "~/AppData/Local/mlp_xp"),
        ("win32", {"LOCALAPPDATA": "/y"}, "/y/mlp_xp"),
        ("win32", {"MLP_XP_CACHE": "~/z"}, "~/z"),
    ],
)
def test_the_cache_is_in_the_users_folder_for_caches(
    platform, variables, place, monkeypatch
):
    for name in ("MLP_XP_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(system, "WINDOWS", platform == "win32")
    monkeypatch.setattr(system.sys, "platform", platform)
    assert system.cache_folder() == Path(place).expanduser().absolute()
