import json
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.model import Usage
from shipway.gateway.ports import EngineBrokenError, EngineFailedError, EngineGarbledError
from shipway.gateway.stream import ChatStream, EventSplitter, usage_of

END = st.sampled_from([b"\n", b"\r\n", b"\r"])
USAGE = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}'


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.binary(max_size=200) | st.text("ab:\r\n dat", max_size=80).map(str.encode), st.lists(st.integers(0, 400)))
def test_events_joined_are_the_stream_whatever_the_bytes_and_their_split(data, cuts):
    splitter = EventSplitter()
    events = [event for part in split(data, cuts) for event in splitter.feed(part)]
    assert b"".join(events) + splitter.rest() == data


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5), END, st.booleans(), st.lists(st.integers(0, 2000)))
def test_text_usage_and_end_are_found_under_any_split_and_line_end(texts, end, spaced, cuts):
    payloads = [orjson.dumps({"choices": [{"delta": {"content": text}}]}) for text in texts]
    prefix = b"data: " if spaced else b"data:"
    # A second line in each event: a line end alone must not pass for a blank line.
    data = b"".join(b"id: 1" + end + prefix + payload + end + end for payload in [*payloads, USAGE, b"[DONE]"])
    stream = ChatStream(keep_usage=False)
    out = b"".join(stream.feed(part) for part in split(data, cuts))
    assert out.rstrip(b"\r\n") == b"".join(b"id: 1" + end + prefix + p + end + end for p in payloads).rstrip(b"\r\n")
    assert stream.usage == Usage(uncached=9, output=2)
    assert stream.data_events == len(texts)
    assert stream.done
    stream.end()


@given(st.binary(max_size=300), st.lists(st.integers(0, 400)))
def test_no_bytes_whatever_upset_the_scanner(data, cuts):
    stream = ChatStream(keep_usage=False)
    for part in split(data, cuts):
        stream.feed(part)


def test_what_comes_after_done_is_not_passed_on():
    stream = ChatStream(keep_usage=True)
    assert stream.feed(b"data: [DONE]\n\ndata: {}\n\n") == b""


def test_done_without_its_blank_line_is_still_an_end():
    stream = ChatStream(keep_usage=True)
    stream.feed(b"data: [DONE]\n")
    stream.end()
    assert stream.done


def test_a_close_without_done_is_broken():
    stream = ChatStream(keep_usage=True)
    stream.feed(b'data: {"choices":[{}]}\n\n')
    with pytest.raises(EngineBrokenError, match="before its end"):
        stream.end()


def test_usage_beside_the_last_words_is_read_and_taken_out_unless_asked_for():
    event = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    hidden, kept = ChatStream(keep_usage=False), ChatStream(keep_usage=True)
    assert b"usage" not in hidden.feed(event)
    assert kept.feed(event) == event
    assert hidden.usage == kept.usage == Usage(uncached=1, output=1)


def test_the_word_usage_inside_a_text_changes_nothing():
    event = b"data: " + orjson.dumps({"choices": [{"delta": {"content": '"usage": {"prompt_tokens": 7}'}}]}) + b"\n\n"
    stream = ChatStream(keep_usage=False)
    assert stream.feed(event) == event
    assert stream.usage.estimated


def test_without_usage_each_event_is_estimated_as_one_token():
    stream = ChatStream(keep_usage=False)
    stream.feed(b": hello\n\n" + b'data: {"choices":[{}]}\n\n' * 3)
    assert stream.usage == Usage(output=3, estimated=True)


def test_cached_tokens_are_a_part_of_the_prompt_and_never_more():
    told = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 40}}
    assert usage_of({"usage": told}) == Usage(uncached=0, cache_read=10, output=1)
    told["prompt_tokens_details"] = {"cached_tokens": 4}
    assert usage_of({"usage": told}) == Usage(uncached=6, cache_read=4, output=1)


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": -1}, {"prompt_tokens": "9"}, {"prompt_tokens": True}]
)
def test_usage_that_cannot_be_believed_is_none(usage):
    assert usage_of({"usage": usage}) is None


def test_an_event_without_end_is_broken():
    splitter = EventSplitter()
    with pytest.raises(EngineBrokenError, match="no end"):
        splitter.feed(b"x" * (5 << 20))


def chunk(text: str = "x", **more: object) -> bytes:
    """Return an event as engines send it for one token."""
    return (
        b"data: " + orjson.dumps({"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}], **more}) + b"\n\n"
    )


BROKEN = {
    "cut": b'data: {"choices":[{"delta":{"content":"x"}\n\n',
    "bare-text": b"data: oops\n\n",
    "text-that-ends-early": chunk("x").replace(b'"x"', b'"x"y"'),
    "line-break-in-text": chunk("x").replace(b'"x"', b'"x\x01"'),
    "lone-backslash": chunk("x").replace(b'"x"', b'"\\"'),
    "bad-escape": chunk("x").replace(b'"x"', b'"\\q"'),
    "half-a-character": chunk("x").replace(b'"x"', b'"\xe2\x82"'),
    "overlong-slash": chunk("x").replace(b'"x"', b'"\xc0\xaf"'),
    "trailing": chunk("x").replace(b"}\n\n", b"}}\n\n"),
    "two-values": chunk("x").replace(b"}\n\n", b"} {}\n\n"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("pieces", ["together", "apart", "bytes"])
def test_an_event_that_is_no_json_ends_the_stream_and_is_not_passed_on(name, before, pieces):
    good = [chunk(f"word{number} ") for number in range(before)]
    events = [*good, BROKEN[name], chunk("after"), b"data: [DONE]\n\n"]
    whole = b"".join(events)
    parts = {"together": [whole], "apart": events, "bytes": [bytes([byte]) for byte in whole]}[pieces]
    stream = ChatStream(keep_usage=True)
    out = b"".join(stream.feed(part) for part in parts)

    assert out == b"".join(good)
    assert stream.failed
    with pytest.raises(EngineGarbledError):
        stream.end()


TEXTS = st.lists(
    st.text(max_size=8) | st.sampled_from(['"', "\\", "\n", "é", "𝄞", "", "usage", '"usage":']), max_size=12
)


@given(TEXTS, st.sampled_from(["content", "text", "reasoning_content"]), st.booleans())
def test_sound_events_pass_as_they_are_and_each_is_one_token(texts, name, ascii_alone):
    events = []
    for text in texts:
        value = {"choices": [{"delta": {name: text}, "note": text}]}
        raw = json.dumps(value) if ascii_alone else json.dumps(value, ensure_ascii=False)
        events.append(b"data: " + raw.replace('": "', '":"').encode("utf-8", "replace") + b"\n\n")
    stream = ChatStream(keep_usage=True)

    assert b"".join(stream.feed(event) for event in events) == b"".join(events)
    assert stream.data_events == len(texts)
    assert not stream.failed


@given(st.lists(st.tuples(st.text('ab"\\{}:,\n', max_size=6), st.binary(max_size=4), st.integers(0, 300)), max_size=8))
def test_whatever_is_passed_on_can_be_read(damages):
    """Damage some events anywhere: what reaches the client is JSON that its parser takes, always."""
    stream, out = ChatStream(keep_usage=True), b""
    for text, damage, at in damages:
        event = chunk(text)
        cut = at % (len(event) - 2)
        out += stream.feed(event[:cut] + damage + event[cut:] if cut > 6 else event)
    for event in EventSplitter().feed(out):
        for line in event.splitlines():
            if line.startswith(b"data:") and line[5:].strip():
                json.loads("\n".join([line[5:].decode()]))


@pytest.mark.parametrize("odd", [b"NaN", b"-Infinity", b'"\\ud83d"'], ids=["nan", "infinity", "half-a-pair"])
def test_what_clients_can_read_is_no_error_though_it_is_not_strict(odd):
    event = chunk("x", logprob=0).replace(b'"logprob":0', b'"logprob":' + odd)
    stream = ChatStream(keep_usage=True)
    assert stream.feed(event) + stream.feed(event) == event * 2


def test_the_words_of_an_engines_error_are_kept_short_and_masked():
    said = "out of memory for alice@example.com with key sk-abcdefghijk " + "x" * 1000
    for error, expected in (
        ({"message": said, "code": 500}, "out of memory for [email]"),
        (said, "out of memory"),
        ([1], "[1]"),
    ):
        stream = ChatStream(keep_usage=True)
        stream.feed(b"data: " + orjson.dumps({"error": error}) + b"\n\n")
        with pytest.raises(EngineFailedError) as caught:
            stream.end()
        assert caught.value.said.startswith(expected)
        assert "alice" not in caught.value.said
        assert "abcdefghijk" not in caught.value.said
        assert len(caught.value.said) <= 200


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{}}],"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":1}}}\n\n',
        b'data: {"choices":[{"delta":{}}],"timings":{"prompt_n":1,"predicted_n":1}}\n\n',
        b'data: "pong"\n\n',
        b"data: [1]\n\n",
    ],
    ids=["usage-of-groq", "timings-in-each", "a-text", "a-list"],
)
def test_events_of_another_shape_pass(event):
    stream = ChatStream(keep_usage=False)
    for _ in range(3):
        assert orjson.loads(stream.feed(event)[5:]) == orjson.loads(event[5:])
