"""Fixtures of the tests of sweeps."""

import pytest
import sweeping


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train members in this process, and draw nothing, which both is quicker."""
    monkeypatch.setattr("mlp_xp.sweeps.run.this_machine", sweeping.inline)
    monkeypatch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
