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

    def doubt(self) -> tuple[bool, float]:
        """Return whether the entry is wrong, and its deviation over its tolerance."""
        deviation = abs(self.yours - self.difference)
        return not self.is_right, deviation / self.tolerance

    def cells(self) -> list[str]:
        """Return the row as texts."""
        numbers = self.yours, self.difference, self.package
        shown = ["" if number is None else f"{number:.4g}" for number in numbers]
        yours, difference, _ = shown
        if not self.is_right and yours and yours == difference:
            # Such as a gradient rounded to float32.
            shown = ["" if number is None else f"{number:.10g}" for number in numbers]
        return [self.name, "right" if self.is_right else "wrong", self.entry, *shown]


@dataclass(repr=False)
class GradientCheck:
    """The report of `check_gradients`, true if all gradients are checked and right."""

    rows: list[Row]
    """A row for each parameter, and for the inputs of a layer."""
    findings: list[Finding]
    """The usual mistakes that explain wrong gradients."""
    ignored: list[str]
    """Parameters without an effect on the loss."""
    skipped: list[str]
    """Parameters that are numbers, or arrays of another dtype than floats."""
    missing: list[str]
    """Arrays without a gradient, such as a mask."""
    network: str
    """The network in this package's layers, or an empty string."""
    loss: str
    """The loss, in words."""

    def __repr__(self) -> str:
        return self.verdict

    def __bool__(self) -> bool:
        return all(row.is_right for row in self.rows) and not self.unchecked

    @property
    def unchecked(self) -> list[str]:
        """All arrays and numbers that may be parameters, and were not compared."""
        compared = {row.name for row in self.rows}
        without_row = [name for name in self.ignored if name not in compared]
        return without_row + self.skipped + self.missing

    @property
    def verdict(self) -> str:
        """One line with the wrong, the unchecked and the right gradients."""
        wrong = [row.name for row in self.rows if not row.is_right]
        right = [row.name for row in self.rows if row.is_right]
        parts = []
        if wrong:
            parts.append(f"wrong: {', '.join(wrong)}")
        if self.unchecked:
            parts.append(f"not checked: {', '.join(self.unchecked)}")
        if right:
            parts.append(f"right: {', '.join(right)}")
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
            if is_number and not row.is_right and row.name not in explained:
                lines.append(f"{row.name}: no usual mistake gives these numbers")
        if self.ignored:
            names = ", ".join(self.ignored)
            lines.append(
                f"no effect on the loss: {names}; the right gradient is 0 "
                "(forgotten in forward, or weights of 0?)"
            )
        if self.skipped:
            names = ", ".join(self.skipped)
            lines.append(f"not an array of floats: {names}; use np.array(..., float)")
        if self.missing:
            names = ", ".join(self.missing)
            lines.append(
                f"no gradient: {names}; call it d{self.missing[0].rpartition('.')[2]}, "
                "or give parameters= without constants"
            )
        entries = sum(row.compared for row in self.rows)
        if entries:
            largest = max(row.tolerance for row in self.rows)
            lines.append(
                f"numerical: central differences of {self.loss}, {entries} entries, "
                f"tolerance at most {largest:.1g}"
            )
        network = "has no such network"
        if self.ignored:
            network = "not compared, as parameters have no effect"
        elif not self.findings:
            network += ", and so names no mistake"
        lines.append(f"mlp_xp: {self.network or network}")
        return [wrapped(line) for line in lines]

    def __str__(self) -> str:
        return printing.as_text(self)

    def _repr_html_(self) -> str | None:
        return printing.as_html(self)
