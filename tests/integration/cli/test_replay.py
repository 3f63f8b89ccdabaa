"""`shipway replay`: what users asked, asked of a candidate beside what is stable."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from tests.integration.cli.chat_endpoint import Endpoint
from tests.integration.cli.conftest import App
from tests.served import served_request

from shipway.adapters.sql.store import SqlStore
from shipway.gateway.sampling import AnswerSample, DocumentSamples
from shipway.gateway.shadow import DocumentPairs, ShadowPair

PROJECT = """app: small
models: {{ far: {{ engine: openai, model: m, base_url: "{url}", max_out: 64 }} }}
prompts: {{ chat: prompts/chat.yaml }}
routes: {{ chat: {{ kind: chat, model: far, prompt: chat }} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat }}
"""
QUESTIONS = [f"Please tell me about thing number{n} of list{n % 7}" for n in range(60)]

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
    return app


@pytest.fixture
def releases(app: App) -> tuple[str, str]:
    first = str(app.run("release", "create", "--json").json["release"])
    app.edit("prompts/chat.yaml", "You are helpful.", "You are terse.")
    return first, str(app.run("release", "create", "--json").json["release"])


def keep_samples(app: App, questions: list[str]) -> None:
    async def keep() -> None:
        store = await SqlStore.open(app.root / ".shipway" / "state.db", create=True)
        try:
            sink = DocumentSamples(store.documents, worker="w", keep=1000)
            for number, question in enumerate(questions):
                sample = AnswerSample(f"req_{number:03}", 100.0 + number, "local", "chat", "rel_x", question, "Yes.")
                await sink.add(sample)
                record = served_request(
                    f"c{number // 2}", id=f"req_{number:03}", environment="local", route="chat", tenant="acme"
                )
                await store.records.append([record])
        finally:
            await store.close()

    anyio.run(keep)


def replayed(app: App, *arguments: str) -> Any:
    return app.run("replay", *arguments, "--json")


def test_a_candidate_that_answers_what_stable_answers_passes(app, releases, endpoint):
    first, second = releases
    keep_samples(app, QUESTIONS)

    done = replayed(app, second, "--against", first)

    assert done.code == 0, done.out + done.err
    found = done.json
    assert (found["verdict"], found["cases"], found["route"], found["worse"]) == ("PASS", 60, "chat", [])
    assert endpoint.asked == dict.fromkeys(QUESTIONS, 2)
    audited = app.run("audit", "list", "--json").json
    assert [(entry["action"], entry["subject"]) for entry in audited][-1] == ("replay.judged", second)


def test_a_candidate_that_refuses_what_stable_answers_fails(app, releases, endpoint):
    first, second = releases
    keep_samples(app, QUESTIONS)
    # Which release asks is in its prompt.
    endpoint.answer_body = lambda body: "I don't know." if "terse" in json.dumps(body) else "It is so."

    done = app.run("replay", second, "--against", first)

    assert done.code == 1
    assert "answered does not regress" in done.out
    assert f"answered by {first} alone: 60 (replay-req_000" in done.out


def test_equal_questions_are_asked_once_and_the_limit_takes_the_newest(app, releases, endpoint):
    first, second = releases
    keep_samples(app, [*QUESTIONS[:30], *(question.upper() for question in QUESTIONS[:30]), *QUESTIONS[30:]])

    found = replayed(app, second, "--against", first, "--limit", "40").json

    assert found["cases"] == 40
    assert found["left_out"] == {"asked before": 10, "older than --limit": 40}
    assert set(QUESTIONS[30:]) <= set(endpoint.asked)


def test_too_few_questions_say_no_data_and_ask_nothing(app, releases, endpoint):
    first, second = releases
    keep_samples(app, QUESTIONS[:3])

    done = app.run("replay", second, "--against", first)

    assert done.code == 4
    assert "NO_DATA: gate 'answered does not regress'" in done.out
    assert "nothing was asked" in done.out
    assert not endpoint.asked


def test_without_kept_texts_it_says_how_to_keep_them(app, releases):
    done = app.run("replay", releases[1], "--against", releases[0])

    assert done.code == 2
    assert "no question of local was kept" in done.err
    assert "quality: { sample: 0.05 }" in done.err


def test_a_log_of_masked_questions_is_replayed_and_one_of_hashes_is_not(app, releases, endpoint):
    first, second = releases
    rows = [
        {"event": "request", "request_id": f"r{n}", "route": "chat", "question": f"{q} for ann@example.com"}
        for n, q in enumerate(QUESTIONS)
    ]
    log = app.write("requests.log", "\n".join(map(json.dumps, rows)) + "\nnot json\n")

    found = replayed(app, second, "--against", first, "--log", str(log)).json
    assert (found["verdict"], found["cases"]) == ("PASS", 60)
    assert found["left_out"] == {"lines that are no JSON object": 1}
    assert not any("ann@example.com" in question for question in endpoint.asked)

    hashes = [{**row, "question": f"{n:032x}"} for n, row in enumerate(rows)]
    log.write_text("\n".join(map(json.dumps, hashes)))
    done = app.run("replay", second, "--against", first, "--log", str(log))
    assert done.code == 2
    assert "60 lines without the text of a question" in done.err


def test_shadow_pairs_are_replayed(app, releases):
    first, second = releases

    async def keep() -> None:
        store = await SqlStore.open(app.root / ".shipway" / "state.db", create=True)
        try:
            sink = DocumentPairs(store.documents, worker="w", max_pairs=100)
            for number, question in enumerate(QUESTIONS):
                await sink.add(ShadowPair(f"req_{number}", 1.0 * number, "chat", "rel_a", "rel_b", question, "a", "b"))
        finally:
            await store.close()

    anyio.run(keep)

    found = replayed(app, second, "--against", first, "--pairs").json

    assert (found["verdict"], found["cases"]) == ("PASS", 60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against", "{second}"], "compared with itself"),
        (["--pairs", "--from-records"], "name one source"),
        (["--log", "nowhere.log"], "nowhere.log: cannot be read"),
        (["--route", "other"], "the project has chat"),
        ([], "nothing is stable in 'local'"),
        (["--against", "rel_0000000000000000"], "rel_0000000000000000"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_asked(app, releases, endpoint, arguments, said):
    first, second = releases
    keep_samples(app, QUESTIONS)

    done = app.run("replay", second, *(part.format(first=first, second=second) for part in arguments))

    assert done.code == 2
    assert said in done.err
    assert not endpoint.asked


@pytest.mark.parametrize("history", ["own", "recorded", "none"])
def test_conversations_are_asked_in_order_with_own_or_recorded_answers_before_a_later_turn(
    app, releases, endpoint, history
):
    first, second = releases
    keep_samples(app, QUESTIONS)
    bodies = []

    def answered(body: Any) -> str:
        bodies.append([(message["role"], message["content"]) for message in body["messages"]])
        return f"It is {body['messages'][-1]['content']}."

    endpoint.answer_body = answered

    done = replayed(app, second, "--against", first, "--history", history)

    assert done.code == 0, done.out + done.err
    assert (done.json["cases"], done.json["later_turns"]) == (60, 0 if history == "none" else 30)
    later = [body for body in bodies if body[-1][1] == QUESTIONS[1]]
    own = f"It is {QUESTIONS[0]}."
    before = {"own": own, "recorded": "Yes.", "none": None}[history]
    expected = [("user", QUESTIONS[0]), ("assistant", before)] if before else []
    assert [body[1:-1] for body in later] == [expected, expected]
