"""The stage that asks for what people have said of a release."""

from pathlib import Path

import anyio.to_thread

from shipway.config.yaml_source import read_yaml
from shipway.core.errors import NotFoundError
from shipway.core.findings import FindingReport
from shipway.entrypoints.stages.review import Review
from shipway.entrypoints.stages.work.checking import finished
from shipway.entrypoints.stages.work.releases import release_of
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.reviews import Reviewed, read_reviews, review_findings
from shipway.pipeline.spec import StageSpec


def review(project: Path | None) -> BuiltinStage:
    """Return the stage that asks for reviews."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Review.model_validate(dict(stage.with_))
        release = wanted.release or release_of(stage, context)
        reviews = await anyio.to_thread.run_sync(_reviews, root / wanted.file, wanted.file)
        findings = tuple(review_findings(reviews, release, wanted.aspects, wanted.reviewers))
        outputs = {"release": release, "reviewers": len({item.reviewer for item in reviews if item.release == release})}
        return await finished(root, stage, context, FindingReport(stage.name, "", findings), outputs)

    return run


def _reviews(path: Path, shown: str) -> list[Reviewed]:
    try:
        return read_reviews(read_yaml(path, shown).data.get("reviews"), shown)
    except NotFoundError:
        # Nobody has looked yet, which the findings say.
        return []
