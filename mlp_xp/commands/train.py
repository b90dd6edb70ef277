"""Train the network: `mlp-xp train --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every
run is written to a folder, and `--resume` resumes it from there.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mlp_xp.commands.options import GROUPS, CacheDir, Recipe, only_one, with_settings
from mlp_xp.runs.settings import Settings

_RUN = Parameter(group=GROUPS["Run"])


@with_settings(Settings)
def train(
    *,
    recipe: Annotated[Recipe, _RUN] = None,
    config: Annotated[Path | None, _RUN] = None,
    resume: Annotated[Path | None, _RUN] = None,
    run_dir: Annotated[Path | None, _RUN] = None,
    overwrite: Annotated[bool, _RUN] = False,
    cache_dir: Annotated[CacheDir, Parameter(group=GROUPS["Data"])] = None,
    threads: Annotated[
        int | Literal["auto"], Parameter(group=GROUPS["Backend"])
    ] = "auto",
    page: Annotated[bool, _RUN] = False,
    **given: Any,
) -> int:
    """Train a network with hand-written backpropagation, on any array library.

    The run is written to a folder of its own. Commands such as evaluate, predict and
    plot read this folder.

        mlp-xp train                             # the notebook's network on MNIST
        mlp-xp train --data-dir prices.csv --label price
        mlp-xp train --backend jax --recipe deformed --seed 1

    Args:
        config: Start from the settings in this file instead of a recipe. The file may
            be the config.json of a run.
        resume: Continue this run with its own settings, on any backend. With a constant
            schedule, --epochs trains a finished run longer.
        run_dir: Folder to write the run to. By default
            runs/DATASET-LABEL-RECIPE-BACKEND-DATE-TIME. With --cv, the folder of a
            sweep with a member for each fold. Run the same command again to continue
            it.
        overwrite: Replace an existing run in --run-dir.
        threads: Number of CPU threads to compute with. auto takes the number from a
            resumed run, or from a variable such as OMP_NUM_THREADS. Otherwise auto is
            one thread, or all CPUs for large steps. While other programs use the CPUs,
            several threads can be ten times slower than one.
        page: Write page.html into the run's folder at the end. See mlp-xp page --help.
    """
    from mlp_xp.commands import _training  # here, so that `--help` is quick

    only_one(resume=resume, config=config, recipe=recipe)
    only_one(resume=resume, run_dir=run_dir)
    only_one(resume=resume, overwrite=overwrite)
    only_one(dataset=given.get("dataset"), data_dir=given.get("data_dir"))
    if "dataset" in given:  # instead of the files that a configuration names
        given["data_dir"] = None
    number = None if threads == "auto" else threads
    if resume:
        _training.resume(resume, given, number, cache_dir, page=page)
        return 0
    return _training.begin(
        recipe,
        config,
        given,
        run_dir=run_dir,
        overwrite=overwrite,
        threads=number,
        cache_dir=cache_dir,
        page=page,
    )
