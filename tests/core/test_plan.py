"""Any epoch is cut whole, in order, into few lengths, at the reports, within the work
that a chunk may have.
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.network import count_parameters
from mlp_xp.core.plan import CHUNK_WORK, ENOUGH_STEPS, plan_epoch


@st.composite
def epochs(draw):
    """(samples, config, parameters): small, odd, and with networks too large for any
    chunk.
    """
    samples = draw(st.integers(1, 3000))
    config = TrainConfig(
        batch_size=draw(
            st.one_of(st.integers(1, min(samples, 9)), st.integers(1, samples))
        ),
        report_every=draw(st.integers(1, 4000)),
        checkpoint_every=draw(st.integers(0, 4000)),
        validation=draw(st.sampled_from([0, 1, 5])),
    )
    return (
        samples,
        config,
        draw(st.one_of(st.integers(1, 10**6), st.integers(1, 2 * CHUNK_WORK))),
    )


def multiples(steps: list[range], interval: int) -> list[tuple[int, int]]:
    """By counting: the number of every step that contains multiples of the interval,
    and the first of these.
    """
    found = [
        (i, next((sample for sample in step if sample % interval == 0), None))
        for i, step in enumerate(steps)
    ]
    return [(i, sample) for i, sample in found if sample is not None]


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(epochs())
def test_a_plan_is_what_counting_finds(epoch):
    samples, config, parameters = epoch
    plan = plan_epoch(*epoch)
    steps = [
        range(
            chunk.start + i * chunk.batch_size, chunk.start + (i + 1) * chunk.batch_size
        )
        for chunk in plan
        for i in range(chunk.steps)
    ]
    assert [sample for step in steps for sample in step] == list(range(samples)), (
        "once, in order"
    )
    assert all(len(step) == config.batch_size for step in steps[:-1])
    # Each length is a compilation on a backend that compiles.
    assert (
        len({chunk.steps for chunk in plan if chunk.batch_size == config.batch_size})
        <= 3
    )
    assert [chunk.steps for chunk in plan if chunk.batch_size != config.batch_size] in (
        [],
        [1],
    )
    for chunk in plan:
        assert (
            chunk.steps * chunk.batch_size * parameters <= CHUNK_WORK
            or chunk.steps <= ENOUGH_STEPS
        )
    last_steps = [
        step - 1 for step in itertools.accumulate(chunk.steps for chunk in plan)
    ]
    end = last_steps[-1]
    after = [*zip(last_steps, plan, strict=True)]
    expected = multiples(steps, config.report_every)
    if config.validation and end not in dict(expected):
        expected.append((end, samples))
    assert [
        (step, chunk.report) for step, chunk in after if chunk.report is not None
    ] == expected
    wanted = (
        multiples(steps, config.checkpoint_every) if config.checkpoint_every else []
    )
    assert {step for step, chunk in after if chunk.checkpoint} == {
        step for step, _ in wanted
    } | {end}


@pytest.mark.parametrize(
    ("samples", "settings", "most"),
    [(300, {}, 2), (300, {"checkpoint_every": 400}, 2), (300, {"report_every": 400, "checkpoint_every": 10_000}, 2),
     (10_000, {"checkpoint_every": 1000}, 21), (10_000, {"report_every": 1000, "checkpoint_every": 10_000}, 21),
     (2990, {"report_every": 1000}, 66)],
)  # fmt: skip
def test_what_lies_between_two_reports_is_few_chunks(samples, settings, most):
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
def test_small_and_large_networks_are_both_well_served(batch_size, sizes):
    """Four of five steps of an epoch of MNIST are in chunks of the longest length,
    which is long for its work.
    """
    parameters, config = count_parameters(sizes), TrainConfig(batch_size=batch_size)
    steps = [chunk.steps for chunk in plan_epoch(60000, config, parameters)]
    longest = max(steps)
    assert sum(length for length in steps if length == longest) >= 0.8 * sum(steps)
    # Half of the work, or half of enough steps, is used at least, unless the reports
    # are closer to one another.
    half = max(CHUNK_WORK / (batch_size * parameters), ENOUGH_STEPS) / 2
    assert longest >= min(half, config.report_every // batch_size - 1)
