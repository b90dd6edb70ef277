"""Start a command from a script, and report errors before it runs in one line."""

import sys


def start(command: str) -> None:
    """Run a command with the arguments of this process, and exit."""
    try:
        from mlp_xp.commands import main
    except ModuleNotFoundError as error:
        if error.name != "mlp_xp":
            raise
        message = f"mlp_xp is not installed for {sys.executable}; install it with: {install_command()}"
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    main(command)


def install_command() -> str:
    """Return the command that installs this clone for this Python."""
    import shlex
    from pathlib import Path

    return shlex.join([sys.executable, "-m", "pip", "install", "-e", str(Path(__file__).resolve().parent.parent)])
