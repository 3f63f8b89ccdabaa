"""Eight client processes spend one budget through four gateway processes."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.gateway.limit_worker import BUDGET_USD, COST_USD
from tests.redis_server import free_port, serving_redis

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(120)


def started(module: str, *arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([*sys.path, str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.integration.gateway.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.fixture(params=["shared", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "shared":
        yield "shared", str(tmp_path / "limits")
        return
    with serving_redis(tmp_path) as server:
        yield "redis", server.url


def test_the_budget_of_a_tenant_holds_over_all_workers(place):
    port = free_port()
    workers = [started("limit_worker", *place, port) for _ in range(4)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        clients = [started("limit_client", port, 240) for _ in range(8)]
        told: Counter[str] = Counter()
        for client in clients:
            output, _ = client.communicate(timeout=60.0)
            told.update(json.loads(output))
    finally:
        for worker in workers:
            worker.terminate()
        served = [int(worker.communicate(timeout=20.0)[0].split()[-1]) for worker in workers]
    assert sum(told.values()) == 8 * 240
    assert set(told) == {"200", "429"}
    # One request reserves more than it costs; what is left at the end is less than one reservation.
    assert told["200"] * COST_USD <= BUDGET_USD
    assert told["200"] >= BUDGET_USD / COST_USD - 6
    assert sum(served) == told["200"]
    assert sum(count > 0 for count in served) >= 2
