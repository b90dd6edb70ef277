"""Settings with their backend and their data set, as a job that can be trained."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.backends.memory import check_memory
from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import choose_threads, starting_on
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.job import Job
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.task import Units
from mlp_xp.core.training import Event, Position, trajectory
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.options import DataOptions
from mlp_xp.data.registry import DATASETS
from mlp_xp.errors import first_difference, quoted
from mlp_xp.runs.fingerprints import data_crc32
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings


class Source(NamedTuple):
    """The network to start from, read once. Empty without a run to start from."""

    layers: Network = ()
    """Its layers on the host, as the new run takes them."""
    sha256: str | None = None
    """The checksum of its model."""


@dataclass(frozen=True)
class Experiment:
    """Settings, and the job they stand for.

    The command line, the library and the members of a sweep make an experiment by
    `from_settings` or `from_data`, and train it by `recording.open_training`.
    """

    settings: Settings
    """All settings, with the numbers of the job for those that were "auto"."""
    job: Job

    def __post_init__(self) -> None:
        settings = replace(self.settings, train=self.job.config)
        object.__setattr__(self, "settings", settings)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        backend: Backend | None = None,
        dataset: Dataset | None = None,
        threads: int | None = None,
        threads_before: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Open the backend and load the data of the settings.

        Args:
            settings: All settings of a run.
            backend: The backend of the settings, if it is open already.
            dataset: The data set of the settings, if it is loaded already.
            threads: The number of threads to compute on. By default `choose_threads`
                chooses.
            threads_before: The number of threads of the run to resume. JAX starts on
                it.
            cache_dir: Folder for downloads. See `load_dataset`.

        Raises:
            BackendError: The array library or the device is not available.
            DatasetError: The data cannot be read, or cannot be trained on.
            ConfigError: The data set is too small for the settings.
        """
        if backend is None:
            with starting_on(threads_before):
                backend = open_backend(
                    settings.backend, settings.device, settings.dtype, threads
                )
        if dataset is None:
            options = vars(settings.data_options)
            dataset = load_dataset(
                settings.data, backend, cache_dir=cache_dir, **options
            )
        return cls(settings, Job(settings.train, dataset, backend, settings.networks))

    @classmethod
    def from_data(
        cls,
        config: TrainConfig,
        dataset: Dataset,
        backend: Backend,
        *,
        start_from: str | Path | None = None,
        networks: int = 1,
    ) -> Self:
        """Use a loaded data set and an open backend.

        Args:
            config: The settings of training.
            dataset: The data set, with arrays on the device of `backend`.
            backend: The array library.
            start_from: The run with the trained weights to begin with.
            networks: The number of networks to train and average.

        Raises:
            DatasetError: The data cannot be trained on.
            ConfigError: The data set is too small for the configuration.
        """
        job = Job(config, dataset, backend, networks)
        source = "data_dir"
        if dataset.name in (*DATASETS, UNNAMED):
            source = "dataset"
        settings = Settings(
            backend=backend.name,
            device=backend.device_name,
            dtype=backend.dtype_name,
            data_options=dataset.options or DataOptions(),
            start_from=None if start_from is None else str(start_from),
            networks=networks,
            train=config,
            **{source: dataset.name},
        )
        return cls(settings, job)

    @property
    def backend(self) -> Backend:
        """The backend of the job."""
        return self.job.backend

    @property
    def dataset(self) -> Dataset:
        """The data set of the job."""
        return self.job.dataset

    def data_facts(self) -> dict[str, Any]:
        """Return facts as JSON values. They must be the same when a run is resumed."""
        return {
            "train_samples": len(self.job.rows),
            "signature": self.dataset.signature.record(),
            "data_crc32": data_crc32(self.dataset, self.backend),
            "rows_crc32": zlib.crc32(np.asarray(self.job.rows, np.int64).tobytes()),
        }

    def check(self, *, in_folder: bool = True) -> None:
        """Raise an error unless the job can begin.

        `in_folder` says whether the run is written to a folder.

        Raises:
            NotEnoughMemoryError: Training needs more memory than there is.
            RunError: A folder cannot store the user's own functions.
        """
        if in_folder:
            if self.dataset.signature.preparation.name is None:
                raise RunError(
                    "the data set has a prepare function of its own, "
                    "which a run folder cannot store"
                )
            if not isinstance(self.settings.train.activation, str):
                fault = (
                    "the activation is a pair of functions, "
                    "which a run folder cannot store"
                )
                raise RunError(fault, remedy="name one")
        job = self.job
        check_memory(job.config, job.sizes, job.backend, job.networks)

    @contextmanager
    def training(self) -> Iterator[tuple[Self, Iterator[Event]]]:
        """Train without a folder. See `recording.open_training`."""
        self.check(in_folder=False)
        trained = self.source().layers
        experiment = self.on_threads(None)
        yield experiment, experiment.events(trained=trained)

    def events(
        self, start: Position | None = None, *, trained: Network = ()
    ) -> Iterator[Event]:
        """Yield the events of training, as `trajectory` does."""
        return trajectory(self.job, start, trained=trained)

    def on_threads(self, before: int | None) -> Self:
        """Return the experiment on the threads of `choose_threads`.

        Args:
            before: The number of threads of the run to resume, if any.
        """
        backend = choose_threads(self.backend, self.job.work, before)
        return replace(self, job=self.job.on(backend))

    def source(self) -> Source:
        """Return the network to start from, from a single reading of its model.

        The run to start from may still be training. The output layer is left out if the
        task or the names of the outputs differ. If the numbers to predict are
        standardised differently, the output layer is changed to the new units. The
        first layer is not changed if the inputs are standardised differently. Features
        of a table are found by their names.

        Raises:
            RunError: The run has no model, or its inputs, hidden layers or activation
                differ from the job.
        """
        path = self.settings.start_from
        if path is None:
            return Source()
        try:
            model = load_run(path).joined()
        except RunError as error:
            error.setting = "start_from"
            raise
        signature = self.dataset.signature
        difference = self._difference_from(model)
        if difference:
            fault = (
                f"the network of {quoted(path)} does not fit the new run: {difference}"
            )
            raise RunError(fault, setting="start_from")
        layers = model.network[:-1]
        if model.signature.has_outputs_of(signature):
            layers = _with_units(model, signature.units)
        names, wanted = model.signature.feature_names, signature.feature_names
        if layers and names and wanted:
            first, *others = layers
            order = [names.index(name) for name in wanted]
            layers = (first._replace(weights=first.weights[order]), *others)
        return Source(layers, model.sha256)

    def _difference_from(self, model: Model) -> str:
        """Describe the first difference that prevents a start from a model."""
        config = self.job.config
        difference = model.signature.features_difference(self.dataset.signature)
        if difference:
            return difference
        hidden = tuple(layer.bias.size for layer in model.network[:-1])
        return first_difference(
            [
                ("hidden layers", hidden, config.hidden),
                ("activation", model.activation, config.activation),
            ]
        )


def _with_units(model: Model, units: Units | None) -> Network:
    """Return the model's network with outputs standardised by other units."""
    *before, last = model.network
    mean, deviation = _on_host(model.signature.units)
    new_mean, new_deviation = _on_host(units)
    ratio = deviation / new_deviation
    bias = last.bias * ratio + (mean - new_mean) / new_deviation
    weights = last.weights * ratio
    new = Layer(weights.astype(last.weights.dtype), bias.astype(last.bias.dtype))
    return (*before, new)


def _on_host(units: Units | None) -> tuple[Any, Any]:
    """Return the mean and the deviation of the numbers to predict, in float64."""
    if units is None:
        return 0.0, 1.0
    return units.mean.astype(np.float64), units.deviation.astype(np.float64)
