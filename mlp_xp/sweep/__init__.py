"""Many runs as one: grids of settings, the folder of a sweep, and what comes out of it.

The package can be called: `mlp_xp.sweep(...)` is `mlp_xp.sweep.sweep(...)`.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_xp.runs.settings import Settings
    from mlp_xp.sweep.member import Ending


def sweep(
    values: Mapping[str, Any],
    base: "Settings | str | None" = None,
    *,
    sweep_dir: str | Path | None = None,
    random: int | None = None,
    optuna: int | None = None,
    sampling_seed: int = 0,
    jobs: int | None = None,
    device_memory: float | None = None,
    cluster: str | None = None,
    cache_dir: str | Path | None = None,
    retry_failed: bool = False,
    pictures: bool = False,
) -> "Iterator[Ending]":
    """Train many networks, and yield how each run ends, in the order in which they do.

    values: for each setting its values, as in `{"seed": range(8), "learning_rate": [0.01, 0.1], "hidden": [64, (512,
    256)]}`, or the text of a range, as in `{"learning_rate": "0.001..0.1"}`. All combinations are trained. random:
    instead draw so many; optuna: instead let Optuna choose so many by their accuracy on held-out samples, and end bad
    ones early. sampling_seed: of either. base: all other settings, or the name of a recipe.

    sweep_dir: the folder of the sweep, by default one below `runs` that depends on the settings. Members that have
    ended there are not trained again: their endings come first. If the generator is closed or its process is killed,
    the same call goes on later. jobs: processes at once, by default one for each core, each with one thread.
    device_memory: GiB of a device that they may use together. cluster: the address of a Dask or Ray cluster, such as
    dask://host:8786. cache_dir: as for `load_dataset`. retry_failed: train failed members again. pictures: draw those
    of every run.

    In a script, call this below `if __name__ == "__main__":` where the platform needs that to start processes.

    Raises ConfigError, DatasetError, BackendError or ClusterError before anything is written, RunError for a folder
    that is in use or belongs to something else, and FileError.
    """
    from mlp_xp.config import check_choice
    from mlp_xp.runs.settings import RECIPES, Settings
    from mlp_xp.sweep.folder import default_folder
    from mlp_xp.sweep.grid import make_plan
    from mlp_xp.sweep.run import How, run

    if isinstance(base, str):
        check_choice("base", base, RECIPES)
        base = RECIPES[base]
    plan = make_plan(base or Settings(), values, samples=random, trials=optuna, seed=sampling_seed)
    folder = default_folder(plan) if sweep_dir is None else Path(sweep_dir)
    cache = None if cache_dir is None else Path(cache_dir)
    yield from run(plan, folder, How(jobs, device_memory, cluster, cache, retry_failed, pictures))


class _Callable(ModuleType):
    """A module that can be called: `import mlp_xp.sweep.grid` makes the name `mlp_xp.sweep` a module."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return sweep(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
