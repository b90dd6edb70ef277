"""The folder of a sweep: sweep.json, the runs in members/, and the record of those that failed.

Besides what `runs.sweep_index` names, .stop-NAME is there from when members are asked to save and stop until the next
command.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlp_xp.errors import quoted
from mlp_xp.files import file_errors, make_folder, remove
from mlp_xp.runs import records
from mlp_xp.runs.lock import locked
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import check_folder, write_json
from mlp_xp.runs.settings import flatten
from mlp_xp.runs.sweep_index import INDEX, MEMBERS, Index, Member, read_index
from mlp_xp.runs.table import shown
from mlp_xp.sweeps.grid import Plan, Span

STOP = ".stop-"


def folder_of(plan: Plan) -> Path:
    """Return the folder of a sweep: that of its options, or `runs/sweep-<dataset>-<backend>-<digest>`.

    The same plan has the same folder, so that it can go on.
    """
    if plan.how.sweep_dir:
        return Path(plan.how.sweep_dir)
    digest = hashlib.sha256(json.dumps(_record_of(plan, {}, ()), sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / f"sweep-{Path(plan.base.data).name}-{plan.base.backend.replace(':', '-')}-{digest}"


def _record_of(plan: Plan, sums: Mapping[str, str], members: Sequence[Member]) -> dict[str, Any]:
    """Return what sweep.json says. The options are lists of values, or texts as in 0.1..1.0.

    sums: the checksums of data and of models to start from, by their names.
    """
    how = {name: getattr(plan.how, name) for name in ("random", "optuna", "sampling_seed")}
    options = {name: str(values) if isinstance(values, Span) else values for name, values in plan.options.items()}
    content = {"options": options, "sums": dict(sums), "members": [member.settings for member in members]}
    return {"format": records.FORMAT, **how, "settings": flatten(plan.base), **content}


def write_index(folder: Path, plan: Plan, sums: Mapping[str, str], members: Sequence[Member]) -> None:
    """Write sweep.json. Raises FileError."""
    write_json(folder / INDEX, _record_of(plan, sums, members))


@contextlib.contextmanager
def open_sweep(folder: Path, plan: Plan, sums: Mapping[str, str]) -> Iterator[Index]:
    """Create the folder of a sweep with its index, or check that it has this plan and these data; hold its lock.

    Raises RunError for a folder that is in use, or belongs to another sweep or to something else, and FileError.
    """
    check_folder(folder, "sweep", INDEX)  # before the lock writes to a folder of something else
    with file_errors(folder, "create"):
        make_folder(folder)
    with locked(folder):
        if (folder / INDEX).exists():
            read_index(folder)  # refuses a damaged one
            _check_same(folder, records.read_json(folder / INDEX), json.loads(json.dumps(_record_of(plan, sums, ()))))
        else:
            write_index(folder, plan, sums, plan.members)
        with file_errors(folder / MEMBERS, "create"):
            make_folder(folder / MEMBERS)
            for path in folder.glob(f"{STOP}*"):
                remove(path)
        yield read_index(folder)


def _check_same(folder: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise RunError, which names what differs, unless two records are of the same sweep on the same data."""
    before = _by_name(saved)
    for name, value in _by_name(wanted).items():
        if before.get(name) != value:
            raise RunError(
                f"belongs to another sweep: {name} was {shown(before.get(name))}, and is now {shown(value)}",
                file=folder,
                remedy="give the same options, data and weights as before, or choose another folder",
            )


def _by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Return what sweep.json says about a plan and its data without nesting."""
    plain = {name: value for name, value in record.items() if not isinstance(value, dict | list)}
    sums = {f"the checksum of {quoted(name)}": value for name, value in record["sums"].items()}
    return {**plain, **record["settings"], **record["options"], **sums}
