"""The folder of a sweep: many runs, and the plan that they follow.

sweep.json      the plan and all members, written whole before the first one starts
members/NAME/   the run of a member, as `mlp-xp train` writes it failures.json   {name:
{"error": class, "reason": line}} of the members that failed .stop-NAME      is there
from when members are asked to save and stop until the next command
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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
    "random": int | None,
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
    """Return a member for each of these settings, named by its number."""
    return tuple(Member(f"{i:04d}", each) for i, each in enumerate(settings, first))


class Index(NamedTuple):
    """The runs of a sweep, as sweep.json has them."""

    base: Settings
    """The settings that do not vary."""
    sums: dict[str, str]
    """The checksums of the data and of the models that members begin with, by name."""
    members: tuple[Member, ...]


class SweepFolder(LockedFolder):
    """A folder that holds a sweep, or will hold one.

    Args:
        path: The folder. It need not exist.

    Examples:
        >>> sweep = SweepFolder("runs/sweep-mnist-numpy-1f2a3b4c")
        >>> [sweep.run(member).result() for member in sweep.read().members]
    """

    purpose = "sweep"
    index = INDEX

    def read(self) -> Index:
        """Return the runs of the sweep.

        Raises:
            RunError: The folder has no sweep, or sweep.json is damaged.
        """
        record = self._record()
        path = self.path / INDEX
        base = unflatten(record["settings"], path)
        members = []
        for changes in record["members"]:
            records.check_fields(changes, {}, path)
            settings = flatten(unflatten({**record["settings"], **changes}, path))
            members.append({name: settings[name] for name in changes})
        return Index(base, record["sums"], numbered(members))

    def failures(self) -> dict[str, dict[str, str]]:
        """Return the error and the reason of each member that failed, by name. Raises
        RunError.
        """
        path = self.path / FAILURES
        if not path.exists():
            return {}
        failures = records.read_json(path)
        for failure in failures.values():
            records.check_fields(failure, {"error": str, "reason": str}, path)
        return failures

    def run(self, member: Member | str) -> RunFolder:
        """Return the folder of a member's run."""
        name = member if isinstance(member, str) else member.name
        return RunFolder(self.path / MEMBERS / name)

    @contextmanager
    def opened(self, record: dict[str, Any]) -> Iterator[Index]:
        """Hold the folder's lock, and check that it has this sweep, or begin it.

        Args:
            record: The content of sweep.json for a new sweep, with all members.

        Yields:
            The runs of the sweep.

        Raises:
            RunError: The folder is in use, has another purpose, or has another sweep.
            FileError: The folder cannot be created.
        """
        with self.locked():
            if self.exists():
                self.read()  # refuses a damaged one
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
        """Write failures.json, with the members in their order. Raises FileError."""
        records.write_json(self.path / FAILURES, dict(sorted(failures.items())))

    def new_stop_file(self) -> Path:
        """Return the path of a file that does not exist; members save and stop while it
        does.

        Its name is new, because a machine of a cluster may see a removed file for a
        while.
        """
        return self.path.resolve() / f"{STOP}{uuid.uuid4().hex[:8]}"

    def _record(self) -> dict[str, Any]:
        path = self.path / INDEX
        if not self.exists():
            remedy = "give the folder of a sweep"
            raise RunError(
                f"is not a sweep: it has no {INDEX}", file=self.path, remedy=remedy
            )
        record = records.check_format(records.read_json(path), path)
        return records.check_fields(record, _FIELDS, path)

    def _check_same(self, wanted: dict[str, Any]) -> None:
        """Raise RunError, which names the difference, unless the folder has the wanted
        sweep.
        """
        saved = _by_name(self._record())
        for name, value in _by_name(wanted).items():
            if saved.get(name) != value:
                was = shown(saved.get(name))
                fault = f"belongs to another sweep: {name} was {was}, and is now {shown(value)}"
                remedy = "give the same options, data and weights as before, or choose another folder"
                raise RunError(fault, file=self.path, remedy=remedy)


def _by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Return the plan and the data in a record of sweep.json, without nesting."""
    plain = {
        name: value
        for name, value in record.items()
        if not isinstance(value, dict | list)
    }
    sums = {
        f"the checksum of {quoted(name)}": value
        for name, value in record["sums"].items()
    }
    return {**plain, **record["settings"], **record["options"], **sums}
