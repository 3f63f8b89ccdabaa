"""Posting JSON; implements `services.evaluation_targets.JsonPoster`."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from shipway.core.errors import UnavailableError, UpstreamError


class HttpPoster:
    """One connection a request: an evaluation must not depend on what an earlier case left behind."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def post(self, url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Return (status, parsed JSON reply).

        Raises:
            UnavailableError: nobody answers.
            UpstreamError: the reply is not JSON.
        """
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=False) as session,
                session.post(
                    url, data=orjson.dumps(body), headers={"Content-Type": "application/json", **headers}
                ) as response,
            ):
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{url} does not answer: {type(error).__name__}") from error
        try:
            return response.status, orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UpstreamError(f"{url} answers {response.status} without JSON", status=response.status) from error
