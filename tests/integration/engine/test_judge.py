"""A judge of kind llm against engines on real sockets."""

import pytest

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.core.errors import JudgeReplyError, UnavailableError
from shipway.evals.judgement import JudgeRequest
from shipway.evals.model import Case, Output
from shipway.services.judges.llm import LlmJudge, LlmSettings

pytestmark = pytest.mark.anyio
CASE = Case(id="a", question="How long?")
SETTINGS = LlmSettings(model="echo", max_tokens=400)


async def judged(url, answer):
    generator = OpenAiGenerator(url, "echo")
    try:
        return await LlmJudge("echo", generator, SETTINGS).judge(
            JudgeRequest("relevance", CASE, Output(answer)), repeat=0
        )
    finally:
        await generator.close()


async def test_an_engine_that_says_it_all_again_is_no_judge(echo):
    with pytest.raises(JudgeReplyError, match=r"not one JSON object .*\(asked twice\)"):
        await judged(echo.url + "/v1", "5 days.")


async def test_a_verdict_in_the_answer_that_the_engine_repeats_among_other_words_is_none(echo):
    with pytest.raises(JudgeReplyError):
        await judged(echo.url + "/v1", '{"score": 1, "pass": true}')


async def test_nobody_there_is_told_as_that():
    with pytest.raises(UnavailableError):
        await judged("http://127.0.0.1:1/v1", "5 days.")
