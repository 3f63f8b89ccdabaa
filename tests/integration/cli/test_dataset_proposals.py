"""`shipway dataset proposals`: what went wrong in production becomes cases once a person has agreed."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.integration.cli.conftest import App
from tests.served import served_request

from shipway.adapters.sql.store import SqlStore
from shipway.core.observation import QUALITY, THUMBS, about
from shipway.core.record import ServedRequest
from shipway.gateway.feedback import KIND as FEEDBACK
from shipway.gateway.sampling import AnswerSample, DocumentSamples
from shipway.services.proposals.signals import CURSOR_KIND

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
QUESTIONS = {
    "failed": "Where can I return the shoes that I bought online last week?",
    "disliked": "Which documents does a student need for the discount?",
    "fine": "How many vacation days do part time employees get each year?",
    "blocked": "Please show me the home address of the other customer in the queue",
    "repeated": "Where can I return the shoes that I bought online last week, please?",
    "judged": "What does shipping to Norway cost for a large parcel?",
}


@pytest.fixture
def app(make_app: Callable[[], App]) -> App:
    return make_app()


def record(name: str, **fields: Any) -> ServedRequest:
    return served_request(f"conversation {name}", id=f"req_{name}", environment="local", route="chat", **fields)


def write(app: App, act: Callable[[SqlStore], Any]) -> None:
    async def run() -> None:
        store = await SqlStore.open(app.root / ".shipway" / "state.db", create=True)
        try:
            await act(store)
        finally:
            await store.close()

    anyio.run(run)


@pytest.fixture
def traffic(app: App) -> None:
    """Serves a canary that failed, thumbs down, one that is fine, a blocked one, a repetition and a judged one."""
    records = {
        "failed": record("failed", is_candidate=True, events=("abstained",)),
        "disliked": record("disliked"),
        "fine": record("fine", is_candidate=True, events=("fallback",)),
        "blocked": record("blocked", events=("guard_output",)),
        "repeated": record("repeated", is_candidate=True, events=("error",)),
        "judged": record("judged", is_candidate=True),
        "textless": record("textless", is_candidate=True, events=("timeout",)),
    }

    async def serve(store: SqlStore) -> None:
        await store.records.append(list(records.values()))
        sink = DocumentSamples(store.documents, worker="w", keep=100)
        for name, question in QUESTIONS.items():
            asked = f"{question} Write to ann@example.com" if name == "disliked" else question
            await sink.add(AnswerSample(f"req_{name}", 1.0, "local", "chat", "rel", asked, f"The answer to {name}."))
        disliked = about(records["disliked"], THUMBS, 0.0, at_s=2.0, mark="m", details={})
        judged = about(records["judged"], QUALITY, 0.2, at_s=2.0, mark="", details={})
        await store.observations.append([disliked, judged])
        row = {"thumbs": "down", "correction": "A certificate; send it to bob@example.com.", "environment": "local"}
        await store.documents.put(FEEDBACK, "req_disliked/fb_1", row)

    write(app, serve)


def listed(app: App, *arguments: str) -> dict[str, Any]:
    return {
        row["request_id"]: row
        for row in app.run("dataset", "proposals", "list", "--json", *arguments).json["proposals"]
    }


def cases(app: App) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (app.root / "evals/cases.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("traffic")
def test_what_went_wrong_is_proposed_once_and_what_repeats_it_is_not(app):
    first = app.run("dataset", "proposals", "list", "--json").json
    found = {row["request_id"]: row["reasons"] for row in first["proposals"]}

    assert found == {
        "req_failed": ["candidate: abstained"],
        "req_disliked": ["thumbs down"],
        "req_blocked": ["blocked: guard_output"],
        "req_judged": ["judged 0.20"],
    }
    counts = {"proposed": 4, "duplicates": 1, "without_text": 0, "no_room": 0, "awaiting_text": 1}
    assert first["gathered"] == counts
    again = app.run("dataset", "proposals", "list", "--json").json
    assert again["gathered"]["proposed"] == 0
    assert again["proposals"] == first["proposals"]
    repeated = listed(app, "--all")["req_repeated"]
    assert (repeated["status"], repeated["duplicate_of"]) == ("duplicate", listed(app)["req_failed"]["id"])


@pytest.mark.usefixtures("traffic")
def test_proposals_are_masked_and_show_what_the_user_got(app):
    disliked = listed(app)["req_disliked"]

    shown = app.run("dataset", "proposals", "show", disliked["id"])

    assert shown.code == 0
    assert "The answer to disliked." in shown.out
    assert "A certificate" in shown.out
    assert "@example.com" not in shown.out + json.dumps(disliked)


@pytest.mark.usefixtures("traffic")
def test_an_accepted_proposal_is_a_case_with_where_it_is_from_and_an_audit_entry(app):
    before = cases(app)
    name = listed(app)["req_failed"]["id"]

    done = app.run("dataset", "proposals", "accept", name, "--must-contain", "30 days", "--tag", "returns", "--json")

    assert done.code == 0, done.err
    *others, case = cases(app)
    assert others == before
    assert (case["id"], case["question"]) == (done.json["case_id"], QUESTIONS["failed"])
    assert (case["must_contain"], case["tags"]) == (["30 days"], ["production", "returns"])
    origin = case["metadata"]
    assert (origin["origin"], origin["proposal"], origin["reasons"]) == ("req_failed", name, ["candidate: abstained"])
    assert origin["accepted_by"].startswith("user:")
    audited = app.run("audit", "list", "--json").json[-1]
    assert (audited["action"], audited["subject"]) == ("dataset.proposal_accepted", name)
    assert "req_failed" not in listed(app)
    assert app.run("dataset", "check").code == 0
    again = app.run("dataset", "proposals", "accept", name, "--unanswerable")
    assert (again.code, "was accepted by" in again.err) == (2, True)
    assert len(cases(app)) == len(before) + 1


@pytest.mark.usefixtures("traffic")
def test_a_users_correction_is_the_reference_unless_the_person_gives_another(app):
    name = listed(app)["req_disliked"]["id"]

    assert app.run("dataset", "proposals", "accept", name).code == 0

    assert cases(app)[-1]["reference"].startswith("A certificate")


@pytest.mark.usefixtures("traffic")
def test_a_proposal_without_an_expectation_is_not_accepted(app):
    before = cases(app)

    done = app.run("dataset", "proposals", "accept", listed(app)["req_failed"]["id"])

    assert done.code == 2
    assert "say what a right answer is" in done.err
    assert cases(app) == before


@pytest.mark.usefixtures("traffic")
def test_a_rejected_question_is_not_proposed_again(app):
    name = listed(app)["req_failed"]["id"]
    assert app.run("dataset", "proposals", "reject", name, "-m", "not ours to answer").code == 0
    assert "req_failed" not in listed(app)

    async def ask_again(store: SqlStore) -> None:
        await store.records.append([record("later", is_candidate=True, events=("error",))])
        sink = DocumentSamples(store.documents, worker="x", keep=100)
        await sink.add(AnswerSample("req_later", 3.0, "local", "chat", "rel", QUESTIONS["failed"], "No."))

    write(app, ask_again)
    assert "req_later" not in listed(app)
    assert listed(app, "--all")["req_later"]["duplicate_of"] == name
    audited = app.run("audit", "list", "--json").json[-1]
    assert (audited["action"], audited["details"]["reason"]) == ("dataset.proposal_rejected", "not ours to answer")


def test_a_text_that_comes_after_its_record_is_found_at_the_next_look(app):
    write(app, lambda store: store.records.append([record("late", is_candidate=True, events=("error",))]))
    assert listed(app) == {}

    async def keep(store: SqlStore) -> None:
        sink = DocumentSamples(store.documents, worker="w", keep=100)
        await sink.add(AnswerSample("req_late", 1.0, "local", "chat", "rel", "Is anybody there?", "No."))

    write(app, keep)

    assert list(listed(app)) == ["req_late"]


@pytest.mark.usefixtures("traffic")
def test_what_is_learnt_later_is_added_to_the_proposal(app):
    assert listed(app)["req_failed"]["reasons"] == ["candidate: abstained"]
    failed = record("failed", is_candidate=True, events=("abstained",))

    async def complain(store: SqlStore) -> None:
        await store.observations.append([about(failed, THUMBS, 0.0, at_s=3.0, mark="m", details={})])
        row = {"thumbs": "down", "correction": "At any shop.", "environment": "local"}
        await store.documents.put(FEEDBACK, "req_failed/fb_1", row)

    write(app, complain)

    found = listed(app)["req_failed"]
    assert found["reasons"] == ["candidate: abstained", "thumbs down"]
    assert found["correction"] == "At any shop."


def test_requests_that_another_look_gave_up_are_counted_with_the_setting_that_keeps_their_text(app):
    cursor = {"records": 0, "observations": 0, "textless": {"req_down": [1.0, ["candidate: error"]]}}
    write(app, lambda store: store.documents.put(CURSOR_KIND, "local", cursor))
    assert app.run("dataset", "proposals", "list", "--json").json["gathered"]["without_text"] == 1

    shown = app.run("dataset", "proposals", "list", "--all").out

    assert "1 requests of the last 7 days went wrong whose text was not kept" in shown
    assert "of a request that got no answer only `logging: { question: mask }` keeps the question" in shown


def test_the_text_of_a_request_that_failed_is_found_in_masked_log_lines(app):
    write(app, lambda store: store.records.append([record("broken", is_candidate=True, events=("error",))]))
    line = {"event": "request", "request_id": "req_broken", "route": "chat", "question": "Why does it not answer?"}
    hashed = {**line, "request_id": "req_other", "question": "0" * 32}
    text = "\n".join(json.dumps(row, separators=(",", ":")) for row in (hashed, line))
    app.write(".shipway/logs/gateway.log", f"{text}\n")

    assert listed(app)["req_broken"]["question"] == "Why does it not answer?"


@pytest.mark.usefixtures("traffic")
def test_proposals_are_exported_as_cases_for_whoever_decides_elsewhere(app, tmp_path):
    listed(app)
    out = tmp_path / "proposed.jsonl"

    assert app.run("dataset", "proposals", "export", "--out", str(out), "--json").json["cases"] == 4

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["metadata"]["origin"] for row in rows} == {"req_failed", "req_disliked", "req_blocked", "req_judged"}
    assert app.run("dataset", "stats", str(out)).code == 0
    assert app.run("dataset", "proposals", "export", "--out", str(out)).code == 2


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["accept", "prop_nothing", "--unanswerable"], "no proposal 'prop_nothing'"),
        (["accept", "prop_", "--unanswerable"], "stands for 5 proposals"),
        (["accept", "{id}", "--unanswerable", "--must-contain", "x"], "must_contain"),
        (["accept", "{id}", "--reference", "x", "--dataset", "shipway.yaml"], "only JSON lines"),
        (["accept", "{id}", "--reference", "x", "--dataset", "none.jsonl"], "there is no file none.jsonl"),
        (["accept", "{id}", "--reference", "x", "--split", "half"], "test or calibration"),
        (["reject", "prop_nothing"], "no proposal"),
        (["show", "prop_nothing"], "no proposal"),
    ],
)
def test_a_wrong_decision_changes_nothing(app, arguments, said):
    before = cases(app)
    name = listed(app)["req_failed"]["id"]

    done = app.run("dataset", "proposals", *(part.format(id=name) for part in arguments))

    assert done.code == 2
    assert said in done.err
    assert cases(app) == before
    assert listed(app)["req_failed"]["status"] == "proposed"
