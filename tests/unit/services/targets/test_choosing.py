import json

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.config.sections.eval_targets import TargetEntry
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.evals.model import Case
from shipway.evals.ports import HttpReply
from shipway.services.application import Application, Workspace
from shipway.services.runtimes import Engine
from shipway.services.targets.choosing import TARGET_KEY, TargetParts, choose_target, read_target, unknown_cases

PROJECT = """app: small
models:
  big: { engine: openai, model: gpt-x, base_url: "http://127.0.0.1:1/v1", max_out: 77, price: { input: 1, output: 2 } }
  free: { engine: ollama, model: tiny, base_url: "http://127.0.0.1:2/v1" }
decoding: { temperature: 0.5, seed: 3 }
routes: { chat: { kind: chat, model: big } }
"""
CASE = Case(id="a", question="Why?")
REPLY = {
    "choices": [{"message": {"content": "Because."}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


class Caller:
    def __init__(self):
        self.asked = []

    async def call(self, request):
        self.asked.append(request)
        version = {"routes": {"chat": {"stable": {"release": "rel_a"}}}}
        value = version if request.url.endswith("/version") else REPLY
        return HttpReply(200, {"x-shipway-release": "rel_a"}, json.dumps(value).encode(), 1.0, 2.0)


class Engines:
    def engine(self, alias, model):
        key = "sk-big" if alias == "big" else None
        return Engine(f"http://{alias}:8000/v1", model["model"], key, key_header="api-key", url_query="?api-version=1")


@pytest.fixture
def app(tmp_path):
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), ManualClock(), "user:test")


@pytest.fixture
def parts():
    return TargetParts(Caller(), Engines(), {TARGET_KEY: "swk_t", "BOT": "hush"}, 30.0)


def entry(**body):
    return TargetEntry.model_validate(body)


async def first_call(app, chosen, parts):
    async with choose_target(app, chosen, parts) as target:
        output = await target.ask(CASE, repeat=1)
    return target, output, parts.caller.asked[-1]


async def test_an_alias_is_asked_as_the_project_says(app, parts):
    target, output, call = await first_call(app, "big", parts)

    assert (target.name, output.answer, output.cost_usd) == ("big", "Because.", pytest.approx(20e-6))
    assert (call.url, call.timeout_s) == ("http://big:8000/v1/chat/completions?api-version=1", 30.0)
    assert dict(call.headers)["api-key"] == "sk-big"
    body = json.loads(call.body)
    assert body["messages"] == [{"role": "user", "content": "Why?"}]
    assert {name: body[name] for name in ("model", "max_tokens", "temperature", "seed")} == {
        "model": "gpt-x",
        "max_tokens": 77,
        "temperature": 0.5,
        "seed": 4,
    }


async def test_a_model_without_a_price_has_no_known_cost(app, parts):
    _, output, call = await first_call(app, "free", parts)

    assert (output.tokens_in, output.cost_usd) == (10, None)
    assert "api-key" not in dict(call.headers)


async def test_an_address_is_asked_for_the_model_after_the_hash(app, parts):
    target, _, call = await first_call(app, "http://gpu:9/v1/#qwen", parts)

    assert target.name == "http://gpu:9/v1#qwen"
    assert (call.url, json.loads(call.body)["model"]) == ("http://gpu:9/v1/chat/completions", "qwen")
    assert dict(call.headers)["authorization"] == "Bearer swk_t"


async def test_the_key_of_the_command_line_goes_to_no_address_of_the_project_file(app, parts):
    _, _, call = await first_call(app, entry(endpoint="http://gpu:9/v1", model="qwen"), parts)

    assert "authorization" not in dict(call.headers)


async def test_an_entry_has_its_own_key_price_and_length(app, parts):
    chosen = entry(endpoint="http://gpu:9/v1", model="qwen", api_key={"env": "BOT"}, price={"input": 3}, max_tokens=5)

    _, output, call = await first_call(app, chosen, parts)

    assert dict(call.headers)["authorization"] == "Bearer hush"
    assert (json.loads(call.body)["max_tokens"], output.cost_usd) == (5, pytest.approx(30e-6))


async def test_a_route_of_the_running_environment_is_asked_through_its_gateway(app, parts):
    (app.workspace.run).mkdir(parents=True)
    (app.workspace.run / "endpoints.json").write_text(json.dumps({"gateway": "http://gw:1", "control": "http://c:1"}))

    target, output, call = await first_call(app, "route:chat", parts)

    assert (target.name, target.serving.stable, output.answer) == ("route:chat", "rel_a", "Because.")
    assert call.url == "http://gw:1/v1/chat/completions"
    assert dict(call.headers)["authorization"] == "Bearer swk_t"


async def test_a_route_of_another_environment_is_asked_at_its_gateway(app, parts):
    chosen = entry(environment_route="chat", api_key={"env": "BOT"}, gateway="https://staging.example/", max_tokens=4)

    _, _, call = await first_call(app, chosen, parts)

    assert call.url == "https://staging.example/v1/chat/completions"
    assert json.loads(call.body)["max_tokens"] == 4


async def test_two_runs_of_a_route_share_no_conversation(app, parts):
    chosen = entry(environment_route="chat", api_key={"env": "BOT"}, gateway="http://gw:1")

    calls = [(await first_call(app, chosen, parts))[2] for _ in range(2)]

    assert len({dict(call.headers)["x-shipway-conversation"] for call in calls}) == 2


async def test_a_template_a_function_and_a_log_are_opened(app, parts):
    root = app.loaded.root
    (root / "chosen_bot.py").write_text("def answer(case):\n    return case.question + '!'\n")
    (root / "log.jsonl").write_text('{"case": "a", "repeat": 1, "answer": "recorded"}\n')
    http = {"url": "http://bot/ask", "body": {"q": "{question}"}, "answer": "choices.0.message.content"}

    template, output, call = await first_call(app, entry(http={**http, "api_key": {"env": "BOT"}}), parts)
    assert (template.name, output.answer) == ("http http://bot/ask", "Because.")
    assert dict(call.headers)["authorization"] == "Bearer hush"
    for text, answer in (("python:chosen_bot:answer", "Why?!"), ("log:log.jsonl", "recorded")):
        async with choose_target(app, text, parts) as target:
            assert (target.name, (await target.ask(CASE, repeat=1)).answer) == (text, answer)


async def test_recorded_answers_to_cases_that_the_dataset_lacks_are_told(app, parts, tmp_path):
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "cases.jsonl").write_text('{"id": "a", "question": "Why?", "must_contain": ["x"]}\n')
    (tmp_path / "log.jsonl").write_text("".join(f'{{"case": "{name}", "answer": "x"}}\n' for name in ("a", "gone")))

    async with choose_target(app, "log:log.jsonl", parts) as log, choose_target(app, "big", parts) as other:
        said = await unknown_cases(app, log)
        assert said == "log.jsonl has answers to a case that the dataset does not have; it is 'gone' (line 2)"
        assert await unknown_cases(app, other) == ""


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("bgi", "no target 'bgi'", "did you mean 'big'?"),
        ("rel_3f9a", "no target 'rel_3f9a'", "a release is named without --target"),
        ("http://gpu:9/v1", "does not say which model", "write http://gpu:9/v1#MODEL"),
        ("ftp://x", "target 'ftp://x': nothing is asked over 'ftp'", "begins with http:// or https://; a target is"),
        ("ftp://x#m", "nothing is asked over 'ftp'", "URL#MODEL"),
        ("log:a://b", "log a://b: there is no such file", ""),
        ("http://u:p@gpu/v1#m", "the address holds a password", ""),
        ("python:bot.py", "python 'bot.py' is not written as package.module:function", "eval run --help"),
        ("log:", "log names no file", ""),
        ("log:gone.jsonl", "log gone.jsonl: there is no such file", "the project's folder"),
        ("python:gone_bot:f", "No module named 'gone_bot'", "modules are looked for in"),
        ("route:chat", "nothing is running here", "shipway up"),
        ("", "no target ''", "python:module:function"),
    ],
)
async def test_what_is_no_target_is_refused_with_what_to_write(app, parts, text, message, hint):
    with pytest.raises((UsageError, NotFoundError)) as caught:
        async with choose_target(app, text, parts):
            pass

    assert message in caught.value.message
    assert hint in caught.value.hint
    assert parts.caller.asked == []


async def test_a_secret_that_is_not_set_is_named_before_anything_is_asked(app, parts):
    for chosen in (
        entry(endpoint="http://gpu:9/v1", model="m", api_key={"env": "MISSING"}),
        entry(environment_route="chat", gateway="http://gw:1", api_key={"env": "MISSING"}),
        entry(
            http={"url": "http://b/{question}", "method": "GET", "answer": ".", "headers": {"x-k": {"env": "MISSING"}}}
        ),
    ):
        with pytest.raises(ConfigError, match="environment variable MISSING: the secret is not set or empty"):
            async with choose_target(app, chosen, parts):
                pass
    assert parts.caller.asked == []


def test_the_key_of_a_route_is_looked_for_when_it_is_opened(app):
    assert read_target(app, "route:chat", {}).api_key.env == TARGET_KEY
    assert read_target(app, "http://gpu/v1#m", {}).api_key is None


async def test_no_digest_and_no_representation_holds_a_secret_and_each_setting_decides(app, parts):
    http = {"url": "http://b/ask", "body": {"q": "{question}"}, "answer": "a"}
    entries = [
        entry(endpoint="big"),
        entry(endpoint="big", max_tokens=5),
        entry(endpoint="free"),
        entry(endpoint="http://gpu:9/v1", model="a"),
        entry(endpoint="http://gpu:9/v1", model="b"),
        entry(endpoint="http://gpv:9/v1", model="b"),
        entry(http=http),
        entry(http={**http, "answer": "b"}),
        entry(http={**http, "body": {"q": "{question}?"}}),
        entry(http={**http, "headers": {"x-v": "2"}}),
        entry(http={**http, "headers": {"x-v": {"env": "BOT"}}}),
        entry(http={**http, "passages": "p"}),
        entry(http={**http, "api_key": {"env": "BOT"}}),
    ]
    digests = []
    for chosen in entries:
        async with choose_target(app, chosen, parts) as target:
            digests.append(target.digest)
            assert "hush" not in repr(target)
            assert "sk-big" not in repr(target)

    assert len(set(digests)) == len(entries)


async def test_a_secret_kept_elsewhere_is_the_same_target(app, parts):
    http = {"url": "http://b/ask", "body": {"q": "{question}"}, "answer": "a"}
    first, second = (entry(http={**http, "headers": {"x-key": {"env": name}}}) for name in ("BOT", TARGET_KEY))

    async with choose_target(app, first, parts) as one, choose_target(app, second, parts) as two:
        assert one.digest == two.digest


async def test_another_value_of_a_secret_is_the_same_target(app, parts):
    chosen = entry(endpoint="http://gpu:9/v1", model="m", api_key={"env": "BOT"})
    other = TargetParts(parts.caller, parts.engines, {"BOT": "other"}, 5.0)

    async with choose_target(app, chosen, parts) as first, choose_target(app, chosen, other) as second:
        assert first.digest == second.digest
