import pytest

from shipway.adapters.echo.server import EchoEngine, answer_of
from shipway.adapters.openai_http.wire import EngineRequest, Finish, Sampling

pytestmark = pytest.mark.anyio


def request(text: str, **sampling) -> EngineRequest:
    messages = ({"role": "user", "content": "earlier"}, {"role": "assistant", "content": "x"})
    return EngineRequest("echo", (*messages, {"role": "user", "content": text}), "", Sampling(**sampling))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Say this.", "Say this."),
        ("Text: A costs EUR 4.90 a day. B is free.\nQuestion: What does A cost?", "A costs EUR 4.90 a day."),
        ("Question: What?\nRepeat the text: A is one\nline. B.", "A is one line."),
        ("Passage: no full stop", "no full stop"),
    ],
)
async def test_the_answer_is_the_texts_first_sentence_or_the_message(asked, answer):
    assert answer_of(request(asked)) == answer


async def test_the_token_limit_and_stop_texts_hold():
    async def said(**sampling):
        return [item async for item in EchoEngine().generate(request("one two three four", **sampling))]

    *pieces, finish = await said(max_tokens=2)
    assert "".join(piece.text for piece in pieces) == "one two "
    assert finish == Finish("length", finish.tokens_in, 0, 2)
    *pieces, finish = await said(stop=(" three",))
    assert "".join(piece.text for piece in pieces) == "one two"
    assert finish.reason == "stop"


async def test_tokens_are_paced_by_the_injected_sleep():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    engine = EchoEngine(token_delay_ms=20, sleep=sleep)
    assert len([item async for item in engine.generate(request("a b c"))]) == 4
    assert slept == [0.02] * 3
