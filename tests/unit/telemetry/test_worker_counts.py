import asyncio
import os
from dataclasses import replace
from pathlib import Path

import orjson
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.telemetry.test_metrics import RECORD

from shipway.telemetry.metrics import DataPlaneMetrics
from shipway.telemetry.processes import ProcessReader
from shipway.telemetry.worker_counts import WorkerCounts


class Processes(ProcessReader):
    """The system's processes, of which some are alive: pid to start tick."""

    def __init__(self, **alive: int) -> None:
        super().__init__(Path("/nowhere"))
        self.alive = {int(name.removeprefix("p")): started for name, started in alive.items()}

    def started(self, pid: int) -> int:
        return self.alive.get(pid, 0)

    def usage(self, pid: int) -> dict:
        return {"process_resident_memory_bytes": {(): float(pid)}} if pid in self.alive else {}


class Worker:
    def __init__(self, directory: Path, name: str, pid: int, processes: Processes) -> None:
        processes.alive[pid] = pid
        self.metrics = DataPlaneMetrics(name)
        self.counts = WorkerCounts(directory, name, self.metrics.tables, processes)
        # Every worker of these tests is this process, so each is given a pid of its own.
        self.counts._pid = pid
        self.counts._path = directory / f"{name}.{pid}.counts.json"
        self.read = self.counts.read
        self.metrics.show_also(self.counts)

    def started(self) -> "Worker":
        self.counts.start()
        return self

    def served(self, requests: int = 1, **fields: object) -> "Worker":
        for _ in range(requests):
            self.metrics.observe(replace(RECORD, **fields))
        self.counts.write()
        return self

    def shows(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.metrics.render().decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def requests(self, worker: str) -> float | None:
        return self.shows("shipway_requests_total", worker=worker, route="ask", release="rel_a", status_class="2xx")


def test_any_worker_shows_the_counts_of_all_workers_of_the_host(tmp_path):
    processes = Processes()
    first = Worker(tmp_path, "gateway-0", 10, processes).started().served(2)
    second = Worker(tmp_path, "gateway-1", 11, processes).started().served(3)
    for worker in (first, second):
        assert (worker.requests("gateway-0"), worker.requests("gateway-1")) == (2, 3)


def test_a_worker_that_starts_again_goes_on_counting_where_its_dead_predecessor_stopped(tmp_path):
    processes = Processes()
    Worker(tmp_path, "gateway-0", 10, processes).started().served(5)
    del processes.alive[10]
    again = Worker(tmp_path, "gateway-0", 12, processes).started().served(1)
    assert again.requests("gateway-0") == 6
    assert again.shows("shipway_worker_starts_total", worker="gateway-0") == 2
    assert [path.name for path in tmp_path.glob("*.counts.json")] == ["gateway-0.12.counts.json"]


def test_a_draining_predecessor_and_its_successor_are_added_up_under_one_name(tmp_path):
    processes = Processes()
    draining = Worker(tmp_path, "gateway-0", 10, processes).started().served(5)
    draining.metrics.inflight.set(3)
    draining.counts.write()
    successor = Worker(tmp_path, "gateway-0", 12, processes).started().served(1)
    successor.metrics.inflight.set(1)
    assert successor.requests("gateway-0") == 6
    assert successor.shows("shipway_inflight", worker="gateway-0") == 4
    draining.served(1)
    assert successor.requests("gateway-0") == 7


def test_a_worker_that_is_gone_keeps_its_counters_and_loses_its_gauges(tmp_path):
    processes = Processes()
    gone = Worker(tmp_path, "gateway-1", 11, processes).started()
    gone.metrics.inflight.set(3)
    gone.served(4)
    left = Worker(tmp_path, "gateway-0", 10, processes).started()
    assert left.shows("shipway_inflight", worker="gateway-1") == 3
    del processes.alive[11]
    assert left.requests("gateway-1") == 4
    assert left.shows("shipway_inflight", worker="gateway-1") is None
    assert left.shows("process_resident_memory_bytes", worker="gateway-1") is None


def test_what_the_whole_host_shares_is_not_handed_down(tmp_path):
    processes = Processes()
    before = Worker(tmp_path, "gateway-0", 10, processes).started()
    before.metrics.gauge("shipway_process_restarts").set_function(lambda: {("engine-of-old",): 3})
    before.counts.write()
    after = Worker(tmp_path, "gateway-0", 12, processes).started()
    assert before.shows("shipway_process_restarts_total", process="engine-of-old") == 3
    assert after.shows("shipway_process_restarts_total", process="engine-of-old") is None


def test_another_process_with_the_pid_of_a_dead_worker_does_not_bring_it_to_life(tmp_path):
    processes = Processes()
    Worker(tmp_path, "gateway-1", 11, processes).started().metrics.inflight.set(3)
    processes.alive[11] = 999
    assert Worker(tmp_path, "gateway-0", 10, processes).started().shows("shipway_inflight", worker="gateway-1") is None


def test_a_start_that_was_cut_short_between_taking_over_and_deleting_counts_nothing_twice(tmp_path):
    processes = Processes()
    Worker(tmp_path, "gateway-0", 10, processes).started().served(5)
    kept = (tmp_path / "gateway-0.10.counts.json").read_bytes()
    del processes.alive[10]
    Worker(tmp_path, "gateway-0", 12, processes).started()
    successor = orjson.loads((tmp_path / "gateway-0.12.counts.json").read_bytes())
    assert successor["absorbed"] == ["gateway-0.10.counts.json"]
    (tmp_path / "gateway-0.10.counts.json").write_bytes(kept)
    onlooker = Worker(tmp_path, "gateway-1", 11, processes).started()
    assert onlooker.requests("gateway-0") == 5
    del processes.alive[12]
    third = Worker(tmp_path, "gateway-0", 13, processes).started()
    assert third.requests("gateway-0") == 5


def test_a_file_that_is_torn_or_of_another_version_is_left_out(tmp_path):
    processes = Processes(p20=20)
    (tmp_path / "gateway-7.1.counts.json").write_bytes(b'{"worker": "gate')
    (tmp_path / "gateway-8.20.counts.json").write_bytes(
        orjson.dumps(
            {
                "worker": "gateway-8",
                "pid": 20,
                "started": 20,
                "absorbed": [],
                "tables": {
                    "shipway_of_the_future": [[[], 1]],
                    "shipway_inflight": [[["a"], 1]],
                    "shipway_ttft_seconds": [[["ask", "rel_a"], [1, 2]]],
                    "shipway_queue_depth": [[[], 6]],
                },
            }
        )
    )
    worker = Worker(tmp_path, "gateway-0", 10, processes).started()
    assert worker.shows("shipway_queue_depth", worker="gateway-8") == 6
    assert worker.shows("shipway_inflight", worker="gateway-8") is None


def test_nothing_is_written_while_nothing_changes(tmp_path):
    worker = Worker(tmp_path, "gateway-0", 10, Processes()).started().served(1)
    worker.counts.write()
    before = (tmp_path / "gateway-0.10.counts.json").stat().st_mtime_ns
    worker.counts.write()
    assert (tmp_path / "gateway-0.10.counts.json").stat().st_mtime_ns == before


def test_a_directory_that_cannot_be_written_does_not_keep_a_worker_from_serving(tmp_path):
    (tmp_path / "file").write_text("")
    worker = Worker(tmp_path / "file" / "below", "gateway-0", 10, Processes()).started()
    worker.metrics.observe(RECORD)
    assert not worker.counts.write()
    assert worker.requests("gateway-0") == 1


def test_a_worker_that_restarts_with_new_releases_for_ever_does_not_grow_for_ever(tmp_path):
    processes = Processes()
    for pid in range(100, 200):
        Worker(tmp_path, "gateway-0", pid, processes).started().served(1, release=f"rel_{pid}")
        del processes.alive[pid]
    last = Worker(tmp_path, "gateway-0", 10, processes).started()
    rows = last.read()["gateway-0"]["shipway_cost_usd"]
    assert len(rows) == 64
    assert ("ask", "rel_199") in rows


async def test_the_last_counts_are_written_when_the_worker_stops(tmp_path):
    metrics = DataPlaneMetrics()
    counts = WorkerCounts(tmp_path, "gateway-0", metrics.tables, ProcessReader())
    task = asyncio.create_task(counts.run())
    path = tmp_path / f"gateway-0.{os.getpid()}.counts.json"
    while not path.exists():
        await asyncio.sleep(0)
    metrics.observe(RECORD)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert b"rel_a" in path.read_bytes()
