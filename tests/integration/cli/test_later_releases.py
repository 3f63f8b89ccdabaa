"""`shipway eval run` of a release that is not the first: a gate that compares wants something to compare with."""

import json
import threading
from collections.abc import Callable, Iterator

import anyio
import pytest
from tests.integration.cli.chat_endpoint import Endpoint
from tests.integration.cli.conftest import App

from shipway.entrypoints.wiring import opened

PROJECT = """app: small
models: {{ far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64 }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat }}
gates: [{{ metric: correct, min: 0.8 }}, {{ metric: correct, non_regression: auto }}]
"""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def app(make_app: Callable[[], App], endpoint: Endpoint) -> App:
    app = make_app()
    app.write("shipway.yaml", PROJECT.format(url=endpoint.url))
    rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(30)]
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
    return app


@pytest.fixture
def releases(app: App) -> tuple[str, str]:
    first = str(app.run("release", "create", "--json").json["release"])
    app.edit("shipway.yaml", "max_out: 64", "max_out: 65")
    return first, str(app.run("release", "create", "--json").json["release"])


def test_a_later_release_without_a_baseline_is_an_error_that_says_what_to_do(app, releases, endpoint):
    first, second = releases
    assert app.run("eval", "run", first).code == 0
    endpoint.asked.clear()

    done = app.run("eval", "run", second)

    assert done.code == 3
    assert f"gate 'correct does not regress' has no baseline: {second} is not the first release ({first}" in done.err
    assert f"`shipway deploy {first}`" in done.err
    assert f"`shipway eval run {second} --baseline {first}`" in done.err
    assert not endpoint.asked
    assert app.run("eval", "run", second, "--baseline", first).code == 0


def test_a_second_release_is_the_first_one_as_long_as_none_was_evaluated(app, releases):
    _, second = releases
    done = app.run("eval", "run", second, "--json")
    assert done.code == 0
    assert [row["message"] for row in done.json["gates"]][1] == "not applicable: first release"
    assert app.run("eval", "run", second).code == 0


def test_a_release_that_failed_its_gates_is_nothing_to_compare_with(app, releases, endpoint):
    first, second = releases
    right, endpoint.answer = endpoint.answer, lambda _question: "something else"
    assert app.run("eval", "run", first).code == 1
    endpoint.answer = right
    assert app.run("eval", "run", second).code == 0


def test_answers_of_the_first_release_stay_those_of_a_first_release(app, releases):
    first, second = releases
    app.run("eval", "run", first)
    app.run("eval", "run", second, "--baseline", first)
    done = app.run("gate", "run", first, "--json")
    assert (done.code, done.json["verdict"]) == (0, "PASS")


def test_a_run_of_the_first_release_is_scored_again_as_that_of_a_first_release(app, releases, endpoint):
    first, second = releases
    run = app.run("eval", "run", first, "--json").json["run"]
    app.run("eval", "run", second, "--baseline", first)
    endpoint.asked.clear()

    done = app.run("eval", "rescore", run, "--json")

    assert (done.code, done.json["verdict"]) == (0, "PASS"), done.err
    assert done.json["gates"][1]["message"] == "not applicable: first release"
    assert not endpoint.asked


def test_a_run_is_scored_again_against_the_baseline_that_it_was_made_with(app, releases):
    first, second = releases
    app.run("eval", "run", first)
    run = app.run("eval", "run", second, "--baseline", first, "--json").json["run"]
    app.run("deploy", second)

    done = app.run("eval", "rescore", run, "--json")

    assert (done.code, done.json["baseline"], done.json["verdict"]) == (0, first, "PASS"), done.err


def test_answers_that_were_collected_without_a_baseline_are_not_judged_as_those_of_a_first_release(app, releases):
    first, second = releases
    app.run("eval", "run", first)
    run = app.run("eval", "run", second, "--no-gates", "--json").json["run"]

    done = app.run("eval", "rescore", run)

    assert done.code == 3
    assert f"has no baseline: {second} is not the first release ({first} has passed" in done.err
    assert app.run("eval", "rescore", run, "--no-gates").code == 0


async def make_stable(app, release):
    async with opened(app.root) as installed:
        await installed.releases.set_label(installed.environment, release, at_s=1.0, actor="user:a")


def test_a_stable_release_that_is_asked_again_is_compared_with_the_one_that_it_replaced(app, releases):
    first, second = releases
    anyio.run(make_stable, app, first)
    again = app.run("eval", "run", first, "--json")
    assert (again.code, again.json["gates"][1]["message"]) == (0, "not applicable: first release")
    anyio.run(make_stable, app, second)

    done = app.run("eval", "run", second, "--json")

    assert (done.code, done.json["baseline"], done.json["verdict"]) == (0, first, "PASS"), done.err
    app.edit("shipway.yaml", ", { metric: correct, non_regression: auto }", "")
    assert app.run("eval", "run", second, "--json").json["baseline"] is None


def test_without_a_gate_that_compares_thresholds_decide_alone(app, releases):
    first, second = releases
    app.run("eval", "run", first)
    app.edit("shipway.yaml", ", { metric: correct, non_regression: auto }", "")
    assert app.run("eval", "run", second).code == 0


def test_a_rubric_without_a_judge_is_warned_about_where_nothing_is_gated(app):
    app.write(
        "evals/cases.jsonl", '{"id": "a", "question": "A?", "assert": [{"type": "llm-rubric", "value": "polite"}]}\n'
    )
    app.edit("shipway.yaml", "gates: [{ metric: correct, min: 0.8 }, { metric: correct, non_regression: auto }]\n", "")
    release = app.run("release", "create", "--json").json["release"]
    done = app.run("eval", "run", release, "--no-gates")
    assert "warning: no judge is named, so the llm-rubric assertions of cases have no score" in done.err


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "json-schema", "file": "gone.json"}, "json-schema: 'gone.json' cannot be read"),
        ({"type": "python", "value": "gone:f"}, "function 'gone:f' cannot be imported"),
    ],
)
def test_what_an_assertion_names_and_is_not_there_is_said_with_the_line_of_its_case(app, releases, entry, said):
    text = (app.root / "evals/cases.jsonl").read_text()
    app.write("evals/cases.jsonl", f"{text}\n{json.dumps({'id': 'x', 'question': 'X?', 'assert': [entry]})}\n")
    done = app.run("eval", "run", releases[0])
    assert done.code == 2
    assert f"evals/cases.jsonl:31: case 'x': {said}" in done.err


def test_a_metric_that_nobody_knows_is_said_with_its_line_by_check_and_by_run(app, releases):
    app.edit("shipway.yaml", "metric: correct, min", "metric: foo, min")
    for command in (("gate", "check"), ("eval", "run", releases[0])):
        done = app.run(*command)
        assert done.code == 2
        assert "shipway.yaml:5: gates[0]: unknown metric 'foo'" in done.err


def test_another_target_may_have_what_no_release_has(app, releases):
    app.edit("shipway.yaml", "{ metric: correct, non_regression: auto }", "{ metric: cost_usd, max: 1 }")
    refused = app.run("eval", "run", releases[0])
    assert (refused.code, "cost_usd applies to no case" in refused.err) == (2, True)
    assert app.run("eval", "run", "--target", "far").code == 4
    app.edit("shipway.yaml", "max_out: 65", "max_out: 65, price: { input: 1.0, output: 2.0 }")
    assert app.run("gate", "check").code == 0
    assert app.run("eval", "run", "--target", "far").code == 0
