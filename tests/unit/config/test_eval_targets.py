import pytest
from pydantic import ValidationError

from shipway.config.sections.eval_targets import HttpTemplate, TargetEntry, path_parts, target_problems

KEY = {"env": "BOT_KEY"}
TEMPLATE = {"url": "http://bot:8000/ask", "body": {"text": "{question}"}, "answer": "reply.text"}


def refused(section, body):
    with pytest.raises(ValidationError) as caught:
        section.model_validate(body)
    return "; ".join(error["msg"].removeprefix("Value error, ") for error in caught.value.errors())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"endpoint": "big", "max_tokens": 50, "measure_ttft": True}, "endpoint"),
        ({"endpoint": "https://api.example.com/v1", "model": "m", "api_key": KEY, "price": {"input": 1}}, "endpoint"),
        ({"environment_route": "chat", "api_key": KEY, "gateway": "http://127.0.0.1:8080"}, "environment_route"),
        ({"http": TEMPLATE}, "http"),
        ({"python": "bot.answers:Bot.answer"}, "python"),
        ({"log": "evals/recorded.jsonl"}, "log"),
    ],
)
def test_each_kind_of_target_is_read(body, kind):
    assert TargetEntry.model_validate(body).kind == kind


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "give exactly one of endpoint, environment_route, http, python, log (found none)"),
        (
            {"python": "a:b", "log": "x"},
            "give exactly one of endpoint, environment_route, http, python, log (found python and log)",
        ),
        ({"python": "a:b", "model": "m"}, "model belongs to endpoint, not to python"),
        (
            {"log": "x", "api_key": KEY},
            "api_key belongs to endpoint or environment_route, not to log",
        ),
        ({"endpoint": "big", "gateway": "http://h"}, "gateway belongs to environment_route, not to endpoint"),
        ({"endpoint": "http://h/v1"}, "an endpoint by address needs model: the model's name there"),
        ({"endpoint": "big", "api_key": KEY}, "api_key of endpoint 'big' stands in models.big; remove it here"),
        (
            {"endpoint": "Big Model"},
            "endpoint 'Big Model' is neither an alias of models nor an address like http://host:8000/v1",
        ),
        ({"endpoint": "ftp://h/v1", "model": "m"}, "'ftp://h/v1' is not an address like http://host:8000/ask"),
        ({"endpoint": "http://h/v1?x=1", "model": "m"}, "no query, no placeholder"),
        (
            {"environment_route": "chat"},
            "environment_route needs api_key: a gateway answers nobody without a key",
        ),
        ({"python": "bot.py"}, "python 'bot.py' is not written as package.module:function"),
        ({"python": "bot:"}, "python 'bot:' is not written as package.module:function"),
        ({"log": " "}, "log names no file"),
        ({"environment_route": "chat", "api_key": "swk_abc"}, "a secret stands here in clear text"),
        ({"endpoint": "big", "max_tokens": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_target_is_refused_with_what_to_write(body, reason):
    assert reason in refused(TargetEntry, body)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "bot:8000/ask"}, "'bot:8000/ask' is not an address like http://host:8000/ask"),
        ({"url": "http://{question}/ask"}, "the host is no placeholder"),
        ({"url": "http://bot{question}.example.com/"}, "the host is no placeholder"),
        ({"url": "http://u:p@bot/ask"}, "the address holds a password"),
        ({"url": "http://bot/ask?api_key=abc"}, "the address holds a secret in clear text"),
        ({"url": "http://bot/a b"}, "has signs that must be percent-encoded"),
        ({"url": "http://bot/ä"}, "has signs that must be percent-encoded"),
        ({"url": "http://bot:0/"}, "is not an address"),
        ({"url": "http://bot:99999/"}, "is not an address"),
        ({"method": "DELETE"}, "'GET', 'POST', 'PUT' or 'PATCH'"),
        ({"method": "GET"}, "a GET has no body; put {question} into url"),
        ({"body": {"text": "hello"}}, "{question} stands neither in body nor in url"),
        ({"body": {"text": "{tenant}"}}, "so every case would be asked the same"),
        ({"body": {"text": "{{question}}"}}, "write {question} with single braces, not {{question}}"),
        ({"body": "{question}"}, "valid dictionary; Input should be a valid list"),
        ({"body": {"n": float("nan"), "q": "{question}"}}, "this is not JSON"),
        ({"body": {"when": {1, 2}}}, "this is not JSON"),
        ({"answer": "$.choices[0].text"}, "written with dots and numbers; write choices.0.text"),
        ({"answer": "a..b"}, "has an empty part"),
        ({"answer": ""}, "has an empty part"),
        ({"answer": "items.*.text"}, "answer leads to one text"),
        ({"citations": "sources[*].id"}, "write sources.*.id"),
        ({"headers": {"Authorization": "Bearer abc"}}, "header 'Authorization' holds a secret in clear text"),
        ({"headers": {"X-Api-Key": "abc"}}, "write {env: NAME} or {file: path}"),
        ({"headers": {"x-a": "1", "X-A": "2"}}, "header 'X-A' stands here twice"),
        ({"headers": {"content-length": "3"}}, "header 'content-length' is set by Shipway; remove it"),
        ({"headers": {"x y": "3"}}, "'x y' is not the name of a header"),
        ({"headers": {"x-a": "1\r\nx-b: 2"}}, "write ASCII on one line"),
        ({"headers": {"x-a": {"env": "A", "file": "b"}}}, "give exactly one of env, file"),
        ({"headers": {"authorization": KEY}, "api_key": KEY}, "not both"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_what_to_write(change, reason):
    assert reason in refused(HttpTemplate, {**TEMPLATE, **change})


def test_no_refusal_repeats_a_secret():
    told = refused(HttpTemplate, {**TEMPLATE, "headers": {"authorization": "Bearer hush-hush"}})
    told += refused(HttpTemplate, {**TEMPLATE, "url": "http://bot/?token=hush-hush"})
    told += refused(HttpTemplate, {**TEMPLATE, "url": "http://u:hush-hush@bot/"})

    assert "hush-hush" not in told


def test_a_key_may_be_referred_to_in_a_header_and_a_question_stand_in_the_address():
    made = HttpTemplate.model_validate(
        {
            "method": "GET",
            "url": "http://bot/ask?q={question}",
            "headers": {"x-api-key": KEY, "x-v": "2"},
            "answer": ".",
        }
    )

    assert made.headers["x-api-key"].env == "BOT_KEY"
    assert made.headers["x-v"] == "2"


@pytest.mark.parametrize(
    ("path", "parts"), [(".", ()), ("a", ("a",)), ("choices.0.message", ("choices", "0", "message"))]
)
def test_a_path_has_its_parts(path, parts):
    assert path_parts(path) == parts


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (None, []),
        ({"endpoint": "big"}, []),
        ({"endpoint": "http://h/v1", "model": "m"}, []),
        ({"endpoint": "bog"}, [(("evals", "target", "endpoint"), "'bog' is not in models (it has big)")]),
        (
            {"environment_route": "chot", "api_key": KEY},
            [(("evals", "target", "environment_route"), "'chot' is not in routes (it has chat)")],
        ),
        ({"environment_route": "old", "api_key": KEY, "gateway": "http://h"}, []),
    ],
)
def test_a_target_names_what_the_project_has(entry, found):
    target = TargetEntry.model_validate(entry) if entry else None

    assert list(target_problems(("evals", "target"), target, ["big"], ["chat"])) == found
