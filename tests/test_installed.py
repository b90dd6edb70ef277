"""What a person meets who has the package installed, or not; `tests/tools/smoke.py` tries the built wheel itself."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers import SCRIPTS, assert_one_line, call, call_main, finish, load_script, start

import mlp_xp
from mlp_xp.commands import COMMANDS, choose
from mlp_xp.commands.command_line import called

ROOT = SCRIPTS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def top(*args: str):
    """`mlp-xp` in this process."""
    return call_main(choose, "/somewhere/bin/mlp-xp", *args)


@pytest.mark.parametrize(("path", "missing"), [("", "mlp_xp"), (str(ROOT), r"\w+")])
def test_a_python_without_the_dependencies_says_what_to_type(path, missing, tmp_path):
    """-S: without what is installed."""
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPTS / "train.py")],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    python = re.escape(sys.executable)
    line = rf"error: ({missing}) is not installed.*: {python} -m pip install -e {re.escape(str(ROOT))}\n"
    assert re.fullmatch(line, done.stderr), done.stderr


def test_python_m_is_the_same_as_the_command(tmp_path):
    def module(*args: str):
        return subprocess.run(
            [sys.executable, "-m", "mlp_xp", *args], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert module("--version").stdout == top("--version").out == f"mlp-xp {mlp_xp.__version__}\n"
    assert module("--help").stdout == top("--help").out.replace("usage: mlp-xp", "usage: python -m mlp_xp")
    assert module("train", "--help").stdout.startswith("usage: python -m mlp_xp train [OPTIONS]\n")
    wrong = module("train", "--epcohs", "3")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_top_command_lists_all_and_refuses_others():
    for args in ([], ["-h"], ["--help"]):
        shown = top(*args)
        assert (shown.code, shown.err) == (0, "")
        assert all(f"\n  {name} " in shown.out for name in COMMANDS)
    assert_one_line(top("tarin"), 2, "error: tarin: is not a command (did you mean train?)")
    assert_one_line(top("--epochs", "3"), 2, "error: --epochs: is not a command; --help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_version_and_debug(name):
    module = name.replace("-", "_")
    shown = call(module, "--help")
    assert shown.code == 0
    assert {"--debug", "--no-compile-cache", "--version"} < set(shown.out.split())
    assert call(module, "--version").out == f"mlp-xp {mlp_xp.__version__}\n"
    assert hasattr(load_script(module), COMMANDS[name][1])


def test_debug_shows_the_place_of_a_fault(tmp_path):
    outcome = finish(start("evaluate", tmp_path / "nowhere", "--debug"))
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback")
    last = outcome.err.splitlines()[-1]
    assert_one_line(finish(start("evaluate", tmp_path / "nowhere")), 2, last)


@pytest.mark.parametrize(
    ("program", "other"),
    [
        ("/somewhere/bin/mlp-xp train", "mlp-xp plot"),
        ("python -m mlp_xp train", "python -m mlp_xp plot"),
        ("my scripts/train.py", "python 'my scripts/plot.py'"),
    ],
)
def test_what_to_type_next_is_in_the_way_in_which_one_began(program, other, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(shutil, "which", {"python": sys.executable}.get)
    assert called("plot") == other


@pytest.mark.parametrize("below", [True, False])
def test_what_to_type_next_names_another_python_by_its_path(below, monkeypatch, tmp_path):
    """As after `make train`, where `python` is the system's."""
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a b" / "bin" / "python"))
    monkeypatch.chdir(tmp_path if below else "/")
    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    place = "a b/bin/python" if below else str(tmp_path / "a b" / "bin" / "python").lstrip("/")
    assert called("plot") == f"'{place}' scripts/plot.py"


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["mlp-xp", "pre"], {"predict"}),
        (["mlp-xp", "comp"], {"completion"}),
        (["mlp-xp", "train", "--learn"], {"--learning-rate"}),
        (["mlp-xp", "parity", "--back"], {"--backends"}),
    ],
)
def test_a_shell_completes_commands_and_options(words, some, tmp_path):
    pytest.importorskip("shtab")
    outcome = top("completion", "bash")
    assert (outcome.code, outcome.err) == (0, "")
    script = tmp_path / "completion.sh"
    script.write_text(outcome.out)
    typed = " ".join(words)
    ask = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE='{typed}'; _shtab_mlp_xp"
    done = subprocess.run(
        ["bash", "-c", f"{ask} mlp-xp; printf '%s\\n' \"${{COMPREPLY[@]}}\""],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == some


def test_completion_refuses_in_one_line(monkeypatch):
    assert_one_line(top("completion", "csh"), 2, "completion: give one of bash, zsh, tcsh")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert_one_line(top("completion", "bash"), 2, "completion: shtab is not installed", "-m pip install shtab")


def test_parity_says_before_it_trains_that_it_cannot_draw(data_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "mlp_xp.show.figure", raising=False)
    arguments = ["--backends", "array_api_compat:numpy", "--data-dir", data_dir, "--report-dir", tmp_path / "report"]
    assert_one_line(call("parity", *arguments), 2, "-m pip install matplotlib")
    assert not (tmp_path / "report").exists()


def test_every_import_is_a_declared_dependency():
    """By the name in pyproject.toml, which is that of the module but for a few."""
    names = {"PIL": "pillow", "cupy": "cupy-cuda12x", "sklearn": "scikit-learn"}
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = {
        re.split(r"[^\w.-]", requirement)[0].replace("_", "-")
        for requirement in (*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra))
    }
    imported = set()
    for path in (ROOT / "mlp_xp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module))
    modules = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"mlp_xp"}
    assert {"numpy", "requests", "PIL"} <= modules
    assert {names.get(module, module).replace("_", "-") for module in modules} <= declared


def test_the_sdist_has_all_that_is_in_the_repository():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    included = {name.strip("/") for name in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    included |= {"README.md", "LICENSE", "pyproject.toml", ".gitignore"}
    assert {Path(file).parts[0] for file in files} == included


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mlp_xp.__version__}\n" in text
    assert PROJECT["project"]["version"] == mlp_xp.__version__
