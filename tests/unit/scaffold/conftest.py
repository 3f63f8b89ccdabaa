"""The backend of the scaffold's async tests."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
