"""`shipway eval run`: what is known before it begins, and the budget that answers, judgements and shards share."""

import json
import threading

import pytest
from tests.integration.cli.chat_endpoint import Endpoint

PROJECT = """app: judged
models:
  far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64, price: {{ input: 1.0, output: 2.0 }} }}
  wise: {{ engine: openai, model: judge, base_url: "{url}", max_out: 64, price: {{ input: 1.0, output: 2.0 }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
judges: {{ strict: {{ kind: llm, model: wise, swap: false, rubric: rubric.md }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat, judge: strict }}
gates: [{{ metric: "judge:strict", min: 0.5 }}]
"""
CASES = 30
EACH = 150
"""Tokens of a call, in and out."""
OPINION = json.dumps({"score": 1.0, "pass": True, "reason": "it does"})

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def endpoint():
    server = Endpoint()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.answer = lambda question: f"It is {question}." if question.startswith("word") else OPINION
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def app(make_app, endpoint):
    app = make_app()
    app.write("shipway.yaml", PROJECT.format(url=endpoint.url))
    app.write("rubric.md", "It says which word it is.")
    rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(CASES)]
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
    return app


@pytest.fixture
def release(app):
    return app.run("release", "create", "--json").json["release"]


def opinions(endpoint):
    return sum(times for question, times in endpoint.asked.items() if not question.startswith("word"))


def test_an_estimate_names_the_share_of_the_judge_and_later_what_judging_took(app, release, endpoint):
    first = app.run("eval", "run", release, "--estimate", "--json").json
    assert first["judge"]["calls"] == CASES
    assert first["judge"]["tokens_out"] == CASES * 512
    assert first["judge"]["usd"] > 0
    assert first["calls"] == 2 * CASES
    assert not endpoint.asked
    shown = app.run("eval", "run", release, "--estimate").out
    assert f"the judge   {CASES} calls, " in shown

    app.run("eval", "run", release)
    later = app.run("eval", "run", release, "--estimate", "--json").json

    assert later["judge"] == {"calls": CASES, "tokens_in": 3000, "tokens_out": 1500, "usd": pytest.approx(0.006)}
    assert (later["tokens_in"], later["tokens_out"]) == (6000, 3000)


def test_a_budget_holds_the_judge_too_and_a_larger_one_goes_on_where_it_ended(app, release, endpoint):
    done = app.run("eval", "run", release, "--budget-tokens", "6000", "--yes")

    assert done.code == 3, done.out
    assert "the budget of 6,000 tokens is used up: the next call of the judge would exceed it" in done.err
    assert f"{CASES} answers are kept" in done.err
    asked = sum(endpoint.asked.values())
    assert CASES < asked <= 6000 // EACH
    judged = opinions(endpoint)

    again = app.run("eval", "run", release, "--resume", "--budget-tokens", "20000", "--json")

    assert (again.code, again.json["verdict"]) == (0, "PASS"), again.err
    assert judged < opinions(endpoint) == CASES
    assert again.json["cost"]["judge_calls"] == CASES
    assert again.json["cost"]["judge_tokens_out"] == CASES * 50


def test_a_judge_whose_replies_are_useless_is_paid_for_all_the_same(app, release, endpoint):
    endpoint.answer = lambda question: f"It is {question}." if question.startswith("word") else "Sure!"

    done = app.run("eval", "run", release, "--json")

    assert done.json["verdict"] == "ERROR"
    assert done.json["cost"]["judge_calls"] == 2 * CASES
    assert done.json["cost"]["judge_usd"] == pytest.approx(2 * CASES * (100 * 1.0 + 50 * 2.0) / 1e6)


def test_an_estimate_over_the_budget_counts_the_judge(app, release, endpoint):
    app.run("eval", "run", release)
    asked = sum(endpoint.asked.values())

    done = app.run("eval", "run", release, "--budget-tokens", "5000")

    assert done.code == 2
    assert "9,000 tokens, and the budget is 5,000" in done.err
    assert sum(endpoint.asked.values()) == asked


def test_a_budget_in_dollars_needs_the_price_of_the_judge(app, release, endpoint):
    app.edit("shipway.yaml", "model: judge, ", "model: judge2, ")
    app.edit("shipway.yaml", "max_out: 64, price: { input: 1.0, output: 2.0 } }\nroutes", "max_out: 64 }\nroutes")

    done = app.run("eval", "run", release, "--budget-usd", "5")

    assert done.code == 2
    assert "nobody names the price of judge:strict" in done.err
    assert not endpoint.asked


def test_shards_share_one_budget_and_the_judge_is_not_asked_again_by_merge(app, release, endpoint, tmp_path):
    app.run("eval", "run", release)
    endpoint.asked.clear()
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        command = ("eval", "run", release, "--shard", f"{number}/3", "--out", str(part))
        small = app.run(*command, "--budget-tokens", "3000")
        assert small.code == 2, small.out
        done = app.run(*command, "--budget-tokens", "27000")
        assert done.code == 0, done.err
    assert not any("part" in name for name in endpoint.asked)
    assert opinions(endpoint) == CASES

    merged = app.run("eval", "merge", *map(str, parts), "--json")

    assert merged.json["verdict"] == "PASS", merged.err
    assert opinions(endpoint) == CASES
    cost = merged.json["cost"]
    assert (cost["calls"], cost["judge_calls"]) == (CASES, CASES)
    assert cost["judge_usd"] == cost["usd"] == pytest.approx(CASES * 200 / 1e6)


def test_a_shard_that_uses_up_its_part_of_the_budget_says_so(app, release, endpoint, tmp_path):
    done = app.run(
        "eval", "run", release, "--shard", "1/3", "--out", str(tmp_path / "s"), "--budget-tokens", "3000", "--yes"
    )
    assert done.code == 3
    assert ", shard 1/3's part of the whole, is used up" in done.err
    assert sum(endpoint.asked.values()) * EACH <= 3000


BOT = """
def told(case):
    return {"answer": f"It is {case.question}.", "tokens_in": 40, "tokens_out": 10, "cost_usd": 0.001}


def silent(case):
    return f"It is {case.question}."
"""


@pytest.fixture
def plain(app):
    app.edit("shipway.yaml", ", judge: strict", "")
    app.edit("shipway.yaml", 'metric: "judge:strict"', "metric: correct")
    app.write("budget_bot.py", BOT)
    return app


def test_what_a_function_takes_is_unknown_until_a_run_has_told_it(plain):
    command = ("eval", "run", "--target", "python:budget_bot:told")
    unknown = plain.run(*command, "--estimate", "--json").json
    assert (unknown["tokens_in"], unknown["tokens_out"], unknown["usd"]) == (None, None, None)
    assert "no earlier run tells it" in unknown["unknown"]

    done = plain.run(*command, "--json")
    known = plain.run(*command, "--estimate", "--json").json

    assert done.json["cost"]["usd"] == pytest.approx(0.03)
    assert (known["calls"], known["tokens_in"], known["tokens_out"]) == (CASES, 1200, 300)
    assert known["usd"] == pytest.approx(0.03)
    assert known["basis"] == f"the calls of the last run, {done.json['run']}"


def test_a_cost_that_nobody_tells_is_not_known_and_not_0(plain):
    done = plain.run("eval", "run", "--target", "python:budget_bot:silent", "--json")
    again = plain.run("eval", "rescore", done.json["run"], "--json")
    shown = plain.run("eval", "run", "--target", "python:budget_bot:silent")
    estimate = plain.run("eval", "run", "--target", "python:budget_bot:silent", "--estimate").out

    assert "usd" not in done.json["cost"]
    assert "usd" not in again.json["cost"]
    assert "cost not known" in shown.out
    assert "tokens out  not known" in estimate
    assert "told neither tokens nor cost in its last run" in estimate


def test_a_budget_in_dollars_ends_a_run_that_tells_no_cost(plain):
    done = plain.run("eval", "run", "--target", "python:budget_bot:silent", "--budget-usd", "1")
    assert done.code == 3
    assert "the budget of $1 cannot be held: an answer or a judgement did not tell its cost" in done.err


def test_recorded_answers_are_estimated_at_nothing_and_take_nothing_of_a_budget(plain):
    rows = [
        {"case": f"c{n:02}", "answer": f"It is word{n}.", "latency_ms": 5, "tokens_in": 900, "tokens_out": 100}
        for n in range(CASES)
    ]
    plain.write("answers.jsonl", "\n".join(map(json.dumps, rows)))
    command = ("eval", "run", "--target", "log:answers.jsonl", "--budget-tokens", "100", "--json")

    estimate = plain.run(*command, "--estimate").json
    done = plain.run(*command)

    assert (estimate["tokens_in"], estimate["tokens_out"], estimate["usd"]) == (0, 0, 0.0)
    assert estimate["basis"] == "recorded answers, which take nothing again"
    assert (done.code, done.json["verdict"]) == (0, "PASS"), done.err
    assert done.json["cost"]["usd"] == 0.0
