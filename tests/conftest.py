"""Settings that every test shares."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A machine that pauses its processes is no finding: neither a slow example nor slow drawing fails a test.
PATIENT = [HealthCheck.too_slow]
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=PATIENT)
settings.register_profile("dev", deadline=None, suppress_health_check=PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
