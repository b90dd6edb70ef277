"""The ends of a command: exit codes, lines, and closed outputs.

For the lines of errors see test_messages.py.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest
from helpers import (
    QUOTED,
    SCRIPTS,
    Outcome,
    assert_one_line,
    call,
    call_main,
    finish,
    start,
)
from processes import popen

import mlp_xp
from mlp_xp import commands
from mlp_xp.commands.process import run_command, shell_command
from mlp_xp.errors import MlpXpError, MlpXpWarning

ROOT = SCRIPTS.parent


@pytest.mark.repository
def test_the_documents_list_every_code():
    text = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| \w.* \|$", text, flags=re.MULTILINE)
    codes = {int(code) for row in rows for code in row.split(", ")}
    assert {0, 1, 2, 3, 129, 130, 143, 141} <= codes


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (1, 1)])
def test_a_command_without_an_error_says_nothing(returned, code):
    assert call_main(lambda: returned, "mlp-xp") == (code, "", "")


def test_a_warning_is_one_line_and_no_error():
    def main():
        warnings.warn("odd\n", MlpXpWarning, stacklevel=1)

    assert call_main(main, "mlp-xp") == (0, "", "warning: odd\\n\n")


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), ModuleNotFoundError("no", name="mlp_xp.nowhere")],
)
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_command(Mock(side_effect=error))


def test_debug_shows_the_traceback_with_all_causes():
    def main():
        try:
            raise ValueError("the reason")
        except ValueError as error:
            raise MlpXpError("no such thing") from error

    outcome = call_main(main, "mlp-xp", "--debug")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback")
    assert "ValueError: the reason" in outcome.err
    assert outcome.err.endswith("\nerror: no such thing\n")


def test_no_compile_cache_reaches_jax_and_all_workers(monkeypatch):
    name = "JAX_ENABLE_COMPILATION_CACHE"
    monkeypatch.setenv(name, "")
    call("evaluate nowhere")
    assert os.environ[name] == ""
    call("evaluate nowhere --no-compile-cache")
    assert os.environ[name] == "false"


# Signals and readers who leave.


@pytest.mark.posix
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_signal_ends_a_command_as_it_ends_any_program(name):
    """A shell then shows 129 or 143."""
    number = signal.Signals[name]
    process = program("print('x', flush=True); input()")
    assert process.stdout.readline() == "x\n"
    process.send_signal(number)
    outcome = finish(process)
    assert (outcome.code, outcome.err) == (-number, "")


@pytest.mark.parametrize(
    "body",
    [
        "while True: print('more')",
        "input(); print('more')",  # flushed at the end only
    ],
)
def test_a_reader_who_leaves_ends_a_command_quietly(body):
    assert left_by_its_reader(body) == (141, "", "")


def test_a_reader_who_leaves_hides_no_bug():
    outcome = left_by_its_reader("input(); print('x'); 1 / 0")
    assert outcome.code == 1
    assert outcome.err.endswith("ZeroDivisionError: division by zero\n")


# Closed and full outputs.


@pytest.mark.posix
def test_a_closed_output_is_no_fault():
    """As in `mlp-xp train --epohcs 2>&-`. See also test_environments.py."""
    assert finish(start("train", "--epohcs", first="os.close(2)")) == (2, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_said_where_that_can_be_said():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        outcome = finish(program("print('more')", stdout=full))
        said = "error: the output: No space left on device; fix the file or folder"
        assert_one_line(outcome, 1, said)
        assert finish(start("train", "--epohcs", stderr=full)) == (1, "", "")


def test_what_an_encoding_lacks_is_printed_as_an_escape():
    shown = program("print('上')", env={"PYTHONIOENCODING": "ascii"})
    assert finish(shown) == (0, "\\u4e0a\n", "")
    shown = program("print('R²')", env={"PYTHONIOENCODING": "cp936"})
    assert finish(shown).out.splitlines() == ["R2"]


# Where the package is not installed, or only half.


def test_an_interrupt_while_a_command_imports_is_one_line(tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    process = start("train", env={"PYTHONPATH": str(tmp_path)})
    assert finish(process) == (130, "", "interrupted\n")


@pytest.mark.repository
@pytest.mark.parametrize(("path", "missing"), [("", "mlp_xp"), (str(ROOT), r"\w+")])
def test_a_python_without_the_dependencies_says_what_to_type(path, missing, tmp_path):
    """-S: without the installed packages."""
    process = python("-S", SCRIPTS / "train.py", env={"PYTHONPATH": path}, cwd=tmp_path)
    outcome = finish(process)
    install = re.escape(f"{sys.executable} -m pip install -e {ROOT}")
    line = rf"error: ({missing}) is not installed.*: {install}\n"
    assert outcome.code == 2
    assert re.fullmatch(line, outcome.err), outcome.err


def test_python_m_is_the_same_as_the_command(tmp_path):
    process = python("-m", "mlp_xp", "--version", cwd=tmp_path)
    assert finish(process) == (0, f"mlp-xp {mlp_xp.__version__}\n", "")


def test_a_command_that_is_named_starts_the_same_python(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/my venv/python", "scripts/train.py"])
    monkeypatch.setattr(sys, "executable", "/my venv/python")
    start = QUOTED.replace("a b", "/my venv/python")
    assert (
        shell_command("evaluate", Path("a b")) == f"{start} -m mlp_xp evaluate {QUOTED}"
    )


@pytest.mark.repository
def test_the_scripts_run_the_commands(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    for path in SCRIPTS.glob("*.py"):
        if path.stem in commands.COMMANDS:
            seen = []
            monkeypatch.setattr(commands, "main", seen.append)
            with contextlib.suppress(SystemExit):
                exec(compile(path.read_text(), path, "exec"), {"__name__": "__main__"})
            assert seen == [path.stem]


# Programs with an end of each kind.


def program(body: str, **options) -> subprocess.Popen:
    """Start a process with a main function of this body."""
    lines = (
        "import sys",
        "from mlp_xp.commands.process import run_command",
        "def main():",
        f"    {body}",
        "run_command(main)",
    )
    return python("-c", "\n".join(lines), **options)


def left_by_its_reader(body: str) -> Outcome:
    """Close the output of such a process, give its input, and return its end."""
    process = program(body)
    process.stdout.close()
    process.stdout = None
    process.stdin.write("\n")
    return finish(process)


def python(*words: object, env: dict[str, str] | None = None, **options):
    """Start Python with pipes. Its output is not flushed at once."""
    own = {
        name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"
    }
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return popen(
        [sys.executable, *map(str, words)],
        env={**own, **(env or {})},
        **{**pipes, "text": True, **options},
    )
