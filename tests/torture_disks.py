"""Full disks and limits of the system: a small file system, and a limit of the size of a file.

The run starts on a file system of a few pages (tmpfs, which only root may mount), or under RLIMIT_FSIZE. It ends in
one line and exit code 1, what was saved before is intact, and with more space the run goes on to the same bits.
"""

import ctypes
import itertools
import os
import random
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torture_process import (
    Session,
    differs,
    draw_settings,
    evaluates,
    go_on,
    new_run,
    not_whole,
    preload,
    progress,
    report,
    run,
    unlike_an_error,
)

NEW_NAMESPACE, PRIVATE, REMOUNT = 0x20000, (1 << 18) | (1 << 14), 32
DETACH = 2
ENOUGH = 64 << 20


def mount_small(root: Path) -> Callable[[int], None] | None:
    """Mount a tmpfs, which only this process and its children see. Return what resizes it, or None: not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) or libc.mount(b"none", b"/", None, PRIVATE, None):
        return None
    if libc.mount(b"tmpfs", os.fsencode(root), b"tmpfs", 0, f"size={ENOUGH}".encode()):
        return None

    def resize(size: int) -> None:
        if libc.mount(b"tmpfs", os.fsencode(root), b"tmpfs", REMOUNT, f"size={size}".encode()):
            raise OSError(ctypes.get_errno(), "cannot change the size of the tmpfs")

    return resize


def used(root: Path) -> int:
    """Return the bytes in use on a file system."""
    facts = os.statvfs(root)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def main(session: Session) -> None:
    """Mount a small file system where that is permitted, and attack."""
    preload(session.backend)
    root = session.space / "root"
    root.mkdir(exist_ok=True)
    resize = mount_small(root)
    try:
        attack(session, root, resize)
    finally:
        if resize:
            ctypes.CDLL(None).umount2(os.fsencode(root), DETACH)  # a mounted folder cannot be removed


def attack(session: Session, root: Path, resize: Callable[[int], None] | None) -> None:
    """Run rounds until the time is over. resize: sets the size of the root's file system, if that is possible."""
    if not resize:
        session.counts["tmpfs not permitted"] = 1
        print("disks: a tmpfs may not be mounted here, so only RLIMIT_FSIZE is tested", flush=True)
    folder = root / "run"
    for number in [int(session.only)] if session.only else itertools.count(1):
        if not session.goes_on():
            break
        rng = random.Random(f"{session.seed}-{number}")
        settings = {**draw_settings(rng, session.backend), "hidden": [40], "epochs": rng.randint(2, 3)}
        for path in root.iterdir():
            shutil.rmtree(path)
        expected = root / "expected"
        outcome = run(session, "train", *new_run(session, settings, expected))
        assert outcome.code == 0, outcome
        expected = Path(shutil.move(expected, session.space / "expected"))
        largest = max(path.stat().st_size for path in expected.iterdir())
        if rng.random() < 0.5:  # the space runs out in the middle
            run(session, "train", *new_run(session, settings, folder), at=rng.randint(12, outcome.calls), number=9)
        before = progress(folder)
        words: list[Any] = go_on(session, settings, folder)
        if resize and rng.random() < 0.6:
            session.counts["small file systems"] += 1
            resize(used(root) + 4096 * rng.randint(1, 12))
            outcome = run(session, "train", *words)
            resize(ENOUGH)
        else:
            session.counts["limits of a file's size"] += 1
            limit = rng.randint(2500, largest + 1000)
            limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
            outcome = run(session, "train", *words, first=limited)
        session.counts["runs that ended with an error"] += outcome.code == 1
        session.counts["rounds"] += 1
        if outcome.code == 0:
            wrong = differs(folder, expected)
            wrong = wrong and f"exit code 0, but {wrong}"
        else:
            wrong = unlike_an_error(outcome, 1)
        wrong = wrong or not_whole(folder) or (evaluates(session, folder) if folder.exists() else "")
        if not wrong and progress(folder) < before:
            wrong = f"the checkpoint went back from step {before} to {progress(folder)}"
        if not wrong:
            outcome = run(session, "train", *go_on(session, settings, folder))
            wrong = f"cannot go on: {outcome.err.strip()}" if outcome.code else differs(folder, expected)
        if wrong:
            report(session, "disks", wrong, folder, str(number))
        shutil.rmtree(expected)
