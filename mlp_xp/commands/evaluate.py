"""Evaluate a run's network, or an ensemble of several, on the test set: `python scripts/evaluate.py RUN_DIR ...`."""

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from csv import writer as csv_writer
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from mlp_xp import api
from mlp_xp.commands.data import naming_option, warn_of_unfinished
from mlp_xp.commands.options import RunDirs, UsageError
from mlp_xp.commands.tables import Column, print_table
from mlp_xp.core.dataset import described
from mlp_xp.core.metrics import precision_and_recall
from mlp_xp.core.task import Evaluation
from mlp_xp.errors import printable
from mlp_xp.runs.ensembles import members_of
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.runs.table import labels, read_row
from mlp_xp.show.terminal import described_result, say
from mlp_xp.show.width import plain_console

FIGURES = ("samples", "loss", "accuracy", "label_accuracy", "r2", "rmse")  # of an `Evaluation`


def evaluate(
    *run_dirs: RunDirs,
    json: bool = False,
    csv: bool = False,
    backend: str = "numpy",
    device: str | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Evaluate a run's network on the test set, in total and for each class, label or output.

    With several runs, or a sweep, evaluate each, and the ensemble, whose probabilities or numbers are the mean of
    theirs.

    Args:
        run_dirs: The folder of a training run; or several, or the folder of a sweep.
        json: Print a JSON object with all figures and the confusion matrix; for an ensemble also those of its runs.
        csv: Print a table in CSV with all figures, a line per run, and a last one for an ensemble.
        backend: numpy, cupy, jax, torch, array-api-strict, or `module:namespace`, independent of the one used for
            training.
        device: The device, in the library's notation, such as cuda:1.
        data_dir: Evaluate on this data, read as the run's own: its test set, or every sample if it has none. Or the
            run's own data, if they have moved: their test part alone counts, so a run without a test set needs other
            data.
        cache_dir: Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system.
    """
    if json and csv:
        raise UsageError("--json and --csv: give only one of these options")
    first, console = run_dirs[0], plain_console()
    several = len(run_dirs) > 1 or is_sweep(first)
    members = members_of(run_dirs)
    member = members[0]
    warn_of_unfinished(members)
    with naming_option(run=None if data_dir else member):
        found = api.evaluate(run_dirs, data_dir, backend=backend, device=device, cache_dir=cache_dir)
    result, matrix, model = found.result, found.matrix, found.models[0]
    class_names = model.class_names
    if json or csv:
        runs = as_records(found, members) if several else []
        record = as_record(result, matrix, class_names)
        if csv:
            record = {"run": f"ensemble of {len(runs)}" if several else str(first), **record}
            csv_writer(sys.stdout, lineterminator="\n").writerows(csv_lines([*runs, record]))
        else:
            print(dumps({**record, "runs": runs} if several else {"run": str(first), **record}, indent=2))
        return
    if several:
        show_runs(found, members, console)
    class_names = tuple(map(printable, class_names))  # from a file that may be anybody's
    shape = model.input_shape
    say(console, f"{described_result(result, shape, class_names)}\n")
    if matrix is None:
        console.print(output_table(result, class_names))
        return
    inputs = described(shape).split()[0]  # images or samples
    console.print(class_table(matrix, class_names, inputs))
    absent = [name for name, images_of in zip(class_names, matrix.sum(axis=1), strict=True) if not images_of]
    if absent:
        say(console, f"\nno test {inputs} of: {', '.join(absent)}")
    say(console, "\nconfusion matrix (rows: true class; columns: predicted class)")
    for line in confusion_lines(matrix, class_names, console.width):
        console.print(line, soft_wrap=True)


def as_records(found: api.Evaluated, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the figures of each run of an ensemble as JSON data."""
    names = found.models[0].class_names
    results = itertools.zip_longest(found.runs, found.matrices)
    return [{"run": str(folder), **as_record(*each, names)} for folder, each in zip(folders, results, strict=True)]


def as_record(result: Evaluation, matrix: np.ndarray | None, names: Sequence[str]) -> dict[str, Any]:
    """Return all figures as JSON data: None for one that is not finite, as the precision of what is never predicted."""
    figures = {name: _finite(getattr(result, name)) for name in FIGURES if getattr(result, name) is not None}
    if matrix is None:
        columns: dict[str, Sequence[float]] = {"r2": result.r2s, "rmse": result.rmses}
        if result.label_accuracies:
            columns = {"accuracy": result.label_accuracies}
        return {**figures, "labels" if result.label_accuracies else "outputs": _of_each(names, columns)}
    precision, recall = precision_and_recall(matrix)
    columns = {"samples": matrix.sum(axis=1).tolist(), "precision": precision.tolist(), "recall": recall.tolist()}
    return {**figures, "classes": _of_each(names, columns), "confusion_matrix": matrix.tolist()}


def _of_each(names: Sequence[str], columns: dict[str, Sequence[float]]) -> list[dict[str, Any]]:
    rows = zip(names, *columns.values(), strict=True)
    return [{"name": name, **dict(zip(columns, map(_finite, row), strict=True))} for name, *row in rows]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def csv_lines(records: Sequence[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield the lines of a table with a line for each record of a run: a header, then the numbers in full precision."""
    for number, record in enumerate(records):
        figures = {name: value for name, value in record.items() if not isinstance(value, list)}
        for each in record.get("classes") or record.get("labels") or record["outputs"]:
            figures |= {f"{name} {each['name']}": value for name, value in each.items() if name != "name"}
        if not number:
            yield [*figures]
        yield [*figures.values()]


def show_runs(found: api.Evaluated, folders: Sequence[Path], console: Console) -> None:
    """Print a table of what each run's network, and their ensemble, does."""
    names = map(printable, labels([read_row(folder) for folder in folders]))
    results = [*found.runs, found.result]
    is_r2 = results[-1].r2 is not None
    rows = [
        [name, f"{result.score:.4f}" if is_r2 else f"{100 * result.score:.2f}", f"{result.loss:.4f}"]
        for name, result in zip([*names, f"ensemble of {len(found.runs)}"], results, strict=True)
    ]
    heads, cells = ("run", "test R²" if is_r2 else "test %", "loss"), zip(*rows, strict=True)
    columns = [Column(head, [*each], head == "run") for head, each in zip(heads, cells, strict=True)]
    print_table(columns, console)
    say(console, "\nthe ensemble:")


def class_table(matrix: np.ndarray, class_names: Sequence[str], inputs: str = "images") -> Table:
    """Return a table of precision and recall for each class with images, from a confusion matrix (n, n).

    The precision of a class that was never predicted is a dash. inputs: images, or what else is classified.
    """
    table = _table("class", inputs, "precision", "recall")
    precision, recall = precision_and_recall(matrix)
    for name, images_of, p, r in zip(class_names, matrix.sum(axis=1), precision, recall, strict=True):
        if images_of:
            table.add_row(name, str(images_of), "-" if np.isnan(p) else f"{p:.4f}", f"{r:.4f}")
    return table


def output_table(result: Evaluation, names: Sequence[str]) -> Table:
    """Return a table of the accuracy of each label, or of R² and the root mean squared error of each output."""
    if result.label_accuracies:
        table = _table("label", "accuracy")
        for name, accuracy in zip(names, result.label_accuracies, strict=True):
            table.add_row(name, f"{accuracy:.4f}")
        return table
    table = _table("output", "R²", "RMSE")
    for name, r2, rmse in zip(names, result.r2s, result.rmses, strict=True):
        table.add_row(name, f"{r2:.4f}", f"{rmse:.4g}")
    return table


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    return table


def confusion_lines(matrix: np.ndarray, class_names: Sequence[str], width: int) -> Iterator[str]:
    """Yield a confusion matrix (n, n) as lines of at most `width` cells, in several blocks of columns if needed.

    A class without images has no row, and it has a column only if it was predicted.
    """
    rows: list[int] = np.flatnonzero(matrix.sum(axis=1)).tolist()
    columns: list[int] = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1)).tolist()
    label = max(cell_len(class_names[i]) for i in columns)
    widths = {j: 1 + max(3, cell_len(class_names[j]), len(str(matrix[:, j].max()))) for j in columns}
    while columns:
        ends = itertools.accumulate((widths[j] for j in columns), initial=label)
        count = max(1, sum(end <= width for end in ends) - 1)
        block, columns = columns[:count], columns[count:]
        yield " " * label + "".join(_right(class_names[j], widths[j]) for j in block)
        for i in rows:
            cells = "".join(_right(str(matrix[i, j] or "."), widths[j]) for j in block)
            yield set_cell_size(class_names[i], label) + cells
        if columns:
            yield ""


def _right(text: str, width: int) -> str:
    """Return a text aligned to the right in `width` cells."""
    return " " * (width - cell_len(text)) + text
