from contextlib import suppress
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.model import RouteLimits, Usage
from shipway.gateway.ports import ChatRoute, EngineBrokenError
from shipway.gateway.replies import RefusedError
from shipway.gateway.responses import ResponseStream, response_body, response_text


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


USAGE = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3, "total_tokens": 12}
OPENING = event("response.created", response={"id": "resp_1"}) + event("response.output_text.delta", delta="Hi")
COMPLETED = event("response.completed", response={"id": "resp_1", "usage": USAGE})


@given(st.lists(st.integers(1, len(OPENING + COMPLETED)), max_size=8))
def test_events_pass_as_they_came_and_the_last_is_held_back_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream, whole = ResponseStream(), OPENING + COMPLETED
    edges = [0, *sorted(cuts), len(whole)]
    passed = b"".join(stream.feed(whole[start:stop]) for start, stop in pairwise(edges))
    stream.end()

    assert passed == OPENING
    assert stream.last_words == COMPLETED
    assert stream.usage == Usage(uncached=5, cache_read=4, output=3)


@pytest.mark.parametrize("kind", ["response.incomplete", "response.failed"])
def test_the_other_ends_of_a_response_are_ends_too(kind: str) -> None:
    stream = ResponseStream()
    stream.feed(event(kind, response={"usage": USAGE}))
    stream.end()

    assert stream.done
    assert stream.usage.output == 3


def test_events_without_an_event_line_are_known_by_their_type() -> None:
    stream = ResponseStream()
    stream.feed(b'data: {"type":"response.output_text.delta","delta":"a"}\r\n\r\n')
    stream.feed(b'data: {"type": "response.completed", "response": {}}\r\n\r\n')
    stream.end()

    assert stream.usage == Usage(output=1, estimated=True)


def test_a_cut_stream_is_broken_and_its_deltas_are_counted() -> None:
    stream = ResponseStream()
    stream.feed(OPENING)

    with pytest.raises(EngineBrokenError):
        stream.end()
    assert stream.usage == Usage(output=1, estimated=True)


def test_a_last_event_without_its_blank_line_still_ends_the_stream() -> None:
    stream = ResponseStream()
    stream.feed(OPENING + COMPLETED.rstrip(b"\n"))
    stream.end()

    assert stream.last_words == COMPLETED


@pytest.mark.parametrize("said", [event("error", message="host 10.0.0.1 died"), b'data: {"error":{"message":"x"}}\n\n'])
def test_an_engines_own_error_is_not_passed_on(said: bytes) -> None:
    stream = ResponseStream()

    assert stream.feed(OPENING + said + event("response.output_text.delta", delta="late")) == OPENING
    with pytest.raises(EngineBrokenError):
        stream.end()


def test_done_is_no_part_of_these_streams() -> None:
    assert ResponseStream().feed(b"data: [DONE]\n\n") == b""


def test_comments_pass_and_are_no_sign_of_life() -> None:
    stream = ResponseStream()

    assert stream.feed(b": keep-alive\n\n") == b": keep-alive\n\n"
    assert not stream.has_data


def test_the_error_event_has_the_next_number_and_no_internals() -> None:
    stream = ResponseStream()
    stream.feed(OPENING)
    raw = stream.error_event(RefusedError(502, "broke off", code="upstream_cut"), "req_1")

    assert raw.startswith(b"event: error\ndata: ")
    told = orjson.loads(raw.partition(b"data: ")[2])
    assert (told["type"], told["code"], told["sequence_number"], told["request_id"]) == (
        "error",
        "upstream_cut",
        2,
        "req_1",
    )
    assert told["error"]["message"] == "broke off"


ROUTE = ChatRoute(
    "http://e/v1",
    "tiny",
    prefix_messages=({"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello."}),
    decoding={"temperature": 0.1, "stop": ["x"], "max_tokens": 64, "seed": 3},
    limits=RouteLimits(max_output_tokens=64),
)


def test_the_releases_words_become_instructions_and_the_caller_is_heard_after_them() -> None:
    made = response_body({"model": "chat", "input": "Hi", "instructions": "In French.", "store": False}, ROUTE)

    assert made == {
        "model": "tiny",
        "temperature": 0.1,
        "instructions": "Be brief.\n\nIn French.",
        "input": [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi"}],
        "store": False,
        "max_output_tokens": 64,
    }


def test_a_later_turn_does_not_repeat_what_stands_in_the_response_before_it() -> None:
    made = response_body({"model": "chat", "input": "And?", "previous_response_id": "resp_1"}, ROUTE)

    assert (made["input"], made["previous_response_id"]) == ("And?", "resp_1")
    assert made["instructions"] == "Be brief."


def test_the_output_limit_of_the_release_holds() -> None:
    assert response_body({"input": "a", "max_output_tokens": 900}, ROUTE)["max_output_tokens"] == 64
    assert response_body({"input": "a", "max_output_tokens": 9}, ROUTE)["max_output_tokens"] == 9


def test_the_text_of_a_response_is_that_of_its_messages() -> None:
    reply = {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}]}

    assert response_text(reply) == "Hi"
    assert response_text({"output": None}) == ""


@given(
    st.lists(
        st.sampled_from([b"event: ", b"data: ", b"\n", b"\r\n", b"\n\n", b"{", b'{"type":1}', b"[]", b"error", b"\xff"])
    )
)
def test_no_bytes_of_an_engine_raise_anything_but_a_broken_engine(pieces: list[bytes]) -> None:
    stream = ResponseStream()
    for piece in pieces:
        stream.feed(piece)
    with suppress(EngineBrokenError):
        stream.end()
    assert stream.usage.output >= 0
