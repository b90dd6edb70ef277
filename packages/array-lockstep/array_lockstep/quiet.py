"""Ignore warnings while NumPy repeats something."""

import threading
import warnings
from types import TracebackType
from typing import Any

_ANY = "(?:)"
"""The pattern of messages in the filter of this module alone."""


class _Quiet:
    """Warnings are ignored while any thread is in the context.

    The filters of warnings are those of the process. Two threads that replace them in
    turn, as by `warnings.catch_warnings`, would leave the wrong ones. So one filter is
    added, and removed.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._times = 0

    def __enter__(self) -> None:
        with self._lock:
            self._times += 1
            warnings.filterwarnings("ignore", _ANY)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._times -= 1
            if self._times <= 0:
                self.end()

    def end(self) -> None:
        """Leave the context in all threads, such as after Ctrl-C."""
        with self._lock:
            self._times = 0
            # Since Python 3.14 a thread may have filters of its own.
            own: Any = getattr(warnings, "_get_filters", lambda: warnings.filters)
            for each in list(own()):
                if getattr(each[1], "pattern", None) == _ANY:
                    own().remove(each)


quiet = _Quiet()
