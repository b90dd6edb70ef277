"""Whole files only: the old one or the new one, whatever happens in between."""

import errno
import itertools
import os
import stat
from pathlib import Path

import pytest

from mlp_xp import files
from mlp_xp.files import FileError, file_errors, make_folder, write_whole


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"old")
    return tmp_path / "model.bin"


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_writes_a_new_file_and_replaces_an_old_one(path):
    write_whole(path, b"new")
    write_whole(path.with_name("other"), b"")
    assert path.read_bytes() == b"new"
    assert path.with_name("other").read_bytes() == b""
    assert names(path.parent) == ["model.bin", "other"]


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"]
)
def test_a_full_disk_at_any_step_leaves_the_old_file_and_no_other(
    step, path, monkeypatch
):
    monkeypatch.setattr(step, fail)
    with pytest.raises(FileError) as caught:
        write_whole(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["model.bin"]
    message = str(caught.value)
    assert message.startswith(f"'{path}': cannot write: No space left on device; ")
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_returns(
    path, monkeypatch
):
    """In this order, or a loss of power could leave an empty file under the old name."""
    calls = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_ino, path.read_bytes()))
        fsync(descriptor)

    def watched_replace(self, target):
        calls.append(("replace", self.stat().st_ino, self.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_whole(path, b"new")
    here, folder = path.stat().st_ino, path.parent.stat().st_ino
    expected = [
        ("fsync", here, b"old"),
        ("replace", here, b"new"),
        ("fsync", folder, b"new"),
    ]
    # Windows opens no folder
    assert calls == expected[: 3 if os.name == "posix" else 2]


def test_a_file_that_another_program_has_open_is_replaced_when_that_is_over(
    path, monkeypatch
):
    """As a viewer, a virus scanner or `evaluate` may, on Windows."""
    monkeypatch.setattr(files, "WINDOWS", False)
    refusals, replace = (
        iter([PermissionError(13, "Access is denied")] * 3),
        Path.replace,
    )

    def busy(self, target):
        for error in refusals:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(FileError, match="Access is denied"):
        write_whole(path, b"new")
    monkeypatch.setattr(files, "WINDOWS", True)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    refusals = itertools.repeat(PermissionError(13, "Access is denied"))
    with pytest.raises(FileError, match="Access is denied"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"new"


def test_missing_parents_are_created_and_a_missing_drive_is_an_error(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a", exist_ok=False)
    if os.name == "nt":
        with pytest.raises(OSError, match="'q:"):
            make_folder(Path("q:/a/b"))


def test_only_the_systems_errors_are_turned(tmp_path):
    with pytest.raises(ZeroDivisionError), file_errors(tmp_path, "read"):
        _ = 1 / 0
    with (
        pytest.raises(FileError, match="cannot read: just so"),
        file_errors(tmp_path, "read"),
    ):
        raise OSError("just so")


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
    ("number", "said", "code"),
    [
        (5, "close the program that has it open, or fix its permissions", 1),
        (files.INVALID_NAME, 'choose a name without < > : " ', 2),
    ],
)
def test_an_error_of_windows_says_what_to_do(number, said, code, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    error = PermissionError(13, "Denied") if number == 5 else OSError(22, "Invalid")
    error.winerror = number
    with pytest.raises(FileError, match=said) as caught, file_errors(tmp_path, "x"):
        raise error
    assert caught.value.exit_code == code


def test_of_the_files_in_a_folder_the_one_is_named_that_cannot_be_changed(tmp_path):
    with (
        pytest.raises(FileError, match=r"cannot remove the run in: a\.png: Denied"),
        file_errors(tmp_path, "remove the run in"),
    ):
        raise OSError(13, "Denied", str(tmp_path / "a.png"))
