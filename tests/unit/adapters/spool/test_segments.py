import os
import resource
import signal
from dataclasses import replace

import pytest

from shipway.adapters.spool.lines import HEADER, encoded
from shipway.adapters.spool.segments import Segment, read_chunk, sizes, sweep_drafts
from shipway.core.errors import StoreError
from shipway.core.record import ServedRequest

RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)  # noqa: FBT003


def line(name: str) -> bytes:
    return encoded(replace(RECORD, id=name))


@pytest.fixture
def limit_of_file_sizes():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


def test_a_segment_of_a_living_writer_cannot_be_taken_over(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl")
    assert Segment.take_over(tmp_path / "a.jsonl") is None
    segment.close(remove=False)
    taken = Segment.take_over(tmp_path / "a.jsonl")
    assert taken is not None
    taken.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_is_gone_is_nobody_s(tmp_path):
    assert Segment.take_over(tmp_path / "a.jsonl") is None


def test_a_segment_counts_its_lines_and_bytes_and_its_header_is_no_line(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl", b"header\n")
    segment.append(b"12345\n")
    segment.append(b"12\n")
    assert (segment.lines, segment.size_bytes) == (2, 16)
    assert (tmp_path / "a.jsonl").read_bytes() == b"header\n12345\n12\n"
    segment.close(remove=False)


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(tmp_path, limit_of_file_sizes):
    segment = Segment.create(tmp_path / "a.jsonl")
    segment.append(b"whole\n")
    limit_of_file_sizes(10)
    with pytest.raises(StoreError, match="not written"):
        segment.append(b"too long for the rest\n")
    limit_of_file_sizes(resource.RLIM_INFINITY)
    segment.append(b"again\n")
    assert (tmp_path / "a.jsonl").read_bytes() == b"whole\nagain\n"
    assert segment.lines == 2
    segment.close(remove=False)


def test_a_segment_whose_header_does_not_fit_leaves_nothing(tmp_path, limit_of_file_sizes):
    limit_of_file_sizes(3)
    with pytest.raises(StoreError, match="cannot create"):
        Segment.create(tmp_path / "a.jsonl", b"header\n")
    assert list(tmp_path.iterdir()) == []


def test_a_segment_in_a_directory_that_is_not_there_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="cannot create"):
        Segment.create(tmp_path / "nowhere" / "a.jsonl")


def test_a_segment_is_readable_by_its_owner_alone(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600
    segment.close(remove=False)


@pytest.mark.parametrize("limit_bytes", [1, 100, 500, 10_000])
def test_chunks_of_any_size_are_whole_lines_and_together_the_file(tmp_path, limit_bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(HEADER + b"".join(line(f"r{number}") for number in range(20)))
    names, offset, last = [], 0, False
    while not last:
        chunk = read_chunk(path, offset, limit_bytes, complete=True)
        names += [record.id for record in chunk.content.records]
        assert chunk.content.torn == 0
        offset, last = chunk.end, chunk.last
    assert names == [f"r{number}" for number in range(20)]
    assert offset == path.stat().st_size


@pytest.mark.parametrize(("complete", "torn"), [(False, 0), (True, 1)])
def test_a_line_without_its_end_is_torn_only_when_nobody_can_end_it(tmp_path, complete, torn):
    path = tmp_path / "a.jsonl"
    path.write_bytes(HEADER + line("r0") + line("r1")[:-9])
    chunk = read_chunk(path, 0, 10_000, complete=complete)
    assert [record.id for record in chunk.content.records] == ["r0"]
    assert (chunk.content.torn, chunk.last) == (torn, complete)
    assert chunk.end == (path.stat().st_size if complete else len(HEADER) + len(line("r0")))


def test_a_file_that_is_gone_has_no_chunk(tmp_path):
    assert read_chunk(tmp_path / "a.jsonl", 0, 100, complete=False) is None


def test_sizes_are_those_of_segments_alone(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"123")
    (tmp_path / "b.new").write_bytes(b"1")
    assert sizes(tmp_path) == {"a.jsonl": 3}
    assert sizes(tmp_path / "nowhere") == {}


def test_a_draft_of_a_worker_that_died_long_ago_is_deleted_and_a_young_one_is_kept(tmp_path):
    old, young = tmp_path / "old.new", tmp_path / "young.new"
    old.touch()
    young.touch()
    os.utime(old, (1.0, 1.0))
    sweep_drafts(tmp_path)
    assert list(tmp_path.glob("*.new")) == [young]
