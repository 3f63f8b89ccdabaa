"""Several releases are asked the same cases, once each, and what cannot be opened is told."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.unit.services.fake_targets import FakeTargets, project, released, word

from shipway.core.errors import GateRefusedError, UsageError
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS
from shipway.evals.model import Output
from shipway.registry.hybrids import changed
from shipway.services.dataset_files import load_project_dataset
from shipway.services.evaluation_scoring import Opinions, load_scoring
from shipway.services.variants import Asking, VariantParts, Variants, run_variants

HTTP = """app: small
code: { paths: ["app/**"] }
routes: { own: { kind: http, command: [python, app/main.py] } }
evals: { dataset: evals/cases.jsonl, split: all, http: { body: { q: "{question}" }, answer: a } }
"""


async def variants(app, releases, *, metrics=METRICS, **more):
    dataset = await load_project_dataset(app.loaded)
    return Variants(releases, dataset, await load_scoring(app, dataset, metrics), Asking(1, 4), **more)


def right(_release, case, _repeat):
    return word(case)


async def test_one_release_under_two_names_is_asked_once(tmp_path):
    app = project(tmp_path, n=3)
    release = await released(app)
    asked = []

    def answer(release, case, repeat):
        asked.append(case.id)
        return word(case)

    found = await run_variants(
        app, await variants(app, {"a": release, "b": release}), VariantParts(FakeTargets(answer))
    )

    assert found.runs["a"] is found.runs["b"]
    assert sorted(asked) == ["c00", "c01", "c02"]


async def test_what_an_answer_takes_is_the_mean_of_those_that_came(tmp_path):
    app = project(tmp_path, n=4)
    release = await released(app)

    def answer(_release, case, _repeat):
        if case.id == "c03":
            return Output(error="timeout", latency_ms=60_000.0)
        return Output(answer=word(case), tokens_in=10, tokens_out=int(case.id[1:]), latency_ms=100.0, cost_usd=0.5)

    found = await run_variants(app, await variants(app, {"a": release}), VariantParts(FakeTargets(answer)))

    cost = found.costs["a"]
    assert (cost.latency_ms, cost.tokens, cost.cost_usd) == (100.0, 11.0, 0.5)


async def test_a_release_with_a_process_of_its_own_is_stored_so_that_it_can_be_started(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text("", encoding="utf-8")
    app = project(tmp_path, n=3)
    (tmp_path / "shipway.yaml").write_text(HTTP, encoding="utf-8")
    base = await released(app)
    hybrid = changed(
        base, lambda manifest: manifest["code"]["files"].update({"app/new.py": "sha256:0"}), base.provenance
    )

    await run_variants(
        app, await variants(app, {"a": base, "b": hybrid}), VariantParts(FakeTargets(right, route_name="own"))
    )

    assert (await app.releases.get(hybrid.id)).manifest == hybrid.manifest


async def test_a_dataset_without_cases_asks_nothing(tmp_path):
    app = project(tmp_path, n=3)
    wanted = await variants(app, {"a": await released(app)})

    with pytest.raises(UsageError, match="nothing to run: no cases in 'cases'"):
        await run_variants(
            app, replace(wanted, dataset=replace(wanted.dataset, cases=())), VariantParts(FakeTargets(right))
        )


async def test_a_judge_that_drifted_ranks_nothing(tmp_path, monkeypatch):
    app = project(tmp_path, n=3)
    release = await released(app)
    metrics = {**METRICS, **resolve_metrics(["completeness"], has_judge=True)}
    wanted = await variants(app, {"a": release}, metrics=metrics)

    @asynccontextmanager
    async def drifted(*_given):
        yield Opinions(drift="it calls 9 of 20 anchors otherwise")

    monkeypatch.setattr("shipway.services.variants.opened_opinions", drifted)
    with pytest.raises(GateRefusedError, match="the judge judges otherwise now: it calls 9 of 20 anchors otherwise"):
        await run_variants(app, wanted, VariantParts(FakeTargets(right)))


async def test_answers_are_kept_where_they_are_wanted(tmp_path):
    app = project(tmp_path, n=3)
    release = await released(app)
    wanted = await variants(app, {"a": release})

    found = await run_variants(
        app, replace(wanted, asking=Asking(1, 4, out=tmp_path / "kept")), VariantParts(FakeTargets(right))
    )

    assert found.directory == tmp_path / "kept"
    assert json.loads((tmp_path / "kept/plan.json").read_text())["targets"].keys() == {release.id}
