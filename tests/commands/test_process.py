"""How a command ends: an exit code for each way, one line for each error, and outputs
that are closed.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from helpers import SCRIPTS, assert_one_line, call, call_main, finish, popen, start

import mlp_xp
from mlp_xp import commands
from mlp_xp.commands.process import called, run_command
from mlp_xp.errors import Argument, MlpXpError, MlpXpWarning, not_installed
from mlp_xp.files import FileError

ROOT = SCRIPTS.parent
PIPES = {
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
}
QUOTED = '"a b"' if sys.platform == "win32" else "'a b'"  # for a shell
needs_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="there is no /dev/full"
)


def raising(error):
    def main():
        raise error

    return main


def program(body: str, **options) -> subprocess.Popen:
    """A process that runs a main function."""
    code = f"import sys\nfrom mlp_xp.commands.process import run_command\ndef main():\n    {body}\nrun_command(main)"
    env = {
        name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"
    }
    return popen([sys.executable, "-c", code], env=env, **{**PIPES, **options})


@pytest.mark.repository
def test_the_documents_list_every_code():
    text = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| (\w.*) \|$", text, flags=re.MULTILINE)
    assert {0, 1, 2, 3, 129, 130, 143, 141} <= {
        int(code) for row, _ in rows for code in row.split(", ")
    }


@pytest.mark.parametrize(
    ("main", "code", "line"),
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),
        (raising(MlpXpError("no such thing")), 2, "error: no such thing"),
        (
            raising(MlpXpError("-1 is low", setting="learning_rate")),
            2,
            "error: --learning-rate: -1 is low",
        ),
        (
            raising(MlpXpError("no", remedy=("give ", Argument("task", "a b")))),
            2,
            f"error: no; give --task {QUOTED}",
        ),
        (raising(FileError("disk full")), 1, "error: disk full"),
        (raising(KeyboardInterrupt), 130, "interrupted"),
        (
            raising(PermissionError(13, "Permission denied", "a/b")),
            1,
            "error: 'a/b': Permission denied; fix the",
        ),
        (
            raising(ModuleNotFoundError("no", name="numpy.linalg")),
            2,
            "error: numpy.linalg is not installed; ",
        ),
        (
            raising(ModuleNotFoundError("no", name="PIL.Image")),
            2,
            f"error: PIL.Image {not_installed('pillow')}",
        ),
        (raising(MemoryError()), 2, "error: out of memory: "),
        (
            lambda: warnings.warn("odd\n", MlpXpWarning, stacklevel=1),
            0,
            r"warning: odd\n",
        ),
    ],
)
def test_every_end_has_its_code_and_at_most_one_line(main, code, line):
    outcome = call_main(main, "mlp-xp")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(line)
    assert outcome.err.count("\n") == bool(line)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ModuleNotFoundError("no", name="mlp_xp.nowhere"),
    ],
)
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_command(raising(error))


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
    call("evaluate", "nowhere")
    assert os.environ[name] == ""
    call("evaluate", "nowhere", "--no-compile-cache")
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
    ("body", "code", "last"),
    [
        ("while True: print('more')", 141, ""),
        ("input(); print('more')", 141, ""),  # which only the end flushes
        ("input(); print('x'); 1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_reader_who_leaves_ends_a_command_quietly_but_no_bug(body, code, last):
    process = program(body)
    process.stdout.close()
    process.stdout = None
    process.stdin.write("\n")
    outcome = finish(process)
    assert outcome.code == code
    assert outcome.err.endswith(last)
    assert last or not outcome.err


# Outputs that are closed or full.


@pytest.mark.posix
def test_a_closed_output_is_no_fault():
    """As in `mlp-xp train --epohcs 2>&-`. See also test_environments.py."""
    assert finish(start("train", "--epohcs", first="os.close(2)")) == (2, "", "")


@needs_full
def test_outputs_on_a_full_disk():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        outcome = finish(program("print('more')", stdout=full))
        assert_one_line(
            outcome,
            1,
            "error: the output: No space left on device; fix the file or folder",
        )
        assert finish(start("train", "--epohcs", stderr=full)) == (1, "", "")


def test_what_an_encoding_lacks_is_printed_as_an_escape():
    outcome = finish(start("train", "--help", env={"PYTHONIOENCODING": "ascii"}))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.isascii()
    assert "\\u" in outcome.out or "+-" in outcome.out


# Where the package is not installed, or only half.


def test_an_interrupt_while_a_command_imports_is_one_line(tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    outcome = finish(start("train", env={"PYTHONPATH": str(tmp_path)}))
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "interrupted\n")


@pytest.mark.repository
@pytest.mark.parametrize(("path", "missing"), [("", "mlp_xp"), (str(ROOT), r"\w+")])
def test_a_python_without_the_dependencies_says_what_to_type(path, missing, tmp_path):
    """-S: without what is installed."""
    command = [sys.executable, "-S", str(SCRIPTS / "train.py")]
    outcome = finish(
        popen(command, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, **PIPES)
    )
    python = re.escape(sys.executable)
    line = rf"error: ({missing}) is not installed.*: {python} -m pip install -e {re.escape(str(ROOT))}\n"
    assert outcome.code == 2
    assert re.fullmatch(line, outcome.err), outcome.err


def test_python_m_is_the_same_as_the_command(tmp_path):
    process = popen(
        [sys.executable, "-m", "mlp_xp", "--version"], cwd=tmp_path, **PIPES
    )
    assert finish(process) == (0, f"mlp-xp {mlp_xp.__version__}\n", "")


def test_a_command_that_is_named_works_in_any_folder(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/my venv/python", "scripts/train.py"])
    monkeypatch.setattr(sys, "executable", "/my venv/python")
    assert (
        called("evaluate", Path("a b"))
        == f"{QUOTED.replace('a b', '/my venv/python')} -m mlp_xp evaluate {QUOTED}"
    )


@pytest.mark.repository
def test_the_scripts_run_the_commands(monkeypatch):
    for path in SCRIPTS.glob("*.py"):
        if path.stem in commands.COMMANDS:
            seen = []
            monkeypatch.setattr(commands, "main", seen.append)
            with contextlib.suppress(SystemExit):
                monkeypatch.syspath_prepend(SCRIPTS)
                exec(compile(path.read_text(), path, "exec"), {"__name__": "__main__"})
            assert seen == [path.stem]
