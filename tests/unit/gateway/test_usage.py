"""The shapes are made after each engine's documentation; none was recorded from a paid service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.model import ModelPrice, Usage
from shipway.gateway.usage import usage_of

SHAPES = {
    "openai": (
        {
            "usage": {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 0},
            }
        },
        Usage(uncached=86, cache_read=1920, output=300, reasoning=192),
    ),
    "openai responses": (
        {
            "type": "response.completed",
            "response": {
                "usage": {
                    "input_tokens": 36,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens": 87,
                    "output_tokens_details": {"reasoning_tokens": 12},
                    "total_tokens": 123,
                }
            },
        },
        Usage(uncached=32, cache_read=4, output=87, reasoning=12),
    ),
    "vllm without details": (
        {"usage": {"prompt_tokens": 8, "total_tokens": 15, "completion_tokens": 7, "prompt_tokens_details": None}},
        Usage(uncached=8, output=7),
    ),
    "vllm with details": (
        {
            "usage": {
                "prompt_tokens": 64,
                "total_tokens": 71,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 48},
            }
        },
        Usage(uncached=16, cache_read=48, output=7),
    ),
    "vllm rerank": (
        {"id": "rerank-1", "model": "m", "usage": {"total_tokens": 56}, "results": []},
        Usage(uncached=56),
    ),
    "jina rerank": ({"usage": {"total_tokens": 15, "prompt_tokens": 15}}, Usage(uncached=15)),
    "embeddings": ({"data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(uncached=5)),
    "sglang": (
        {
            "usage": {
                "prompt_tokens": 30,
                "total_tokens": 80,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 29},
                "reasoning_tokens": 20,
            }
        },
        Usage(uncached=1, cache_read=29, output=50, reasoning=20),
    ),
    "ollama": (
        {"usage": {"prompt_tokens": 26, "completion_tokens": 282, "total_tokens": 308}},
        Usage(uncached=26, output=282),
    ),
    "trtllm": (
        {
            "usage": {
                "prompt_tokens": 24,
                "total_tokens": 40,
                "completion_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 16},
            }
        },
        Usage(uncached=8, cache_read=16, output=16),
    ),
    "llama.cpp with usage and timings": (
        {
            "usage": {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49},
            "timings": {"prompt_n": 4, "predicted_n": 9},
        },
        Usage(uncached=4, cache_read=36, output=9),
    ),
    "llama.cpp timings alone": (
        {"choices": [], "timings": {"cache_n": 36, "prompt_n": 4, "predicted_n": 9, "predicted_ms": 80.5}},
        Usage(uncached=4, cache_read=36, output=9),
    ),
    "llama.cpp own endpoint": (
        {"content": "a", "tokens_evaluated": 40, "tokens_predicted": 9, "tokens_cached": 48},
        Usage(uncached=40, output=9),
    ),
    "deepseek": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "total_tokens": 110,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            }
        },
        Usage(uncached=36, cache_read=64, output=10),
    ),
    "cache writes": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "total_tokens": 110,
                "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 70},
            }
        },
        Usage(uncached=10, cache_read=20, output=10, cache_write=70),
    ),
    "cache beside the prompt": (
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "prompt_tokens_details": {"cached_tokens": 100},
            }
        },
        Usage(uncached=10, cache_read=100, output=5),
    ),
    "reasoning beside the completion": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            }
        },
        Usage(uncached=32, output=103, reasoning=94),
    ),
    "thinking in the total alone": (
        {"usage": {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}},
        Usage(uncached=20, output=603, reasoning=405),
    ),
    "groq stream": (
        {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}},
        Usage(uncached=3, output=2),
    ),
    "moonshot stream": (
        {
            "choices": [
                {"usage": {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 19}}
            ]
        },
        Usage(cache_read=19, output=13),
    ),
    "cohere rerank": (
        {"results": [], "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 12.0}}},
        Usage(uncached=12),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_engines_words_become_one_partition(name: str) -> None:
    told, expected = SHAPES[name]

    assert usage_of(told) == expected


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": []},
        {"usage": {"prompt_tokens": -1}},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"prompt_tokens": "8"}},
        {"choices": [{"delta": {"content": "usage"}}]},
        {"choices": [None]},
        {"timings": {"prompt_n": 4}},
        {"timings": 3},
    ],
)
def test_what_cannot_be_believed_is_no_usage(told: dict[str, object]) -> None:
    assert usage_of(told) is None


def test_a_cached_part_larger_than_the_prompt_is_cut_to_it() -> None:
    told = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}

    assert usage_of({"usage": told}) == Usage(cache_read=5, output=1)


_count = st.one_of(st.none(), st.integers(-3, 50), st.booleans(), st.text(max_size=2), st.floats(allow_nan=True))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": _count,
            "completion_tokens": _count,
            "total_tokens": _count,
            "reasoning_tokens": _count,
            "prompt_tokens_details": st.one_of(
                _count, st.fixed_dictionaries({"cached_tokens": _count, "cache_write_tokens": _count})
            ),
        },
    )
)
def test_no_engine_can_make_a_number_below_zero_or_a_part_larger_than_the_whole(told: dict[str, object]) -> None:
    usage = usage_of({"usage": told})

    if usage is not None:
        assert min(usage.uncached, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) >= 0
        assert usage.reasoning <= usage.output


def test_writing_to_a_cache_costs_its_own_price_or_that_of_reading_in() -> None:
    usage = Usage(uncached=1_000_000, cache_read=1_000_000, output=1_000_000, cache_write=1_000_000)

    assert usage.cost_usd(ModelPrice(2.0, 0.5, 8.0, 2.5)) == 13.0
    assert usage.cost_usd(ModelPrice(2.0, 0.5, 8.0)) == 12.5
    assert usage.to_openai()["prompt_tokens"] == 3_000_000
