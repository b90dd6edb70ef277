"""The files of a sweep's folder, as commands read them; `sweeps.folder` writes them.

sweep.json      the plan and all members, written whole before the first one starts
members/NAME/   the run of a member, as `mlp-xp train` writes it
failures.json   {name: {"error": class, "reason": line}} of the members that failed
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.runs import records
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings, flatten, unflatten

INDEX, MEMBERS, FAILURES = "sweep.json", "members", "failures.json"
FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"
FIELDS = {
    **{"random": int | None, "optuna": int | None, "sampling_seed": int},
    **{"options": dict, "settings": dict, "sums": dict, "members": list},
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
    """What sweep.json says about the runs of a sweep."""

    base: Settings
    """The settings that do not vary."""
    sums: dict[str, str]
    """The checksums of the data and of the models that members begin with, by their names."""
    members: tuple[Member, ...]


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep, perhaps a damaged one."""
    return os.path.lexists(folder / INDEX)


def read_index(folder: str | Path) -> Index:
    """Return what sweep.json says. Raises MlpXpError if the folder is not a sweep's, or the file is damaged."""
    path = Path(folder) / INDEX
    if not os.path.lexists(path):
        remedy = "give the folder of a sweep"
        raise RunError(f"is not a sweep: it has no {INDEX}", file=folder, remedy=remedy)
    record = records.check_fields(records.check_format(records.read_json(path), path), FIELDS, path)
    base = unflatten(record["settings"], path)
    found = []
    for changes in record["members"]:
        settings = flatten(unflatten({**record["settings"], **records.check_fields(changes, {}, path)}, path))
        found.append({name: settings[name] for name in changes})
    return Index(base, record["sums"], numbered(found))


def read_failures(folder: str | Path) -> dict[str, dict[str, str]]:
    """Return the records of the members that failed, by name. Raises RunError."""
    path = Path(folder) / FAILURES
    found = records.read_json(path) if path.exists() else {}
    for each in found.values():
        records.check_fields(each, {"error": str, "reason": str}, path)
    return found
