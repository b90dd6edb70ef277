"""Train the network: `python scripts/train.py --backend numpy`.

Without options it trains as the notebook does and prints the notebook's numbers. Every run is written to a folder, and
`--resume` resumes it from there.
"""

from pathlib import Path
from typing import Any, Literal

from mlp_xp.commands.options import CacheDir, Recipe, with_settings
from mlp_xp.runs.settings import Settings


@with_settings(Settings)
def train(
    *,
    recipe: Recipe = None,
    config: Path | None = None,
    resume: Path | None = None,
    run_dir: Path | None = None,
    overwrite: bool = False,
    cache_dir: CacheDir = None,
    threads: int | Literal["auto"] = "auto",
    page: bool = False,
    **given: Any,
) -> int:
    """Train a network with hand-written backpropagation, on any array library.

    Args:
        config: Start from the settings in this file instead, such as the config.json of a run.
        resume: Continue this run with its own settings, on any backend. With a constant schedule, --epochs trains a
            finished run longer.
        run_dir: Folder to write the run to. By default runs/DATASET-RECIPE-BACKEND-DATE-TIME. With --cv, the folder of
            a sweep whose members are the folds; the same command continues it.
        overwrite: Replace an existing run in --run-dir.
        threads: CPU threads to compute on. auto: those of a resumed run, or what a variable such as OMP_NUM_THREADS
            says, or one, or all CPUs for large steps. While other programs use the CPUs, several threads can be ten
            times slower than one.
        page: Write page.html into the run's folder at the end: see mlp-xp page --help.
    """
    from mlp_xp.commands import training  # `train --help` needs none of its libraries

    return training.train(recipe, config, resume, run_dir, overwrite, cache_dir, threads, page, given)
