"""Reading what processes use, from a /proc of the test's own."""

import pytest

from shipway.core.clock import ManualClock
from shipway.services.load.machine import MachineWatch, descendants, memory_of
from shipway.telemetry.processes import ProcessReader


class Machine:
    """A /proc with processes; 100 ticks are a second, 4096 bytes a page where this machine says so."""

    def __init__(self, folder):
        self.folder = folder
        self.reader = ProcessReader(folder)
        (folder / "meminfo").write_text("MemTotal:       1000 kB\nMemFree:  3 kB\n")

    def process(self, pid, *, parent=1, cpu_s=0.0, resident_share=0.0):
        pages = int(resident_share * 1_024_000 / self.reader._page_bytes)
        fields = ["0"] * 30
        fields[0], fields[1] = "S", str(parent)
        fields[11] = str(int(cpu_s * self.reader._ticks))
        fields[21] = str(pages)
        (self.folder / str(pid)).mkdir(exist_ok=True)
        (self.folder / str(pid) / "stat").write_text(f"{pid} (a (b) c) {' '.join(fields)}")

    def watch(self, *pids):
        self.clock = ManualClock()
        return MachineWatch(lambda: pids, self.clock, self.reader, self.folder, 2, 1_024_000.0)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_cpu_use_is_that_of_the_whole_machine_over_five_seconds(machine):
    watch = machine.watch(10)
    for second in range(11):
        # One of two processors is busy for the last five seconds.
        machine.process(10, cpu_s=100.0 + max(second - 5, 0))
        watch.look()
        machine.clock.advance(1.0)

    assert watch.usage().cpu == pytest.approx(0.5)


def test_what_was_used_before_the_test_does_not_count(machine):
    machine.process(10, cpu_s=1000.0)
    watch = machine.watch(10)
    for _ in range(7):
        watch.look()
        machine.clock.advance(1.0)

    assert watch.usage().cpu == 0.0


def test_a_process_that_is_replaced_does_not_turn_the_sum_back(machine):
    watch = machine.watch(10)
    machine.process(10, cpu_s=50.0)
    machine.process(11, parent=10, cpu_s=50.0)
    for second in range(8):
        if second == 3:
            (machine.folder / "11" / "stat").unlink()
        machine.process(10, cpu_s=50.0 + second)
        watch.look()
        machine.clock.advance(1.0)

    assert watch.usage().cpu == pytest.approx(0.5)


def test_memory_is_the_sum_of_a_process_and_all_that_it_started(machine):
    machine.process(10, resident_share=0.25)
    machine.process(11, parent=10, resident_share=0.25)
    machine.process(12, parent=11, resident_share=0.25)
    machine.process(99, resident_share=0.25)
    watch = machine.watch(10)
    watch.look()

    assert watch.usage().memory == pytest.approx(0.75, abs=0.02)


def test_processes_that_are_not_there_are_not_measured_and_it_says_so(machine):
    watch = machine.watch(10)
    watch.look()

    assert (watch.usage().cpu, watch.usage().memory) == (None, None)
    assert "none of the target's processes" in watch.usage().reason


def test_a_short_test_has_memory_and_no_cpu_use(machine):
    machine.process(10, resident_share=0.5)
    watch = machine.watch(10)
    watch.look()

    assert watch.usage().cpu is None
    assert watch.usage().memory is not None


def test_strangers_are_no_descendants(machine):
    machine.process(10)
    machine.process(11, parent=10)
    machine.process(20)

    assert descendants(machine.folder, [10]) == {10, 11}


def test_a_containers_limit_is_its_memory(machine, tmp_path):
    limit = tmp_path / "memory.max"

    limit.write_text("512000\n")
    assert memory_of(machine.folder, limit) == 512_000
    limit.write_text("max\n")
    assert memory_of(machine.folder, limit) == 1_024_000
    assert memory_of(tmp_path / "none", limit) == 0.0
