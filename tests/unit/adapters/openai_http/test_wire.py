import json

import pytest

from shipway.adapters.openai_http.wire import Finish, RefusedError, ReplyHead, Sampling, parse_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def parsed(**fields):
    return parse_request(json.dumps({**CHAT, **fields}).encode(), chat=True)


def events(data: bytes) -> list:
    return [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]


def test_what_a_request_leaves_out_has_defaults():
    request = parsed()
    assert request.sampling == Sampling()
    assert (request.stream, request.include_usage) == (False, False)


def test_every_field_that_decides_is_read():
    request = parsed(
        temperature=0,
        top_p=0.5,
        repeat_penalty=1.2,
        max_tokens=7,
        seed=3,
        stop="END",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert request.sampling == Sampling(7, 0, 0.5, 1.2, 3, ("END",))
    assert request.stream
    assert request.include_usage


def test_the_newer_name_of_the_token_limit_wins():
    assert parsed(max_tokens=7, max_completion_tokens=9).sampling.max_tokens == 9


def test_text_parts_are_joined_and_developer_means_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = parsed(messages=[{"role": "developer", "content": "s"}, {"role": "user", "content": parts}])
    assert request.messages == ({"role": "system", "content": "s"}, {"role": "user", "content": "ab"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"stop": {"a": "b"}}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"seed": 1.5}, "seed"),
        ({"n": 2}, "n"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields, param):
    with pytest.raises(RefusedError) as refused:
        parsed(**fields)
    assert refused.value.status == 400
    assert json.loads(refused.value.body())["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(RefusedError):
        parse_request(body, chat=True)


def test_a_chat_stream_begins_with_the_role_and_ends_with_usage_and_done():
    head = ReplyHead("id1", 5, "m", is_chat=True)
    said = head.first() + head.piece("é") + head.last(Finish("stop", 3, 2, 1), include_usage=True)
    *chunks, done = events(said)
    chunks = [json.loads(chunk) for chunk in chunks]
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:3]] == [
        {"role": "assistant", "content": ""},
        {"content": "é"},
        {},
    ]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[3]["choices"] == []
    assert chunks[3]["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert done == "[DONE]"


def test_a_plain_completion_has_text_and_no_roles():
    head = ReplyHead("id1", 5, "m", is_chat=False)
    assert head.first() == b""
    assert json.loads(events(head.piece("x"))[0])["choices"][0]["text"] == "x"
    assert json.loads(head.whole("xy", Finish("length", 3, 0, 2)))["choices"][0]["text"] == "xy"
