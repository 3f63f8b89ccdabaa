from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.spool.lines import HEADER, Header, decoded, encoded, header_of
from shipway.core.record import ServedRequest

RECORD = ServedRequest(
    id="r1",
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
    documents=("a.md", "b.md"),
)
OURS = header_of(HEADER)


def line(name: str) -> bytes:
    return encoded(replace(RECORD, id=name))


def of_another_version(record: ServedRequest, *, without: str = "", more: str = "") -> tuple[bytes, Header]:
    values = {name: value for name, value in record.to_dict().items() if name != without}
    if more:
        values = {more: "new"} | values
    header = header_of(orjson.dumps({"fields": list(values)}) + b"\n")
    return orjson.dumps(list(values.values())) + b"\n", header


def test_a_line_is_the_whole_record():
    assert decoded(encoded(RECORD), OURS).records == [RECORD]


def test_a_line_is_less_than_half_as_long_as_the_record_s_json():
    assert len(encoded(RECORD)) * 2 < len(orjson.dumps(RECORD))


def test_a_line_of_an_earlier_version_without_header_is_read():
    assert decoded(orjson.dumps(RECORD) + b"\n", Header()).records == [RECORD]


def test_what_an_earlier_version_did_not_write_has_its_default():
    data, header = of_another_version(replace(RECORD, tokens_in=7), without="tokens_in")
    assert decoded(data, header).records == [RECORD]


def test_what_only_a_newer_version_knows_is_dropped():
    data, header = of_another_version(RECORD, more="mood")
    assert decoded(data, header).records == [RECORD]


def test_a_line_with_another_number_of_values_than_its_header_has_names_is_torn():
    assert decoded(b'["r1",2]\n', OURS).torn == 1


@pytest.mark.parametrize("start", [b"", b"{", b'{"fields": 3}\n', b'["r1"]\n', HEADER[:-1]])
def test_a_file_that_does_not_begin_with_a_whole_header_has_none(start):
    assert header_of(start) == Header()


def test_the_lines_begin_behind_the_header():
    assert header_of(HEADER + line("r1")).size_bytes == len(HEADER)


@given(names=st.lists(st.text(max_size=20), max_size=5), cut=st.integers(min_value=0, max_value=200))
def test_a_cut_anywhere_costs_at_most_the_last_line(names, cut):
    whole = b"".join(line(name) for name in names)
    data = whole[: max(0, len(whole) - cut)]
    found = decoded(data, OURS)
    assert [record.id for record in found.records] == names[: data.count(b"\n")]
    assert found.torn == (0 if not data or data.endswith(b"\n") else 1)


@given(st.binary(max_size=200), st.sampled_from([OURS, Header()]))
def test_no_garbage_breaks_the_reader(data, header):
    assert [record.id for record in decoded(data + b"\n" + line("r1"), OURS).records] == ["r1"]
    assert decoded(data, header).records == []


@given(st.recursive(st.none() | st.integers(0, 2**53) | st.text(), lambda inner: st.lists(inner, max_size=30)))
def test_json_that_is_no_record_is_torn(value):
    assert decoded(orjson.dumps(value) + b"\n", OURS).torn == 1
