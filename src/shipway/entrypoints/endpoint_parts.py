"""The client of commands that ask a server by its address: contracts, smoke tests, measurements of performance."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.core.clock import SystemClock
from shipway.evals.ports import JsonCaller
from shipway.services.engine_caller import EngineCaller


@asynccontextmanager
async def endpoint_caller() -> AsyncIterator[JsonCaller]:
    """Open what sends requests, and close its connections."""
    client = HttptoolsEngineClient()
    try:
        yield EngineCaller(client, SystemClock().monotonic_s)
    finally:
        await client.close()
