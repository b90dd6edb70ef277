"""The control groups of this process, by which Linux limits memory and processor time, as in a container."""

from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of each control group that this process is in, and whether it is of version 2.

    A group is followed by those that contain it, whose limits hold too. Folders need not exist: in a container the path
    may be that on the host, of which only the root is seen. controller: such as memory. root: where `proc` and `sys`
    are. Yields nothing outside Linux.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy and names no controllers.
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        place = base / path.lstrip("/")
        for folder in (place, *place.parents):
            if folder == base.parent:
                break
            yield folder, not controllers
