import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.cache_content import unkept_because, whole_of_stream
from shipway.gateway.cache_model import Form, StoredAnswer
from shipway.gateway.model import Usage


def whole(**choice):
    base = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return orjson.dumps({"object": "chat.completion", "choices": [{**base, **choice}]})


def chunk(delta, finish=None, **fields):
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def stream(*chunks, end=b"data: [DONE]\n\n"):
    return b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in chunks) + end


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
GOOD = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hi "}),
    chunk({"content": "you"}),
    chunk({}, "stop"),
)
LAST = {**chunk({}), "choices": [], "usage": USAGE}


def test_a_plain_answer_may_be_kept():
    assert unkept_because(Form.WHOLE, whole()) == ""
    assert unkept_because(Form.STREAM, stream(*GOOD)) == ""
    assert unkept_because(Form.STREAM_WITH_USAGE, stream(*GOOD, LAST)) == ""
    assert unkept_because(Form.WHOLE, b'{"object":"list","data":[{"embedding":[1.0]}]}') == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        orjson.dumps({"error": {"message": "x"}}),
        whole(finish_reason=None),
        whole(finish_reason="content_filter"),
        whole(message={"role": "assistant", "content": None, "refusal": "I cannot"}),
        whole(message={"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}),
        whole(message={"role": "assistant", "content": None, "function_call": {"name": "f"}}),
    ],
)
def test_errors_refusals_cuts_and_tool_calls_are_not_kept(body):
    assert unkept_because(Form.WHOLE, body)


@pytest.mark.parametrize(
    "body",
    [
        stream(*GOOD, end=b""),
        stream(*GOOD[:-1]),
        stream(*GOOD, end=b"data: [DO"),
        stream(*GOOD, {"error": {"message": "x"}}),
        stream(chunk({"tool_calls": [{"index": 0}]}), chunk({}, "tool_calls")),
        stream(chunk({"content": "x"}), chunk({}, "content_filter")),
        stream(chunk({"refusal": "no"}), chunk({}, "stop")),
        b"data: {not json}\n\ndata: [DONE]\n\n",
        b'data: {"choices":[]}\ndata: [DONE]\n\n',
    ],
)
def test_a_stream_that_is_cut_or_bad_is_not_kept(body):
    assert unkept_because(Form.STREAM, body)


def test_every_choice_must_have_its_end():
    second = {**chunk({"content": "b"}), "choices": [{"index": 1, "delta": {"content": "b"}}]}
    assert unkept_because(Form.STREAM, stream(*GOOD, second))


def test_tool_calls_are_kept_when_asked():
    body = whole(message={"role": "assistant", "tool_calls": [{"id": "1"}]}, finish_reason="tool_calls")
    assert unkept_because(Form.WHOLE, body, tool_calls=True) == ""


@pytest.mark.parametrize("event", ["error", "timeout", "client_gone", "guard_blocked"])
def test_an_answer_that_something_went_wrong_with_is_not_kept(event):
    assert unkept_because(Form.WHOLE, whole(), (event,))


@pytest.mark.parametrize("event", ["abstained", "unsupported", "fallback", "usage_estimated"])
def test_the_releases_own_way_of_answering_is_kept(event):
    assert unkept_because(Form.WHOLE, whole(), (event,)) == ""


def test_a_stream_with_usage_is_also_the_whole_answer():
    rebuilt = orjson.loads(whole_of_stream(stream(*GOOD, LAST)))

    assert rebuilt == {
        "id": "c1",
        "created": 1,
        "model": "m",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi you"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }


@pytest.mark.parametrize(
    "body",
    [
        stream(*GOOD),
        stream(*GOOD, LAST, end=b""),
        stream(*GOOD, LAST, LAST),
        stream(*GOOD, {**LAST, "citations": []}),
        stream(chunk({"content": "x", "reasoning_content": "y"}), *GOOD, LAST),
        stream({**GOOD[0], "id": "other"}, *GOOD[1:], LAST),
        stream(*GOOD, chunk({"content": "after the end"}), LAST),
        stream(*GOOD[:-1], LAST),
        stream({**GOOD[0], "choices": [{"index": 1, "delta": {"content": "x"}}]}, *GOOD, LAST),
        stream({**GOOD[0], "choices": [{**GOOD[0]["choices"][0], "logprobs": {"content": []}}]}, *GOOD, LAST),
    ],
)
def test_a_stream_that_cannot_be_rebuilt_exactly_is_not_the_whole_answer(body):
    assert whole_of_stream(body) is None


@given(st.lists(st.text(max_size=6), max_size=6))
def test_the_text_of_a_rebuilt_answer_is_that_of_its_pieces(pieces):
    body = stream(*[chunk({"content": piece}) for piece in pieces], chunk({}, "stop"), LAST)

    assert orjson.loads(whole_of_stream(body))["choices"][0]["message"]["content"] == "".join(pieces)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_a_stream(data):
    unkept_because(Form.STREAM, data + b"data: [DONE]\n\n")
    whole_of_stream(data + b"data: [DONE]\n\n")
    StoredAnswer.from_bytes(data)


@given(st.binary(max_size=60), st.tuples(st.text(max_size=5)))
def test_an_answer_survives_the_way_through_a_store(body, documents):
    answer = StoredAnswer(Form.STREAM, body, Usage(1, 2, 3), 0.25, "m", "7", 2, documents, ("abstained",), 5.0)

    assert StoredAnswer.from_bytes(answer.to_bytes()) == answer


def test_a_newer_versions_answer_is_read_without_what_is_unknown_and_a_strange_one_is_none():
    assert StoredAnswer.from_bytes(b'{"form":"whole","new":1}\n{}') == StoredAnswer(Form.WHOLE, b"{}")
    assert StoredAnswer.from_bytes(b'{"form":"other"}\n{}') is None
