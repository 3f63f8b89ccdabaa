"""Endpoints on real sockets that answer as a test says, and the caller that evaluation targets use."""

import pytest
from tests.integration.gateway.conftest import Upstream

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.core.clock import SystemClock
from shipway.services.engine_caller import EngineCaller


@pytest.fixture
async def upstream():
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def caller():
    client = HttptoolsEngineClient()
    yield EngineCaller(client, SystemClock().monotonic_s)
    await client.close()
