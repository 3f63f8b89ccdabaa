"""Health checks; implements `services.local.Probe`."""

import aiohttp

_LONGEST_BODY_BYTES = 65_536


class HttpProbe:
    """One short GET a call, without connection reuse: a health check must not be answered by a stale connection."""

    def __init__(self, timeout_s: float = 2.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def status(self, url: str, headers: dict[str, str] | None = None) -> tuple[int, str] | None:
        """Return (status, beginning of the body), or None when nobody answers in time."""
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=False) as session,
                session.get(url, headers=headers, allow_redirects=False) as response,
            ):
                body = await response.content.read(_LONGEST_BODY_BYTES)
                return response.status, body.decode(errors="replace")
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None
