"""Settings that Optuna chooses by the results of those before, and ends early if they are worse than most.

A trial is a setting, which has a member for each seed. Its value is the mean over the seeds. Its first member alone
reports its epochs and may be pruned, so that runs of the same seed are compared; the others of a pruned trial that have
not begun are not trained.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.runs.records import RunError
from mlp_xp.runs.sweep_index import ADVICE, INDEX, PRUNED, Member
from mlp_xp.sweeps.folder import STUDY
from mlp_xp.sweeps.grid import DIGITS, Plan, Span, as_value, is_by_ratio, shown


class Trials:
    """Optuna's study in the folder of a sweep. The folder's lock must be held.

    With s seeds, members i s to i s + s - 1 are those of the i-th trial that has all its parameters. Raises MlpXpError
    if Optuna is not installed.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MlpXpError(f"Optuna {not_installed('optuna')}", setting="optuna") from error
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._plan, self._folder = optuna, plan, folder
        self._seeds = plan.seeds
        self._scores: dict[int, dict[int, float | None]] = {}  # of each trial, by member
        # Several processes write to it; each waits for the others, and closes the file after each use.
        how = {"connect_args": {"timeout": 60}, "poolclass": NullPool}
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / STUDY).resolve()}", engine_kwargs=how)
            self._study = optuna.create_study(
                storage=storage,
                study_name="sweep",
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
            )
            for trial in self._study.get_trials(deepcopy=False):
                # Optuna stores a trial, and then each of its parameters; a kill in between leaves it without some.
                if not self._is_whole(trial) and not trial.state.is_finished():
                    self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise RunError(f"{str(folder / STUDY)!r}: cannot be used: {reason}; {ADVICE}") from error
        # Not the same random numbers again in a sweep that goes on.
        self._study.sampler = optuna.samplers.TPESampler(seed=plan.seed + len(self._study.get_trials(deepcopy=False)))

    def members(self, known: tuple[Member, ...] = ()) -> tuple[Member, ...]:
        """Return the members of all trials that have begun. known: the first of them.

        Raises RunError if the study has others.
        """
        found = tuple(
            member for i, each in enumerate(self._trials()) for member in self._members(i, self._settings(each.params))
        )
        if found[: len(known)] != known:
            raise RunError(f"{str(self._folder / STUDY)!r} does not have the trials in {INDEX}; {ADVICE}")
        return found

    def ask(self) -> tuple[Member, ...]:
        """Begin another trial, and return its members."""
        with warnings.catch_warnings(action="ignore"):  # about experimental features
            trial = self._study.ask(self._distributions())
        return self._members(len(self._trials()) - 1, self._settings(trial.params))

    def _members(self, number: int, settings: dict[str, Any]) -> tuple[Member, ...]:
        first = number * len(self._seeds)
        return tuple(Member(f"{i:04d}", {**settings, **seed}) for i, seed in enumerate(self._seeds, first))

    def _of(self, member: Member) -> Any:
        return self._trials()[int(member.name) // len(self._seeds)]

    def trial(self, member: Member) -> Any:
        """Return the trial that a member reports to, which can be sent to another process; None if there is none."""
        found = self._of(member)
        if found.state.is_finished() or int(member.name) % len(self._seeds):
            return None
        return self._optuna.trial.Trial(self._study, found._trial_id)

    def is_pruned(self, member: Member) -> bool:
        """Return whether the trial of a member has been pruned."""
        return bool(self._of(member).state.name.lower() == PRUNED)

    def tell(self, member: Member, score: float | None, *, pruned: bool = False) -> None:
        """Note the score of a member on held-out samples, None if it failed or was pruned.

        The last member ends the trial, and so does one that was pruned. What has ended stays as it is: Optuna does not
        learn the score of a failed trial that is trained again.
        """
        states = self._optuna.trial.TrialState
        trial = self._of(member)
        scores = self._scores.setdefault(trial.number, {})
        scores[int(member.name)] = score
        found = [each for each in scores.values() if each is not None]
        mean = fmean(found) if len(found) == len(self._seeds) else None
        if not trial.state.is_finished():
            if pruned:
                self._study.tell(trial.number, state=states.PRUNED)
            elif len(scores) == len(self._seeds):  # none of them reports to the trial any more
                self._study.tell(trial.number, mean, state=states.FAIL if mean is None else None)

    def _trials(self) -> list[Any]:
        """Return the trials of members, in their order."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if self._is_whole(trial)]

    def _is_whole(self, trial: Any) -> bool:
        return self._plan.sampled.keys() <= trial.params.keys()

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        settings = {}
        for name, values in self._plan.sampled.items():
            if isinstance(values, Span):
                number = params[name] if values.whole else float(f"{params[name]:.{DIGITS}g}")
                settings[name] = as_value(name, min(max(number, values.first), values.last))
            else:
                settings[name] = next(value for value in values if shown(value) == params[name])
        return settings

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        found: dict[str, Any] = {}
        for name, values in self._plan.sampled.items():
            if isinstance(values, Span):
                kind = kinds.IntDistribution if values.whole else kinds.FloatDistribution
                found[name] = kind(values.first, values.last, log=is_by_ratio(name, values))
            else:
                found[name] = kinds.CategoricalDistribution([shown(value) for value in values])
        return found
