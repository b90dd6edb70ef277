"""Combinations of values that Optuna chooses by the results of earlier ones.

A trial is a combination with a member for each seed and fold. Its value is the mean
over the members. The study is kept in memory, and made again from sweep.json and the
results of the members. So a killed sweep needs no other file.
"""

import warnings
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mlp_xp.runs.sweep_folder import Member, numbered
from mlp_xp.sweeps.plan import Plan, Span, Values


class Trials:
    """The trials of a sweep.

    With s seeds or folds, trial i has the members i s to i s + s - 1.
    """

    def __init__(self, plan: Plan, begun: Sequence[Member]) -> None:
        """Begin the trials of members again, in their order."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan = plan
        self._fail_state = optuna.trial.TrialState.FAIL
        self._distributions = {
            name: _distribution(values) for name, values in plan.sampled.items()
        }
        # A continued sweep does not draw the same random numbers again.
        seed = plan.options.sampling_seed + len(begun)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        # For each trial, the scores of its ended members.
        self._scores: list[list[Any]] = []
        for member in begun[:: len(plan.repeats)]:  # the first of each trial
            params = {}
            for name, values in plan.sampled.items():
                params[name] = _as_parameter(values, member.settings[name])
            self._study.enqueue_trial(params)
            self._begin()

    def ask(self) -> tuple[Member, ...]:
        """Begin another trial, and return its members."""
        repeats = self._plan.repeats
        first = len(self._scores) * len(repeats)
        params = self._begin()
        settings = {}
        for name, values in self._plan.sampled.items():
            settings[name] = _from_parameter(values, params[name])
        return numbered([{**settings, **repeat} for repeat in repeats], first)

    def tell(self, member: Member, score: float | None) -> None:
        """Note the score of a member on held-out samples, or None if it has failed.

        The last member ends the trial.
        """
        members = len(self._plan.repeats)
        number = int(member.name) // members
        scores = self._scores[number]
        scores.append(score)
        if len(scores) < members:
            return
        if None in scores:
            self._study.tell(number, state=self._fail_state)
        else:
            self._study.tell(number, fmean(scores))

    def _begin(self) -> dict[str, Any]:
        self._scores.append([])
        with warnings.catch_warnings(action="ignore"):  # about experimental features
            params: dict[str, Any] = self._study.ask(self._distributions).params
        return params


def _distribution(values: Values) -> Any:
    """Return a distribution over the numbers of a span, or the indices of values."""
    from optuna import distributions

    if not isinstance(values, Span):
        return distributions.CategoricalDistribution(range(len(values)))
    kind: Any = distributions.FloatDistribution
    if values.whole:
        kind = distributions.IntDistribution
    return kind(values.first, values.last, log=values.by_ratio)


def _as_parameter(values: Values, value: Any) -> Any:
    if isinstance(values, Span):
        return value[0] if isinstance(value, tuple) else value
    return values.index(value)


def _from_parameter(values: Values, parameter: Any) -> Any:
    return values.value(parameter) if isinstance(values, Span) else values[parameter]
