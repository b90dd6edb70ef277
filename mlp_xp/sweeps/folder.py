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

from mlp_xp.files import file_errors, make_folder
from mlp_xp.runs import records
from mlp_xp.runs.lock import locked
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import check_folder, write_json
from mlp_xp.runs.settings import flatten
from mlp_xp.runs.sweep_index import GRID, INDEX, MEMBERS, Index, Member, read_index
from mlp_xp.runs.table import shown
from mlp_xp.sweeps.grid import Plan, Span

STOP = ".stop-"


def folder_of(plan: Plan) -> Path:
    """Return the folder of a sweep: that of its options, or `runs/sweep-<dataset>-<backend>-<digest>`.

    The same plan has the same folder, so that it can go on.
    """
    if plan.how.sweep_dir:
        return Path(plan.how.sweep_dir)
    digest = hashlib.sha256(json.dumps(_record_of(plan), sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / f"sweep-{Path(plan.base.data).name}-{plan.base.backend.replace(':', '-')}-{digest}"


def _record_of(plan: Plan) -> dict[str, Any]:
    """Return a plan as in sweep.json, without the members. The options are lists of values, or texts as in 0.1..1.0."""
    options = {name: str(values) if isinstance(values, Span) else values for name, values in plan.options.items()}
    seed = 0 if plan.kind == GRID else plan.how.sampling_seed
    head = {"format": records.FORMAT, "kind": plan.kind, "count": plan.total, "sampling_seed": seed}
    plain: dict[str, Any] = json.loads(json.dumps({**head, "settings": flatten(plan.base), "options": options}))
    return plain


def write_index(folder: Path, plan: Plan, members: Sequence[Member], sums: Mapping[str, str]) -> None:
    """Write sweep.json. sums: the checksums of data and of models to start from, by their names. Raises FileError."""
    record = {**_record_of(plan), "sums": dict(sums), "members": [member.settings for member in members]}
    write_json(folder / INDEX, record)


def run_of(folder: str | Path, name: str) -> Path:
    """Return the run folder of a member."""
    return Path(folder) / MEMBERS / name


@contextlib.contextmanager
def open_sweep(folder: Path, plan: Plan, sums: Mapping[str, str]) -> Iterator[Index]:
    """Create the folder of a sweep with its index, or check that it has this plan and these data; hold its lock.

    Raises RunError for a folder that is in use, or belongs to another sweep or to something else, and FileError.
    """
    check_folder(folder, "sweep_dir", "sweep", INDEX)  # before the lock writes to a folder of something else
    with file_errors(folder, "create"):
        make_folder(folder)
    with locked(folder):
        if (folder / INDEX).exists():
            _check_same(folder, plan, sums)
        else:
            write_index(folder, plan, plan.members, sums)
        with file_errors(folder / MEMBERS, "create"):
            make_folder(folder / MEMBERS)
            for path in folder.glob(f"{STOP}*"):
                path.unlink()
        yield read_index(folder)


def _check_same(folder: Path, plan: Plan, sums: Mapping[str, str]) -> None:
    """Raise RunError, which names what differs, if the folder belongs to another sweep, or the data have changed.

    Otherwise the results of a sweep would be of several data sets.
    """
    read_index(folder)  # refuses a damaged one
    saved = records.read_json(folder / INDEX)
    old = _by_name(saved, saved["sums"])
    for name, value in _by_name(_record_of(plan), sums).items():
        if old.get(name) != value:
            raise RunError(
                f"{str(folder)!r} belongs to another sweep: {name} was {shown(old.get(name))}, and is now "
                f"{shown(value)}; give the same options, data and weights as before, or choose another folder",
                setting="sweep_dir",
            )


def _by_name(record: dict[str, Any], sums: Mapping[str, str]) -> dict[str, Any]:
    """Return what sweep.json says about a plan and its data without nesting."""
    sampling = {name: record[name] for name in ("sampling_seed", "count")}
    content = {f"the checksum of {name!r}": value for name, value in sums.items()}
    return {"kind": record["kind"], **record["settings"], **record["options"], **sampling, **content}
