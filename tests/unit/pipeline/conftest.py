"""The backend of the pipeline's async tests."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
