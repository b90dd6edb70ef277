"""The options of a sweep, besides the settings of its members."""

from dataclasses import dataclass

from mlp_xp.declared import ConfigError, check_settings, setting


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep does with the values of its settings, where, and how. Raises ConfigError."""

    sweep_dir: str | None = setting(None, is_path=True)
    """Folder of the sweep. By default one below runs, named after the settings."""
    random: int | None = setting(None, least=1)
    """Draw this many settings at random instead of taking all combinations, and train each with every --seed. Of
    several values, one is drawn. From a range, also one of fractions such as 0.001..0.1, a number is drawn:
    log-uniformly for learning-rate, weight-decay, batch-size and hidden if it starts above 0, and otherwise
    uniformly."""
    optuna: int | None = setting(None, least=1)
    """Let Optuna choose this many settings by the accuracy (or R²) on held-out samples. Seeds and ranges are as for
    --random. Needs --validation."""
    sampling_seed: int = setting(0, most=2**32 - 1)
    """Random seed of --random and --optuna. What Optuna chooses also depends on the order in which members end, unless
    --jobs is 1."""
    jobs: int | None = setting(None, least=1)
    """Processes at once, each with one thread. By default one per core, or as many as the memory admits; one on a
    GPU."""
    cluster: str | None = setting(None)
    """Train on a cluster instead, such as dask://host:8786, whose machines share the sweep's folder."""
    retry_failed: bool = setting(False)
    """Train members again that have failed."""
    cache_dir: str | None = setting(None, is_path=True)
    """Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.random and self.optuna:
            raise ConfigError("cannot be combined with optuna; leave out one of the two", setting="random")
        if self.cluster and self.optuna:
            raise ConfigError("Optuna's trials run on this machine only; leave out one of the two", setting="cluster")
        if self.cluster and self.jobs:
            raise ConfigError("a cluster has its own number of processes; leave this out", setting="jobs")
