"""`gateway.ports.EngineClient` over aiohttp; the wiring opens one for each worker.

The client sends once and gives bytes back as they came: it follows no redirect, decodes nothing, keeps no cookie and
has no timeout but the one for connecting, because the gateway owns deadlines and retries.
"""

from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from shipway.gateway.ports import EngineBrokenError, EngineConnectError, EngineRequest, EngineResponse

# Shorter than the 5 s after which uvicorn closes an idle connection, so that we are the ones who close it.
_KEEP_ALIVE_S = 4.0
_READ_BUFFER_BYTES = 128 * 1024


class AiohttpResponse:
    """A reply whose headers have arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: tuple[tuple[str, str], ...] = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        try:
            async for data in self._response.content.iter_any():
                yield data
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBrokenError(f"the reply broke off: {error!r}") from error

    async def close(self) -> None:
        """Give the connection back; one whose body was not read to its end is cut."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class AiohttpEngineClient:
    """A pool of connections to engines."""

    def __init__(self, *, max_connections: int = 1024) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
            read_bufsize=_READ_BUFFER_BYTES,
            raise_for_status=False,
            trust_env=False,
        )

    async def send(self, request: EngineRequest) -> EngineResponse:
        """Send once; see the port."""
        try:
            response = await self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=list(request.headers),
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=request.connect_timeout_s),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineConnectError(f"no connection to {URL(request.url).authority}: {error!r}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBrokenError(f"no reply from {URL(request.url).authority}: {error!r}") from error
        return AiohttpResponse(response)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
