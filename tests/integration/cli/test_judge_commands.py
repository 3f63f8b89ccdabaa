"""`shipway judge` against a model behind a real socket that judges by one word, and breaks when it is told to."""

import contextlib
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest
from tests.program import Done
from typer.main import get_command

from shipway.core.canonical import canonical_json
from shipway.core.errors import ShipwayError
from shipway.entrypoints.cli.commands.judge import group
from shipway.entrypoints.failures import failure_of
from shipway.entrypoints.wiring import opened

PROJECT = """app: small
models: {{ big: {{ engine: openai, model: gpt-x, base_url: "{url}/v1", price: {{ input: 1, output: 2 }} }} }}
prompts: {{ chat: prompts/chat.yaml }}
routes: {{ chat: {{ kind: chat, model: big, prompt: chat }} }}
judges: {{ strict: {{ kind: llm, model: big }}, held: {{ kind: llm, model: big, anchors: evals/anchors.jsonl }} }}
"""
CASES = [
    {"id": f"c{i}", "question": f"Question {i}?", "reference": "It is blue.", "must_contain": ["x"]} for i in range(20)
]


class JudgingModel(ThreadingHTTPServer):
    """Answers are right when they are polite; `says` replaces what it replies."""

    says = None
    asked = 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked += 1
        right = "polite" in body["messages"][1]["content"]
        text = self.server.says or json.dumps({"score": float(right), "pass": right, "reason": "its tone"})
        reply = {
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def model():
    with JudgingModel(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def project(tmp_path, model):
    labels = [
        {"case": f"c{i}", "answer": "A polite answer." if i % 2 else "A rude one.", "task": "relevance", "label": i % 2}
        for i in range(20)
    ]
    files = {
        "shipway.yaml": PROJECT.format(url=f"http://127.0.0.1:{model.server_port}"),
        "prompts/chat.yaml": 'name: chat\nversion: "1"\ndescription: A chat.\nsystem: Hi.\nuser: "{question}"\n',
        "evals/cases.jsonl": "\n".join(json.dumps(case) for case in CASES),
        "evals/labels.jsonl": "\n".join(json.dumps(row) for row in labels),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def judge(project, *arguments, said=""):
    command = get_command(group)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.setattr("sys.stdin", io.StringIO(said))
        try:
            code = command.main([*arguments, "--project", str(project)], prog_name="judge", standalone_mode=False)
        except ShipwayError as error:
            code = failure_of(error).exit_code
            err.write(str(error))
    return Done(code or 0, out.getvalue(), err.getvalue())


def anchored(project):
    """Calibrate the judge that has anchors, and write them."""
    return judge(project, "calibrate", "held", "--write-anchors", str(project / "evals" / "anchors.jsonl"))


def test_a_judge_that_agrees_with_people_is_told_with_its_figures(project, model):
    done = judge(project, "calibrate", "strict")

    assert (done.code, model.asked) == (0, 40)
    assert "relevance  20      1.00 (1.00 to 1.00)  1.00 (0.72 to 1.00)" in done.out
    assert done.out.splitlines()[-1].startswith("PASS  agreement must be 0.4")


def test_a_judged_rate_is_corrected_for_the_judges_errors(project, model):
    # Three of the ten right answers are rude in the judge's eyes.
    text = (project / "evals" / "labels.jsonl").read_text()
    (project / "evals" / "labels.jsonl").write_text(text.replace("polite", "rude", 3))

    done = judge(project, "calibrate", "strict", "--rate", "0.56", "--answers", "200")
    more = judge(project, "calibrate", "strict", "--rate", "0.9")

    assert done.code == 0
    assert "relevance: a judged rate of 0.56 means 0.80 (" in done.out
    assert "cut to 0 to 1" not in done.out
    assert re.search(r"a judged rate of 0.9 means 1.00 \(0.\d\d to 1.00\), cut to 0 to 1", more.out)


def test_a_rate_by_a_judge_that_knows_nothing_is_not_corrected(project, model):
    model.says = '{"score": 1, "pass": true}'

    done = judge(project, "calibrate", "strict", "--rate", "0.5")

    assert done.code == 2
    assert "the judge is no better than chance: it finds 100% of the right and 0% of the wrong answers" in done.err


def test_a_judge_that_does_not_agree_exits_with_1_and_writes_no_anchors(project, model):
    model.says = '{"score": 1, "pass": true}'

    done = anchored(project)

    assert done.code == 1
    assert "FAIL" in done.out
    assert "no anchors are written: the judge is FAIL" in done.err
    assert not (project / "evals" / "anchors.jsonl").exists()


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("I would say it is good.", "the judge's reply is not one JSON object"),
        ('{"pass": true, "score": 0}', "the judge contradicts itself: pass is true and score 0"),
    ],
)
def test_a_judge_without_valid_replies_is_an_error(project, model, says, reason):
    model.says = says

    done = judge(project, "calibrate", "strict")

    assert done.code == 3
    assert f"failed: {reason}" in done.out
    assert done.out.splitlines()[-1].startswith("ERROR")


def test_anchors_hold_a_judge_to_its_word_until_it_drifts(project, model):
    assert anchored(project).code == 0
    same = judge(project, "anchors", "held", "--json")
    model.says = '{"score": 1, "pass": true}'
    drifted = judge(project, "anchors", "held")

    assert (same.code, same.json["verdict"], same.json["changed"]) == (0, "PASS", 0)
    assert drifted.code == 3
    assert drifted.out.startswith("ERROR  labels shift in one direction: 0 from 1 to 0, 10 from 0 to 1 (p = 0.002)")


def test_a_judge_whose_engine_is_down_is_an_error_that_says_so(project, model):
    anchored(project)
    text = (project / "shipway.yaml").read_text()
    (project / "shipway.yaml").write_text(text.replace(str(model.server_port), "1"))

    done = judge(project, "anchors", "held")

    assert done.code == 3
    assert "20 of 20 labels changed, more than 10% (20 could not be judged: http://127.0.0.1:1/v1" in done.out


def test_a_judge_without_anchors_is_told_how_to_get_them(project):
    done = judge(project, "anchors", "strict")

    assert done.code == 2
    assert "shipway judge calibrate strict --labels FILE --write-anchors FILE" in done.err


def test_an_unknown_judge_is_refused(project):
    assert "no judge 'strikt'\n  did you mean 'strict'?" in judge(project, "calibrate", "strikt").err


def test_wrong_labels_are_told_with_their_line(project):
    (project / "evals" / "labels.jsonl").write_text('{"case": "c1", "answer": "x", "task": "relevance", "label": 2}')

    done = judge(project, "calibrate", "strict")

    assert done.code == 2
    assert "labels.jsonl:1: label: 2 is no label; write 1 (yes), 0 (no) or null" in done.err


def test_one_answer_can_be_tried(project):
    done = judge(project, "try", "strict", "c1", "--answer", "A polite answer.", "--task", "relevance", "--json")

    assert done.code == 0
    assert (done.json["score"], done.json["votes"]) == (1.0, [1.0, 1.0])
    assert done.json["cost_usd"] == pytest.approx(2 * (100 + 20) / 1e6)


def test_an_answer_without_passages_cannot_be_tried_for_faithfulness(project):
    done = judge(project, "try", "strict", "c1", "--answer", "Blue.", "--task", "faithfulness")

    assert done.code == 2
    assert "gives passages to judge the answer against" in done.err
    assert "--passage" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("c99", "--answer", "x"), "the dataset has no case 'c99'"),
        (("c1", "--answer", "x", "--task", "relevant"), "there is no task 'relevant'\n  did you mean 'relevance'?"),
    ],
)
def test_a_case_or_task_that_is_not_there_is_refused(project, arguments, said):
    assert said in judge(project, "try", "strict", *arguments).err


@pytest.fixture
def evaluated(project, shipway):
    """A release with a stored evaluation of six answers; returns its id."""
    release = shipway("release", "create", "--project", str(project), "--json").json["release"]
    results = [
        {"case": f"c{i}", "repeat": 0, "scores": {"correct": i % 2}, "errors": {}, "output": {"answer": f"It is {i}."}}
        for i in range(6)
    ]

    async def store():
        async with opened(project) as app:
            blob = await app.state.blobs.put(canonical_json({"candidate": {"results": results}}))
            body = {"id": "eval_1", "release": release, "runs": blob}
            await app.state.documents.put("evaluation", f"{release}/eval_1", body, expected_version=0)

    anyio.run(store)
    return release


def label(project, release, *arguments, said=""):
    return judge(project, "label", release, "--by", "ann", "--task", "completeness", *arguments, said=said)


def labels_of(project):
    return [json.loads(line) for line in (project / "evals" / "labels.jsonl").read_text().splitlines()[20:]]


def test_answers_are_labelled_one_key_each_and_go_on_where_they_stopped(project, evaluated):
    first = label(project, evaluated, "--count", "4", said="y\nn\nx\nu\nc\nq\n")
    rows = labels_of(project)
    second = label(project, evaluated, said="y\n" * 9)

    assert first.code == 0
    assert "2 answers labelled in" in first.out
    assert "'x' is no answer; there are y yes, n no" in first.err
    assert [row["label"] for row in rows] == [1, 0, None, None]
    assert rows[2]["note"] == "undone"
    assert second.code == 0
    assert "4 answers labelled in" in second.out
    shown = {line for line in second.err.splitlines() if line.startswith("  It is ") and line != "  It is blue."}
    assert shown.isdisjoint({f"  {row['answer']}" for row in rows})


def test_the_end_of_the_input_keeps_what_was_labelled(project, evaluated):
    done = label(project, evaluated, "--json", said="y\n")

    assert (done.code, done.json["labelled"], done.json["left"]) == (0, 1, 5)
    assert done.out.startswith("{")
    assert len(labels_of(project)) == 1


def test_what_a_judge_or_a_metric_said_is_not_shown(project, evaluated):
    done = label(project, evaluated, said="q\n")

    assert "It is" in done.err
    assert "correct" not in done.err
    assert "Does the answer say everything that the reference says?" in done.err


def test_faithfulness_cannot_be_labelled_without_passages(project, evaluated):
    done = judge(project, "label", evaluated)

    assert done.code == 2
    assert "faithfulness: no answer of" in done.err
    assert "--task completeness" in done.err
