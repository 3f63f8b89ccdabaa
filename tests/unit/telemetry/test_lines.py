import contextlib
import os
import threading

import pytest

from shipway.telemetry.lines import LineWriter, to_descriptor
from shipway.telemetry.logs import configure, logger


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def all_of(reader: int, writer: int) -> list[bytes]:
    os.close(writer)
    with os.fdopen(os.dup(reader), "rb") as file:
        return file.read().splitlines()


def test_lines_are_written_in_order_and_all_of_them_at_the_close(pipe):
    lines = LineWriter(to_descriptor(pipe[1]))
    lines.start()
    sent = [b"line %d" % number for number in range(1000)]
    for line in sent:
        lines.append(line + b"\n")
    lines.close()
    assert all_of(*pipe) == sent
    assert (lines.written, lines.dropped) == (1000, 0)


def test_a_reader_that_does_not_read_costs_lines_and_not_time(pipe):
    reader, writer = pipe
    lines = LineWriter(to_descriptor(writer), max_lines=100)
    lines.start()
    line = b"x" * 4095 + b"\n"
    # A pipe holds 64 KiB, so the writing thread is stuck after 16 lines and nobody waits for it.
    for _ in range(10_000):
        lines.append(line)
    assert lines.dropped >= 10_000 - 256 - 100
    lines.close(timeout_s=0.01)
    assert lines.written + lines.dropped >= 10_000 - 256
    os.set_blocking(reader, False)
    while lines._thread.is_alive():
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            lines._thread.join(0.001)


def test_an_output_that_nobody_reads_any_more_counts_as_dropped(pipe):
    reader, writer = pipe
    os.close(reader)
    lines = LineWriter(to_descriptor(writer))
    lines.start()
    lines.append(b"a\n")
    lines.close()
    assert (lines.written, lines.dropped) == (0, 1)


def test_what_was_appended_before_the_start_is_written_too(pipe):
    lines = LineWriter(to_descriptor(pipe[1]))
    lines.append(b"early\n")
    lines.close()
    assert all_of(*pipe) == [b"early"]


def test_lines_of_the_logger_and_of_requests_do_not_mix(pipe):
    lines = LineWriter(to_descriptor(pipe[1]))
    lines.start()
    configure(lines.text_stream())
    log = logger("test")

    def request_lines() -> None:
        for _ in range(500):
            lines.append(b'{"event":"request"}\n')

    thread = threading.Thread(target=request_lines)
    thread.start()
    for _ in range(50):
        log.info("note", filler="y" * 200)
    thread.join()
    lines.close()
    written = all_of(*pipe)
    assert len(written) == 550
    assert {line[:1] + line[-1:] for line in written} == {b"{}"}
