"""What `import mlp_xp` brings in: quick to import, and usable where next to nothing is installed."""

import importlib
import subprocess
import sys
import traceback

import pytest

import mlp_xp
from mlp_xp.errors import not_installed

HEAVY = (
    *("jax", "jaxlib", "torch", "cupy", "array_api_strict", "array_api_compat.torch", "array_api_compat.cupy"),
    *("matplotlib", "PIL", "pooch", "rich", "cyclopts", "docstring_parser", "safetensors", "tensorboard"),
    *("joblib", "optuna", "distributed"),
)


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh process has imported after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return set(run.stdout.split())


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return modules_after("from mlp_xp import *")


@pytest.mark.parametrize("name", HEAVY)
def test_importing_brings_in_nothing_heavy(name, imported):
    assert not {module for module in imported if module == name or module.startswith(f"{name}.")}


@pytest.mark.parametrize("statement", ["import mlp_xp", "import mlp_xp.commands"])
def test_the_bare_package_and_the_frame_of_the_commands_bring_in_no_library(statement):
    """So the version, the help and whatever goes wrong with an import come at once."""
    modules = modules_after(statement)
    assert "mlp_xp" in modules
    assert not {module.partition(".")[0] for module in modules} & {"numpy", "array_api_compat", *HEAVY}


def test_asking_for_the_names_brings_in_numpy(imported):
    """So the list above is of this process, and not empty."""
    assert {"mlp_xp", "mlp_xp.training", "numpy"} <= imported


def test_opening_numpy_brings_in_no_other_library():
    modules = modules_after("from mlp_xp import open_backend\nopen_backend('numpy')")
    assert "array_api_compat.numpy" in modules
    assert not modules & {"jax", "torch", "cupy", "array_api_strict"}


def test_what_is_promised_is_there():
    for name in ("open_backend", "load_dataset", "TrainConfig", "train", "predict"):
        assert name in mlp_xp.__all__
        assert name in dir(mlp_xp)
        assert callable(getattr(mlp_xp, name))
    with pytest.raises(AttributeError, match="'mlp_xp' has no attribute 'tarin'"):
        mlp_xp.tarin  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert mlp_xp.__version__ == version("mlp_xp")


@pytest.mark.parametrize("missing", ["sklearn", "scipy"])
def test_the_estimators_say_in_one_error_how_to_install_scikit_learn(missing, monkeypatch):
    """But not where scikit-learn is there, and lacks something itself."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn" or "mlp_xp.estimator" in name]:
        monkeypatch.delitem(sys.modules, name)

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "sklearn":
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("mlp_xp.estimator")
    *_, last = lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert caught.value.name == missing
    if missing == "sklearn":
        assert last.endswith(f"scikit-learn {not_installed('scikit-learn')}")
        assert sum("Traceback" in line for line in lines) == 1
    else:
        assert last == "ModuleNotFoundError: No module named 'scipy'"
