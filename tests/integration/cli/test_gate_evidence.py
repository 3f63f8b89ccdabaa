"""What gates take for evidence: no limit that other candidates move, no other judge's scores, no missing baseline."""

import json
import threading

import pytest
from tests.integration.cli.chat_endpoint import Endpoint

PROJECT = """app: small
models:
  far: {{ engine: openai, model: good, base_url: "{url}", max_out: 64 }}
  wise: {{ engine: openai, model: judge, base_url: "{url}", max_out: 64 }}
routes: {{ chat: {{ kind: chat, model: far }} }}
judges: {{ strict: {{ kind: llm, model: wise, swap: false, rubric: rubric.md }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat, judge: strict }}
gates: [{gates}]
"""
COMPARED = "{ metric: correct, min: 0.2 }, { metric: correct, non_regression: auto }"
JUDGED = '{ metric: "judge:strict", min: 0.3 }, { metric: "judge:strict", non_regression: 0.2 }'
CASES = 60
WRONG = {"good": 6, "worse": 11, "bad": 36}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def answered(body):
    question = body["messages"][-1]["content"]
    if body["model"] not in WRONG:
        return json.dumps({"score": 1.0, "pass": True, "reason": "it does"})
    return "no" if int(question.removeprefix("word")) < WRONG[body["model"]] else f"It is {question}."


@pytest.fixture
def endpoint():
    server = Endpoint()
    server.answer_body = answered
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(make_app, endpoint):
    def made(gates):
        app = make_app()
        app.write("shipway.yaml", PROJECT.format(url=endpoint.url, gates=gates))
        app.write("rubric.md", "It says which word it is.")
        rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(CASES)]
        app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
        return app

    return made


def release_of(app, before="", after=""):
    if before:
        app.edit("shipway.yaml", before, after)
    return app.run("release", "create", "--json").json["release"]


def test_the_limit_of_a_release_does_not_move_when_others_are_evaluated(project):
    app = project(COMPARED)
    good = release_of(app)
    worse = release_of(app, "model: good", "model: worse")
    bad = release_of(app, "model: worse", "model: bad")
    assert app.run("eval", "run", good).code == 0
    assert app.run("deploy", good).code == 0
    first = app.run("eval", "run", worse, "--json").json
    assert [app.run("eval", "run", bad).code for _ in range(3)] == [1, 1, 1]

    again = app.run("eval", "run", worse, "--json").json

    assert first["gates"][1]["limit"] == again["gates"][1]["limit"]
    assert [first["verdict"], again["verdict"]] == ["INCONCLUSIVE", "INCONCLUSIVE"]
    assert app.run("gate", "run", worse, "--json").json["gates"][1]["limit"] == first["gates"][1]["limit"]
    assert app.run("deploy", worse, "--dry-run").code == 4
    assert "assumed sd 0.32; earlier evaluations: " in app.run("gate", "check").out


def test_a_release_is_not_compared_with_itself(project, endpoint):
    app = project(COMPARED)
    good = release_of(app)

    done = app.run("eval", "run", good, "--baseline", good)

    assert done.code == 2
    assert f"{good} is to be compared with itself, which says nothing of a change" in done.err
    assert not endpoint.asked


def test_another_target_beside_a_stable_release_needs_a_baseline(project, endpoint):
    app = project(COMPARED)
    good = release_of(app)
    assert app.run("eval", "run", "--target", "far").code == 0
    assert app.run("eval", "run", good).code == 0
    assert app.run("deploy", good).code == 0
    endpoint.asked.clear()

    done = app.run("eval", "run", "--target", "far")

    assert done.code == 3
    assert "gate 'correct does not regress' has no baseline: what is asked is not the first to be judged" in done.err
    assert f"the same command with --baseline {good}" in done.err
    assert not endpoint.asked
    assert app.run("eval", "run", "--target", "far", "--no-gates").code == 0
    against = app.run("eval", "run", "--target", "far", "--baseline", good, "--json")
    assert (against.code, against.json["baseline"]) == (0, good)


@pytest.mark.parametrize("change", ["rubric", "model"])
def test_what_another_judge_said_is_no_evidence(project, change):
    app = project(JUDGED)
    good = release_of(app)
    first = app.run("eval", "run", good, "--json")
    assert (first.code, app.run("gate", "run", good).code, app.run("deploy", good, "--dry-run").code) == (0, 0, 0)
    if change == "rubric":
        app.write("rubric.md", "It is polite.")
    else:
        app.edit("shipway.yaml", "model: judge", "model: other")

    again, deployed = app.run("gate", "run", good), app.run("deploy", good, "--dry-run")

    assert again.code == 2
    assert f"the run of {good} was scored by another judge: judge sha256:" in again.err
    assert deployed.code == 4
    assert f"release {good} was evaluated by another judge: judge sha256:" in deployed.err
    digests = [word for word in again.err.split() if word.startswith("sha256:")]
    assert len(set(digests)) == 2
    assert all(digest in deployed.err for digest in digests)
    assert app.run("deploy", good, "--dry-run", "--override-gate", "the rubric was reworded").code == 0
    assert app.run("eval", "run", good).code == 0
    assert app.run("deploy", good, "--dry-run").code == 0


def test_runs_by_two_judges_are_not_compared_and_both_are_named(project):
    app = project(JUDGED)
    good = release_of(app)
    worse = release_of(app, "model: good", "model: worse")
    assert app.run("eval", "run", good).code == 0
    app.write("rubric.md", "It is polite.")
    assert app.run("eval", "run", worse, "--baseline", good).code == 0

    done = app.run("eval", "compare", good, worse)

    assert done.code == 3
    assert f"{good} and {worse} were measured differently: judge sha256:" in done.err
    assert len({word for word in done.err.split() if word.startswith("sha256:")}) == 2


def test_gates_are_not_simulated_from_answers_that_were_given_once(project):
    app = project(COMPARED)
    good = release_of(app)
    app.run("eval", "run", good)
    done = app.run("gate", "simulate", "--decisions", "20")
    assert done.code == 2
    assert "cannot be simulated from one repeat: each case was asked once" in done.err
    assert "--repeats 5" in done.err


def test_copies_are_said_to_be_so_before_any_figure_and_looks_are_the_projects(project):
    app = project(COMPARED)
    good = release_of(app)
    app.run("eval", "run", good, "--repeats", "4")
    done = app.run("gate", "simulate", "--decisions", "20")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[1].startswith("the repeats of each case are copies: the arms never differed")
    assert {line.split()[0] for line in lines[5:]} == {"0.05", "0.1", "0.2"}
    app.edit("shipway.yaml", "route: chat,", "route: chat, looks: 3,")
    refused = app.run("gate", "simulate", "--decisions", "20")
    assert (refused.code, "3 looks need 3 repeats in each arm; there are 2" in refused.err) == (2, True)
    assert app.run("gate", "simulate", "--decisions", "20", "--looks", "2").code == 0
