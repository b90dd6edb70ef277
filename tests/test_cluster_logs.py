"""A cluster's libraries log errors that the command tells in a line of its own. Needs no Dask."""

import logging
import sys
from types import ModuleType

import pytest

from mlp_xp.sweeps.cluster import ClusterError, connect

LOGS = ("distributed.client", "tornado.application")


def test_logs_are_silent_while_a_cluster_is_in_use(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tornado logs tracebacks of connections that break. The levels before are back at the end."""

    def client(address: str, **settings: object) -> None:
        for name in LOGS:
            logging.getLogger(name).error("Exception in callback")
        raise OSError(f"Timed out trying to connect to {address}")

    stand_in = ModuleType("distributed")
    stand_in.Client = client
    monkeypatch.setitem(sys.modules, "distributed", stand_in)
    caplog.set_level(logging.DEBUG)
    for name, level in zip(LOGS, (logging.DEBUG, logging.NOTSET), strict=True):
        # Whatever other tests' libraries have made of these logs in this process.
        for each, its_level in ((name.partition(".")[0], logging.NOTSET), (name, level)):
            for attribute, value in (("level", its_level), ("disabled", False), ("propagate", True)):
                monkeypatch.setattr(logging.getLogger(each), attribute, value)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at 'nowhere:1'"), connect("dask://nowhere:1"):
        pytest.fail("there is no cluster")
    assert caplog.messages == []
    assert [logging.getLogger(name).level for name in LOGS] == [logging.DEBUG, logging.NOTSET]
    logging.getLogger(LOGS[1]).error("afterwards")
    assert caplog.messages == ["afterwards"]
