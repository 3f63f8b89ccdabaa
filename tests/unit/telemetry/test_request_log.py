from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.test_metrics import RECORD

from shipway.core.record import ServedRequest
from shipway.telemetry.request_log import OWN_FIELDS, SHARED_FIELDS, RequestLog

SERVED = replace(
    RECORD, conversation="h_1", conversation_source="hash", question_hash="ab12", at_s=1763712345.25, events=()
)


def line_of(record: ServedRequest, asked: str = "", **options: object) -> dict:
    lines: list[bytes] = []
    RequestLog(lines.append, **options).write(record, question=asked, trace_id="t1")
    (line,) = lines
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    # Every name once: two readers must not see different values.
    names = orjson.loads(line).keys()
    assert [name for name in names if line.count(f'"{name}":'.encode()) != 1] == []
    return orjson.loads(line)


def test_a_line_has_the_names_people_look_for():
    line = line_of(SERVED)
    assert list(line) == [*SHARED_FIELDS, *OWN_FIELDS]
    expected = {
        "event": "request",
        "level": "info",
        "component": "shipway.gateway",
        "at": "2025-11-21T08:05:45.250Z",
        "request_id": "r",
        "user_id": "k",
        "question": "ab12",
        "cache_hit": False,
        "sources": [],
        "trace_id": "t1",
        "tokens_in": 10,
        "tokens_out": 3,
        "latency_ms": 800.0,
        "cost_usd": 0.25,
        "retrieval_count": 0,
        "model": "",
        "prompt_version": "",
        "release": "rel_a",
    }
    assert {name: line[name] for name in expected} == expected


def test_a_line_has_the_same_fields_whether_there_is_much_to_say_or_nothing():
    lines: list[bytes] = []
    RequestLog(lines.append).write(SERVED)
    assert list(orjson.loads(lines[0])) == [*SHARED_FIELDS, *OWN_FIELDS]
    assert orjson.loads(lines[0])["documents"] == []


def test_an_answer_from_the_cache_and_its_sources_are_seen():
    line = line_of(replace(SERVED, cache_hit="exact", documents=("leave.md", "pay.md"), retrieval_count=5))
    assert (line["cache_hit"], line["sources"], line["retrieval_count"]) == (True, ["leave.md", "pay.md"], 5)


PERSONAL = "ada@example.com"


def test_names_that_clients_and_identity_providers_chose_are_masked():
    record = replace(
        SERVED,
        key_id=PERSONAL,
        tenant=f"{PERSONAL}'s",
        conversation=f"chat of {PERSONAL}",
        conversation_source="header",
        route=PERSONAL,
        release="",
        documents=(f"letter to {PERSONAL} of May",),
        retrieval_count=1,
    )
    line = line_of(record)
    assert PERSONAL not in str(line)
    assert (line["user_id"], line["conversation"]) == ("[email]", "chat of [email]")
    assert line["sources"] == line["documents"] == ["letter to [email] of May"]


QUESTION = "Does ada@example.com get a bonus?"


@pytest.mark.parametrize(
    ("mode", "shown"), [("hash", "ab12"), ("mask", "Does [email] get a bonus?"), ("omit", None), ("restricted", "ab12")]
)
def test_the_question_is_shown_as_the_setting_says(mode, shown):
    restricted: list[bytes] = []
    options = {"restricted": restricted.append} if mode == "restricted" else {}
    line = line_of(SERVED, QUESTION, question=mode, **options)
    assert line["question"] == shown
    assert PERSONAL not in str(line)
    assert ("ab12" in str(line)) == (mode in {"hash", "restricted"})
    if mode == "restricted":
        kept = orjson.loads(restricted[0])
        assert (kept["request_id"], kept["question"]) == ("r", QUESTION)


def test_a_request_without_a_question_shows_none():
    assert line_of(replace(SERVED, question_hash=""))["question"] is None
    assert line_of(SERVED, question="mask")["question"] is not QUESTION


def test_what_requests_have_in_common_is_never_another_request_s():
    lines: list[bytes] = []
    log = RequestLog(lines.append)
    for name in ("key_id", "tenant", "route", "release", "rollout", "model", "prompt_version"):
        log.write(replace(SERVED, **{name: "another"}))
        log.write(SERVED)
        assert orjson.loads(lines[-2])[{"key_id": "user_id"}.get(name, name)] == "another"
    assert set(lines[1::2]) == {lines[1]}


def test_the_memory_for_what_requests_have_in_common_is_bounded():
    log = RequestLog(lambda _line: None)
    for number in range(20_000):
        log.write(replace(SERVED, key_id=f"key_{number}"))
    assert len(log._shared) <= 8192


def test_only_the_modes_that_show_text_ask_for_it():
    assert not RequestLog(print).wants_text
    assert not RequestLog(print, question="omit").wants_text
    assert RequestLog(print, question="mask").wants_text


def test_the_mode_restricted_needs_a_place():
    with pytest.raises(ValueError, match="restricted"):
        RequestLog(print, question="restricted")
    with pytest.raises(ValueError, match="restricted"):
        RequestLog(print, restricted=print)


text = st.text(max_size=30)
strange = st.builds(
    replace,
    st.just(SERVED),
    key_id=text,
    tenant=text,
    conversation=text,
    conversation_source=st.just("header"),
    route=text,
    release=st.sampled_from(["", "rel_a"]),
    documents=st.tuples(text),
    retrieval_count=st.integers(0, 1),
    model=text,
)


@given(strange, text, st.sampled_from(["hash", "mask", "omit"]))
def test_whatever_names_hold_the_line_stays_one_json_object(record, asked, mode):
    lines: list[bytes] = []
    RequestLog(lines.append, question=mode).write(record, question=asked)
    assert lines[0].count(b"\n") == 1
    assert orjson.loads(lines[0])["request_id"] == "r"
