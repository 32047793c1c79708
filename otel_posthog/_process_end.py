"""Have something done when the process ends by itself, whichever way it was started.

Children of multiprocessing end by `os._exit` and never run `atexit`; they run their own finalizers.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable

_PRIORITY = 0  # finalizers without a priority are not run at the end of a process


class ProcessEnd:
    """Calls `act` once at the end of the process, while it is wanted."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._is_wanted = False

    def want(self) -> None:
        """Have it called at the end of this process."""
        self._is_wanted = True
        atexit.register(self._end)
        self._want_in_child()

    def drop(self) -> None:
        """Call nothing at the end."""
        self._is_wanted = False
        atexit.unregister(self._end)

    def after_fork(self) -> None:
        """Ask anew in a child of multiprocessing, which forgets its parent's finalizers as it starts."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and self._is_wanted:
            util.register_after_fork(self, ProcessEnd._want_in_child)

    def _want_in_child(self) -> None:
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            sys.modules["multiprocessing.util"].Finalize(None, self._end, exitpriority=_PRIORITY)

    def _end(self) -> None:
        if self._is_wanted:
            self._act()
