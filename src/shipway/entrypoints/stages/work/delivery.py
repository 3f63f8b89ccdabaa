"""The stages that make, judge and deploy a release: the same service calls as the commands, with their results."""

from pathlib import Path

from shipway.core.verdicts import Verdict
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.rag_parts import build_parts
from shipway.entrypoints.release_parts import release_parts
from shipway.entrypoints.stages.work.handing_on import leave_evaluation, take_over_evaluation
from shipway.entrypoints.stages.work.releases import released
from shipway.entrypoints.stages.work.serving import served
from shipway.entrypoints.wiring import opened
from shipway.evals.report import gate_lines
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.corpora import report_as_dict
from shipway.services.deployments import apply_deploy, plan_deploy, wait_rollout
from shipway.services.evaluations import EvaluationParts, EvaluationRequest, evaluate
from shipway.services.gate_check import refuse_blind_gates
from shipway.services.http_processes import ProcessTarget
from shipway.services.releases import create_release
from shipway.services.rollouts import verdict_of, view


def rag_build(project: Path | None) -> BuiltinStage:
    """Return the stage that builds the corpus."""
    return _Stages(project).rag_build


def release(project: Path | None) -> BuiltinStage:
    """Return the stage that creates the release."""
    return _Stages(project).release


def evaluate_release(project: Path | None) -> BuiltinStage:
    """Return the stage that evaluates the release of the run."""
    return _Stages(project).evaluate


def deploy(project: Path | None) -> BuiltinStage:
    """Return the stage that deploys the release of the run."""
    return _Stages(project).deploy


class _Stages:
    def __init__(self, project: Path | None) -> None:
        self._project = project

    async def rag_build(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Build the corpus; outputs which it is, and prints what was embedded and reused.

        The outputs are the same when nothing changed, so that what builds on them is known.
        """
        del stage
        async with opened(self._project) as app:
            report = await corpora().build(app, build_parts(app), lambda _done, _total: None)
        found = report_as_dict(report)
        outputs = {name: found.pop(name) for name in ("manifest", "documents", "chunks")}
        context.output.feed((", ".join(f"{name} {count}" for name, count in found.items()) + "\n").encode())
        return StageOutcome(Verdict.PASS, outputs=outputs)

    async def release(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Create the release; outputs its id for later stages."""
        del stage
        async with opened(self._project) as app:
            await refuse_blind_gates(app.loaded)
            if app.project.corpus:
                # The build before this stage may be known from the cache, and what is here of another state.
                await corpora().build(app, build_parts(app), lambda _done, _total: None)
            made = await create_release(app, release_parts(), message=f"pipeline run {context.run_id}")
        context.output.feed(b"created\n" if made.is_new else b"exists already with this content\n")
        return StageOutcome(Verdict.PASS, outputs={"release": made.release.id})

    async def evaluate(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Evaluate the release of this run; the gate's verdict is the stage's."""
        async with opened(self._project) as app:
            name = await released(app, stage, context)
            async with served(app, context), evaluation_targets(app) as targets:
                parts = EvaluationParts(judge=LocalJudgeParts(app))
                done = await evaluate(app, EvaluationRequest(name), targets, parts=parts)
            evidence = await leave_evaluation(app, stage, name, done.id)
        for line in gate_lines(done.report):
            context.output.feed((line + "\n").encode())
        problem = "" if done.verdict is Verdict.PASS else f"the gate says {done.verdict.value}"
        outputs = {"release": name, "evaluation": done.id, "evidence": evidence}
        return StageOutcome(done.verdict, outputs=outputs, problem=problem)

    async def deploy(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Deploy the release of this run and wait for its rollout."""
        async with opened(self._project) as app:
            name = await released(app, stage, context)
            await take_over_evaluation(app, stage, context, name)
            target = ProcessTarget(app.state.documents, app.environment)
            done = await apply_deploy(app, await plan_deploy(app, name, LocalJudgeParts(app)), target)
            if done.rollout is None:
                return StageOutcome(Verdict.PASS, outputs={"release": name, "kind": done.kind})
            rollout = await wait_rollout(app, done.rollout, timeout_s=stage.timeout_s)
        verdict = verdict_of(rollout)
        found = view(rollout)
        outputs = {"release": name, "rollout": rollout.id, "state": found["state"]}
        return StageOutcome(
            verdict, outputs=outputs, problem="" if verdict is Verdict.PASS else found["reason"] or found["state"]
        )
