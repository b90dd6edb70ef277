"""Start a command from a script: every fault before it runs ends in one line."""

import sys


def start(command: str) -> None:
    """Run a command with this process' arguments, and exit."""
    try:
        from mlp_xp.commands import main
    except ModuleNotFoundError as error:
        if error.name != "mlp_xp":
            raise
        print(f"error: mlp_xp is not installed for {sys.executable}; type: {install_command()}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    main(command)


def install_command() -> str:
    """What installs this clone for this Python."""
    import shlex
    from pathlib import Path

    return shlex.join([sys.executable, "-m", "pip", "install", "-e", str(Path(__file__).resolve().parent.parent)])
