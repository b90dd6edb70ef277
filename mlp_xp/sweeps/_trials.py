"""Settings that Optuna chooses by the results of those before.

A trial is a setting, which has a member for each seed and fold; its value is the mean
over them. The study is kept in memory: sweep.json and the members' results contain all
that it has to know, so a killed sweep needs no other file.
"""

import warnings
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mlp_xp.runs.sweep_folder import Member, numbered
from mlp_xp.sweeps.plan import Plan, Span


class Trials:
    """The trials of a sweep. With s seeds or folds, members i s to i s + s - 1 are
    those of trial i.
    """

    def __init__(self, plan: Plan, begun: Sequence[Member]) -> None:
        """Begin the trials of these members again, in their order."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._failed = plan, optuna.trial.TrialState.FAIL
        self._distributions: dict[str, Any] = {}
        kinds = optuna.distributions
        for name, values in plan.sampled.items():
            if not isinstance(values, Span):
                self._distributions[name] = kinds.CategoricalDistribution(
                    range(len(values))
                )
            else:
                kind: Any = (
                    kinds.IntDistribution if values.whole else kinds.FloatDistribution
                )
                self._distributions[name] = kind(
                    values.first, values.last, log=values.by_ratio
                )
        # A sweep that goes on does not draw the same random numbers again.
        sampler = optuna.samplers.TPESampler(seed=plan.how.sampling_seed + len(begun))
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        # of the members of each trial that have ended
        self._scores: list[list[Any]] = []
        for member in begun[:: len(plan.repeats)]:
            self._study.enqueue_trial(
                {
                    name: self._parameter(name, member.settings[name])
                    for name in plan.sampled
                }
            )
            self._begin()

    def ask(self) -> tuple[Member, ...]:
        """Begin another trial, and return its members."""
        first, params = len(self._scores) * len(self._plan.repeats), self._begin()
        settings = {
            name: values.value(params[name])
            if isinstance(values, Span)
            else values[params[name]]
            for name, values in self._plan.sampled.items()
        }
        return numbered(
            [{**settings, **repeat} for repeat in self._plan.repeats], first
        )

    def _begin(self) -> dict[str, Any]:
        self._scores.append([])
        with warnings.catch_warnings(action="ignore"):  # about experimental features
            params: dict[str, Any] = self._study.ask(self._distributions).params
        return params

    def _parameter(self, name: str, value: Any) -> Any:
        values = self._plan.options[name]
        if isinstance(values, Span):
            return value[0] if isinstance(value, tuple) else value
        return values.index(value)

    def tell(self, member: Member, score: float | None) -> None:
        """Note the score of a member on held-out samples; None if it failed. The last
        member ends the trial.
        """
        number = int(member.name) // len(self._plan.repeats)
        scores = self._scores[number]
        scores.append(score)
        if len(scores) == len(self._plan.repeats):
            value, state = (
                (None, self._failed) if None in scores else (fmean(scores), None)
            )
            self._study.tell(number, value, state=state)
