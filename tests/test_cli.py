"""The command line's frame: parsing, and every fault as one line and an exit code."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from helpers import SCRIPTS, assert_one_line, finish, on_a_terminal, start

from mlp_xp.commands.command_line import Positional, parse, run
from mlp_xp.config import TrainConfig
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError


@dataclass(frozen=True)
class Inner:
    """Inside."""

    rate: float = 0.5
    """How fast."""


@dataclass(frozen=True)
class Options:
    """Do something."""

    count: int = 3
    """How often."""
    units: tuple[int, ...] = (1,)
    """How many."""
    loud: bool = False
    """Whether one hears it."""
    inner: Inner = field(default_factory=Inner)


def test_parses_what_is_given_over_the_defaults():
    assert parse(Options, args=[]) == Options()
    given = parse(Options, args=["--count", "4", "--units", "2", "3", "--loud", "--rate", "1e-3"])
    assert given == Options(4, (2, 3), True, Inner(1e-3))
    assert parse(Options, args=["--loud"], default=Options(count=9)) == Options(count=9, loud=True)


def test_the_last_of_a_repeated_option_counts():
    """So that the options of a script can be overridden; for --label see the tests of own data."""
    assert parse(Options, args=["--count", "4", "--units", "1", "2", "--count=5", "--units", "3"]) == Options(5, (3,))


def test_numbers_with_commas_between_are_several_numbers():
    assert parse(Options, args=["--units", "2,3", "4"]).units == (2, 3, 4)
    assert parse(Options, args=["--units"]).units == ()


@dataclass(frozen=True)
class WithPlaces(Options):
    """Do something with files."""

    place: Annotated[Path, Positional("PLACE")] = field(kw_only=True)
    """Where."""
    files: Annotated[tuple[Path, ...], Positional("FILE")] = field(kw_only=True)
    """What."""


def test_options_may_stand_anywhere_between_the_places():
    for args in (["--loud", "a", "b,c", "d"], ["a", "--loud", "b,c", "d"], ["a", "b,c", "--loud", "d"]):
        given = parse(WithPlaces, args=args)
        assert (given.place, given.files, given.loud) == (Path("a"), (Path("b,c"), Path("d")), True)
    with pytest.raises(MlpXpError, match=r"^PLACE is missing: Where; --help"):
        parse(WithPlaces, args=["--loud"])


@pytest.mark.parametrize(
    ("word", "option"),
    [
        ("--lr", "--learning-rate"),
        ("--learning_rate", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--epoch", "--epochs"),
        ("-e", "--epochs"),
        ("--layers", "--hidden"),
        ("--units", "--hidden"),
        ("--lr-schedule", "--schedule"),
        ("--optim", "--optimizer"),
        ("--actvation", "--activation"),
    ],
)
def test_the_usual_other_names_suggest_the_right_option(word, option):
    with pytest.raises(MlpXpError, match=rf"^{word}: unknown argument \(did you mean {option}\?\)"):
        parse(TrainConfig, args=[word, "1"])


def test_some_options_can_be_looked_for_first():
    assert parse(Inner, args=["--count", "4", "--rate", "2", "--help"], some=True) == Inner(2.0)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--cuont", "4"], ["--cuont", "(did you mean --count?)"]),
        (["--cuont=4"], ["--cuont: ", "(did you mean --count?)"]),
        (["--cou", "4"], ["--cou: ", "(did you mean --count?)"]),
        (["-x"], ["-x: "]),
        (["--count", "many"], ["--count", "'many'"]),
        (["--count"], ["--count"]),
        (["--count", "1.5"], ["--count", "'1.5'"]),
        (["--units", "1", "two"], ["--units", "two"]),
        (["--rate", "fast"], ["--rate", "'fast'", "0.01"]),
        (["--units", "1,two"], ["--units", "'1,two'", "such as 64 32"]),
        (["loose"], ["loose"]),
        (["--", "-x"], ["-x"]),
        (["--count", "4", "--what-is-this-very-long-option-that-wraps-around-in-a-box-of-eighty-columns", "1"],
         ["--what-is-this-very-long-option-that-wraps-around-in-a-box-of-eighty-columns"]),
    ],
)  # fmt: skip
def test_a_command_line_that_does_not_fit_is_one_line(args, parts, capsys):
    with pytest.raises(MlpXpError) as caught:
        parse(Options, args=args)
    message = str(caught.value)
    assert "\n" not in message
    assert not set(message) & set("│╭╮╰╯─\x1b")
    assert message.endswith("; --help lists all options")
    for part in parts:
        assert part in message
    assert caught.value.exit_code == 2
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_too(monkeypatch):
    """Where the parser draws in colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    code, said = on_a_terminal("train", "--epohcs", "3")
    assert code == 2
    (line,) = said.decode().splitlines()  # not wrapped: a command in it is to be copied
    assert line == "error: --epohcs: unknown argument (did you mean --epochs?); --help lists all options"


def test_help_gives_docstrings_defaults_and_types(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Options, args=["--help"])
    assert not caught.value.code
    said = capsys.readouterr().out
    for part in (
        "Do something.",
        "--count",
        "How often.",
        "3",
        "INT",
        "--loud",
        "--rate",
        "How fast.",
        "FLOAT",
        "--debug",
        "--version",
    ):
        assert part in said
    assert "--no-loud" not in said


def ended(main, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(main)
    return caught.value.code, capsys.readouterr().err


def raising(error):
    def main():
        raise error

    return main


def test_every_end_has_its_code_and_at_most_one_line(capsys):
    assert ended(lambda: None, capsys) == (0, "")
    assert ended(lambda: 1, capsys) == (1, "")
    assert ended(raising(MlpXpError("no such thing")), capsys) == (2, "error: no such thing\n")
    fault = MlpXpError("-1 is out of range", setting="learning_rate")
    assert ended(raising(fault), capsys) == (2, "error: --learning-rate: -1 is out of range\n")
    assert ended(raising(FileError("disk full")), capsys) == (1, "error: disk full\n")
    assert ended(raising(KeyboardInterrupt), capsys) == (130, "interrupted\n")
    assert ended(raising(PermissionError(13, "Permission denied", "a/b")), capsys) == (
        1,
        "error: 'a/b': Permission denied; fix the file or folder, or use another one\n",
    )
    assert ended(raising(ModuleNotFoundError("no", name="numpy.linalg")), capsys)[0] == 2
    assert ended(raising(MemoryError()), capsys) == (
        2,
        "error: out of memory: the sizes are too large; choose smaller sizes\n",
    )


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        FileNotFoundError(2, "No such file or directory", "a/b"),
        OSError(9, "Bad file descriptor"),
        ModuleNotFoundError("no", name="mlp_xp.nowhere"),
    ],
)
def test_a_defect_is_no_users_fault_and_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run(raising(error))


def test_debug_shows_the_traceback_with_the_causes_that_are_hidden(monkeypatch, capsys):
    def main():
        try:
            raise ValueError("the reason")
        except ValueError:
            raise MlpXpError("no such thing") from None

    monkeypatch.setattr(sys, "argv", ["mlp-xp", "--debug"])
    code, said = ended(main, capsys)
    assert code == 2
    assert said.startswith("Traceback")
    assert "ValueError: the reason" in said
    assert said.endswith("\nerror: no such thing\n")


def test_without_a_compile_cache_jax_and_all_workers_are_told(monkeypatch):
    name = "JAX_ENABLE_COMPILATION_CACHE"
    monkeypatch.setenv(name, "")
    seen = []
    for args in ([], ["--no-compile-cache"]):
        monkeypatch.setattr(sys, "argv", ["train.py", *args])
        with pytest.raises(SystemExit):
            run(lambda: seen.append(os.environ[name]))
    assert seen == ["", "false"]


def test_a_reader_who_leaves_ends_a_script_quietly():
    forever = "while True: print('more')"
    once = "input(); print('more')"  # which only the end flushes
    for body in (forever, once):
        code = f"from mlp_xp.commands.command_line import run\ndef main():\n    {body}\nrun(main)"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
        process.stdout.close()
        process.stdout = None
        process.stdin.write("\n")
        outcome = finish(process)
        assert outcome.err == ""
        assert outcome.code == 141


@pytest.mark.parametrize("script", ["train", "parity"])
def test_scripts_help_and_refuse_in_a_process_of_their_own(script):
    shown = finish(start(script, "--help"))
    assert shown.code == 0
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert "--data-dir" in shown.out
    assert_one_line(finish(start(script, "--bakcend", "jax")), 2, "--bakcend", "did you mean --backend")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_wrong_option_is_named_in_every_encoding(encoding):
    outcome = finish(start("train", "--bacth-size", 2, env={"PYTHONIOENCODING": encoding}))
    assert outcome.err.startswith("error: --bacth-size: unknown argument (did you mean --batch-size?); --help")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output_is_one_line():
    code = "from mlp_xp.commands.command_line import run\ndef main():\n    print('more')\nrun(main)"
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert err == "error: the output: No space left on device; fix the file or folder, or use another one\n"
    assert process.returncode == 1


@pytest.mark.parametrize(
    "script",
    sorted(p.stem for p in SCRIPTS.glob("*.py") if p.stem not in ("start", "libraries")),
)
def test_an_interrupt_while_a_script_still_imports_is_one_line_too(script, tmp_path):
    """In its first import from elsewhere, which this module takes the place of."""
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    outcome = finish(start(script, env={"PYTHONPATH": str(tmp_path)}))
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "interrupted\n")


def test_an_output_that_is_closed_from_the_start_is_no_fault():
    """As in `mlp-xp --version >&-`: Python then has no sys.stdout."""
    outcome = finish(start("train", "--version", first="os.close(1)"))
    assert outcome.code == 0
    assert "Traceback" not in outcome.err
