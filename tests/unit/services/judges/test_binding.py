from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.config.loading import load_project
from shipway.core.canonical import digest_json
from shipway.core.clock import ManualClock
from shipway.evals.baseline import NO_JUDGE
from shipway.evals.calibration import judge_digest
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS
from shipway.services.application import Application, Workspace
from shipway.services.judges.binding import other_judge, present_judge
from shipway.services.judges.building import build_judge

PROJECT = """app: small
models: { big: { engine: openai, model: gpt-x, base_url: "http://127.0.0.1:1/v1" } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: big, prompt: chat } }
judges:
  strict: { kind: llm, model: big, rubric: evals/rubric.md }
  local: { kind: embedded }
evals: { judge: strict }
"""
JUDGED = resolve_metrics(("faithfulness",), has_judge=True)


class Parts:
    """Models of the embedded judge; a language model is never opened."""

    async def embedder(self):
        return HashingEmbedder()

    async def reranker(self):
        return OverlapReranker()

    def generator(self, alias, timeout_s):
        raise AssertionError(f"{alias} was opened for {timeout_s} s")


@pytest.fixture
def app(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "evals").mkdir()
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    (tmp_path / "prompts/chat.yaml").write_text(
        'name: chat\nversion: "1"\ndescription: A chat.\nsystem: Hi.\nuser: "{question}"\n'
    )
    (tmp_path / "evals/rubric.md").write_text("Be strict.")
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), ManualClock(), "user:test")


def choosing(app, judge):
    project = app.loaded.project
    chosen = project.model_copy(update={"evals": project.evals.model_copy(update={"judge": judge})})
    return replace(app, loaded=replace(app.loaded, project=chosen))


@pytest.mark.anyio
async def test_a_model_judge_is_known_without_asking_it_and_changes_with_its_rubric(app, tmp_path):
    before = await present_judge(app, JUDGED, (), Parts())
    assert before == await present_judge(app, JUDGED, (), Parts()) != NO_JUDGE
    (tmp_path / "evals/rubric.md").write_text("Be mild.")
    assert await present_judge(app, JUDGED, (), Parts()) not in (before, NO_JUDGE)


@pytest.mark.anyio
async def test_the_embedded_judge_is_the_one_that_evaluations_would_ask(app):
    local = choosing(app, "local")
    async with build_judge(local, "local", Parts()) as judge:
        assert await present_judge(local, JUDGED, (), Parts()) == judge_digest(judge.identity)


@pytest.mark.anyio
async def test_nobody_judges_what_is_computed(app):
    assert await present_judge(app, {"correct": METRICS["correct"]}, (), Parts()) == NO_JUDGE
    assert await present_judge(choosing(app, None), JUDGED, (), Parts()) == NO_JUDGE


def test_two_judges_are_named_where_one_judges_now():
    one, other = digest_json(1), digest_json(2)
    assert other_judge(one, other) == f"judge {one} against {other} now"
    assert other_judge(NO_JUDGE, other) == f"judge none against {other} now"
    assert other_judge(one, one) == other_judge(one, NO_JUDGE) == ""
