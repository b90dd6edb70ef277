"""Every way to end has its own exit code, and a reader who leaves, or an output that is closed, is no fault."""

import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from data_sets import TINY
from helpers import SCRIPTS, Outcome, assert_one_line, call, finish, load_script, options, small_settings, start
from PIL import Image

from mlp_xp.commands import command_line
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.show.terminal import plain_console

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory, no_pictures) -> Path:
    """A small run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings(epochs=1)))
    assert outcome.code == 0
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "seven.png"
    Image.fromarray(255 - np.pad(TINY.test_images[0] // 200 * 255, 4)).save(path)
    return path


def test_the_readme_lists_every_code():
    rows = re.findall(r"^\| ([\d, ]+) \| (\w.*) \|$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    codes = [int(code) for row, _ in rows for code in row.split(", ")]
    assert codes == [0, 1, 2, 3, 4, 129, 130, 143, 141]


class BackendBrokeError(MlpXpError):
    exit_code = 3


def test_an_errors_own_code_is_the_exit_code(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.run(mock.Mock(side_effect=BackendBrokeError("the library failed")))
    assert (stop.value.code, capsys.readouterr().err) == (3, "error: the library failed\n")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_a_command_as_it_ends_any_program(number):
    """A shell then shows 129 or 143."""
    code = "from mlp_xp.commands.command_line import run\ndef main():\n    print('x', flush=True); input()\nrun(main)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    assert process.stdout.readline() == "x\n"
    process.send_signal(number)
    outcome = finish(process)
    assert (outcome.code, outcome.err) == (-number, "")


# A reader who leaves.


class Leaving(io.StringIO):
    """An output whose reader leaves after some lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines = lines

    def write(self, text: str) -> int:
        if self.getvalue().count("\n") >= self.lines:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)

    def flush(self) -> None:
        if self.getvalue().count("\n") >= self.lines:
            raise BrokenPipeError(32, "Broken pipe")


def cut(name: str, *args: object, out: io.StringIO, err: io.StringIO | None = None) -> Outcome:
    """Run a command in this process, with its output to streams that may break."""
    err = io.StringIO() if err is None else err
    with (
        mock.patch.object(sys, "argv", [str(SCRIPTS / f"{name}.py"), *map(str, args)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        command_line.run(load_script(name).main)
    return Outcome(stop.value.code or 0, out.getvalue(), err.getvalue())


def cuts(name: str, *args: object) -> Iterator[Outcome]:
    """Run a command whose reader leaves at the first, second and last line of its output."""
    whole = call(name, *args)
    assert whole.out
    for lines in {0, 1, whole.out.count("\n") - 1}:
        yield cut(name, *args, out=Leaving(lines))


def test_whichever_line_a_reader_leaves_at(run, picture, tmp_path):
    for outcome in itertools.chain(
        cuts("evaluate", run),
        cuts("predict", run, picture, "--show"),
        cuts("predict", run, picture, "--json"),
        cuts("plot", run, run, "--output", tmp_path / "both.png"),
        cuts("train", "--help"),
        cuts("plot", "--version"),
    ):
        assert (outcome.code, outcome.err) == (141, "")


def test_parity_writes_its_report_although_nobody_reads_its_output(data_dir, tmp_path):
    args = ["--backends", "array_api_compat:numpy", "--steps", "3", "--data-dir", data_dir]
    for lines in (0, 3):
        report = tmp_path / str(lines)
        outcome = cut("parity", *args, "--report-dir", report, out=Leaving(lines))
        assert (outcome.code, outcome.err) == (141, "")
        assert len(json.loads((report / "parity.json").read_text())["backends"]) == 2
        assert {path.name for path in report.iterdir()} == {"parity.json", "parity.png"}


def test_an_error_whose_reader_has_left(run):
    missing = ("--backends", "numpy", "--dtype", "float16")
    assert cut("parity", *missing, out=io.StringIO(), err=Leaving(0)).code == 141
    mismatch = ("--backends", "array_api_compat:numpy", "--steps", "3", "--dtype", "float32", "--tolerance", "1e-30")
    outcome = cut("parity", *mismatch, out=io.StringIO(), err=Leaving(1))
    assert outcome.code == 141
    assert outcome.err.startswith("mismatch: ")

    def warn() -> None:
        import warnings

        warnings.warn("odd", MlpXpWarning, stacklevel=1)

    with contextlib.redirect_stderr(Leaving(0)), pytest.raises(SystemExit) as stop:
        command_line.run(warn)
    assert stop.value.code == 141


@pytest.mark.parametrize(
    ("name", "args"),
    [("train", ["--help"]), ("parity", ["--version"]), ("train", ["--epohcs"])],
)
def test_in_a_pipe_of_the_system(name, args):
    """Where Python's own buffers are, which are written at the very end."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start(name, *args, stdout=writer, stderr=writer)
    os.close(writer)
    assert finish(process).code == 141


def test_the_thread_of_a_progress_bar_ends_quietly():
    """Pytest makes an exception in a thread an error."""
    console = plain_console(file=Leaving(0), force_terminal=True, width=80)
    thread = threading.Thread(target=console.print, args=("a line",))
    thread.start()
    thread.join()
    with pytest.raises(BrokenPipeError):
        console.print("a line")


def test_a_defect_keeps_its_code_where_the_output_is_gone():
    body = "print('x'); sys.stdin.readline(); 1 / 0"
    code = f"import sys\nfrom mlp_xp.commands.command_line import run\ndef main():\n    {body}\nrun(main)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, env=env, **pipes)
    process.stdout.close()
    process.stdout = None
    process.stdin.write("\n")
    outcome = finish(process)
    assert outcome.code == 1
    assert outcome.err.endswith("ZeroDivisionError: division by zero\n")


# An output that is closed.

CLOSED = [(0,), (1,), (2,), (1, 2), (0, 1, 2)]


def closing(numbers: tuple[int, ...]) -> str:
    return "; ".join(f"os.close({number})" for number in numbers)


@pytest.mark.parametrize("numbers", CLOSED)
def test_closed_descriptors_are_no_fault(numbers):
    outcome = finish(start("train", "--version", first=closing(numbers)))
    assert outcome == (0, "" if 1 in numbers else "mlp-xp 0.1.0\n", "")
    outcome = finish(start("train", "--epohcs", first=closing(numbers)))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == (2 not in numbers)


def test_training_with_closed_outputs(data_dir, tmp_path):
    numbers = (0, 1, 2)
    folder = tmp_path / "run"
    args = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(epochs=1))]
    assert finish(start("train", *args, first=closing(numbers))) == (0, "", "")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_no_file_gets_the_number_of_a_closed_output(tmp_path):
    """What a library writes to the standard output would end up in it."""
    code = f"""
import os
from mlp_xp.commands.command_line import run
def main():
    with open({str(tmp_path / "file")!r}, "w") as file:
        for number in (1, 2):
            os.write(number, b"noise")
        file.write("whole")
os.close(0); os.close(1); os.close(2)
run(main)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_errors_on_a_full_disk():
    with Path("/dev/full").open("w") as full:
        assert finish(start("train", "--epohcs", stderr=full)) == (2, "", "")


def test_a_current_folder_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    enter = f"os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    outcome = finish(start("evaluate", "some/run", "--data-dir", "there", first=enter))
    assert outcome.code in (1, 2)
    assert_one_line(outcome, outcome.code)
    gone.mkdir()
    assert finish(start("train", "--version", first=enter)).code == 0
    gone.mkdir()
    code = f"import os; {enter}; from pathlib import Path; from mlp_xp.commands.command_line import run; run(Path.cwd)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: the current folder has been deleted")
