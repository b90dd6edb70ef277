"""What `import mlp_xp` brings in: quick to import, and usable where next to nothing is installed."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import mlp_xp

HEAVY = (
    *("jax", "jaxlib", "torch", "cupy", "array_api_strict", "array_api_compat.torch", "array_api_compat.cupy"),
    *("matplotlib", "PIL", "pooch", "rich", "cyclopts", "docstring_parser", "safetensors"),
    *("joblib", "optuna", "distributed", "sklearn"),
)


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh process has imported after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return set(run.stdout.split())


def test_importing_brings_in_nothing_heavy():
    """The version, the help and whatever goes wrong with an import come at once: these need no library."""
    modules = modules_after("from mlp_xp import *\nopen_backend('numpy')")
    assert {"mlp_xp.core.training", "numpy", "array_api_compat.numpy"} <= modules
    assert not {each for each in modules for name in HEAVY if each == name or each.startswith(f"{name}.")}
    modules = modules_after("import mlp_xp, mlp_xp.commands")
    assert not {module.partition(".")[0] for module in modules} & {"numpy", "array_api_compat", *HEAVY}
    assert "numpy" not in modules_after("import mlp_xp.commands.train")


def test_what_is_promised_is_there():
    for name in mlp_xp.__all__:
        assert name in dir(mlp_xp)
        assert getattr(mlp_xp, name) is not None
    with pytest.raises(AttributeError, match="'mlp_xp' has no attribute 'tarin'"):
        mlp_xp.tarin  # noqa: B018
    assert mlp_xp.__version__ == version("mlp_xp")
