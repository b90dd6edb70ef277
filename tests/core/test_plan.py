"""An epoch is cut whole, in order, into chunks that end at the reports.

The chunks have few lengths and bounded work.
"""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.network import count_parameters
from mlp_xp.core.plan import CHUNK_WORK, ENOUGH_STEPS, plan_epoch


@st.composite
def epochs(draw):
    """Draw samples, a configuration and a number of parameters.

    They are small, odd, or too many for any chunk.
    """
    samples = draw(st.integers(1, 3000))
    few = st.integers(1, min(samples, 9))
    config = TrainConfig(
        batch_size=draw(few | st.integers(1, samples)),
        report_every=draw(st.integers(1, 4000)),
        checkpoint_every=draw(st.integers(0, 4000)),
        validation=draw(st.sampled_from([0, 1, 5])),
    )
    parameters = st.integers(1, 10**6) | st.integers(1, 2 * CHUNK_WORK)
    return samples, config, draw(parameters)


@settings(deadline=None, max_examples=200)
@given(epochs())
def test_a_plan_has_all_samples_in_order_and_ends_chunks_where_counting_says(epoch):
    samples, config, _ = epoch
    plan, steps = plan_epoch(*epoch), []
    for chunk in plan:
        for start in range(chunk.start, chunk.stop, chunk.batch_size):
            steps.append(range(start, start + chunk.batch_size))
    assert [sample for step in steps for sample in step] == list(range(samples))
    assert all(len(step) == config.batch_size for step in steps[:-1])

    ends = dict(zip(accumulate(chunk.steps for chunk in plan), plan, strict=True))
    reports = {end: c.report for end, c in ends.items() if c.report is not None}
    expected = multiples(config.report_every, steps)
    if config.validation:
        expected.setdefault(len(steps), samples)
    assert reports == expected
    checkpoints = {end for end, chunk in ends.items() if chunk.checkpoint}
    assert checkpoints == {*multiples(config.checkpoint_every, steps), len(steps)}


@settings(deadline=None, max_examples=200)
@given(epochs())
def test_chunks_have_few_lengths_and_bounded_work(epoch):
    """On a backend that compiles, each length is a compilation."""
    _, config, parameters = epoch
    plan = plan_epoch(*epoch)
    full = [chunk for chunk in plan if chunk.batch_size == config.batch_size]
    assert len({chunk.steps for chunk in full}) <= 3
    assert sum(chunk.steps for chunk in plan if chunk not in full) <= 1
    for chunk in plan:
        work = chunk.steps * chunk.batch_size * parameters
        assert work <= CHUNK_WORK or chunk.steps <= ENOUGH_STEPS


@pytest.mark.parametrize(
    ("samples", "settings", "most"),
    [
        (300, {}, 2),
        (300, {"checkpoint_every": 400}, 2),
        (300, {"report_every": 400, "checkpoint_every": 10_000}, 2),
        (10_000, {"checkpoint_every": 1000}, 21),
        (10_000, {"report_every": 1000, "checkpoint_every": 10_000}, 21),
        (2990, {"report_every": 1000}, 66),
    ],
)
def test_between_two_reports_there_are_few_chunks(samples, settings, most):
    """Rests are cut by the square root of the longest length, not into single steps."""
    assert len(plan_epoch(samples, TrainConfig(**settings), 50_890)) <= most


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        (1, (784, 64, 10)),
        (32, (784, 64, 10)),
        (128, (784, 512, 256, 10)),
        (1024, (784, 2048, 2048, 10)),
    ],
)
def test_most_steps_are_in_chunks_as_long_as_their_work_allows(batch_size, sizes):
    """Four of five steps of an epoch of MNIST, for small and for large networks."""
    parameters, config = count_parameters(sizes), TrainConfig(batch_size=batch_size)
    steps = [chunk.steps for chunk in plan_epoch(60000, config, parameters)]
    longest = max(steps)
    assert longest * steps.count(longest) >= 0.8 * sum(steps)
    # Half of the work, or half of enough steps, is used at least, unless the reports
    # are closer to one another.
    half = max(CHUNK_WORK / (batch_size * parameters), ENOUGH_STEPS) / 2
    assert longest >= min(half, config.report_every // batch_size - 1)


def multiples(interval: int, steps: list[range]) -> dict[int, int]:
    """Find the steps with multiples of an interval, by counting.

    Return the first multiple in a step by the number of the step, from 1. An interval
    of 0 has none.
    """
    return {
        number: sample
        for number, step in enumerate(steps, 1)
        for sample in reversed(step)
        if interval and sample % interval == 0
    }
