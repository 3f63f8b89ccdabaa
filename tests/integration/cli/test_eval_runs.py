"""`shipway eval`: runs that are divided, capped, collected, scored again and given from the cache."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
from tests.integration.cli.chat_endpoint import Endpoint

PROJECT = """app: small
models: {{ far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64, price: {{ input: 1.0, output: 2.0 }} }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat{more} }}
gates: [{{ metric: correct, min: 0.5 }}]
"""
CASES = 30

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def endpoint():
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(make_app, endpoint):
    """Return what makes a project and its release, with more settings of `evals`."""

    def make(more=""):
        app = make_app()
        app.write("shipway.yaml", PROJECT.format(url=endpoint.url, more=more))
        rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(CASES)]
        app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
        return app, app.run("release", "create", "--json").json["release"]

    return make


def test_merged_shards_give_the_report_of_one_run(project, endpoint, tmp_path):
    app, release = project()
    endpoint.answer = lambda question: "something else" if question in {"word3", "word7"} else question
    whole = app.run("eval", "run", release, "--json").json
    parts = []
    for number in (1, 2, 3):
        out = tmp_path / f"part{number}"
        done = app.run("eval", "run", release, "--shard", f"{number}/3", "--out", str(out), "--json")
        assert (done.code, done.json["verdict"], done.json["gates"]) == (0, None, [])
        assert json.loads((out / "report.json").read_text())["verdict"] == "partial"
        parts.append(out)
    assert set(endpoint.asked.values()) == {2}

    merged = app.run("eval", "merge", *map(str, parts), "--json")

    assert merged.code == 0, merged.err
    assert merged.json["gates"] == whole["gates"]
    assert merged.json["verdict"] == whole["verdict"] == "PASS"
    assert scores_of(merged.json) == scores_of(whole)
    assert merged.json["cost"] == pytest.approx(whole["cost"])
    assert set(endpoint.asked.values()) == {2}


def scores_of(report):
    rows = map(json.loads, (Path(report["directory"]) / "scores.jsonl").read_text().splitlines())
    return [{**row, "scores": {k: v for k, v in row["scores"].items() if k != "latency_ms"}} for row in rows]


def test_shards_that_are_no_whole_are_refused(project, tmp_path):
    app, release = project()
    for number in (1, 2):
        app.run("eval", "run", release, "--shard", f"{number}/3", "--out", str(tmp_path / f"part{number}"))
    app.run("eval", "run", release, "--shard", "3/3", "--repeats", "2", "--out", str(tmp_path / "other"))

    missing = app.run("eval", "merge", str(tmp_path / "part1"), str(tmp_path / "part2"))
    twice = app.run("eval", "merge", str(tmp_path / "part1"), str(tmp_path / "part1"))
    other = app.run("eval", "merge", str(tmp_path / "part1"), str(tmp_path / "other"))
    wrong = app.run("eval", "run", release, "--shard", "4/3")

    assert (missing.code, twice.code, other.code, wrong.code) == (2, 2, 2, 2)
    assert "shard 3/3 is missing" in missing.err
    assert "another process runs this run" in twice.err or "shard 1/3 is there twice" in twice.err
    assert "are not of one run:\n  repeats: 2 against 1" in other.err
    assert "'4/3' is no part of a whole" in wrong.err


def test_an_estimate_asks_nothing(project, endpoint):
    app, release = project()
    done = app.run("eval", "run", release, "--estimate", "--json")
    shown = app.run("eval", "run", release, "--estimate")

    assert (done.code, done.json["calls"]) == (0, CASES)
    assert done.json["tokens_out"] == CASES * 64
    assert done.json["usd"] > 0
    assert "the length of the questions" in shown.out
    assert not endpoint.asked


def test_a_run_over_its_budget_is_refused_before_it_begins(project, endpoint):
    app, release = project(", budget: { max_tokens: 500 }")
    refused = app.run("eval", "run", release)

    assert refused.code == 2
    assert "the run is estimated at" in refused.err
    assert "the budget is 500; nothing was asked" in refused.err
    assert "--yes" in refused.err
    assert not endpoint.asked


def test_a_budget_ends_a_run_and_a_larger_one_goes_on_with_it(project, endpoint):
    app, release = project()
    stopped = app.run("eval", "run", release, "--budget-tokens", "1000", "--yes")
    asked = sum(endpoint.asked.values())

    assert stopped.code == 3
    assert "the budget of 1,000 tokens is used up" in stopped.err
    assert f"{asked} answers are kept in" in stopped.err
    # Each answer took 150 tokens, whatever was expected: none was asked for that did not fit.
    assert asked * 150 <= 1000

    done = app.run("eval", "run", release, "--resume", "--json")

    assert done.code == 0, done.err
    assert set(endpoint.asked.values()) == {1}
    # What the kept answers took is part of what the run took.
    assert done.json["cost"]["calls"] == CASES
    assert done.json["cost"]["usd"] == pytest.approx(CASES * (100 * 1.0 + 50 * 2.0) / 1e6)
    # From now on the estimate goes by what the calls took.
    assert app.run("eval", "run", release, "--estimate", "--json").json["tokens_in"] == CASES * 100


def test_a_budget_in_dollars_needs_prices(project):
    app, release = project()
    app.edit("shipway.yaml", ", price: { input: 1.0, output: 2.0 }", "")

    done = app.run("eval", "run", release, "--budget-usd", "1")

    assert done.code == 2
    assert "nobody names the price" in done.err


def test_an_endpoint_that_is_down_for_half_the_cases_is_an_error_and_what_failed_is_asked_again(project, endpoint):
    app, release = project(", retries: 0")
    endpoint.status = lambda question: 500 if int(question[4:]) % 2 else 200

    done = app.run("eval", "run", release)

    assert done.code == 3
    assert "verdict: ERROR" in done.out
    assert "15/30" in done.out
    assert "--resume asks again only what failed" in done.err
    endpoint.status = lambda question: 200
    again = app.run("eval", "run", release, "--resume", "--json")
    assert (again.code, again.json["verdict"]) == (0, "PASS")
    assert {endpoint.asked[f"word{n}"] for n in range(0, CASES, 2)} == {1}


def test_fail_fast_stops_and_judges_nothing_but_an_error(project, endpoint):
    app, release = project()
    endpoint.answer = lambda question: "wrong"

    done = app.run("eval", "run", release, "--fail-fast", "3")

    assert done.code == 3
    assert sum(endpoint.asked.values()) == 3
    assert "stopped after 3 failed cases" in done.out


def test_without_gates_answers_are_collected_and_given_again_from_the_cache(project, endpoint):
    app, release = project()
    first = app.run("eval", "run", release, "--no-gates", "--json")
    second = app.run("eval", "run", release, "--no-gates", "--json")

    assert (first.code, second.code) == (0, 0)
    assert first.json["evaluation"] is None
    assert set(endpoint.asked.values()) == {1}
    assert app.run("eval", "rescore", first.json["run"]).code == 0
    copied = app.run("eval", "rescore", second.json["run"])
    assert copied.code == 2
    assert "30 answers are from the cache; a gate wants fresh ones" in copied.err
    assert app.run("eval", "cache", "stats", "--json").json["answers"] == CASES
    app.run("eval", "run", release)
    assert set(endpoint.asked.values()) == {2}
    assert app.run("eval", "cache", "clear", "--json").json["answers"] == CASES
    app.run("eval", "run", release, "--no-gates")
    assert set(endpoint.asked.values()) == {3}


def test_a_run_is_scored_again_by_gates_that_came_later(project, endpoint):
    app, release = project()
    wrong = {f"word{n}" for n in range(7)}
    endpoint.answer = lambda question: "something else" if question in wrong else question
    done = app.run("eval", "run", release, "--json")
    app.edit("shipway.yaml", "min: 0.5", "min: 0.9")

    again = app.run("eval", "rescore", done.json["run"], "--json")

    assert (done.code, again.code) == (0, 1), again.err
    assert set(endpoint.asked.values()) == {1}
    assert again.json["verdict"] == "FAIL"
    unknown = app.run("eval", "rescore", "run_none")
    assert unknown.code == 2
    assert done.json["run"] in unknown.err


def test_a_target_that_is_no_release_is_judged_by_the_same_gates(project, endpoint):
    app, _ = project()

    done = app.run("eval", "run", "--target", "far", "--json")

    assert done.code == 0, done.err
    assert (done.json["release"], done.json["verdict"]) == ("far", "PASS")
    assert set(endpoint.asked.values()) == {1}


def test_looks_add_repeats_to_both_releases_while_a_comparison_is_inconclusive(project, endpoint):
    app, release = project(", repeats: 2, looks: 2, extra_repeats: 3")
    app.edit("shipway.yaml", "{ metric: correct, min: 0.5 }", "{ metric: correct, non_regression: 0.2 }")
    app.edit("shipway.yaml", "routes:", "decoding: { temperature: 1.0 }\nroutes:")
    first = app.run("release", "create", "--json").json["release"]
    app.edit("shipway.yaml", "max_out: 64", "max_out: 65")
    second = app.run("release", "create", "--json").json["release"]

    # Half of all answers are wrong, by chance: repeats differ, and more of them say more.
    def drawn(question):
        return hashlib.sha256(f"{question} {endpoint.asked[question]}".encode()).digest()[0] % 2

    endpoint.answer = lambda question: question if drawn(question) else "something else"

    done = app.run("eval", "run", second, "--baseline", first, "--json")

    row = done.json["gates"][0]
    assert (done.json["looks"], row["look"], row["looks"]) == (2, 2, 2)
    assert set(endpoint.asked.values()) == {2 * (2 + 3)}
    assert release not in {first, second}


def test_what_is_to_be_evaluated_must_be_said(project):
    app, release = project()

    assert "what is to be evaluated?" in app.run("eval", "run").err
    assert "a release and --target are named" in app.run("eval", "run", release, "--target", "far").err


JUDGED = """app: judged
models:
  far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64 }}
  wise: {{ engine: openai, model: judge, base_url: "{url}", max_out: 64, price: {{ input: 1.0, output: 2.0 }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
judges: {{ strict: {{ kind: llm, model: wise, swap: false, rubric: rubric.md }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat, judge: strict }}
gates: [{{ metric: "judge:strict", min: 0.5 }}]
"""


@pytest.fixture
def judged(project, endpoint):
    app, _ = project()
    app.write("shipway.yaml", JUDGED.format(url=endpoint.url))
    app.write("rubric.md", "It says which word it is.")
    opinion = json.dumps({"score": 1.0, "pass": True, "reason": "it does"})
    endpoint.answer = lambda question: f"It is {question}." if question.startswith("word") else opinion
    return app, app.run("release", "create", "--json").json["release"]


def opinions(endpoint):
    return sum(times for question, times in endpoint.asked.items() if not question.startswith("word"))


def test_a_judge_judges_every_answer_once_whatever_is_scored_again(judged, endpoint):
    app, release = judged
    done = app.run("eval", "run", release, "--json")

    assert (done.code, done.json["verdict"]) == (0, "PASS"), done.out
    assert done.json["gates"][0]["metric"] == "judge:strict"
    assert opinions(endpoint) == CASES
    assert done.json["cost"]["judge_usd"] == pytest.approx(CASES * (100 * 1.0 + 50 * 2.0) / 1e6)
    again = app.run("eval", "rescore", done.json["run"], "--json")
    assert again.json["verdict"] == "PASS"
    assert opinions(endpoint) == CASES


def test_a_judge_that_answers_prose_is_an_error_and_no_score(judged, endpoint):
    app, release = judged
    endpoint.answer = lambda question: f"It is {question}." if question.startswith("word") else "Sure, looks good!"

    done = app.run("eval", "run", release, "--json")

    assert (done.code, done.json["verdict"]) == (3, "ERROR")
    assert done.json["gates"][0]["missing"] == CASES
    assert "the judge's reply is not one JSON object" in done.json["gates"][0]["message"]


def test_another_judge_is_another_measurement(judged, endpoint):
    app, first = judged
    before = app.run("eval", "run", first, "--json").json["run"]
    app.write("rubric.md", "It is polite.")

    done = app.run("eval", "run", first, "--resume")
    scored = app.run("eval", "rescore", before, "--json")

    assert done.code == 2
    assert scored.json["verdict"] == "PASS"
    assert opinions(endpoint) == 2 * CASES


def test_a_drifting_judge_blocks_the_gate(judged, endpoint):
    app, release = judged
    rows = [
        {"case": f"c{n:02}", "answer": f"It is {n}.", "task": "rubric", "label": n % 2, "by": "eva"} for n in range(20)
    ]
    labels = app.write("labels.jsonl", "\n".join(map(json.dumps, rows)))

    def opinion(question):
        odd = any(f"It is {n}." in question for n in range(1, 20, 2))
        return json.dumps({"score": float(odd), "pass": odd, "reason": "odd or even"})

    endpoint.answer = lambda question: f"It is {question}." if question.startswith("word") else opinion(question)
    anchors = str(app.root / "anchors.jsonl")
    calibrated = app.run("judge", "calibrate", "strict", "--labels", str(labels), "--write-anchors", anchors)
    assert calibrated.code == 0, calibrated.out
    app.edit("shipway.yaml", "rubric: rubric.md", "rubric: rubric.md, anchors: anchors.jsonl")
    assert app.run("eval", "run", release, "--json").json["gates"][-1]["kind"] == "threshold"
    mild = json.dumps({"score": 1.0, "pass": True, "reason": "another mood"})
    endpoint.answer = lambda question: f"It is {question}." if question.startswith("word") else mild

    done = app.run("eval", "run", release, "--json")

    assert (done.code, done.json.get("verdict")) == (3, "ERROR"), done.out
    assert done.json["gates"][-1]["kind"] == "judge"
    assert "10 of 20" in done.json["gates"][-1]["message"]


def test_a_judged_metric_without_a_judge_is_refused_before_anything_is_asked(judged, endpoint):
    app, release = judged
    app.edit("shipway.yaml", ", judge: strict", "")
    done = app.run("eval", "run", release)
    assert done.code == 2
    assert "needs evals.judge" in done.err
    app.edit("shipway.yaml", "route: chat }", "route: chat, judge: strikt }")
    assert "evals.judge: 'strikt' is not in judges (it has strict)" in app.run("config", "check").err
    assert not endpoint.asked


def test_old_runs_are_let_go_and_those_in_other_folders_are_not(project, tmp_path):
    app, release = project(", keep_runs: 2")
    runs = [app.run("eval", "run", release, "--json").json["run"] for _ in range(4)]
    app.run("eval", "run", release, "--out", str(tmp_path / "mine"))

    kept = sorted(path.name for path in (app.root / ".shipway" / "runs").iterdir())

    assert kept == sorted(runs)[-2:]
    assert (tmp_path / "mine" / "report.json").is_file()


def test_a_folder_with_a_run_is_gone_on_with_only_when_asked_to(project, endpoint, tmp_path):
    app, release = project()
    out = str(tmp_path / "run")
    app.run("eval", "run", release, "--out", out)

    again = app.run("eval", "run", release, "--out", out)
    resumed = app.run("eval", "run", release, "--out", out, "--resume")

    assert again.code == 2
    assert "holds a run already" in again.err
    assert resumed.code == 0
    assert set(endpoint.asked.values()) == {1}


def test_every_report_is_written_and_the_run_can_be_read_again(project, tmp_path):
    app, release = project()
    forms = {"markdown": "m.md", "html": "h.html", "junit": "j.xml", "sarif": "s.sarif", "json-file": "r.json"}
    options = [word for form, name in forms.items() for word in (f"--{form}", str(tmp_path / name))]

    done = app.run("eval", "run", release, *options, "--json")

    assert done.code == 0, done.err
    assert all((tmp_path / name).stat().st_size for name in forms.values())
    kept = Path(done.json["directory"]) / "report.json"
    read = app.run("eval", "report", str(kept), "--json")
    assert (read.code, read.json["verdict"]) == (0, "PASS"), read.err


def test_a_run_in_which_nobody_answered_leaves_nothing_behind(project, endpoint):
    app, release = project()
    app.edit("shipway.yaml", endpoint.url, "http://127.0.0.1:9/v1")

    done = app.run("eval", "run", release)

    assert done.code == 3
    assert "the first 5 calls" in done.err
    assert not [path for path in (app.root / ".shipway" / "runs").iterdir() if not (path / "report.json").exists()]


def test_a_judge_that_is_told_no_rubric_is_refused_before_anything_is_asked(judged, endpoint):
    app, release = judged
    app.edit("shipway.yaml", ", rubric: rubric.md", "")

    for command in (("config", "check"), ("gate", "check"), ("eval", "run", release)):
        done = app.run(*command)
        assert done.code == 2
        assert (
            "gates[0]: judge:strict judges by a rubric, and 30 of 30 cases have none: judges.strict names" in done.err
        )
    rows = [
        {"id": f"c{n:02}", "question": f"word{n}", "assert": [{"type": "llm-rubric", "value": "It is kind."}]}
        for n in range(CASES)
    ]
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
    assert app.run("config", "check").code == 0
    assert not endpoint.asked


@pytest.mark.parametrize("key", ["rubric", "anchors"])
def test_a_file_of_the_judge_that_is_not_there_is_refused_by_every_check(judged, key):
    app, _ = judged
    app.edit(
        "shipway.yaml",
        ", rubric: rubric.md",
        f", rubric: rubric.md, {key}: gone.md".replace(", rubric: rubric.md, rubric:", ", rubric:"),
    )

    for command in (("config", "check"), ("gate", "check")):
        done = app.run(*command)
        assert done.code == 2
        assert f"judges.strict.{key}: gone.md: cannot be read: No such file" in done.err
