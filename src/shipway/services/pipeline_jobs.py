"""One stage as a job of a CI system: is the plan the one that was compiled, and what did the jobs before it leave.

Jobs hand results on as files of a folder, one for each stage, which the CI system carries from job to job.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shipway.core.disk import explained
from shipway.core.errors import IntegrityError, NotFoundError, UsageError
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.keys import lineage_of
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.plan import plan_digest

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class JobResults:
    """The results that jobs hand on; with a `plan`, those of another plan are refused."""

    folder: Path
    plan: str = ""

    def read(self, stage: str) -> StageResult | None:
        """Return what the job of a stage left, None when nothing.

        Raises:
            IntegrityError: what is there is no result of this stage, or of another plan.
        """
        path = self.folder / f"{stage}.json"
        try:
            document = json.loads(path.read_bytes())
            result, plan = StageResult.from_dict(document), document.get("plan")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{path} is no result of a stage: {error}") from error
        if result.name != stage:
            raise IntegrityError(f"{path} is the result of stage {result.name!r}")
        if self.plan and plan != self.plan:
            raise IntegrityError(
                f"{path} is of plan {plan or 'without a digest'}, and this job has {self.plan}",
                hint=f"remove it, and run stage {stage} again",
            )
        return result

    def write(self, result: StageResult) -> None:
        """Leave a result for the jobs after this one.

        Raises:
            StoreError: the disk refuses.
        """
        path = self.folder / f"{result.name}.json"
        with explained(path, "cannot be written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result.to_dict() | {"plan": self.plan}), encoding="utf-8")


def job_plan(
    graph: StageGraph, name: str, digest: str | None, results: JobResults, version: str
) -> Mapping[str, StageResult]:
    """Return the results of all other stages, as the stage of a job sees them.

    A stage with conditions whose job left nothing was left out; any other must have left its result. Without a digest
    any plan is taken.

    Raises:
        NotFoundError: there is no such stage, or a stage that it builds on left no result.
        UsageError: the plan is not the one that was compiled.
        IntegrityError: what a job left is no result, one of another plan, or not as it was left.
    """
    if name not in graph.stages:
        raise NotFoundError(f"there is no stage {name!r}", hint=f"the pipeline has {', '.join(graph.stages)}")
    own = plan_digest(graph, version)
    if digest is not None and not digest.strip():
        # A job whose variable is not set must not run whatever stands there.
        raise UsageError(
            "--plan-digest is empty, so the plan would not be compared",
            hint="leave the option out, or give the digest that `shipway pipeline graph` shows",
        )
    if digest is not None and digest != own:
        raise UsageError(
            f"the plan of this checkout is {own}, and the job was compiled from {digest}: the pipeline's definition or"
            " the version of Shipway is another",
            hint="compile the pipeline again and commit what it writes; `shipway pipeline graph` shows the digest",
        )
    found = {other: StageResult(other, StageState.SKIPPED, allowed=True) for other in graph.stages if other != name}
    for need in graph.ancestors(name):
        result = results.read(need)
        lineage = lineage_of(result or found[need], {each: found[each].lineage for each in graph.stages[need].needs})
        if result is not None and result.lineage != lineage:
            raise IntegrityError(
                f"the result of stage {need!r} in {results.folder} is not as its job left it, or what that built on is"
                " another",
                hint="fetch the files that the job kept, all of one run, or run the stage again",
            )
        if result is not None:
            found[need] = result
        elif graph.stages[need].when.always:
            raise NotFoundError(
                f"stage {need!r}, which {name!r} builds on, left no result in {results.folder}",
                hint="let the job of that stage keep this folder, and this job fetch it",
            )
        else:
            found[need] = replace(found[need], lineage=lineage)
    return found


def check_shard(graph: StageGraph, name: str, shard: str) -> None:
    """Check which part of a stage a job is.

    Raises:
        UsageError: it is not like 2/4, or the stage has another number of parts.
    """
    parts = _SHARD.fullmatch(shard)
    if parts is None or int(parts[1]) > int(parts[2]):
        raise UsageError(f"--shard: {shard!r} is not a part like 2/4")
    wanted = graph.stages[name].shards if name in graph.stages else 1
    if int(parts[2]) not in (1, wanted):
        raise UsageError(f"--shard: {shard!r}, but pipeline.{name} has {wanted} shards")
