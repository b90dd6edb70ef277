"""What was found in a program: records of operations, and the run that has them."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from array_lockstep.operations import Operation
from array_lockstep.places import Place

FINDINGS = (
    "deviations",
    "error",
    "transfers",
    "syncs",
    "upcasts",
    "outside",
    "escaped",
    "differs",
)
"""The findings that `assert_lockstep` refuses."""
WORDS = {
    "deviations": "deviates",
    "error": "error",
    "transfers": "copy to the host",
    "syncs": "wait for a value",
    "upcasts": "float32 becomes float64",
    "conversions": "float64 is asked for",
    "outside": "outside the standard",
    "escaped": "not answered as for the library's own array",
    "unjudged": "not judged",
    "differs": "the result",
}
"""The kinds of records in words, in the order of a report."""


class Record(NamedTuple):
    """A finding about one operation at one line of a program."""

    name: str
    """The operation, such as `mean`, `linalg.svd`, `setitem` or `add`."""
    call: str
    """The first call as Python text."""
    place: Place
    """The line of the program."""
    detail: str = ""
    """The fault, where the kind of the finding does not say it."""
    times: int = 1
    """How often this happened at this line."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record with plain values, such as for JSON."""
        place = self.place
        where = {"file": place.file, "line": place.line, "text": place.text}
        others = self._asdict()
        del others["place"]
        return {**others, **where, "function": place.function}

    def __str__(self) -> str:
        often = f" ({self.times} times)" if self.times > 1 else ""
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.call}{detail}; at {self.place}{often}"


def record_of(operation: Operation) -> Record:
    """Return an operation as a finding."""
    name = operation.name.removeprefix("xp.")
    return Record(name, str(operation), operation.place)


@dataclass
class Run:
    """A program that ran in lockstep with NumPy: see `lockstep`."""

    library: str
    """The name and version of the library."""
    deviations: list[Record] = field(default_factory=list)
    """Operations whose result deviates from NumPy's, the cause first."""
    error: Record | None = None
    """The operation that raised, or None."""
    transfers: list[Record] = field(default_factory=list)
    """Copies to the host."""
    syncs: list[Record] = field(default_factory=list)
    """`bool`, `float`, `int` or `index` of an array."""
    upcasts: list[Record] = field(default_factory=list)
    """Operations with a float32 operand and a float64 result that nothing asks for."""
    conversions: list[Record] = field(default_factory=list)
    """Those that the program asks for, by `astype` or `dtype=`."""
    outside: list[Record] = field(default_factory=list)
    """Functions, methods and operands outside the standard."""
    unjudged: list[Record] = field(default_factory=list)
    """Operations without a known bound."""
    escaped: list[Record] = field(default_factory=list)
    """Questions about types that were not answered as for the library's own array."""
    differs: list[Record] = field(default_factory=list)
    """How shapes, dtypes or integers of the result differ from NumPy's whole run."""
    result: Any = None
    """The value of the program, with the library's own arrays."""
    end: str = ""
    """How far the result lies from NumPy's whole run, in words."""
    operations: int = 0
    """The number of judged operations."""
    seconds: float = 0.0
    """The time of the traced run."""
    exception: BaseException | None = None
    """The exception of `error`."""
    program: str = ""
    """The program's name, where a report has several programs."""
    reproducer: str = ""
    """The command that runs the reproducer, or why there is none."""

    @property
    def title(self) -> str:
        """The program, where it has a name, and the library."""
        return f"{self.program} on {self.library}" if self.program else self.library

    @property
    def verdict(self) -> str:
        """One line: the cause of a deviation, else the error, else agreement."""
        start = f"{self.title}:"
        if self.deviations:
            return f"{start} deviates: {self.deviations[0]}"
        if self.error:
            return f"{start} error: {self.error}"
        if not self.operations:
            return f"{start} nothing was compared: no operation is judged"
        unjudged = sum(each.times for each in self.unjudged)
        but = f"; {unjudged} not judged" if unjudged else ""
        return f"{start} no operation deviates, of {self.operations}{but}"

    def findings(self, kind: str) -> list[Record]:
        """Return the records of a kind, such as `syncs`."""
        found = getattr(self, kind)
        if isinstance(found, Record):
            return [found]
        return list(found or [])

    def to_dict(self) -> dict[str, Any]:
        """Return the findings with plain values, such as for JSON."""
        found = {
            kind: [record.to_dict() for record in self.findings(kind)] for kind in WORDS
        }
        return {
            "program": self.program,
            "library": self.library,
            "verdict": self.verdict,
            "operations": self.operations,
            "seconds": self.seconds,
            "end": self.end,
            "reproducer": self.reproducer,
            **found,
        }

    def __str__(self) -> str:
        lines = [self.verdict]
        for kind, words in WORDS.items():
            records = self.findings(kind)
            if kind == "deviations" or (kind == "error" and not self.deviations):
                records = records[1:]  # the first is the verdict
            lines += [f"  {words}: {record}" for record in records]
        if self.end and not self.differs:
            lines.append(f"  the result: {self.end}")
        if self.reproducer:
            lines.append(f"  reproducer: {self.reproducer}")
        return "\n".join(lines)
