"""An event loop whose time passes only when everybody waits: minutes of a schedule take milliseconds, always alike."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise AssertionError("everybody waits for something that never comes")
            self.now_s += max(timeout, 0.0)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time; it is a clock, too."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        # No sleep of nothing: a time that is due is due at once.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now_s

    def monotonic_s(self) -> float:
        return self._virtual.now_s

    def now_s(self) -> float:
        return 1_750_000_000.0 + self._virtual.now_s


def in_virtual_time(act: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function that gets the loop as its clock."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(act(loop))
