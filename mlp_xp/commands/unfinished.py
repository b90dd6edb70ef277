"""Warn of runs that have not ended."""

from collections.abc import Iterable
from pathlib import Path

from mlp_xp.commands.process import print_line, shell_command
from mlp_xp.errors import quoted
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import INTERRUPTED, SweepFolder
from mlp_xp.runs.table import IN_USE, read_row


def warn_of_unfinished(folders: Iterable[Path]) -> None:
    """Print a warning for each run that has not ended.

    The network of an unfinished run is the network of its last checkpoint. A sweep has
    no network of its own.
    """
    for folder in folders:
        if SweepFolder(folder).exists():
            continue
        row = read_row(RunFolder(folder))
        if row.state not in (INTERRUPTED, IN_USE):
            continue
        reason = row.reason or INTERRUPTED
        text = f"{quoted(folder)}: {reason}; its network is from its last checkpoint"
        if row.state == INTERRUPTED:
            text += f"; resume with: {shell_command('train', '--resume', folder)}"
        print_line("warning", text)
