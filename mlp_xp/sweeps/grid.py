"""The members of a sweep: the grid of all given values, or samples from it. Nothing here reads or writes a file.

A setting has values, or a span such as 0..31. A span of whole numbers in a grid stands for each of them; any other is
sampled from. Seeds are never sampled: each sample is trained with every one of them, so that it has a mean and a
standard deviation.
"""

import itertools
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlp_xp.core.config import ConfigError
from mlp_xp.runs.settings import SETTINGS, Settings, flatten, settings_of
from mlp_xp.runs.sweep_index import GRID, OPTUNA, RANDOM, Member

SEED = "seed"
# A sweep's index is one file, and names all members.
MOST_MEMBERS = 100_000
DIGITS = 4  # significant digits of a sampled number, to keep tables legible
DOTS = ".."


class Span(NamedTuple):
    """The numbers from `first` to `last`, both included."""

    first: float
    last: float
    whole: bool
    """Whether only whole numbers are meant."""

    def __str__(self) -> str:
        return f"{self.first}{DOTS}{self.last}"


class Plan(NamedTuple):
    """What a sweep is to do."""

    kind: str
    """GRID, RANDOM or OPTUNA."""
    base: Settings
    """The settings that do not vary."""
    options: dict[str, tuple[Any, ...] | Span]
    """The settings that vary: their values, or the span that they are sampled from."""
    total: int
    """Number of members."""
    seed: int
    """Of the sampling; 0 for a grid."""
    members: tuple[Member, ...]
    """All members of a grid or of random samples; none for Optuna, which chooses each by the results before it."""

    @property
    def sampled(self) -> dict[str, tuple[Any, ...] | Span]:
        """The settings that vary, without the seeds."""
        return {name: values for name, values in self.options.items() if name != SEED}

    @property
    def seeds(self) -> tuple[dict[str, Any], ...]:
        """What each sample is trained with: the seeds that vary, or an empty setting."""
        return tuple({SEED: seed} for seed in self.options[SEED]) if SEED in self.options else ({},)


def parse_span(word: str, whole: bool) -> Span:
    """Return the span that a word such as `0..31` means. whole: of whole numbers. Raises ConfigError."""
    first, _, last = word.partition(DOTS)
    kind, example = (int, "0..31") if whole else (float, "0.001..0.1")
    try:
        span = Span(kind(first), kind(last), whole)
    except ValueError as error:
        raise ConfigError(f"{word!r:.80} is not a range of {'whole ' * whole}numbers such as {example}") from error
    if not -math.inf < span.first < span.last < math.inf:
        raise ConfigError(
            f"the range {word!r:.80} is empty or endless; give two finite numbers, the smaller first, as in {example}"
        )
    return span


def make_plan(
    base: Settings,
    given: Mapping[str, Any],
    *,
    samples: int | None = None,
    trials: int | None = None,
    seed: int = 0,
) -> Plan:
    """Return the plan of a sweep. Every member is checked: its settings alone, not yet with its data.

    given: for each setting a sequence of values, in which words such as "0..31" are spans, or a single value. Of
    `hidden`, a value is a number, for one layer, or a tuple. samples: draw so many settings at random instead of taking
    all combinations. trials: let Optuna choose so many. Each of either is trained with every seed. seed: of the
    sampling. Raises ConfigError, which names the setting, and the member if only some fail.
    """
    if samples is not None and trials is not None:
        raise ConfigError("cannot be combined with optuna; leave out one of the two", setting="random")
    wanted, option = (samples, "random") if trials is None else (trials, "optuna")
    if wanted is not None and wanted < 1:
        raise ConfigError(f"{wanted} is out of range; it must be at least 1", setting=option)
    options: dict[str, tuple[Any, ...] | Span] = {}
    for name, value in given.items():
        if name not in SETTINGS:
            raise ConfigError(f"is not a setting of a run; choose from {', '.join(SETTINGS)}", setting=name)
        options[name] = _read(name, value, sampled=name != SEED and wanted is not None)
    fixed = {name: values[0] for name, values in options.items() if not isinstance(values, Span) and len(values) == 1}
    options = {name: values for name, values in options.items() if name not in fixed}
    base = settings_of(base, fixed)
    if not isinstance(base.train.activation, str):
        raise ConfigError("it is a pair of functions, which a run folder cannot store; name one", setting="activation")
    if "dataset" in given and (base.data_dir or "data_dir" in given):
        raise ConfigError("is another data set than data_dir; give one of the two", setting="dataset")
    # A worker may have another current folder. Not `resolve`: the name may be a link's.
    paths = {name: path for name, path in flatten(base).items() if SETTINGS[name].is_path and path}
    base = settings_of(base, {name: os.path.abspath(path) for name, path in paths.items()})  # noqa: PTH100
    kind = GRID if wanted is None else RANDOM if trials is None else OPTUNA
    plan = Plan(kind, base, options, 0, 0 if wanted is None else seed, ())
    if wanted is not None and not plan.sampled:
        raise ConfigError(
            "no setting but the seed has several values or a range, so there is nothing to choose from", setting=option
        )
    total = math.prod(map(len, options.values())) if wanted is None else wanted * len(plan.seeds)
    if total > MOST_MEMBERS:
        raise ConfigError(f"the sweep has {total} members, more than {MOST_MEMBERS}; give fewer values")
    plan = plan._replace(total=total)
    if kind != OPTUNA:
        found = _product(options)
        if wanted is not None:
            drawn = _sample(plan.sampled, wanted, seed)
            found = ({**settings, **with_seed} for settings in drawn for with_seed in plan.seeds)
        plan = plan._replace(members=tuple(Member(f"{i:04d}", settings) for i, settings in enumerate(found)))
    for _, settings in examples(plan):  # which checks them
        if kind == OPTUNA and settings.train.validation == 0:
            raise ConfigError(
                "0 held-out samples, but Optuna chooses by the accuracy on them; hold some out", setting="validation"
            )
    return plan


def examples(plan: Plan) -> Iterator[tuple[str, Settings]]:
    """Yield the settings of all members, each with a text that names it; of Optuna's, of the extreme ones.

    Raises ConfigError for settings that are wrong together, which names the member.
    """
    for settings in [m.settings for m in plan.members] or _corners(plan.options):
        place = f"in a member with {described(settings)}" if settings else ""
        try:
            found = settings_of(plan.base, settings)
        except ConfigError as error:
            error.notes.append(place)
            raise
        yield place, found


def shown(value: Any) -> str:
    """Return a value as it is given on the command line: layers as 512,256."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def described(settings: Mapping[str, Any]) -> str:
    """Return settings as text: `seed 3, learning_rate 0.1`."""
    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())


def _read(name: str, value: Any, *, sampled: bool) -> tuple[Any, ...] | Span:
    """Return the values of a setting, or the span to sample from."""
    setting = SETTINGS[name]
    kind = int if setting.kind is tuple else setting.kind
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes | Span)
    parts = [_part(name, each, kind) for each in (value if several else [value])]
    if sampled and len(parts) == 1 and isinstance(parts[0], Span):
        return parts[0]
    values: list[Any] = []
    for part in parts:
        if isinstance(part, Span) and not part.whole:
            raise ConfigError(
                f"the range {part} is to be sampled from: give it alone, and random or optuna with a number of members",
                setting=name,
            )
        if isinstance(part, Span):
            if part.last - part.first >= MOST_MEMBERS:
                raise ConfigError(f"the range {part} has more than {MOST_MEMBERS} numbers", setting=name)
            values += range(int(part.first), int(part.last) + 1)
        else:
            values.append(part)
    if setting.is_path:
        values = [each and os.path.abspath(each) for each in values]  # noqa: PTH100
    if setting.kind is tuple:  # 64 means one layer of 64 units
        values = [(each,) if isinstance(each, int) else tuple(each) for each in values]
    seen = set()
    for each in values:
        if each in seen:
            raise ConfigError(f"{shown(each)} is given twice", setting=name)
        seen.add(each)
    if not values:
        raise ConfigError("has no value; give one or leave it out", setting=name)
    return tuple(values)


def _part(name: str, value: Any, kind: type) -> Any:
    """Return a single value, or a span."""
    if not isinstance(value, str) or DOTS not in value or kind not in (int, float):
        return value
    try:
        return parse_span(value, kind is int)
    except ConfigError as error:
        error.setting = name
        raise


def _product(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (dict(zip(options, values, strict=True)) for values in itertools.product(*options.values()))


def _corners(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every value and both ends of every span with the first ones of the others; then the last ones together."""
    ends = {name: _ends(name, values) for name, values in options.items()}
    first = {name: values[0] for name, values in ends.items()}
    for name, values in ends.items():
        for value in values:
            yield {**first, name: value}
    yield {name: values[-1] for name, values in ends.items()}


def _ends(name: str, values: tuple[Any, ...] | Span) -> Sequence[Any]:
    if not isinstance(values, Span):
        return values
    return [as_value(name, end) for end in (values.first, values.last)]


def as_value(name: str, number: float) -> Any:
    """Return a number of a span as the value of a setting: for `hidden`, one layer."""
    return (number,) if SETTINGS[name].kind is tuple else number


def _sample(options: Mapping[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Return different settings, each value drawn independently of the others."""
    generator = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(1000 * count):
        settings = {name: _draw(name, values, generator) for name, values in options.items()}
        found.setdefault(repr(settings), settings)
        if len(found) == count:
            return [*found.values()]
    raise ConfigError(
        f"{count} different settings are wanted, but there are only {len(found)}; take fewer, or a grid",
        setting="random",
    )


def is_by_ratio(name: str, span: Span) -> bool:
    """Return whether a span of a setting is sampled log-uniformly: it acts by its ratio, and does not start at 0."""
    return SETTINGS[name].by_ratio and span.first > 0


def _draw(name: str, values: tuple[Any, ...] | Span, generator: random.Random) -> Any:
    if not isinstance(values, Span):
        return generator.choice(values)
    if is_by_ratio(name, values):
        drawn = math.exp(generator.uniform(math.log(values.first), math.log(values.last)))
    elif values.whole:
        return as_value(name, generator.randint(int(values.first), int(values.last)))
    else:
        drawn = generator.uniform(values.first, values.last)
    rounded = round(drawn) if values.whole else float(f"{drawn:.{DIGITS}g}")
    return as_value(name, min(max(rounded, values.first), values.last))
