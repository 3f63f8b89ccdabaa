"""Run an engine application as a process of its own, on loopback, until SIGTERM; exit status 0 then."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from shipway.adapters.openai_http.asgi import EngineApp

_GRACE_S = 5
"""How long a running generation may go on after SIGTERM before it is cancelled."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class EngineServer(uvicorn.Server):
    """uvicorn's server, which would end by the signal that stopped it and so with a status that looks like a crash."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGINT and SIGTERM, and swallow the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def engine_server(app: EngineApp, host: str, port: int) -> EngineServer:
    """Return the server of an engine, not yet running."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="critical",
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return EngineServer(config)
