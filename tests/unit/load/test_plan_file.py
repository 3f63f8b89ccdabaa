"""Plan files: what they say, and every problem with its line."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import ConfigError, NotFoundError, ShipwayError, UsageError
from shipway.load.plan import DEFAULT_LIMITS, DEFAULT_USERS, Arrivals, Kind, Stage
from shipway.load.plan_file import RequestSection, mix_rows, read_plan, template

WHOLE = """
url: http://127.0.0.1:8000
model: chat
key: { env: LOAD_KEY }
arrivals: constant
warmup_s: 2
timeout_s: 20
max_in_flight: 50
stream: false
seed: 9
stages:
  - { rate: 1, to: 10, for_s: 30 }
  - { rate: 10, for_s: 60, measured: false }
requests:
  - { name: short, prompt: "Where is it?", weight: 3, max_tokens: 20 }
  - { name: own, path: /v1/responses, body: { input: hello } }
limits: { p99_ms: 900, error_rate: 0.02 }
"""


@pytest.fixture
def plan(tmp_path):
    def written(text):
        path = tmp_path / "plan.yaml"
        path.write_text(text)
        return path

    return written


def test_a_whole_plan_is_read(plan):
    file = read_plan(plan(WHOLE))

    assert file.plan.kind is Kind.RATE
    assert file.plan.stages == (Stage(30, 1, 10), Stage(60, 10, 10, measured=False))
    assert file.plan.arrivals is Arrivals.CONSTANT
    assert dict(file.plan.limits.upper) == {"p99_ms": 900, "error_rate": 0.02}
    assert (file.plan.warmup_s, file.plan.timeout_s, file.plan.stream, file.plan.seed) == (2, 20, False, 9)
    assert (file.url, file.model, file.key.env) == ("http://127.0.0.1:8000", "chat", "LOAD_KEY")
    assert [item.name for item in file.requests] == ["short", "own"]


def test_an_empty_plan_is_the_default_profile(plan):
    file = read_plan(plan("{}"))

    assert (file.plan.kind, file.plan.stages) == (Kind.USERS, DEFAULT_USERS)
    assert file.plan.limits is DEFAULT_LIMITS


def test_the_staging_profile_is_fifty_users_for_five_minutes(plan):
    assert read_plan(plan("profile: staging")).plan.stages == (Stage(300, 50, 50),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rtae: 5", "plan.yaml:1: rtae: unknown key"),
        ("seed: x", "plan.yaml:1: seed: must be a whole number"),
        ("\nstages: [{ rate: 1, users: 2, for_s: 3 }]", "plan.yaml:2: stages: give exactly one of rate, users"),
        ("stages: [{ rate: 1, for_s: 3 }, { users: 1, for_s: 3 }]", "either all with rate or all with users"),
        ("stages: [{ rate: 1 }]", "for_s: required key is missing"),
        ("requests: [{ name: a }]", "give exactly one of prompt, body"),
        ("requests: [{ prompt: a, path: 'http://far.example/' }]", "is no path such as"),
        ("requests: [{ prompt: a }]\nrecorded: {}", "give one of requests, requests_file, recorded"),
        ("limits: { p98_ms: 3 }", "plan.yaml:1: limits.p98_ms: no such figure"),
        ("limits: { p99_ms: -3 }", "limits.p99_ms: must be at least 0"),
        ("url: http://127.0.0.1\nroute: chat", "plan.yaml:2: route: the url names the target already"),
        ("stages: [{ rate: 0, for_s: 3 }]", "no stage asks anything"),
        ("- 1", "not a mapping"),
    ],
)
def test_a_wrong_plan_says_where_it_is_wrong(plan, text, said):
    with pytest.raises(ConfigError) as caught:
        read_plan(plan(text))

    assert said in str(caught.value)


def test_a_key_in_clear_text_is_refused_and_not_repeated(plan):
    for text in ("key: sk-abcdefghijklmnopqrstuvwx", "requests: [{ prompt: 'sk-abcdefghijklmnopqrstuvwx' }]"):
        with pytest.raises(ConfigError) as caught:
            read_plan(plan(text))

        assert "abcdefgh" not in str(caught.value)


def test_a_missing_plan_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_plan(tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_an_error_of_ours(tmp_path_factory, text):
    path = Path(tmp_path_factory.mktemp("plan")) / "plan.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    # Anything else that is raised fails the test.
    with contextlib.suppress(ShipwayError):
        assert read_plan(path).plan.stages


def test_a_prompt_becomes_a_question_to_the_model():
    made = template(RequestSection(prompt="Hi", max_tokens=5), "request-1", "chat")

    assert made.name == "request-1"
    assert made.body == {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "model": "chat"}


def test_a_body_keeps_its_own_model():
    made = template(RequestSection(name="n", body={"model": "own"}), "request-1", "chat")

    assert (made.name, made.body["model"]) == ("n", "own")


def test_requests_are_read_from_json_lines():
    rows = mix_rows(b'{"prompt": "a", "weight": 2}\n\n{"body": {"x": 1}, "path": "/other"}\n', "mix.jsonl")

    assert [(row.prompt, row.weight, row.path) for row in rows] == [
        ("a", 2.0, "/v1/chat/completions"),
        (None, 1.0, "/other"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "mix.jsonl: no request in it"),
        (b"{}\nnope", "mix.jsonl:2: no JSON object"),
        (b'{"prompt": "a", "heaviness": 2}', "mix.jsonl:1: heaviness"),
        (b"\xff", "mix.jsonl:1: no JSON object"),
        (b"[1]", "mix.jsonl:1"),
    ],
)
def test_wrong_lines_are_named(data, said):
    with pytest.raises(ConfigError, match=said):
        mix_rows(data, "mix.jsonl")


def test_a_request_without_anything_to_ask_is_refused():
    with pytest.raises(UsageError, match="exactly one of prompt, body"):
        template(RequestSection(), "request-1", "chat")
