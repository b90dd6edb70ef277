"""Fail if a test that a missing library skipped in one run of the tests did not run in the next one either.

`python tests/never_run.py FIRST SECOND --without ray keras`, with the reports that pytest wrote with --junit-xml. The
second run selects its tests by their names, and a name that it does not select would leave a test that never runs.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

from mlp_xp.commands.command_line import Positional, parse, run

MISSING = re.compile("is not installed|[Cc]ould not import|No module named")


@dataclass(frozen=True)
class Arguments:
    """Fail if a test that a missing library skipped in the first run did not run in the second one either."""

    first: Annotated[Path, Positional("FIRST")]
    """The report of a run of all tests."""
    second: Annotated[Path, Positional("SECOND")]
    """That of a run with more libraries."""
    without: tuple[str, ...] = ()
    """Libraries that are missing in the second run too."""


def skipped_for_a_library(junit_xml: Path) -> dict[tuple[str, str], str]:
    """Return for each test the reason why it was skipped, if it is a missing library; else an empty string.

    A module that was skipped as a whole is a test without a name.
    """
    reasons = {}
    for case in ET.fromstring(junit_xml.read_bytes()).iter("testcase"):
        module, name = case.get("classname") or "", case.get("name") or ""
        skip = case.find("skipped")
        said = "" if skip is None else f"{skip.get('message')} {skip.text}"
        reasons[(module, name) if module else (name, "")] = said if MISSING.search(said) else ""
    return reasons


def main() -> int:
    """Print the tests that ran in neither. Returns 1 if there are any, or if the first run skipped none."""
    arguments: Arguments = parse(Arguments)
    first, second = map(skipped_for_a_library, (arguments.first, arguments.second))
    skipped = {key: reason for key, reason in first.items() if reason}
    ran = {key for key, reason in second.items() if not reason}
    ran |= {(module, "") for module, _ in ran}
    never = [key for key in skipped if key not in ran]
    left = [key for key in never if not any(name in second.get(key, skipped[key]) for name in arguments.without)]
    for module, name in left:
        print(f"never run: {module}::{name}: {' '.join(skipped[module, name].split()):.200}", file=sys.stderr)
    print(f"skipped for a library: {len(skipped)}, run later: {len(skipped) - len(never)}, never run: {len(left)}")
    return 1 if left or not skipped else 0


if __name__ == "__main__":
    run(main)
