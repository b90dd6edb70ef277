"""The folder of a sweep: a plan, and many runs.

- sweep.json has the plan and all members. It is written before the first member starts.
- members/NAME/ is the run of a member, as `mlp-xp train` writes it.
- failures.json has {name: {"error": class, "reason": line}} for failed members.
- .stop-NAME asks members to save and stop. It exists until the next command.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.declared import AUTO
from mlp_xp.errors import quoted
from mlp_xp.files import file_errors, make_folder, remove
from mlp_xp.runs import records
from mlp_xp.runs.locked_folder import LockedFolder
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, flatten, shown, unflatten

FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"
INDEX, MEMBERS, FAILURES, STOP = "sweep.json", "members", "failures.json", ".stop-"
_FIELDS = {
    "optuna": int | None,
    "sampling_seed": int,
    "options": dict,
    "settings": dict,
    "sums": dict,
    "members": list,
}


class Member(NamedTuple):
    """One run of a sweep."""

    name: str
    """The name of its folder."""
    settings: dict[str, Any]
    """The settings that vary in the sweep."""


def numbered(settings: Iterable[dict[str, Any]], first: int = 0) -> tuple[Member, ...]:
    """Return a member for each of several settings, named by numbers from `first`."""
    return tuple(Member(f"{i:04d}", each) for i, each in enumerate(settings, first))


class Index(NamedTuple):
    """The plan of a sweep, as in sweep.json."""

    base: Settings
    """The settings of all members, before their own values."""
    sums: dict[str, str]
    """The checksums of the data, and of the models to start from, by name."""
    members: tuple[Member, ...]


class SweepFolder(LockedFolder):
    """A folder that holds a sweep, or will hold one.

    Args:
        path: The folder. It need not exist.

    Examples:
        >>> sweep = SweepFolder("runs/sweep-mnist-numpy-1f2a3b4c")
        >>> [sweep.run(member.name).result() for member in sweep.read().members]
    """

    purpose = "sweep"
    index = INDEX

    def read(self) -> Index:
        """Return the plan of the sweep.

        Raises:
            RunError: The folder has no sweep, or sweep.json is damaged.
        """
        record = self._record()
        path = self.path / INDEX
        base = unflatten(record["settings"], path)
        members = []
        for changes in record["members"]:
            records.check_fields(changes, {}, path)
            # Through `Settings`, which checks values and makes tuples of lists.
            settings = flatten(unflatten({**record["settings"], **changes}, path))
            members.append({name: settings[name] for name in changes})
        return Index(base, record["sums"], numbered(members))

    def failures(self) -> dict[str, dict[str, str]]:
        """Return the error and the reason of each failed member. Raises RunError."""
        path = self.path / FAILURES
        if not path.exists():
            return {}
        failures = records.read_json(path)
        for failure in failures.values():
            records.check_fields(failure, {"error": str, "reason": str}, path)
        return failures

    def run(self, name: str) -> RunFolder:
        """Return the folder of a member's run."""
        return RunFolder(self.path / MEMBERS / name)

    def check_member(self, member: Member) -> None:
        """Raise RunError if the folder of a member has a run with other settings."""
        run = self.run(member.name)
        found = flatten(run.settings())
        for name, wanted in member.settings.items():
            if wanted not in (found[name], AUTO):
                fault = (
                    f"has another run than the sweep: {name} is {shown(found[name])}, "
                    f"not {shown(wanted)}"
                )
                remedy = "move the folder away, and start the sweep again"
                raise RunError(fault, file=run.path, remedy=remedy)

    @contextmanager
    def opened(self, record: dict[str, Any]) -> Iterator[Index]:
        """Hold the folder's lock, and begin a sweep or check the one in the folder.

        Args:
            record: The content of sweep.json for a new sweep, with all members.

        Yields:
            The plan of the sweep.

        Raises:
            RunError: The folder is in use, has another purpose, or has another sweep.
            FileError: The folder cannot be created.
        """
        with self.locked():
            if self.exists():
                # Tuples become lists, as in the file.
                self._check_same(json.loads(json.dumps(record)))
            else:
                self.write(record)
            with file_errors(self.path / MEMBERS, "create"):
                make_folder(self.path / MEMBERS)
                for path in self.path.glob(f"{STOP}*"):
                    remove(path)
            yield self.read()

    def write(self, record: dict[str, Any]) -> None:
        """Write sweep.json. Raises FileError."""
        records.write_json(self.path / INDEX, record)

    def write_failures(self, failures: dict[str, dict[str, str]]) -> None:
        """Write failures.json, in the order of the members. Raises FileError."""
        # As text alone, 10000 would come before 9999.
        names = sorted(failures, key=lambda name: (len(name), name))
        records.write_json(
            self.path / FAILURES, {name: failures[name] for name in names}
        )

    def new_stop_file(self) -> Path:
        """Return a path at which no file is yet.

        While the file exists, members save and stop. Its name is always new, because a
        machine of a cluster may still see a removed file for a while.
        """
        return self.path.resolve() / f"{STOP}{uuid.uuid4().hex[:8]}"

    def _record(self) -> dict[str, Any]:
        path = self.path / INDEX
        if not self.exists():
            fault = f"is not a sweep: it has no {INDEX}"
            raise RunError(fault, file=self.path, remedy="give the folder of a sweep")
        record = records.check_format(records.read_json(path), path)
        return records.check_fields(record, _FIELDS, path)

    def _check_same(self, wanted: dict[str, Any]) -> None:
        """Raise RunError, which names the difference, unless the sweep is the same."""
        saved = _by_name(self._record())
        for name, value in _by_name(wanted).items():
            if saved.get(name) != value:
                was, is_now = shown(saved.get(name)), shown(value)
                raise RunError(
                    f"belongs to another sweep: {name} was {was}, and is now {is_now}",
                    file=self.path,
                    remedy=(
                        "give the same options, data and weights as before, "
                        "or choose another folder"
                    ),
                )


def _by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Return the values in the record of a sweep at one level, without the members."""
    values = {}
    for name, value in record.items():
        if not isinstance(value, dict | list):
            values[name] = value
    values |= {**record["settings"], **record["options"]}
    for name, value in record["sums"].items():
        values[f"the checksum of {quoted(name)}"] = value
    return values
