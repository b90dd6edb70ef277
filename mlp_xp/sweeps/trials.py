"""Members that Optuna chooses by the results of those before, and ends early if they are worse than most."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.sweeps.folder import STUDY
from mlp_xp.sweeps.grid import DIGITS, Member, Plan, Span, as_value, is_by_ratio, shown


class Trials:
    """Optuna's study in the folder of a sweep. Member number i is trial number i. The folder's lock must be held.

    Raises MlpXpError if Optuna is not installed.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MlpXpError(f"Optuna {not_installed('optuna')}", setting="optuna") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._plan = optuna, plan
        # Several processes write to it; each waits for the others.
        wait = {"connect_args": {"timeout": 60}}
        storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / STUDY).resolve()}", engine_kwargs=wait)
        self._study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
        )
        # Not the same random numbers again in a sweep that goes on.
        self._study.sampler = optuna.samplers.TPESampler(seed=plan.seed + len(self._study.get_trials(deepcopy=False)))

    def members(self) -> tuple[Member, ...]:
        """Return the members of all trials that have begun."""
        return tuple(self._member(trial) for trial in self._study.get_trials(deepcopy=False))

    def ask(self) -> Member:
        """Begin another trial."""
        with warnings.catch_warnings(action="ignore"):  # about experimental features
            return self._member(self._study.ask(self._distributions()))

    def trial(self, member: Member) -> Any:
        """Return the trial of a member, which can be sent to another process."""
        found = self._study.get_trials(deepcopy=False)[int(member.name)]
        return self._optuna.trial.Trial(self._study, found._trial_id)

    def tell(self, member: Member, accuracy: float | None, *, pruned: bool = False) -> None:
        """End a trial, unless it has ended: with the accuracy on held-out samples; None if it failed or was pruned."""
        states = self._optuna.trial.TrialState
        state = None if accuracy is not None else states.PRUNED if pruned else states.FAIL
        self._study.tell(int(member.name), accuracy, state=state, skip_if_finished=True)

    def _member(self, trial: Any) -> Member:
        return Member(f"{trial.number:04d}", self._settings(trial.params))

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        settings = {}
        for name, values in self._plan.options.items():
            if isinstance(values, Span):
                number = params[name] if values.whole else float(f"{params[name]:.{DIGITS}g}")
                settings[name] = as_value(name, min(max(number, values.first), values.last))
            else:
                settings[name] = next(value for value in values if shown(value) == params[name])
        return settings

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        found: dict[str, Any] = {}
        for name, values in self._plan.options.items():
            if isinstance(values, Span):
                kind = kinds.IntDistribution if values.whole else kinds.FloatDistribution
                found[name] = kind(values.first, values.last, log=is_by_ratio(name, values))
            else:
                found[name] = kinds.CategoricalDistribution([shown(value) for value in values])
        return found
