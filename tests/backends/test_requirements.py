"""The list of what the package asks of a library is what it asks in runs of all settings."""

from recorder import recorded

from mlp_xp.backends import requirements


def test_the_list_is_what_runs_of_all_settings_use():
    """After a change, `python tests/tools/recorder.py` prints the new lists."""
    for name, found in recorded().items():
        assert getattr(requirements, name) == found
