"""`shipway eval run --tag --share` and the stage `spot-check`: a part of the cases is looked at."""

import json

import pytest
from tests.integration.cli.test_eval_runs import CASES, endpoint, project

__all__ = ["endpoint", "project"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def tagged(app):
    rows = [
        {
            "id": f"c{n:02}",
            "question": f"word{n}",
            "must_contain": [f"word{n}"],
            "tags": ["even" if n % 2 == 0 else "odd"],
        }
        for n in range(CASES)
    ]
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))


def test_a_part_of_the_cases_is_asked_the_same_one_each_time_and_judged_by_no_gate(project, endpoint):
    app, release = project(", cache: false")
    tagged(app)
    look = ("eval", "run", release, "--no-gates", "--json")

    even = app.run(*look, "--tag", "even")
    asked = set(endpoint.asked)
    few = app.run(*look, "--share", "0.2")
    again = app.run(*look, "--share", "0.2")

    assert (even.code, few.code, again.code) == (0, 0, 0)
    assert asked == {f"word{n}" for n in range(0, CASES, 2)}
    twice = {question for question, times in endpoint.asked.items() if times - (question in asked) == 2}
    assert 0 < len(twice) < CASES / 2
    assert sum(endpoint.asked.values()) == len(asked) + 2 * len(twice)
    assert app.run("eval", "rescore", few.json["run"], "--no-gates").code == 0
    judged = app.run("eval", "rescore", few.json["run"])
    assert (judged.code, "gates judge all cases, not a part of them" in judged.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--share", "0.5"), "look at a part with --no-gates"),
        (("--tag", "policy", "--no-gates"), "no case has the tag policy; tags of cases: even, odd"),
        (("--share", "0", "--no-gates"), "share is 0"),
    ],
)
def test_a_part_that_cannot_be_asked_is_refused_with_what_there_is(project, endpoint, words, said):
    app, release = project()
    tagged(app)

    done = app.run("eval", "run", release, *words)

    assert done.code == 2
    assert said in done.err.replace("\n  ", "; ")
    assert not endpoint.asked


def test_a_spot_check_fails_when_more_is_wrong_than_may_be_and_is_no_evidence(project, endpoint):
    app, _ = project()
    tagged(app)
    stages = """pipeline:
  release: { uses: release }
  look: { uses: spot-check, needs: [release], with: { tags: [odd], share: 0.5, most_wrong: 0.5 } }
"""
    app.write("shipway.yaml", (app.root / "shipway.yaml").read_text() + stages)

    def run():
        found = app.run("pipeline", "run", "--json")
        return found.code, next(stage for stage in found.json["stages"] if stage["name"] == "look")

    code, fine = run()
    spotted = set(endpoint.asked)
    wrong = min(spotted)
    endpoint.answer = lambda question: "something else" if question == wrong else question
    _, one_wrong = run()
    endpoint.answer = lambda question: "something else"
    failed_code, failed = run()

    assert (code, fine["verdict"], fine["outputs"]["wrong"]) == (0, "PASS", 0)
    assert fine["outputs"]["cases"] == len(spotted) < CASES / 2
    assert all(int(question.removeprefix("word")) % 2 for question in spotted)
    assert (one_wrong["verdict"], one_wrong["outputs"]["wrong"]) == ("PASS", 1)
    assert (failed_code, failed["verdict"], failed["outputs"]["wrong"]) == (1, "FAIL", len(spotted))
    assert "evaluation" not in fine["outputs"]
    assert app.run("gate", "run", fine["outputs"].get("release", "")).code != 0
