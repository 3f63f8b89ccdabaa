"""Reading answers: whole ones, streams with their first piece and gaps, and everything that breaks them."""

import pytest

from shipway.load.exchange import Exchange

EVENTS = "text/event-stream; charset=utf-8"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


def streamed(*pieces, content_type=EVENTS, status=200, wants_stream=True):
    """Return the outcome of pieces that come one a second."""
    exchange = Exchange(wants_stream)
    exchange.begin(status, content_type)
    for at_s, piece in enumerate(pieces, start=1):
        exchange.take(piece, float(at_s))
    return exchange.outcome(float(len(pieces)))


def test_the_first_piece_is_the_first_text_and_not_an_empty_one():
    found = streamed(ROLE, WORD, WORD, USAGE, DONE)

    assert (found.error, found.first_s, found.tokens) == ("", 2.0, 3)


def test_gaps_are_those_between_pieces_of_text():
    found = streamed(WORD, ROLE, WORD, WORD, DONE)

    assert found.mean_gap_s == pytest.approx(1.5)
    assert found.longest_gap_s == pytest.approx(2.0)


def test_an_event_that_arrives_in_parts_counts_when_it_is_whole():
    found = streamed(WORD[:10], WORD[10:30], WORD[30:], DONE)

    assert (found.error, found.first_s) == ("", 3.0)


def test_a_stream_without_its_end_is_broken():
    found = streamed(WORD, WORD)

    assert (found.error, found.is_broken_stream) == ("the stream has no end", True)


def test_a_stream_that_ends_with_an_error_is_broken_and_its_message_is_not_repeated():
    found = streamed(WORD, b'data: {"error":{"code":"overloaded","message":"you asked: my secret"}}\n\n', DONE)

    assert found.is_broken_stream
    assert found.error == "the stream ended with an error: overloaded"


def test_what_is_cut_off_says_why():
    exchange = Exchange(wants_stream=True)
    exchange.begin(200, EVENTS)
    exchange.take(WORD, 1.0)

    found = exchange.outcome(2.0, cut="the answer was cut off after 5 bytes")

    assert (found.error, found.is_broken_stream) == ("the answer was cut off after 5 bytes", True)


def test_a_stream_of_the_responses_api_ends_with_its_event():
    delta = b'data: {"type":"response.output_text.delta","delta":"a"}\n\n'

    assert streamed(delta, b'data: {"type":"response.completed"}\n\n').error == ""


def test_a_whole_answer_has_no_first_piece_but_its_tokens():
    body = b'{"choices":[{"message":{"content":"a"}}],"usage":{"completion_tokens":7}}'

    found = streamed(body, content_type="application/json", wants_stream=False)

    assert (found.error, found.first_s, found.tokens) == ("", None, 7)


def test_an_answer_in_one_piece_is_an_error_where_a_stream_was_asked_for():
    assert streamed(b"{}", content_type="application/json").error == "no stream came"


def test_a_refusal_names_its_status_and_code():
    body = b'{"error":{"code":"rate_limit_exceeded","message":"long"}}'

    found = streamed(body, content_type="application/json", status=429)

    assert (found.error, found.is_broken_stream) == ("status 429: rate_limit_exceeded", False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error":"text"}', b"\xff\xfe"])
def test_a_refusal_in_another_form_is_its_status(body):
    assert streamed(body, content_type="text/html", status=502).error == "status 502"


def test_an_event_that_is_no_json_breaks_the_stream():
    assert streamed(b"data: {oops\n\n", DONE).error == "an event of the stream is no JSON"


def test_an_answer_larger_than_anything_sensible_is_not_read_on():
    exchange = Exchange(wants_stream=False)
    exchange.begin(200, "application/json")

    took = [exchange.take(bytes(15_000_000), 1.0), exchange.take(bytes(15_000_000), 2.0)]

    assert took == [True, False]
    assert "larger than" in exchange.outcome(3.0).error
