"""What the package declares: dependencies, version, authors, licences; and what `import
mlp_xp` brings in.
"""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import SCRIPTS

import mlp_xp

ROOT, PACKAGE = SCRIPTS.parent, Path(mlp_xp.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_import_is_a_declared_dependency():
    """By the name in pyproject.toml, mostly that of the module. A hook is used by those
    who have its library.
    """
    names = {"PIL": "pillow", "cupy": "cupy-cuda12x", "sklearn": "scikit-learn"}
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = {
        re.split(r"[^\w.-]", requirement)[0].replace("_", "-")
        for requirement in (
            *PROJECT["project"]["dependencies"],
            *(each for extra in extras for each in extra),
        )
    }
    imported = set()
    for path in {*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("backends/hooks/*.py")}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module))
    modules = (
        {name.partition(".")[0] for name in imported}
        - sys.stdlib_module_names
        - {"mlp_xp"}
    )
    assert {"numpy", "requests", "PIL"} <= modules
    assert {
        names.get(module, module).replace("_", "-") for module in modules
    } <= declared


@pytest.mark.repository
def test_the_files_about_the_package_agree():
    """CITATION.cff knows no AND between licences: that of the code, and those of what
    it contains.
    """
    project, text = (
        PROJECT["project"],
        (ROOT / "CITATION.cff").read_text(encoding="utf-8"),
    )
    assert project["version"] == mlp_xp.__version__
    assert re.findall(r"^ *license: (.*)", text, re.MULTILINE) == project[
        "license"
    ].split(" AND ")
    for line in (
        f"version: {mlp_xp.__version__}",
        f"repository-code: {project['urls']['Repository']}",
    ):
        assert f"\n{line}\n" in text
    for author in project["authors"]:
        assert f"  - name: {author['name']}\n" in text
        assert author["name"] in (ROOT / "LICENSE").read_text(encoding="utf-8")


# `import mlp_xp` is quick, and usable where next to nothing is installed.


HEAVY = (
    *(
        "jax",
        "jaxlib",
        "torch",
        "cupy",
        "array_api_strict",
        "array_api_compat.torch",
        "array_api_compat.cupy",
    ),
    *(
        "matplotlib",
        "PIL",
        "pooch",
        "rich",
        "cyclopts",
        "docstring_parser",
        "safetensors",
    ),
    *("joblib", "optuna", "distributed", "sklearn", "polars", "pandas", "pyarrow"),
)


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh process has imported after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    return set(run.stdout.split())


def test_importing_brings_in_nothing_heavy():
    """The version, the help and whatever goes wrong with an import come at once: these
    need no library.
    """
    modules = modules_after("from mlp_xp import *\nopen_backend('numpy')")
    assert {"mlp_xp.core.training", "numpy", "array_api_compat.numpy"} <= modules
    assert not {
        each
        for each in modules
        for name in HEAVY
        if each == name or each.startswith(f"{name}.")
    }
    modules = modules_after("import mlp_xp, mlp_xp.commands")
    assert not {module.partition(".")[0] for module in modules} & {
        "numpy",
        "array_api_compat",
        *HEAVY,
    }
    assert "numpy" not in modules_after("import mlp_xp.commands.train")


def test_training_on_mnist_reads_no_tables():
    code = (
        "from mlp_xp import TrainConfig, load_dataset, open_backend, train\n"
        "backend = open_backend('numpy')\n"
        "next(iter(train(TrainConfig(epochs=1), load_dataset('mnist', backend), backend)))"
    )
    modules = {module.partition(".")[0] for module in modules_after(code)}
    assert not modules & {"polars", "pandas", "pyarrow"}


def test_what_is_promised_is_there():
    for name in mlp_xp.__all__:
        assert name in dir(mlp_xp)
        assert getattr(mlp_xp, name) is not None
    with pytest.raises(AttributeError, match="'mlp_xp' has no attribute 'tarin'"):
        mlp_xp.tarin  # noqa: B018
    assert mlp_xp.__version__ == version("mlp_xp")
