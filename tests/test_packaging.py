"""The declarations of the package, and the modules it imports."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import SCRIPTS, imported

import mlp_xp

ROOT, PACKAGE = SCRIPTS.parent, Path(mlp_xp.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_import_is_a_declared_dependency():
    """By the name in pyproject.toml, mostly the name of the module.

    Users of a hook have its library. array-lockstep is another distribution of this
    repository, and its name on the index is not its own yet: no extra asks for it.
    """
    names = {"PIL": "pillow", "cupy": "cupy-cuda12x", "sklearn": "scikit-learn"}
    groups = [
        PROJECT["dependencies"],
        *PROJECT["optional-dependencies"].values(),
    ]
    declared = {
        re.split(r"[^\w.-]", requirement)[0].replace("_", "-")
        for group in groups
        for requirement in group
    }
    modules = set()
    for path in {*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("backends/hooks/*.py")}:
        modules |= imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules -= {"mlp_xp", "array_lockstep", *sys.stdlib_module_names}
    assert {"numpy", "requests", "PIL"} <= modules
    needed = {names.get(module, module).replace("_", "-") for module in modules}
    assert needed <= declared


@pytest.mark.repository
def test_the_files_about_the_package_agree():
    """CITATION.cff knows no AND between licences.

    It lists the licence of the code and the licences of its parts.
    """
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["version"] == mlp_xp.__version__
    licences = re.findall(r"^ *license: (.*)", citation, re.MULTILINE)
    assert licences == PROJECT["license"].split(" AND ")
    assert f"\nversion: {mlp_xp.__version__}\n" in citation
    for author in PROJECT["authors"]:
        assert f"  - name: {author['name']}\n" in citation
        assert author["name"] in licence


# `import mlp_xp` is quick, and usable where next to nothing is installed.


HEAVY = {
    "jax",
    "jaxlib",
    "torch",
    "cupy",
    "array_api_strict",
    "array_api_compat.torch",
    "array_api_compat.cupy",
    "matplotlib",
    "PIL",
    "pooch",
    "rich",
    "cyclopts",
    "docstring_parser",
    "safetensors",
    "joblib",
    "optuna",
    "distributed",
    "sklearn",
    "polars",
    "pandas",
    "pyarrow",
}


@pytest.mark.parametrize(
    ("statement", "needed", "excluded"),
    [
        (
            "from mlp_xp import *\nopen_backend('numpy')",
            {"mlp_xp.core.training", "numpy", "array_api_compat.numpy"},
            HEAVY,
        ),
        # the version, the help and whatever goes wrong with an import come at once
        (
            "import mlp_xp, mlp_xp.commands",
            {"mlp_xp"},
            {"numpy", "array_api_compat", *HEAVY},
        ),
        ("import mlp_xp.commands.train", {"mlp_xp"}, {"numpy"}),
        # the core prints without the rest of the package
        (
            "from mlp_xp.core.config import TrainConfig\nrepr(TrainConfig(epochs=2))",
            {"mlp_xp.core.config"},
            {"mlp_xp.show"},
        ),
        # no tables are read
        (
            "from mlp_xp import TrainConfig, load_dataset, train\n"
            "next(iter(train(TrainConfig(epochs=1), load_dataset('mnist'))))",
            {"mlp_xp.core.training"},
            {"polars", "pandas", "pyarrow"},
        ),
    ],
)
def test_importing_brings_in_nothing_heavy(statement, needed, excluded):
    modules = modules_after(statement)
    assert needed <= modules
    assert not {
        module
        for module in modules
        for name in excluded
        if f"{module}.".startswith(f"{name}.")
    }


def test_what_is_promised_is_there():
    for name in mlp_xp.__all__:
        assert name in dir(mlp_xp)
    assert mlp_xp.__version__ == version("mlp_xp")


def test_a_mistyped_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mlp_xp' has no attribute 'tarin'"):
        mlp_xp.tarin  # noqa: B018


def modules_after(statement: str) -> set[str]:
    """Return the modules imported by a fresh process after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    return set(run.stdout.split())
