"""What a user of DeepEval writes for a target behind an endpoint: ask all cases, then evaluate with one metric.

    deepeval_cases.py URL MODEL CONCURRENCY CASES

Runs in DeepEval's environment. The metric needs no judge, so that both tools and Shipway do the same work per case.
"""

import asyncio
import sys
from importlib import import_module

import openai


async def answers(url: str, model: str, concurrency: int, count: int) -> list[str]:
    """Return the answers to all questions, `concurrency` at a time."""
    limit = asyncio.Semaphore(concurrency)

    async def ask(number: int) -> str:
        async with limit:
            reply = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": f"word{number}"}]
            )
        return reply.choices[0].message.content or ""

    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        return await asyncio.gather(*(ask(number) for number in range(count)))


def main() -> None:
    """Ask, evaluate and say how many passed."""
    url, model, concurrency, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    said = asyncio.run(answers(url, model, concurrency, count))
    configs = import_module("deepeval.evaluate.configs")
    made = import_module("deepeval.test_case").LLMTestCase
    cases = [made(input=f"word{number}", actual_output=text, name=str(number)) for number, text in enumerate(said)]
    found = import_module("deepeval").evaluate(
        cases,
        [import_module("deepeval.metrics").PatternMatchMetric(pattern=r"(?s).*word\d+.*")],
        async_config=configs.AsyncConfig(max_concurrent=concurrency),
        display_config=configs.DisplayConfig(show_indicator=False, print_results=False, inspect_after_run=False),
        cache_config=configs.CacheConfig(write_cache=False),
    )
    print(f"passed {sum(bool(item.success) for item in found.test_results)}")


main()
