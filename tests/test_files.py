"""Whole files only: the old one or the new one, whatever happens in between."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mlp_xp import files
from mlp_xp.files import FileError, file_errors, make_folder, write_whole


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"old")
    return tmp_path / "model.bin"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_writes_a_new_file_and_replaces_an_old_one(path):
    for each in (path, path.with_name("other")):
        write_whole(each, b"new")
        assert each.read_bytes() == b"new"
    assert names(path.parent) == ["model.bin", "other"]


@pytest.mark.parametrize(
    "step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"]
)
def test_a_full_disk_at_any_step_leaves_the_old_file_and_no_other(
    step, path, monkeypatch
):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(FileError) as caught:
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["model.bin"]
    message = str(caught.value)
    assert message.startswith(f"'{path}': cannot write: No space left on device; ")
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_returns(
    path, monkeypatch
):
    """Or a loss of power could leave an empty file under the old name."""
    calls = []

    def watched_fsync(descriptor, fsync=os.fsync):
        calls.append(("fsync", os.fstat(descriptor).st_ino, path.read_bytes()))
        fsync(descriptor)

    def watched_replace(self, target, replace=Path.replace):
        calls.append(("replace", self.stat().st_ino, self.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_whole(path, b"new")
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    expected = [("fsync", file, b"old"), ("replace", file, b"new")]
    if os.name == "posix":  # Windows opens no folder
        expected.append(("fsync", folder, b"new"))
    assert calls == expected


@pytest.fixture
def refuse(monkeypatch) -> Callable[[int], None]:
    """Let another program have a file open for so many attempts to replace it.

    A viewer, a virus scanner or `evaluate` may do so on Windows.
    """

    def refuse(times: int) -> None:
        refusals = [PermissionError(13, "Access is denied")] * times

        def busy(self, target, replace=Path.replace):
            if refusals:
                raise refusals.pop()
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", busy)

    return refuse


def test_on_windows_an_open_file_is_replaced_when_it_is_closed(
    path, refuse, monkeypatch
):
    monkeypatch.setattr(files, "WINDOWS", True)
    refuse(3)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("windows", "times"), [(False, 1), (True, 10**6)])
def test_a_file_that_cannot_be_replaced_is_an_error(
    windows, times, path, refuse, monkeypatch
):
    """At once on POSIX, and after a while on Windows."""
    monkeypatch.setattr(files, "WINDOWS", windows)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    refuse(times)
    with pytest.raises(FileError, match="Access is denied"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_on_windows_a_folder_is_removed_when_its_last_file_is_closed(
    tmp_path, monkeypatch
):
    """Windows calls the folder not empty as long as a program has the file open."""
    monkeypatch.setattr(files, "WINDOWS", True)
    error = OSError(errno.ENOTEMPTY, "The directory is not empty")
    error.winerror = files.NOT_EMPTY
    refusals = [error] * 3

    def rmdir(folder, rmtree=shutil.rmtree):
        if refusals:
            raise refusals.pop()
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", rmdir)
    (tmp_path / "folder").mkdir()
    files.remove_tree(tmp_path / "folder")
    assert not [*tmp_path.iterdir()]


def test_missing_parents_are_created(tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        make_folder(folder)
        assert folder.is_dir()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a", exist_ok=False)


@pytest.mark.skipif(os.name != "nt", reason="drives are Windows'")
def test_a_missing_drive_is_an_error():
    with pytest.raises(OSError, match="'q:"):
        make_folder(Path("q:/a/b"))


def test_only_the_systems_errors_are_turned(tmp_path):
    with pytest.raises(ZeroDivisionError), file_errors(tmp_path, "read"):
        _ = 1 / 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_can_be_used(
    number, tmp_path, monkeypatch
):
    def refuse(descriptor, sync=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_whole(tmp_path / "file", b"content")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_read_only_is_replaced_and_removed(tmp_path, monkeypatch):
    """On Windows too, where it is not by itself."""
    monkeypatch.setattr(files, "WINDOWS", True)
    old, folder = tmp_path / "old", tmp_path / "folder"
    folder.mkdir()
    for path in (old, folder / "one"):
        path.write_text("")
        path.chmod(stat.S_IREAD)
    write_whole(old, b"new")
    old.chmod(stat.S_IREAD)
    files.remove(old)
    files.remove_tree(folder)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("error", "number", "said", "code"),
    [
        (OSError("just so"), None, "cannot remove the run in: just so", 1),
        # of the files in a folder, the file that cannot be changed
        (OSError(13, "Denied", "run/a.png"), None, "the run in: a.png: Denied", 1),
        (PermissionError(13, "Denied"), 5, "close the program that has it open, or", 1),
        (FileNotFoundError(2, "No", "/a" * 150), 3, "a folder with a shorter path", 1),
        (
            OSError(22, "Invalid"),
            files.INVALID_NAME,
            'choose a name without < > : "',
            2,
        ),
    ],
)
def test_an_error_of_the_system_says_where_and_what_to_do(
    error, number, said, code, monkeypatch
):
    """number: of an error of Windows."""
    monkeypatch.setattr(files, "WINDOWS", True)
    error.winerror = number
    with (
        pytest.raises(FileError, match=said) as caught,
        file_errors(Path("run"), "remove the run in"),
    ):
        raise error
    assert caught.value.exit_code == code
