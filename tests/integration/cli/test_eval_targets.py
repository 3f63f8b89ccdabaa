"""`shipway eval run --target`: whatever is no release has the same reports, shards, scores and budgets."""

import json
import threading

import pytest
from tests.integration.cli.test_eval_runs import CASES, PROJECT, Endpoint

from shipway.evals.run_directory import RunDirectory
from shipway.evals.run_plan import RunFile

FORMS = {"markdown": "m.md", "html": "h.html", "junit": "j.xml", "sarif": "s.sarif", "json-file": "r.json"}
PYTHON = "python:own_bot:answer"
LOG = "log:answers.jsonl"
BOT = """
def answer(case):
    print("thinking about", case.id)
    return "something else" if "c03" <= case.id < "c20" else case.question
"""


def is_wrong(number):
    return 3 <= number < 20


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def endpoint():
    server = Endpoint()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.answer = lambda question: "something else" if is_wrong(int(question[4:])) else question
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def app(make_app, endpoint):
    found = make_app()
    found.write("shipway.yaml", PROJECT.format(url=endpoint.url, more=""))
    found.edit("shipway.yaml", "{ metric: correct, min: 0.5 }", "{ metric: correct, min: 0.8 }")
    rows = [{"id": f"c{n:02}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(CASES)]
    found.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
    found.write("own_bot.py", BOT)
    answers = [{"id": f"c{n:02}", "answer": "something else" if is_wrong(n) else f"word{n}"} for n in range(CASES)]
    found.write("answers.jsonl", "\n".join(map(json.dumps, answers)))
    return found


def chosen(app, endpoint, kind):
    """Return the words of the command that name what is evaluated."""
    if kind == "release":
        return [app.run("release", "create", "--json").json["release"]]
    named = {"alias": "far", "address": f"{endpoint.url}#m", "python": PYTHON, "log": LOG}
    return ["--target", named[kind]]


@pytest.mark.parametrize("kind", ["release", "alias", "address", "python", "log"])
def test_every_report_of_every_kind_is_written_in_one_call(app, endpoint, tmp_path, kind):
    options = [word for form, name in FORMS.items() for word in (f"--{form}", str(tmp_path / name))]

    done = app.run("eval", "run", *chosen(app, endpoint, kind), *options, "--json")

    assert (done.code, done.json["verdict"], done.json.get("report_error")) == (1, "FAIL", None), done.err
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["places"]["cases"]["c03"] == "evals/cases.jsonl:4"
    assert "something else" in (tmp_path / "r.json").read_text()
    assert "something else" in (tmp_path / "h.html").read_text()
    assert (tmp_path / "m.md").stat().st_size
    assert (tmp_path / "j.xml").stat().st_size
    results = json.loads((tmp_path / "s.sarif").read_text())["runs"][0]["results"]
    places = [item["physicalLocation"] for result in results for item in result["locations"]]
    assert places
    assert all(place["region"]["startLine"] for place in places)


@pytest.mark.parametrize("kind", ["address", "python", "log"])
def test_shards_of_a_target_are_merged_and_scored_again_without_asking_it(app, endpoint, tmp_path, kind):
    named = chosen(app, endpoint, kind)
    whole = app.run("eval", "run", *named, "--json")
    parts = [str(tmp_path / f"part{number}") for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        assert app.run("eval", "run", *named, "--shard", f"{number}/2", "--out", part).code == 0
    asked = endpoint.asked.total()

    merged = app.run("eval", "merge", *parts, "--json")
    again = app.run("eval", "rescore", merged.json["run"], "--json")
    shown = app.run("eval", "report", merged.json["run"])

    assert (merged.code, again.code, shown.code) == (1, 1, 0), merged.err + again.err + shown.err
    assert merged.json["gates"] == again.json["gates"] == whole.json["gates"]
    assert merged.json["cost"] == again.json["cost"] == pytest.approx(whole.json["cost"])
    # What a log holds was paid for by whoever wrote it.
    assert merged.json["cost"]["calls"] == (0 if kind == "log" else CASES)
    assert merged.json["release"] in shown.out
    assert endpoint.asked.total() == asked


def test_shards_of_two_targets_are_told_apart_by_their_names(app, tmp_path):
    for number, target in ((1, PYTHON), (2, LOG)):
        app.run("eval", "run", "--target", target, "--shard", f"{number}/2", "--out", str(tmp_path / str(number)))

    done = app.run("eval", "merge", str(tmp_path / "1"), str(tmp_path / "2"))

    assert done.code == 2
    assert f"  targets: {LOG} against {PYTHON}" in done.err
    assert "{" not in done.err


def test_a_target_with_a_baseline_is_scored_again(app, endpoint):
    release = app.run("release", "create", "--json").json["release"]
    first = app.run("eval", "run", "--target", PYTHON, "--baseline", release, "--json")

    again = app.run("eval", "rescore", first.json["run"], "--json")

    assert again.json["baseline"] == release, again.err
    assert again.json["gates"] == first.json["gates"]


def test_an_empty_shard_is_complete(app, tmp_path):
    rows = [{"id": f"c{n}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(2)]
    app.edit("shipway.yaml", "min: 0.8", "min: 0.1")
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, rows)))
    parts = [tmp_path / f"part{number}" for number in range(1, 6)]
    for number, part in enumerate(parts, start=1):
        done = app.run("eval", "run", "--target", PYTHON, "--shard", f"{number}/5", "--out", str(part))
        assert done.code == 0, done.err
        assert (part / "report.json").is_file()

    merged = app.run("eval", "merge", *map(str, parts), "--json")

    assert merged.json["gates"][0]["n"] == 2, merged.err


def test_what_a_target_prints_is_no_part_of_the_result(app):
    done = app.run("eval", "run", "--target", PYTHON, "--json")

    assert done.json["release"] == PYTHON
    assert "thinking about c03" in done.err


def test_an_estimate_says_what_it_cannot_know_and_a_budget_of_tokens_is_held_all_the_same(app, endpoint):
    target = ("--target", f"{endpoint.url}#m")
    shown = app.run("eval", "run", *target, "--estimate")
    told = app.run("eval", "run", *target, "--estimate", "--json").json
    capped = app.run("eval", "run", *target, "--budget-tokens", "1000", "--yes")

    assert "tokens out  not known" in shown.out
    assert "write max_tokens at evals.target" in shown.out
    assert (told["tokens_out"], told["usd"]) == (None, None)
    assert "the budget of 1,000 tokens is held by what answers turn out to take" in capped.err
    assert (capped.code, endpoint.asked.total() * 150 <= 1000 + 4 * 150) == (3, True)


def test_a_run_that_is_gone_on_with_has_no_second_budget(app, endpoint):
    first = app.run("eval", "run", "--target", "far", "--budget-tokens", "1000", "--yes")
    asked = endpoint.asked.total()

    second = app.run("eval", "run", "--target", "far", "--budget-tokens", "1000", "--yes", "--resume")

    assert (first.code, second.code) == (3, 3)
    assert endpoint.asked.total() == asked
    assert f"{asked} answers are kept" in second.err


@pytest.mark.parametrize("amount", ["inf", "1e400"])
def test_a_budget_that_is_no_number_is_refused_before_anything_is_asked(app, endpoint, amount):
    done = app.run("eval", "run", "--target", "far", "--budget-usd", amount)

    assert done.code == 2
    assert "dollars is no budget" in done.err
    assert not endpoint.asked


def test_a_report_of_a_run_that_has_none_says_what_to_do(app):
    made = app.run("eval", "run", "--target", PYTHON, "--no-gates", "--json").json["run"]

    done = app.run("eval", "report", made)
    unknown = app.run("eval", "report", "run_none")

    assert (done.code, unknown.code) == (2, 2)
    assert "was not judged" in done.err
    assert made in unknown.err


def test_a_run_of_several_targets_without_gates_is_not_scored_as_one_release(app, tmp_path):
    targets = {name: {"digest": name, "kind": "target"} for name in ("a", "b", "c")}
    RunDirectory.create(tmp_path / "matrix", RunFile("matrix", {"targets": targets, "settings": {}}), ()).close()

    done = app.run("eval", "rescore", str(tmp_path / "matrix"))

    assert done.code == 2
    assert "matrix compares 3 targets, as a matrix does: no gates judge it" in done.err
