"""What a sweep's folder has of its members: the names of its files, and their states. `sweeps.folder` writes it.

sweep.json      the plan and all members, written whole before the first one starts
members/NAME/   the run of a member, as `mlp-xp train` writes it
failures.json   {name: {"error": class, "reason": line}} of the members that failed
pruned.json     likewise, of the trials that Optuna stopped early
"""

import os
from pathlib import Path
from typing import Any

from mlp_xp.regular import read_fault, read_regular
from mlp_xp.runs import records
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RESULT

INDEX, MEMBERS, FAILURES, PRUNINGS = "sweep.json", "members", "failures.json", "pruned.json"
FINISHED, FAILED, PRUNED, INTERRUPTED = "finished", "failed", "pruned", "interrupted"
# The files that say why members have not finished, and the state of these.
ENDINGS = {FAILURES: FAILED, PRUNINGS: PRUNED}
LIMIT = 1 << 27  # bytes of a file: of the most members, with long values
ADVICE = "restore it from a copy, or start the sweep in another folder"


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep, perhaps a damaged one."""
    return os.path.lexists(folder / INDEX)


def read_file(path: Path) -> dict[str, Any]:
    """Return the object in one of a sweep's JSON files. Raises RunError."""
    try:
        content = read_regular(path, LIMIT)
    except OSError as error:
        raise RunError(f"{str(path)!r}: {read_fault(error)}; {ADVICE}") from error
    return records.check_fields(records.parse(content, repr(str(path)), ADVICE), {}, repr(str(path)), ADVICE)


def read_result(run: Path, advice: str = "resume the run") -> dict[str, Any] | None:
    """Return the closing report of a run, which is in its own file; None if it is unfinished. Raises RunError."""
    path = run / RESULT
    if not os.path.lexists(path):
        return None
    record = records.read_json(path, advice, wrong="is damaged")
    return records.check_fields(record, records.REPORT, repr(str(path)), advice)
