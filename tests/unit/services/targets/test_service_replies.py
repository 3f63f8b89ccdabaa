import json

import pytest

from shipway.core.errors import UpstreamError
from shipway.evals.ports import HttpReply
from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.json_path import JsonPath
from shipway.services.targets.service_replies import CostPaths, ServiceReply

URL = "http://h/ask"
LAST = '{"usage": {"prompt_tokens": 2, "completion_tokens": 1}, "sources": ["a"], "cost_usd": 0.5}'


def whole(body, headers=None, status=200):
    return ServiceReply.of(URL, HttpReply(status, headers or {}, json.dumps(body).encode(), 7.0, 20.0))


def stream(body, kind="text/event-stream; charset=utf-8", status=200):
    return ServiceReply.of(URL, HttpReply(status, {"content-type": kind}, body.encode(), 7.0, 20.0))


def test_tokens_and_cost_are_taken_from_where_services_write_them():
    told = whole({"text": "a", "usage": {"prompt_tokens": 5, "completion_tokens": 3, "cost": 0.25}})
    assert told.measured(CostPaths()) == {"latency_ms": 20.0, "cost_usd": 0.25, "tokens_in": 5, "tokens_out": 3}


def test_the_project_may_say_where_they_stand():
    told = whole({"meta": {"used": {"input_tokens": 5, "output_tokens": 3}, "price": "0.5"}, "cost_usd": 9})
    found = told.measured(CostPaths.of("meta.used", "meta.price"))
    assert (found["tokens_in"], found["tokens_out"], found["cost_usd"]) == (5, 3, 0.5)


@pytest.mark.parametrize("header", ["x-cost-usd", "x-litellm-response-cost"])
def test_a_header_may_tell_the_cost(header):
    assert whole({"text": "a"}, {header: "0.125"}).measured(CostPaths())["cost_usd"] == 0.125


@pytest.mark.parametrize("cost", [-1, "free", True, None, {"usd": 1}, "nan", "inf"])
def test_a_cost_that_is_none_is_not_known(cost):
    assert whole({"cost_usd": cost}).measured(CostPaths())["cost_usd"] is None


def test_what_is_not_told_is_not_known_and_no_error():
    assert whole({"text": "a"}).measured(CostPaths.of("meta.used", "meta.price")) == {
        "latency_ms": 20.0,
        "cost_usd": None,
    }
    assert whole(["a"]).measured(CostPaths()) == {"latency_ms": 20.0, "cost_usd": None}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (
            "text/event-stream",
            f'data: {{"delta": "Wo"}}\r\n\r\nevent: x\ndata: {{"delta": "rd"}}\n\ndata: {LAST}\n\ndata: [DONE]\n\n',
        ),
        (
            "application/x-ndjson",
            f'{{"delta": "Wo"}}\n\n{{"delta": "rd"}}\n{LAST}\n',
        ),
    ],
)
def test_a_stream_is_read_whole_and_its_first_byte_is_the_time_to_the_first_token(kind, body):
    told = stream(body, kind)
    assert told.answer(JsonPath("delta")) == "Word"
    assert told.read(JsonPath("sources.*")) == ["a"]
    assert told.measured(CostPaths()) == {
        "latency_ms": 20.0,
        "cost_usd": 0.5,
        "ttft_ms": 7.0,
        "tokens_in": 2,
        "tokens_out": 1,
    }


def test_a_stream_without_the_answer_says_what_it_has():
    with pytest.raises(NoAnswerError, match="the reply has no 'delta': it has text"):
        stream('data: {"text": "a"}\n\n').answer(JsonPath("delta"))


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ('data: {"error": "too hot"}\n\n', "text/event-stream", "the stream ends in an error: 'too hot'"),
        ("data: {\n\n", "text/event-stream", "is not JSON"),
        ("{\n", "application/x-ndjson", "a line of the stream is not JSON"),
        (": nothing\n\n", "text/event-stream", "the stream holds no event"),
    ],
)
def test_a_broken_stream_is_an_error(body, kind, said):
    with pytest.raises(UpstreamError, match=said):
        stream(body, kind)


def test_an_error_status_is_an_error_whatever_its_kind():
    with pytest.raises(UpstreamError, match="answers 500"):
        stream("data: {}\n\n", status=500)
