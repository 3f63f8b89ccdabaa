import resource
import signal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.spool.segments import Segment, parse
from shipway.core.errors import StoreError
from shipway.core.record import ServedRequest


def record(name: str) -> ServedRequest:
    return ServedRequest(
        id=name,
        at_s=1.0,
        environment="production",
        route="ask",
        release="rel_a",
        is_candidate=False,
        candidate_weight=0.0,
        rollout=None,
        snapshot_version=1,
        conversation="c",
        conversation_source="header",
        tenant="acme",
        key_id="k",
        status=200,
        latency_ms=1.5,
        events=("abstained",),
    )


def line(name: str) -> bytes:
    return orjson.dumps(record(name)) + b"\n"


def test_a_line_is_the_whole_record():
    assert [item.record for item in parse(line("r1"), 0)] == [record("r1")]


@given(names=st.lists(st.text(max_size=20), max_size=5), cut=st.integers(min_value=0, max_value=200))
def test_a_cut_anywhere_costs_at_most_the_last_line(names, cut):
    whole = b"".join(line(name) for name in names)
    data = whole[: max(0, len(whole) - cut)]
    lines = parse(data, 7)
    complete = data.count(b"\n")
    assert [item.record.id for item in lines if item.record] == names[:complete]
    assert sum(item.record is None for item in lines) == (0 if not data or data.endswith(b"\n") else 1)
    assert not lines or lines[-1].end == 7 + len(data)


@given(st.binary(max_size=200))
def test_no_garbage_breaks_the_reader(data):
    assert sum(1 for item in parse(data + b"\n" + line("r1"), 0) if item.record) == 1


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


def test_offsets_grow_by_the_length_of_each_line(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl")
    assert [segment.append(b"12345\n"), segment.append(b"12\n")] == [6, 9]
    assert segment.read(6) == b"12\n"
    segment.close(remove=False)


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl")
    segment.append(b"whole\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(StoreError, match="not written"):
            segment.append(b"too long for the rest\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    segment.append(b"again\n")
    assert segment.read(0) == b"whole\nagain\n"
    segment.close(remove=False)


def test_a_segment_in_a_directory_that_is_not_there_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="cannot create"):
        Segment.create(tmp_path / "nowhere" / "a.jsonl")


def test_a_segment_is_readable_by_its_owner_alone(tmp_path):
    segment = Segment.create(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600
    segment.close(remove=False)
