"""Whether scores were given by the judge that the project names now; what another judge said is no evidence for it.

`services.gates` asks before stored answers are judged again, and before a verdict on them opens traffic.
"""

from collections.abc import Iterable, Mapping

from shipway.core.ids import Digest
from shipway.evals.baseline import NO_JUDGE
from shipway.evals.calibration import judge_digest
from shipway.evals.metric_names import tasks_needed
from shipway.evals.metrics import Metric
from shipway.evals.model import Case
from shipway.services.application import Application
from shipway.services.judges.building import JudgeParts, build_judge, judge_entry, judge_identity, project_anchors


async def present_judge(
    app: Application, metrics: Mapping[str, Metric], cases: Iterable[Case], parts: JudgeParts
) -> Digest:
    """Return the judge digest that an evaluation by these metrics would be bound to now.

    No model is asked; the embedded judge's are loaded, because they are part of who it is.

    Raises:
        NotFoundError: the project has no such judge, or a model of the embedded one is not installed.
        ConfigError: its rubric or its anchors cannot be read.
    """
    name = app.project.evals.judge
    if name is None or not tasks_needed(metrics, cases):
        return NO_JUDGE
    anchors = await project_anchors(app, name)
    if judge_entry(app, name).kind == "llm":
        return judge_digest(await judge_identity(app, name), anchors)
    async with build_judge(app, name, parts) as judge:
        return judge_digest(judge.identity, anchors)


def other_judge(was: Digest, now: Digest) -> str:
    """Return what two judges are that are not the same; empty when they are, or nothing is judged now."""
    if now in (NO_JUDGE, was):
        return ""
    return f"judge {'none' if was == NO_JUDGE else was} against {now} now"
