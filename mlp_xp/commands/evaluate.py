"""Evaluate a run's network, or an ensemble of several, on the test set: `python scripts/evaluate.py RUN_DIR ...`."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from mlp_xp import api
from mlp_xp.commands.data import naming_option, warn_of_unfinished
from mlp_xp.commands.options import BackendName, CacheDir, Device, RunDirs, only_one
from mlp_xp.commands.tables import Column, print_csv, print_table
from mlp_xp.core.dataset import described
from mlp_xp.core.task import Evaluation
from mlp_xp.errors import printable
from mlp_xp.runs.ensembles import members_of
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import labels, read_row
from mlp_xp.show.numbers import figure
from mlp_xp.show.terminal import described_result, say
from mlp_xp.show.width import plain_console

FIGURES = ("samples", "loss", "accuracy", "label_accuracy", "r2", "rmse")  # of an `Evaluation`
HEADS = {"classes": "class", "labels": "label", "outputs": "output", "r2": "R²", "rmse": "RMSE"}


def precision_and_recall(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of each class, float64 (n,) each, from a confusion matrix (n, n).

    Precision is the share of the samples predicted as the class that belong to it, recall the share of the samples of
    the class that are predicted as it. NaN where there are no such samples.
    """
    correct = np.diagonal(matrix).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return correct / matrix.sum(axis=0), correct / matrix.sum(axis=1)


class Parts(NamedTuple):
    """The figures of each class, label or output."""

    kind: str
    """classes, labels or outputs."""
    names: Sequence[str]
    columns: Mapping[str, Sequence[float]]
    """The figures by their names, one for each of `names`."""


def evaluate(
    *run_dirs: RunDirs,
    json: bool = False,
    csv: bool = False,
    backend: BackendName = "numpy",
    device: Device = None,
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> None:
    """Evaluate a run's network on the test set, in total and for each class, label or output.

    With several runs, or a sweep, evaluate each of them, and the ensemble, whose probabilities or numbers are the mean
    of theirs.

    Args:
        run_dirs: The folder of a training run or of a sweep, or the folders of several.
        json: Print a JSON object with all figures and the confusion matrix; for an ensemble also those of its runs.
        csv: Print a table in CSV with all figures, a line per run, and a last one for an ensemble.
        data_dir: Evaluate on this data, read as the run's own: on its test set, or on every sample if it has none. Rows
            that the run was trained on are left out.
    """
    only_one(json=json, csv=csv)
    folders, several = members_of(run_dirs), len(run_dirs) > 1 or is_sweep(run_dirs[0])
    warn_of_unfinished(folders)
    with naming_option(run=None if data_dir else folders[0]):
        found = api.evaluate(run_dirs, data_dir, backend=backend, device=device, cache_dir=cache_dir)
    model = found.models[0]
    if json or csv:
        each = zip(folders, itertools.zip_longest(found.runs, found.matrices), strict=True)
        records = [{"run": str(folder), **as_record(*figures, model.class_names)} for folder, figures in each]
        whole = as_record(found.result, found.matrix, model.class_names)
        if csv:
            print_csv(csv_lines([*records, *([{"run": f"ensemble of {len(folders)}", **whole}] if several else [])]))
        else:
            print(dumps({**whole, "runs": records} if several else records[0], indent=2))
        return
    console = plain_console()
    if several:
        show_runs(found, folders, console)
    names = tuple(map(printable, model.class_names))  # they come from a file, which may be anybody's
    say(console, f"{described_result(found.result, model.input_shape, names)}\n")
    show_parts(parts_of(found.result, found.matrix, names), described(model.input_shape).split()[0], console)
    if found.matrix is not None:
        say(console, "\nconfusion matrix (rows: true class; columns: predicted class)")
        for line in confusion_lines(found.matrix, names, console.width):
            console.print(line, soft_wrap=True)


def parts_of(result: Evaluation, matrix: np.ndarray | None, names: Sequence[str]) -> Parts:
    """Return the figures of each class, from a confusion matrix (n, n), or of each label or output."""
    if matrix is not None:
        counts, (precision, recall) = matrix.sum(axis=1), precision_and_recall(matrix)
        columns = {"samples": counts, "precision": precision, "recall": recall}
        return Parts("classes", names, {name: array.tolist() for name, array in columns.items()})
    if result.label_accuracies:
        return Parts("labels", names, {"accuracy": result.label_accuracies})
    return Parts("outputs", names, {"r2": result.r2s, "rmse": result.rmses})


def as_record(result: Evaluation, matrix: np.ndarray | None, names: Sequence[str]) -> dict[str, Any]:
    """Return all figures as JSON data. One that is not finite, as the precision of what is never predicted, is None."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    figures = {name: finite(value) for name in FIGURES if (value := getattr(result, name)) is not None}
    kind, _, columns = parts_of(result, matrix, names)
    rows = zip(names, *columns.values(), strict=True)
    parts = [{"name": name, **dict(zip(columns, map(finite, row), strict=True))} for name, *row in rows]
    return {**figures, kind: parts, **({} if matrix is None else {"confusion_matrix": matrix.tolist()})}


def csv_lines(records: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield the lines of a table with a line for each record of a run: a header, then the numbers in full precision."""
    for number, record in enumerate(records):
        figures = {name: value for name, value in record.items() if not isinstance(value, list)}
        for part in record.get("classes") or record.get("labels") or record["outputs"]:
            figures |= {f"{name} {part['name']}": value for name, value in part.items() if name != "name"}
        if not number:
            yield [*figures]
        yield [*figures.values()]


def show_runs(found: api.Evaluated, folders: Sequence[Path], console: Console) -> None:
    """Print a table of the results of each run and of their ensemble."""
    names = [*map(printable, labels([read_row(folder) for folder in folders])), f"ensemble of {len(folders)}"]
    results = [*found.runs, found.result]
    head, kind = ("test %", "accuracy") if found.result.r2 is None else ("test R²", "r2")
    scores, losses = ([figure(kind, each.score) for each in results], [f"{each.loss:.4f}" for each in results])
    print_table([Column("run", names, True), Column(head, scores), Column("loss", losses)], console)
    say(console, "\nthe ensemble:")


def show_parts(parts: Parts, inputs: str, console: Console) -> None:
    """Print a table of the figures of each class with test samples, label or output. inputs: images, or samples."""
    present = [i for i, count in enumerate(parts.columns.get("samples", parts.names)) if count != 0]
    heads = {**HEADS, "samples": inputs}
    columns = [
        Column(heads.get(name, name), [_figure(name, values[i]) for i in present])
        for name, values in parts.columns.items()
    ]
    print_table([Column(heads[parts.kind], [parts.names[i] for i in present], True), *columns], console)
    if absent := [name for i, name in enumerate(parts.names) if i not in present]:
        say(console, f"\nno test {inputs} of: {', '.join(absent)}")


def _figure(name: str, value: float) -> str:
    if name == "samples":
        return str(value)
    return "-" if math.isnan(value) else f"{value:.4g}" if name == "rmse" else f"{value:.4f}"


def confusion_lines(matrix: np.ndarray, class_names: Sequence[str], width: int) -> Iterator[str]:
    """Yield a confusion matrix (n, n) as lines of at most `width` cells, in several blocks of columns if needed.

    A class without images has no row, and it has a column only if it was predicted.
    """
    rows: list[int] = np.flatnonzero(matrix.sum(axis=1)).tolist()
    columns: list[int] = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1)).tolist()
    label = max(cell_len(class_names[i]) for i in columns)
    widths = {j: 1 + max(3, cell_len(class_names[j]), len(str(matrix[:, j].max()))) for j in columns}

    def right(text: str, column: int) -> str:
        return " " * (widths[column] - cell_len(text)) + text

    while columns:
        ends = itertools.accumulate((widths[j] for j in columns), initial=label)
        count = max(1, sum(end <= width for end in ends) - 1)
        block, columns = columns[:count], columns[count:]
        yield " " * label + "".join(right(class_names[j], j) for j in block)
        for i in rows:
            cells = "".join(right(str(matrix[i, j] or "."), j) for j in block)
            yield set_cell_size(class_names[i], label) + cells
        if columns:
            yield ""
