"""Running a long-lived process in the foreground until a signal tells it to stop."""

import signal
from collections.abc import Awaitable, Callable

import anyio


async def until_signalled(
    run: Callable[..., Awaitable[None]], *arguments: object, on_hangup: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Call `run(*arguments, stop)`, where `stop` is set by SIGTERM or SIGINT; SIGHUP calls `on_hangup`."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(_watch_signals, stop)
        if on_hangup is not None:
            group.start_soon(_watch_hangups, on_hangup)
        await run(*arguments, stop)
        group.cancel_scope.cancel()


async def _watch_hangups(act: Callable[[], Awaitable[object]]) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            await act()


async def _watch_signals(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()
