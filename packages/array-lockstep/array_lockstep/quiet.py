"""Ignore warnings while NumPy repeats something."""

import threading
import warnings
from types import TracebackType


class _Quiet:
    """Warnings are ignored while any thread is in the context.

    The filters of warnings are those of the process. Two threads that replace them in
    turn would leave the wrong ones.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._times = 0
        self._filters: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._times += 1
            if self._filters is None:
                self._filters = warnings.catch_warnings(action="ignore")
                self._filters.__enter__()

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
            if self._filters is not None:
                self._filters.__exit__(None, None, None)
                self._filters = None


quiet = _Quiet()
