"""Evaluate a run's network, or an ensemble of several, on the test set: `python
scripts/evaluate.py RUN_DIR ...`.
"""

from collections.abc import Iterable, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp import api
from mlp_xp.commands.options import BackendName, CacheDir, Device, RunDirs, only_one
from mlp_xp.commands.process import called, print_line
from mlp_xp.core.signature import described
from mlp_xp.errors import not_installed, quoted
from mlp_xp.runs.evaluation import Evaluated
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import INTERRUPTED, SweepFolder
from mlp_xp.runs.table import IN_USE, labels, read_row
from mlp_xp.show.console import plain_console, print_csv, print_table, say
from mlp_xp.show.numbers import figure, quantity
from mlp_xp.show.terminal import described_result

HEADS = {"r2": "R²", "rmse": "RMSE", "mae": "MAE", "f1": "F1", "roc_auc": "ROC AUC"}
_PROBABLE = ("log_loss", "calibration_error")
UNITS = ("rmse", "mae", "median_absolute_error")  # figures in the units of the labels


def evaluate(
    *run_dirs: RunDirs,
    json: bool = False,
    csv: bool = False,
    backend: BackendName = "numpy",
    device: Device = None,
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> None:
    """Evaluate a run's network on the test set, in total and for each class, label or
    output.

    With several runs, or a sweep, evaluate each of them, and the ensemble, whose
    probabilities or numbers are the mean of theirs. Most figures need scikit-learn;
    docs/runs.md defines them.

    Args:
        run_dirs: The folder of a training run or of a sweep, or the folders of several.
        json: Print a JSON object with all figures and the confusion matrix; for an
            ensemble also those of its runs.
        csv: Print a table in CSV with all figures, a line per run, and a last one for
            an ensemble.
        data_dir: Evaluate on this data, read as the run's own: on its test set, or on
            every sample if it has none. Rows that the run was trained on are left out.
    """
    only_one(json=json, csv=csv)
    found = api.evaluate(
        run_dirs, data_dir, backend=backend, device=device, cache_dir=cache_dir
    )
    folders = [Path(each.source) for each in found.models]
    warn_of_unfinished(folders)
    several = len(run_dirs) > 1 or SweepFolder(run_dirs[0]).exists()
    records = [
        {"run": str(folder), **each}
        for folder, each in zip(folders, found.run_metrics, strict=True)
    ]
    if not {"log_loss", "mae"} & found.metrics.keys():
        print_line(
            "note",
            "more figures need scikit-learn, which " + not_installed("scikit-learn"),
        )
    if csv:
        last = (
            [{"run": f"ensemble of {len(folders)}", **found.metrics}] if several else []
        )
        lines = [*map(flat, records + last)]
        print_csv([lines[0], *(line.values() for line in lines)])
    elif json:
        print(
            dumps(
                {**found.metrics, "runs": records} if several else records[0], indent=2
            )
        )
    else:
        show(found, folders if several else (), plain_console())


def warn_of_unfinished(folders: Iterable[Path]) -> None:
    """Print a line on stderr for each run that has not ended, because its network is
    that of its last checkpoint.
    """
    for folder in folders:
        row = read_row(RunFolder(folder))
        if row.state in (INTERRUPTED, IN_USE):
            text = f"{row.reason or INTERRUPTED}; its network is that of its last checkpoint"
            if row.state == INTERRUPTED:
                text += f"; resume with: {called('train', '--resume', folder)}"
            print_line("warning", f"{quoted(folder)}: {text}")


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a record, and those of each class, label or output by names
    such as `recall 7`.
    """
    parts = next(value for value in record.values() if isinstance(value, list))
    named = {
        f"{name} {part['name']}": value
        for part in parts
        for name, value in part.items()
        if name != "name"
    }
    return {
        name: value for name, value in record.items() if not isinstance(value, list)
    } | named


def show(found: Evaluated, folders: Sequence[Path], console: Console) -> None:
    """Print the figures of a network, or of several in `folders` and of their ensemble."""
    model, names, whole = (
        found.models[0],
        found.models[0].signature.outputs,
        found.metrics,
    )
    if folders:
        runs = [
            *labels([read_row(RunFolder(folder)) for folder in folders]),
            f"ensemble of {len(folders)}",
        ]
        head, kind = (
            ("test %", "accuracy") if found.result.r2 is None else ("test R²", "r2")
        )
        results = zip(runs, (*found.runs, found.result), strict=True)
        scores = (
            (run, figure(kind, each.score), f"{each.loss:.4f}") for run, each in results
        )
        print_table(("run", head, "loss"), scores, console)
        say(console, "\nthe ensemble:")
    say(console, f"{described_result(found.result, model.signature)}\n")
    parts = whole[model.signature.task.outputs_name]
    heads = HEADS | {
        "name": model.signature.task.outputs_name,
        "samples": described(model.signature.input_shape).split()[0],
    }
    rows = [[_cell(*item) for item in part.items()] for part in parts]
    for how in ("macro", "weighted"):
        means = [
            _cell(name, whole[f"{name}_{how}"]) if f"{name}_{how}" in whole else ""
            for name in parts[0]
        ]
        rows += [[f"{how} mean", *means[1:]]] if any(means) else []
    print_table(
        [heads.get(name, name.replace("_", " ")) for name in parts[0]], rows, console
    )
    if said := [
        f"{name.replace('_', ' ')} {whole[name]:.4f}"
        for name in _PROBABLE
        if name in whole
    ]:
        say(console, f"\n{', '.join(said)}")
    if matrix := whole.get("confusion_matrix"):
        say(console, "\nconfusion matrix (rows: true class; columns: predicted class)")
        counts = (
            (name, *(str(count or ".") for count in row))
            for name, row in zip(names, matrix, strict=True)
        )
        print_table(("", *names), counts, console)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return quantity(value) if name in UNITS else f"{value:.4f}"
    return "-" if value is None else str(value)
