import os

from shipway.telemetry.processes import ProcessReader


def test_this_process_has_cpu_time_memory_files_and_a_start():
    usage = ProcessReader().usage(os.getpid())
    assert usage["process_resident_memory_bytes"][()] > 1_000_000
    assert usage["process_cpu_seconds"][()] > 0
    assert usage["process_open_fds"][()] > 2
    assert usage["process_start_time_seconds"][()] > 1_000_000_000


def test_a_command_with_blanks_and_brackets_is_read_right(tmp_path):
    (tmp_path / "7").mkdir()
    behind = " ".join(str(number) for number in range(3, 40))
    (tmp_path / "7" / "stat").write_text(f"7 (a ) (b) {behind}")
    assert ProcessReader(tmp_path).started(7) == 22


def test_a_process_that_is_gone_uses_nothing(tmp_path):
    reader = ProcessReader(tmp_path)
    assert (reader.started(7), reader.usage(7)) == (0, {})
