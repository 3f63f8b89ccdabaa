"""Sending one prepared request of a load test and watching its answer arrive."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from shipway.gateway.ports import EngineBrokenError, EngineClient, EngineConnectError, EngineRequest
from shipway.load.exchange import Exchange
from shipway.load.sample import Outcome

_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be sent: nothing is computed for it when it is due."""

    template: str
    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    is_stream: bool = False


@dataclass(frozen=True, slots=True)
class EndpointAsker:
    """Asks over the gateway's own client of engines, which follows no redirect and repeats nothing."""

    client: EngineClient
    monotonic_s: Callable[[], float]
    timeout_s: float

    async def ask(self, request: Prepared) -> Outcome:
        """Send a request and return what came of it; an error is an outcome."""
        exchange = Exchange(request.is_stream)
        try:
            with anyio.fail_after(self.timeout_s):
                cut = await self._replied(request, exchange)
        except TimeoutError:
            cut = f"no whole answer within {self.timeout_s:g} s"
            return exchange.outcome(self.monotonic_s(), cut=cut, is_timeout=True)
        return exchange.outcome(self.monotonic_s(), cut=cut)

    async def _replied(self, request: Prepared, exchange: Exchange) -> str:
        """Read the answer; return why it ended before its end, nothing when it did not."""
        wanted_s = min(_CONNECT_TIMEOUT_S, self.timeout_s)
        try:
            response = await self.client.send(
                EngineRequest("POST", request.url, request.headers, request.body, wanted_s)
            )
        except EngineConnectError:
            return "no connection"
        except EngineBrokenError:
            return "the connection ended before an answer"
        try:
            types = (value for name, value in response.headers if name == "content-type")
            exchange.begin(response.status, next(types, ""))
            await response.pour(lambda data: exchange.take(data, self.monotonic_s()))
        except EngineBrokenError:
            return f"the answer was cut off after {exchange.size_bytes} bytes"
        finally:
            response.close()
        return ""
