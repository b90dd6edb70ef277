"""Show the objects of the library to people, by `print` and in notebooks.

Lines of text and tables describe an object. The commands print the same descriptions.
"""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from mlp_xp import printing
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.model import Model
from mlp_xp.core.signature import Signature, described
from mlp_xp.core.stack import size_of
from mlp_xp.core.training import Report
from mlp_xp.errors import escaped, escaped_lines, more
from mlp_xp.gradients._report import HEADS, GradientCheck, wrapped
from mlp_xp.runs.evaluation import Evaluated
from mlp_xp.runs.prediction import Predicted
from mlp_xp.runs.settings import shown, words
from mlp_xp.show.numbers import (
    fraction,
    loss_text,
    metric_text,
    quantity,
    score_text,
    thousands,
)
from mlp_xp.show.presentation import presentation_of

# rich is imported where something is printed, so that `import mlp_xp` is quick
if TYPE_CHECKING:
    from rich.console import Console

_HEADS = {"r2": "R²", "rmse": "RMSE", "mae": "MAE", "f1": "F1", "roc_auc": "ROC AUC"}
_OF_PROBABILITIES = ("log_loss", "calibration_error")
_IN_UNITS = ("rmse", "mae", "median_absolute_error")  # in the units of the labels
_MOST_ROWS = 20  # of predictions
_MOST_NAMES = 10  # of classes in a line


class Lines(NamedTuple):
    """Text in lines."""

    text: str

    def print_on(self, console: "Console") -> None:
        """Print the text."""
        from mlp_xp.show.console import say

        say(console, self.text)

    def html(self) -> str:
        """Return the text as HTML."""
        return f"<pre>{html.escape(escaped_lines(self.text).strip())}</pre>"


class Cells(NamedTuple):
    """A table of texts. The first column names the rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def print_on(self, console: "Console") -> None:
        """Print the table."""
        from mlp_xp.show.console import print_table

        print_table(self.heads, self.rows, console)

    def html(self) -> str:
        """Return the table as HTML."""
        lines = [_html_row("td", row) for row in self.rows]
        if any(self.heads):
            lines.insert(0, _html_row("th", self.heads))
        return "\n".join(["<table>", *lines, "</table>"])


def _html_row(tag: str, cells: Iterable[str]) -> str:
    parts = [f"<{tag}>{html.escape(escaped(cell))}</{tag}>" for cell in cells]
    return f"<tr>{''.join(parts)}</tr>"


Block = Lines | Cells


def print_blocks(blocks: Iterable[Block], console: "Console") -> None:
    """Print the description of an object."""
    for block in blocks:
        block.print_on(console)


# Results and predictions.


def of_evaluated(found: Evaluated, names: Sequence[str] = ()) -> Iterator[Block]:
    """Describe the results of a network, or of several networks and their ensemble.

    Args:
        found: The results.
        names: The names of the networks of an ensemble, by default their folders.
    """
    signature, metrics = found.models[0].signature, found.metrics
    if len(found.models) > 1 or names:
        yield _of_members(found, names or [model.source for model in found.models])
        yield Lines("\nthe ensemble:")
    noun = f"test {signature.noun}"
    outcome = presentation_of(signature.task).outcome(found.result, noun)
    if found.trained:
        outcome += f"; {found.trained} equal to training rows"
    yield Lines(f"{outcome}\n")
    yield _of_parts(metrics, signature)
    probable = [name for name in _OF_PROBABILITIES if name in metrics]
    if probable:
        texts = [f"{words(name)} {loss_text(metrics[name])}" for name in probable]
        yield Lines(f"\n{', '.join(texts)}")
    matrix = metrics.get("confusion_matrix")
    if matrix:
        title = "confusion matrix (rows: true class; columns: predicted class)"
        yield Lines(f"\n{title}")
        yield _of_confusions(signature.outputs, matrix)


def _of_confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Cells:
    """Return a confusion matrix as a table. A dot stands for 0."""
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        rows.append([name, *(str(count or ".") for count in counts)])
    return Cells(["", *names], rows)


def _of_members(found: Evaluated, names: Sequence[str]) -> Cells:
    """Return a table with the score and the loss of each network and the ensemble."""
    head, kind = "test %", "accuracy"
    if found.result.r2 is not None:
        head, kind = "test R²", "r2"
    all_names = [*names, f"ensemble of {len(found.models)}"]
    rows = []
    for name, result in zip(all_names, [*found.runs, found.result], strict=True):
        rows.append([name, metric_text(kind, result.score), loss_text(result.loss)])
    return Cells(["run", head, "loss"], rows)


def _of_parts(metrics: dict[str, Any], signature: Signature) -> Cells:
    """Return a table of metrics for each class, label or output, and of their means.

    The samples of a row are those with its class or label.
    """
    outputs_name = signature.task.outputs_name
    parts = metrics[outputs_name]
    columns = list(parts[0])
    heads = {"name": outputs_name, "samples": signature.noun} | _HEADS
    rows = []
    for part in parts:
        rows.append([_cell(column, part[column]) for column in columns])
    for kind in ("macro", "weighted"):
        means = []
        for column in columns[1:]:
            name = f"{column}_{kind}"
            means.append(_cell(name, metrics[name]) if name in metrics else "")
        if any(means):
            rows.append([f"{kind} mean", *means])
    return Cells([heads.get(column, words(column)) for column in columns], rows)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return quantity(value) if name in _IN_UNITS else fraction(value)


def answers(predicted: Predicted) -> Iterator[str]:
    """Yield a line for each picture or row."""
    signature = predicted.models[0].signature
    answer = presentation_of(signature.task).answer
    for i, outputs in enumerate(predicted.outputs):
        name = f"row {i + 1}"
        if predicted.pictures is not None:
            name = str(predicted.pictures.paths[i])
        yield escaped(f"{name}: {answer(signature.outputs, outputs)}")


def _of_predicted(predicted: Predicted) -> Iterator[Block]:
    lines = list(islice(answers(predicted), _MOST_ROWS))
    if len(predicted.outputs) > _MOST_ROWS:
        kind = "rows" if predicted.pictures is None else "pictures"
        lines.append(f"... {thousands(len(predicted.outputs))} {kind} in all")
    if predicted.pictures is not None:
        lines += [f"not read: {fault}" for fault in predicted.pictures.faults]
    yield Lines("\n".join(lines))


def _of_check(check: GradientCheck) -> Iterator[Block]:
    yield Lines(wrapped(check.verdict))
    yield Cells(HEADS, [row.cells() for row in check.rows])
    yield Lines("\n".join(check.notes()))


# Networks, data, settings and reports: names with values.


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + more(names, _MOST_NAMES)


def _of_model(model: Model) -> dict[str, str]:
    sizes = [str(layer.weights.shape[-2]) for layer in model.network]
    sizes.append(str(model.network[-1].weights.shape[-1]))
    count = size_of(model.network)
    times = f"{count} x " if count else ""
    activation = model.activation
    if not isinstance(activation, str):
        function = activation.function
        activation = getattr(function, "__name__", repr(function))
    values = {
        "network": f"{times}{'-'.join(sizes)}, {activation}",
        "arrays": f"{model.backend.name}, {model.backend.dtype_name}",
    }
    if model.source:
        values["source"] = model.source
    return values | _of_signature(model.signature)


def _of_signature(signature: Signature) -> dict[str, str]:
    values = {
        "inputs": described(signature.input_shape),
        signature.task.outputs_name: _listed(signature.outputs),
    }
    if signature.columns and signature.columns.described:
        values["columns"] = signature.columns.described
    return values


def _of_dataset(dataset: Dataset) -> dict[str, str]:
    values = {"data set": dataset.name, "training": thousands(len(dataset.train))}
    if dataset.test is not None:
        values["test"] = thousands(len(dataset.test))
    return values | _of_signature(dataset.signature)


def _of_config(config: TrainConfig) -> dict[str, str]:
    return {field.name: shown(getattr(config, field.name)) for field in fields(config)}


def _of_report(report: Report) -> dict[str, str]:
    score_name = report.model.signature.task.score_name
    values: dict[str, Any] = {
        "epoch": report.epoch,
        "sample": report.sample,
        "loss": loss_text(report.loss, 5),
        "kept epoch": report.kept_epoch,
    }
    for name, result in (("test", report.test), ("held-out", report.validation)):
        if result is not None:
            values[name] = score_text(score_name, result.score)
            values[f"{name} loss"] = loss_text(result.loss, 5)
    return {name: str(value) for name, value in values.items() if value is not None}


def _in_lines(values: dict[str, str]) -> str:
    width = max(len(name) for name in values)
    lines = [f"{name:{width}}  {escaped(value)}" for name, value in values.items()]
    return "\n".join(lines)


def _in_one_line(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _register_values(
    kind: type,
    values_of: Callable[[Any], dict[str, str]],
    in_text: Callable[[dict[str, str]], str] = _in_lines,
) -> None:
    """Show the objects of a class as names with values."""

    def plain(value: Any) -> str:
        return in_text(values_of(value))

    def as_html(value: Any) -> str:
        return Cells(["", ""], list(values_of(value).items())).html()

    printing.register(kind, plain, as_html)


def _register_blocks(kind: type, blocks_of: Callable[[Any], Iterable[Block]]) -> None:
    """Show the objects of a class as blocks of text and tables."""

    def plain(value: Any) -> str:
        from mlp_xp.show.console import plain_console

        file = StringIO()
        print_blocks(blocks_of(value), plain_console(file=file, force_jupyter=False))
        return file.getvalue().rstrip("\n")

    def as_html(value: Any) -> str:
        return "\n".join(block.html() for block in blocks_of(value))

    printing.register(kind, plain, as_html)


_register_blocks(Evaluated, of_evaluated)
_register_blocks(Predicted, _of_predicted)
_register_values(Model, _of_model)
_register_values(Dataset, _of_dataset)
_register_values(TrainConfig, _of_config)
_register_values(Report, _of_report, _in_one_line)
_register_blocks(GradientCheck, _of_check)
