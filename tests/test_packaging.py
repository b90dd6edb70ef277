"""What the package declares: dependencies, the files of the sdist, the version."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers import SCRIPTS

import mlp_xp

ROOT = SCRIPTS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


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
