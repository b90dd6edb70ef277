"""Evaluate a network on its test set: `mlp-xp evaluate RUN_DIR ...`."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any

from mlp_xp import api
from mlp_xp.commands.chosen import are_ensemble
from mlp_xp.commands.options import BackendName, CacheDir, Device, RunDirs, only_one
from mlp_xp.commands.process import print_line
from mlp_xp.commands.unfinished import warn_of_unfinished
from mlp_xp.errors import not_installed
from mlp_xp.runs.evaluation import Evaluated
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.table import labels, read_row
from mlp_xp.show.console import plain_console, print_csv
from mlp_xp.show.objects import of_evaluated, print_blocks


def evaluate(
    *run_dirs: RunDirs,
    json: bool = False,
    csv: bool = False,
    backend: BackendName = "numpy",
    device: Device = None,
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> None:
    """Evaluate a run's network on the test set.

    The results are printed in total and for each class, label or output. Several runs,
    or the runs of a sweep, are evaluated one by one and as an ensemble. An ensemble's
    probabilities or numbers are the means over its runs. Most metrics need
    scikit-learn. docs/runs.md defines them.

        mlp-xp evaluate runs/digits
        mlp-xp evaluate runs/a runs/b --json
        mlp-xp evaluate runs/prices --data-dir new.csv

    Args:
        run_dirs: The folder of a training run or of a sweep, or several folders.
        json: Print a JSON object with all metrics and the confusion matrix. For an
            ensemble, the object includes the metrics of each run.
        csv: Print a table in CSV with all metrics. It has a line for each run, and a
            last line for an ensemble.
        data_dir: Other data to evaluate on, read like the run's data. The network is
            evaluated on their test set, or on all samples if there is no test set. A
            warning says how many of them equal training rows.
    """
    only_one(json=json, csv=csv)
    found = api.evaluate(
        run_dirs, data_dir, backend=backend, device=device, cache_dir=cache_dir
    )
    folders = [Path(model.source) for model in found.models]
    warn_of_unfinished(folders)
    is_ensemble = are_ensemble(run_dirs)
    if not {"log_loss", "mae"} & found.metrics.keys():
        missing = (
            f"more metrics need scikit-learn, which {not_installed('scikit-learn')}"
        )
        print_line("note", missing)
    if csv:
        _print_csv(found, folders, is_ensemble=is_ensemble)
    elif json:
        _print_json(found, folders, is_ensemble=is_ensemble)
    else:
        _print_text(found, folders, is_ensemble=is_ensemble)


def _records(found: Evaluated, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the metrics of each run, with its folder first."""
    records = []
    for folder, metrics in zip(folders, found.run_metrics, strict=True):
        records.append({"run": str(folder), **metrics})
    return records


def _print_json(
    found: Evaluated, folders: Sequence[Path], *, is_ensemble: bool
) -> None:
    records = _records(found, folders)
    whole = {**found.metrics, "runs": records} if is_ensemble else records[0]
    print(dumps(whole, indent=2))


def _print_csv(found: Evaluated, folders: Sequence[Path], *, is_ensemble: bool) -> None:
    records = _records(found, folders)
    if is_ensemble:
        records.append({"run": f"ensemble of {len(folders)}", **found.metrics})
    lines = [_flat(record) for record in records]
    print_csv([lines[0], *(line.values() for line in lines)])


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a record, and the numbers of its parts as `recall 7`.

    The parts are classes, labels or outputs. The confusion matrix is left out.
    """
    numbers: dict[str, Any] = {}
    parts = []
    for name, value in record.items():
        if not isinstance(value, list):
            numbers[name] = value
        elif name != "confusion_matrix":
            parts = value
    for part in parts:
        for name, value in part.items():
            if name != "name":
                numbers[f"{name} {part['name']}"] = value
    return numbers


def _print_text(
    found: Evaluated, folders: Sequence[Path], *, is_ensemble: bool
) -> None:
    names: list[str] = []
    if is_ensemble:
        names = labels([read_row(RunFolder(folder)) for folder in folders])
    print_blocks(of_evaluated(found, names), plain_console())
