import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError, DatasetError, NotFoundError
from shipway.core.verdicts import Verdict
from shipway.evals.calibration import AnchorCheck
from shipway.rag.answer import Generation
from shipway.services.application import Application, Workspace
from shipway.services.judges.building import build_judge, project_anchors
from shipway.services.judges.calibrating import calibrate_judge, check_judge, write_anchors

PROJECT = """app: small
models: { big: { engine: openai, model: gpt-x, base_url: "http://127.0.0.1:1/v1" } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: big, prompt: chat } }
judges:
  strict: { kind: llm, model: big, swap: false, timeout_s: 7, rubric: evals/rubric.md, anchors: evals/anchors.jsonl }
  local: { kind: embedded, anchors: evals/anchors.jsonl }
  free: { kind: embedded }
"""
CASES = [
    {"id": f"c{i}", "question": f"Question {i}?", "must_contain": ["x"], "split": "calibration"} for i in range(40)
]


class Model:
    """Scores an answer by the word that it holds; a rude one is called right when it drifts."""

    def __init__(self):
        self.drifts = self.breaks = False

    async def generate(self, messages, **_):
        right = "polite" in messages[1]["content"] or self.drifts
        text = "no idea" if self.breaks else json.dumps({"score": float(right), "pass": right})
        return Generation(text, tokens_in=1, tokens_cached=0, tokens_out=1, finish_reason="stop")


class Parts:
    def __init__(self):
        self.model = Model()
        self.opened = []

    async def embedder(self):
        return HashingEmbedder()

    async def reranker(self):
        return OverlapReranker()

    @asynccontextmanager
    async def generator(self, alias, timeout_s):
        self.opened.append((alias, timeout_s))
        yield self.model
        self.opened.append("closed")


def rows(people):
    words = {1: "polite", 0: "rude"}
    return [
        {"case": f"c{i}", "answer": f"A {words[value]} answer.", "task": "relevance", "label": value}
        for i, value in enumerate(people)
    ]


@pytest.fixture
def app(tmp_path):
    files = {
        "shipway.yaml": PROJECT,
        "prompts/chat.yaml": 'name: chat\nversion: "1"\ndescription: A chat.\nsystem: Hi.\nuser: "{question}"\n',
        "evals/cases.jsonl": "\n".join(json.dumps(case) for case in CASES),
        "evals/rubric.md": "Be polite.\n",
        "evals/labels.jsonl": "\n".join(json.dumps(row) for row in rows([1, 0] * 20)),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), ManualClock(), "user:test")


async def calibrated(app, parts, name="strict"):
    async with build_judge(app, name, parts) as judge:
        return await calibrate_judge(app, judge, app.loaded.root / "evals" / "labels.jsonl")


async def checked(app, parts, name="strict"):
    async with build_judge(app, name, parts) as judge:
        return await check_judge(app, judge)


async def with_anchors(app, parts):
    done = await calibrated(app, parts)
    await write_anchors(app.loaded.root / "evals" / "anchors.jsonl", done.anchors)
    return done


async def test_a_judge_of_kind_llm_is_built_of_its_model_and_closed_again(app):
    parts = Parts()
    async with build_judge(app, "strict", parts) as judge:
        assert judge.identity.name == "strict"
        assert parts.opened == [("big", 7.0)]
    assert parts.opened[-1] == "closed"


async def test_another_rubric_is_another_judge(app):
    async with build_judge(app, "strict", Parts()) as judge:
        before = judge.identity.digest
    (app.loaded.root / "evals" / "rubric.md").write_text("Be rude.")
    async with build_judge(app, "strict", Parts()) as judge:
        assert judge.identity.digest != before


async def test_an_unknown_judge_is_refused_with_the_nearest_name(app):
    with pytest.raises(NotFoundError, match=r"no judge 'strikt'\n  did you mean 'strict'"):
        async with build_judge(app, "strikt", Parts()):
            pass


@pytest.mark.parametrize(("file", "key"), [("rubric.md", "rubric"), ("anchors.jsonl", "anchors")])
async def test_a_file_that_is_not_there_is_told_with_its_place(app, file, key):
    (app.loaded.root / "evals" / file).unlink(missing_ok=True)

    with pytest.raises(ConfigError) as caught:
        await checked(app, Parts())

    said = f"shipway.yaml:6: judges.strict.{key}: evals/{file}: cannot be read: No such file or directory"
    assert caught.value.problems == [said]


async def test_calibration_compares_with_people(app):
    done = await calibrated(app, Parts())

    assert done.verdict is Verdict.PASS
    assert [(found.task, found.n, found.kappa) for found in done.calibrations] == [("relevance", 40, 1.0)]
    assert len(done.anchors) == 40


async def test_labels_that_are_not_there_are_asked_for(app):
    (app.loaded.root / "evals" / "labels.jsonl").unlink()

    with pytest.raises(DatasetError, match="make labels with `shipway judge label`"):
        await calibrated(app, Parts())


async def test_a_judge_that_says_the_same_passes_its_anchors(app):
    parts = Parts()
    await with_anchors(app, parts)

    assert await checked(app, parts) == AnchorCheck(Verdict.PASS, "0 of 40 labels changed", 40, 0, 1.0, 1.0)


async def test_a_drifting_judge_is_an_error(app):
    parts = Parts()
    await with_anchors(app, parts)
    parts.model.drifts = True

    found = await checked(app, parts)

    assert found.verdict is Verdict.ERROR
    assert found.message.startswith("labels shift in one direction: 0 from 1 to 0, 20 from 0 to 1 (p = 1.9e-06)")


async def test_a_judge_that_people_do_not_agree_with_is_an_error_though_it_did_not_change(app):
    text = "\n".join(json.dumps({**row, "label": 1 - row["label"]}) for row in rows([1, 0] * 20))
    (app.loaded.root / "evals" / "labels.jsonl").write_text(text)
    parts = Parts()
    done = await with_anchors(app, parts)

    assert done.verdict is Verdict.FAIL
    assert (await checked(app, parts)).drift == "relevance: agreement with people is -1.00, below 0.4"


async def test_how_much_may_change_is_the_projects_to_say(app):
    parts = Parts()
    await with_anchors(app, parts)
    parts.model.drifts = True
    file = app.loaded.root / "shipway.yaml"
    file.write_text(file.read_text().replace("timeout_s: 7,", "timeout_s: 7, max_drift: 0.5,"))
    patient = replace(app, loaded=load_project(app.loaded.root, {}))

    assert "20 of 40 labels changed, more than 10%" in (await checked(app, parts)).message
    assert "labels changed" not in (await checked(patient, parts)).message


async def test_a_judge_that_replies_prose_is_an_error_and_no_wrong_answer(app):
    parts = Parts()
    await with_anchors(app, parts)
    parts.model.breaks = True

    found = await checked(app, parts)

    assert (found.verdict, found.changed) == (Verdict.ERROR, 40)
    assert "the judge's reply is not one JSON object" in found.message
    assert (await calibrated(app, parts)).verdict is Verdict.ERROR


async def test_the_anchors_of_another_judge_are_refused_with_both_digests(app):
    parts = Parts()
    done = await with_anchors(app, parts)

    found = await checked(app, parts, "local")

    assert found.verdict is Verdict.ERROR
    assert done.identity.digest in found.message


async def test_a_judge_without_anchors_is_not_checked(app):
    assert await checked(app, Parts(), "free") is None
    assert await project_anchors(app, "free") == []
