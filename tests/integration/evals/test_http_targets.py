"""Targets that are asked over HTTP, on real sockets: the request that leaves, and what becomes of each reply."""

import json

import pytest

from shipway.config.sections.eval_targets import HttpTemplate
from shipway.core.errors import UpstreamError
from shipway.evals.model import Case, ToolCall
from shipway.gateway.model import ModelPrice
from shipway.services.targets.http_template import http_template_target
from shipway.services.targets.openai_endpoint import OpenAiEndpoint

CASE = Case(id="c1", question='Say "hi"', tenant="acme", messages=({"role": "assistant", "content": "Hello."},))
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def completion(content="hi", **fields):
    return {"choices": [{"message": {"role": "assistant", "content": content, **fields}}], "usage": USAGE}


@pytest.fixture
def endpoint(caller, upstream):
    def make(**fields):
        usual = {
            "name": "big",
            "url": upstream.url + "/v1/chat/completions",
            "fields": {"model": "m", "seed": 5},
            "caller": caller,
            "timeout_s": 30.0,
            "key_headers": (("authorization", "Bearer sk-1"),),
        }
        return OpenAiEndpoint(**{**usual, **fields})

    return make


@pytest.fixture
def template(caller, upstream):
    def make(secret="", **fields):
        body = {"url": upstream.url + "/ask", "body": {"text": "{question}"}, "answer": "reply.text", **fields}
        made = HttpTemplate.model_validate(body)
        return http_template_target(made, caller, lambda _reference: secret, timeout_s=30.0)

    return make


def either(template, endpoint, kind):
    return template() if kind == "template" else endpoint()


async def test_a_chat_is_asked_with_its_turns_and_answered_with_tokens_and_cost(endpoint, upstream):
    upstream.play(lambda wire: wire.json(completion(" hi ")))
    target = endpoint(price=ModelPrice(1.0, 0.1, 2.0), prefix=({"role": "system", "content": "Be kind."},))

    output = await target.ask(CASE, repeat=2)

    assert (output.answer, output.tokens_in, output.tokens_out, output.error) == ("hi", 100, 20, None)
    assert output.cost_usd == pytest.approx((100 * 1.0 + 20 * 2.0) / 1e6)
    assert output.latency_ms > 0
    assert output.ttft_ms is None
    (heard,) = upstream.heard
    assert heard.headers["authorization"] == "Bearer sk-1"
    assert heard.json() == {
        "model": "m",
        "seed": 7,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": 'Say "hi"'},
        ],
    }


async def test_what_nobody_counted_costs_nothing_known(endpoint, upstream):
    upstream.play(lambda wire: wire.json({"choices": completion()["choices"]}))

    output = await endpoint(price=ModelPrice(1.0, 0.1, 2.0)).ask(CASE, repeat=0)

    assert (output.tokens_in, output.cost_usd) == (0, None)


async def test_called_tools_refusals_and_parts_are_read(endpoint, upstream):
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}
    upstream.play(
        lambda wire: wire.json(completion(None, tool_calls=[call])),
        lambda wire: wire.json(completion(None, refusal="I cannot.")),
        lambda wire: wire.json(completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
    )
    target = endpoint()

    found = [await target.ask(CASE, repeat=0) for _ in range(3)]

    assert [output.answer for output in found] == ["", "I cannot.", "ab"]
    assert found[0].tool_calls == (ToolCall("find", {"q": "x"}),)


async def stream(wire, *events, done=True):
    await wire.head()
    for event in events:
        await wire.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
    if done:
        await wire.chunk(b"data: [DONE]\n\n")
    await wire.end()


def delta(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


async def test_a_stream_tells_the_time_to_the_first_token_and_the_same_answer(endpoint, upstream):
    pieces = (
        [{"index": 0, "function": {"name": "find", "arguments": '{"q"'}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    )
    events = [
        delta(role="assistant", content=""),
        delta(content="h"),
        delta(content="i", tool_calls=pieces[0]),
        delta(tool_calls=pieces[1]),
        delta("stop"),
        {"choices": [], "usage": USAGE},
    ]
    upstream.play(lambda wire: stream(wire, *events))

    output = await endpoint(measure_ttft=True).ask(CASE, repeat=0)

    assert (output.answer, output.tokens_in, output.tokens_out) == ("hi", 100, 20)
    assert output.tool_calls == (ToolCall("find", {"q": 1}),)
    assert 0 < output.ttft_ms <= output.latency_ms
    assert upstream.heard[0].json()["stream_options"] == {"include_usage": True}


async def test_an_endpoint_that_cannot_stream_answers_whole(endpoint, upstream):
    upstream.play(lambda wire: wire.json(completion()))

    output = await endpoint(measure_ttft=True).ask(CASE, repeat=0)

    assert (output.answer, output.ttft_ms) == ("hi", None)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([delta(content="h")], "the stream ended before the answer did"),
        ([delta(content="h"), {"error": {"message": "out of memory"}}], "the stream ends in an error"),
        ([{"choices": [3]}], "an event of the stream is no part of a chat"),
        ([[1]], "an event of the stream is no object"),
    ],
)
async def test_a_stream_that_is_no_whole_answer_is_an_error(endpoint, upstream, events, reason):
    upstream.play(lambda wire: stream(wire, *events, done=False))

    with pytest.raises(UpstreamError, match=reason):
        await endpoint(measure_ttft=True).ask(CASE, repeat=0)


async def test_a_template_sends_what_it_says_and_reads_every_place(template, upstream):
    upstream.play(
        lambda wire: wire.json(
            {
                "reply": {"text": "hi"},
                "sources": [{"id": "a", "text": "A."}, {"id": "b", "text": "B."}],
                "found": ["b", "a", 3],
                "tools": [{"name": "find", "arguments": {"q": 1}}],
            }
        )
    )
    target = template(
        secret="hush",
        method="PUT",
        headers={"x-case": "{id}", "x-api-key": {"env": "K"}},
        body={"text": "{question}", "history": "{messages}", "tenant": "{tenant}"},
        citations="sources.*.id",
        passages="sources.*.text",
        retrieved="found",
        tool_calls="tools",
    )

    output = await target.ask(CASE, repeat=0)

    assert (output.answer, output.citations, output.passages) == ("hi", ("a", "b"), ("A.", "B."))
    assert (output.retrieved, output.tool_calls) == (("b", "a", "3"), (ToolCall("find", {"q": 1}),))
    (heard,) = upstream.heard
    assert (heard.method, heard.headers["x-case"], heard.headers["x-api-key"]) == ("PUT", "c1", "hush")
    assert heard.json() == {"text": 'Say "hi"', "history": [*CASE.messages], "tenant": "acme"}


async def test_a_question_may_stand_in_the_address(template, upstream):
    upstream.play(lambda wire: wire.json("42"))
    target = template(method="GET", url=upstream.url + "/ask?q={question}&t={tenant}", body=None, answer=".")

    assert (await target.ask(CASE, repeat=0)).answer == "42"
    (heard,) = upstream.heard
    assert (heard.target, heard.body) == ("/ask?q=Say%20%22hi%22&t=acme", b"")


KINDS = pytest.mark.parametrize("kind", ["template", "endpoint"])


@KINDS
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>oops</html>", "the reply is not JSON"),
        (b"", "the reply is empty (status 200); JSON was expected"),
        (b'{"reply": {"text": "a', "the reply is not JSON"),
        (b'{"reply": "\xff\xfe"}', "the reply is not UTF-8: byte 11 of 15"),
        (b"[1]", "the reply"),
        (b'{"reply": {"text": null}, "choices": [{"message": {"content": 3}}]}', "is no text but"),
        (b'{"reply": {"text": {}}, "choices": [{"message": "hi"}]}', "reply"),
        (b'{"error": {"message": "boom"}}', "the reply"),
        (b"NaN", "the reply is not JSON"),
    ],
)
async def test_a_reply_of_the_wrong_form_is_one_error_that_says_what_came(
    template, endpoint, upstream, kind, body, reason
):
    upstream.play(lambda wire: wire.json(body))

    with pytest.raises(UpstreamError) as caught:
        await either(template, endpoint, kind).ask(CASE, repeat=0)

    assert reason in caught.value.message
    assert caught.value.message.startswith(upstream.url)
    assert caught.value.status == 200


@KINDS
async def test_a_reply_in_an_encoding_that_nobody_asked_for_is_named(template, endpoint, upstream, kind):
    upstream.play(lambda wire: wire.json(b"\x1f\x8b\x08\x00", content_encoding="gzip"))

    with pytest.raises(UpstreamError, match="the reply is encoded as gzip, which nobody asked for"):
        await either(template, endpoint, kind).ask(CASE, repeat=0)


@KINDS
async def test_what_a_large_wrong_reply_says_is_short(template, endpoint, upstream, kind):
    upstream.play(lambda wire: wire.json({"reply": {"text": ["x" * 1_000_000]}, "choices": [["x" * 1_000_000] * 3]}))

    with pytest.raises(UpstreamError) as caught:
        await either(template, endpoint, kind).ask(CASE, repeat=0)

    assert len(caught.value.message) < 300


@KINDS
async def test_a_content_length_that_is_too_long_is_an_answer_cut_off(template, endpoint, upstream, kind):
    async def short(wire):
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}")
        wire.cut()

    upstream.play(short)

    with pytest.raises(UpstreamError, match="the answer was cut off after 2 bytes"):
        await either(template, endpoint, kind).ask(CASE, repeat=0)


@KINDS
async def test_a_content_length_that_is_too_short_harms_no_other_case(template, endpoint, upstream, kind):
    right = {"reply": {"text": "right"}, **completion("right")}

    async def long(wire):
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + json.dumps(right).encode())

    upstream.play(long, lambda wire: wire.json(right))
    target = either(template, endpoint, kind)

    with pytest.raises(UpstreamError):
        await target.ask(CASE, repeat=0)
    assert (await target.ask(CASE, repeat=1)).answer == "right"


@KINDS
async def test_a_redirect_is_not_followed_and_says_where_it_leads(template, endpoint, upstream, kind):
    upstream.play(lambda wire: wire.json({}, 307, location="https://elsewhere.example/ask?token=hush"))

    with pytest.raises(UpstreamError) as caught:
        await either(template, endpoint, kind).ask(CASE, repeat=0)

    hint = "answers 307, a redirect to https://elsewhere.example/ask; none is followed: write the final address"
    assert caught.value.message.endswith(hint)
    assert len(upstream.heard) == 1


@KINDS
@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_endpoint_can_be_asked_again_when_it_says(template, endpoint, upstream, kind, status):
    upstream.play(lambda wire: wire.json({"error": {"message": "slow down"}}, status, Retry_After="9"))

    with pytest.raises(UpstreamError) as caught:
        await either(template, endpoint, kind).ask(CASE, repeat=0)

    assert (caught.value.status, caught.value.retry_after) == (status, "9")
    assert caught.value.message.endswith(f"answers {status}: slow down")


@KINDS
async def test_an_error_that_repeats_the_key_is_not_repeated(template, endpoint, upstream, kind):
    key = "sk-" + "a" * 30
    upstream.play(lambda wire: wire.json({"error": {"message": f"Incorrect API key: {key}"}}, 401))

    with pytest.raises(UpstreamError) as caught:
        await either(template, endpoint, kind).ask(CASE, repeat=0)

    assert caught.value.status == 401
    assert key not in str(caught.value)


@KINDS
async def test_an_answer_over_the_limit_is_an_error(template, endpoint, upstream, kind):
    large = "x" * 10_000_000
    upstream.play(lambda wire: wire.json({"reply": {"text": large}, **completion(large)}))

    with pytest.raises(UpstreamError, match="answer larger than 10,000,000 bytes"):
        await either(template, endpoint, kind).ask(CASE, repeat=0)


@KINDS
async def test_a_large_answer_within_the_limit_is_whole(template, endpoint, upstream, kind):
    large = "x" * 4_900_000
    upstream.play(lambda wire: wire.json({"reply": {"text": large}} if kind == "template" else completion(large)))

    assert (await either(template, endpoint, kind).ask(CASE, repeat=0)).answer == large


async def test_a_stream_of_any_service_gives_answer_tokens_cost_and_the_time_to_its_first_byte(template, upstream):
    events = [{"delta": "Wo"}, {"delta": "rd"}, {"usage": USAGE, "cost_usd": 0.25}]
    upstream.play(lambda wire: stream(wire, *events))

    output = await template(answer="delta").ask(CASE, repeat=0)

    assert (output.answer, output.tokens_in, output.tokens_out, output.cost_usd) == ("Word", 100, 20, 0.25)
    assert 0 < output.ttft_ms <= output.latency_ms


async def test_a_whole_reply_has_no_time_to_the_first_token_and_its_cost_is_not_known(template, upstream):
    upstream.play(lambda wire: wire.json({"reply": {"text": "hi"}}))

    output = await template().ask(CASE, repeat=0)

    assert (output.answer, output.tokens_in, output.cost_usd, output.ttft_ms) == ("hi", 0, None, None)


async def test_a_message_without_content_is_no_empty_answer(endpoint, upstream):
    upstream.play(lambda wire: wire.json(b'{"choices": [{"message": {"content": null}}]}'))
    with pytest.raises(UpstreamError, match=r"content is null: the reply has no answer"):
        await endpoint().ask(CASE, repeat=0)


async def test_a_message_that_calls_a_tool_needs_no_content(endpoint, upstream):
    call = b'{"function": {"name": "f", "arguments": "{}"}}'
    upstream.play(
        lambda wire: wire.json(b'{"choices": [{"message": {"content": null, "tool_calls": [' + call + b"]}}]}")
    )

    output = await endpoint().ask(CASE, repeat=0)

    assert (output.answer, [call.name for call in output.tool_calls]) == ("", ["f"])


@pytest.mark.parametrize(
    ("said", "answer"), [({"content": ""}, ""), ({"content": None, "refusal": "I cannot"}, "I cannot")]
)
async def test_a_stream_may_have_an_empty_answer_or_a_refusal(endpoint, upstream, said, answer):
    events = [{"choices": [{"delta": said, "finish_reason": "stop"}]}]
    upstream.play(lambda wire: stream(wire, *events))

    assert (await endpoint(measure_ttft=True).ask(CASE, repeat=0)).answer == answer


async def test_a_stream_without_any_content_is_no_empty_answer(endpoint, upstream):
    events = [{"choices": [{"delta": {"role": "assistant"}, "finish_reason": "length"}]}]
    upstream.play(lambda wire: stream(wire, *events))

    with pytest.raises(UpstreamError, match="content is null: the reply has no answer"):
        await endpoint(measure_ttft=True).ask(CASE, repeat=0)
