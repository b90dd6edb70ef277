"""A pytest plugin that prints at the end how many tests were skipped for each reason."""

from collections import Counter

import pytest


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the reasons, most frequent first."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        _, _, reason = report.longrepr
        reasons[" ".join(reason.removeprefix("Skipped: ").split())] += 1
    if reasons:
        terminalreporter.write_sep("=", "skipped, by reason")
    for reason, tests in reasons.most_common():
        terminalreporter.write_line(f"{tests:5} {reason}")
