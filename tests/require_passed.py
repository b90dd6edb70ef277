"""Fail unless tests ran and every one passed: `python tests/require_passed.py JUNIT_XML`.

pytest exits with 0 even if all tests were skipped, as happens to the GPU tests on a machine without a GPU.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

from mlp_xp.commands.command_line import Positional, parse, run
from mlp_xp.errors import MlpXpError


@dataclass(frozen=True)
class Arguments:
    """Fail unless tests ran and every one passed: a skipped test shows nothing."""

    junit_xml: Annotated[Path, Positional("JUNIT_XML")]
    """The report that pytest wrote with --junit-xml."""


def read_report(junit_xml: Path) -> tuple[int, list[str]]:
    """Return the number of tests, and a line for each that was skipped or failed. Raises MlpXpError."""
    try:
        cases = list(ET.fromstring(junit_xml.read_bytes()).iter("testcase"))
    except (OSError, ET.ParseError) as error:
        raise MlpXpError(
            f"{junit_xml}: cannot read the report ({error}); write one with: pytest --junit-xml=FILE"
        ) from None
    return len(cases), [
        f"{case.get('classname')}::{case.get('name')}: {fault.tag}: {fault.get('message')}"
        for case in cases
        for fault in case
        if fault.tag in ("skipped", "failure", "error")
    ]


def main() -> int:
    """Print the tests that did not pass. Returns 1 if there are any, or no tests at all."""
    arguments: Arguments = parse(Arguments)
    count, not_passed = read_report(arguments.junit_xml)
    for line in not_passed:
        print(f"not passed: {line}", file=sys.stderr)
    print(f"tests: {count}, not passed: {len(not_passed)}")
    return 1 if not_passed or not count else 0


if __name__ == "__main__":
    run(main)
