"""The report of a check: a verdict, a table, and the mistakes."""

import textwrap
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlp_xp import printing
from mlp_xp.gradients._mistakes import Finding

_WIDTH = 80
HEADS = ("gradient of", "", "entry", "yours", "numerical", "mlp_xp")


def wrapped(text: str) -> str:
    """Return a text in lines of at most 80 characters."""
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ")


class Row(NamedTuple):
    """The comparison of one gradient, at its most doubtful entry."""

    name: str
    is_right: bool
    entry: str
    """The entry, such as `[2, 1]`, or the wrong shape."""
    yours: Any = None
    difference: Any = None
    """The central difference."""
    package: float | None = None
    """The gradient of this package, or None if it has no such network."""
    tolerance: float = 0.0
    """The largest allowed deviation from the central difference, of all entries."""
    compared: int = 0
    """The number of entries compared with central differences."""
    is_clear: bool = True
    """Whether the tolerance is small enough to tell a mistake."""
    is_zero: bool = False
    """Whether all entries are 0 up to the tolerance."""

    @property
    def is_wrong(self) -> bool:
        """Whether the gradient is wrong for certain."""
        return self.is_clear and not self.is_right

    def doubt(self) -> tuple[bool, bool, float]:
        """Return whether an entry is wrong or unclear, and its relative deviation."""
        deviation = abs(self.yours - self.difference)
        return self.is_wrong, not self.is_clear, deviation / self.tolerance

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        if not self.is_clear:
            return "unclear"
        return "right" if self.is_right else "wrong"

    def cells(self) -> list[str]:
        """Return the row as texts."""
        numbers = self.yours, self.difference, self.package
        shown = ["" if number is None else f"{number:.4g}" for number in numbers]
        yours, difference, _ = shown
        if not self.is_right and yours and yours == difference:
            # Such as a gradient rounded to float32.
            shown = ["" if number is None else f"{number:.10g}" for number in numbers]
        return [self.name, self.verdict, self.entry, *shown]


@dataclass(repr=False)
class GradientCheck:
    """The report of `check_gradients`, true if all gradients are checked and right."""

    rows: list[Row]
    """A row for each parameter, and for the inputs of a layer."""
    findings: list[Finding]
    """The usual mistakes that explain wrong gradients."""
    ignored: list[str]
    """Parameters without an effect on the loss."""
    others: list[str]
    """Other arrays of the objects, on which the loss depends."""
    network: str
    """The network in this package's layers, or an empty string."""
    loss: str
    """The loss and its place, in words."""
    repeated: list[str]
    """Where the gradients were checked again, in words."""

    def __repr__(self) -> str:
        return self.verdict

    def __bool__(self) -> bool:
        return all(row.verdict == "right" for row in self.rows)

    @property
    def verdict(self) -> str:
        """One line with the wrong, unclear, right and unchecked gradients."""
        names: dict[str, list[str]] = {"wrong": [], "unclear": [], "right": []}
        for row in self.rows:
            names[row.verdict].append(row.name)
        names["not checked"] = self.others
        parts = [f"{word}: {', '.join(each)}" for word, each in names.items() if each]
        return "; ".join(parts)

    def notes(self) -> list[str]:
        """Return the mistakes and the basis of the comparison, one note a line."""
        lines = []
        explained = {*self.ignored}
        for finding in self.findings:
            explained.update(finding.names)
            lines.append(
                f"{', '.join(finding.names)}: {', or '.join(finding.mistakes)}"
            )
        for row in self.rows:
            is_number = row.yours is not None and self.network
            if is_number and row.is_wrong and row.name not in explained:
                lines.append(f"{row.name}: no usual mistake gives these numbers")
        if self.ignored:
            names = ", ".join(self.ignored)
            lines.append(
                f"no effect on the loss: {names}; the right gradient is 0 (forgotten "
                "in the loss, weights of 0, or not the array that the code uses?)"
            )
        lines += self._limits()
        entries = sum(row.compared for row in self.rows)
        if entries:
            largest = max(row.tolerance for row in self.rows)
            lines.append(
                f"numerical: central differences of {self.loss}, {entries} entries, "
                f"tolerance at most {largest:.1g}"
            )
        if self.repeated:
            lines.append(f"checked again: {', '.join(self.repeated)}")
        network = "has no such network"
        if self.ignored:
            network = "not compared, as parameters have no effect"
        elif not self.findings and not self:
            network += ", and so names no mistake"
        lines.append(f"mlp_xp: {self.network or network}")
        return [wrapped(line) for line in lines]

    def _limits(self) -> list[str]:
        """Return what central differences cannot tell, one note a line."""
        lines = []
        unclear = [row.name for row in self.rows if not row.is_clear]
        if unclear:
            lines.append(
                f"unclear: {', '.join(unclear)}; the tolerance is too large (a kink, a "
                "loss of few digits, or a very small learning rate?)"
            )
        for row in self.rows:
            if row.verdict == "right" and row.is_zero and row.name not in self.ignored:
                lines.append(f"{row.name}: the gradient is 0 up to the tolerance")
        return lines

    def __str__(self) -> str:
        return printing.as_text(self)

    def _repr_html_(self) -> str | None:
        return printing.as_html(self)
