"""A worker's place among those that a supervisor keeps: its sockets, and when it begins to accept."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from socket import socket

from shipway.adapters.httptools_server.server import HttpServer
from shipway.adapters.httptools_server.succession import Succession
from shipway.adapters.local_process.inheritance import Inheritance, inheritance

_LOOK_S = 0.02
_PATIENCE_S = 3.0
"""How long the first worker of a place waits for what is deployed; then it accepts and says what is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """What was inherited; `loaded` says whether requests can be served by what is deployed.

    `succeeded` is set when another process has taken the place and this one is to leave.
    """

    inherited: Inheritance
    loaded: Callable[[], bool]
    succeeded: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, environ: Mapping[str, str], loaded: Callable[[], bool]) -> "Place | None":
        """Return the place of this process, None when no supervisor started it."""
        inherited = inheritance(environ)
        return cls(inherited, loaded) if inherited is not None else None

    @property
    def own(self) -> socket:
        """Return this worker's own socket."""
        return self.inherited.sockets[0]

    async def take(self, server: HttpServer, stop: asyncio.Event) -> None:
        """Accept when what is deployed is loaded, and tell the supervisor.

        One that succeeds another accepts nothing before: the other still serves.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not (stop.is_set() or self.loaded()):
            if not self.inherited.succeeds and loop.time() - began_s > _PATIENCE_S:
                break
            await asyncio.sleep(_LOOK_S)
        if stop.is_set():
            return
        pair = self.inherited.succession
        await server.start(self.own, self.inherited.sockets[1:], Succession(*pair) if pair else None)
        self._tell()

    def _tell(self) -> None:
        if self.loaded():
            self.inherited.tell_ready()
        else:
            asyncio.get_running_loop().call_later(_LOOK_S, self._tell)
