"""From the project file's `pipeline` section to stages; the CLI, the compilers and the audit call it."""

from collections.abc import Mapping

from shipway.config.sections.pipeline import Circumstances, MetricLimit, Stage, StageResources
from shipway.pipeline.spec import Limit, Resources, StageSpec, When


def configured_stages(section: Mapping[str, Stage]) -> tuple[StageSpec, ...]:
    """Return the stages of a project file's `pipeline` section."""
    return tuple(_spec(name, stage) for name, stage in section.items())


def _spec(name: str, stage: Stage) -> StageSpec:
    return StageSpec(
        name=name,
        run=stage.run,
        uses=stage.uses,
        entry=stage.entry,
        with_=stage.with_,
        needs=stage.needs,
        timeout_s=stage.timeout_s,
        retries=stage.retries,
        retry_on=stage.retry_on,
        allow_failure=stage.allow_failure,
        env=stage.env,
        inputs=stage.inputs,
        outputs=stage.outputs,
        metrics=stage.metrics or "",
        gate=tuple(_limit(limit) for limit in stage.gate),
        report=stage.report or "",
        tools=stage.tools,
        image=stage.image,
        resources=_resources(stage.resources),
        when=_when(stage.when),
        cache=stage.cache is not False,
        environment=stage.environment,
        concurrency=stage.concurrency,
        shards=stage.shards,
    )


def _limit(limit: MetricLimit) -> Limit:
    return Limit(limit.metric, limit.min, limit.max)


def _resources(wanted: StageResources) -> Resources:
    return Resources(wanted.cpus, wanted.memory_mb, wanted.gpus, wanted.gpu_type)


def _when(when: Circumstances) -> When:
    return When(when.branches, when.events, when.changed, when.tiers)
