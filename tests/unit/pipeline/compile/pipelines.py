"""Random pipelines that every target can say, and the circumstances in which they start."""

from dataclasses import replace

from hypothesis import strategies as st
from tests.unit.pipeline.compile.reading import PARTS

from shipway import __version__
from shipway.config.sections.ci import Ci
from shipway.pipeline.compile.plan import Source
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.plan import plan_digest
from shipway.pipeline.selection import Circumstance
from shipway.pipeline.spec import Resources, StageSpec, When

# Names that YAML, shells and CI systems could take for something else.
NAMES = ("on", "yes", "no-1", "null2", "a", "lint", "unit", "e2e", "build", "deploy", "y", "off", "nan", "e3")
BRANCHES = ("main", "release/1", "dev", "fix-a", "a.b", "axb", "main2")
WORDS = ("${{ secrets.X }}", "$(touch x)", "{{workflow.name}}", "on", "1e3", "0o7", "`x`", "'", '"', "a\nb", "<< p >>")
CI = Ci(
    schedule="0 3 * * *",
    audience="https://cloud.example.com",
    repository="https://git.example.com/a/b.git",
    tiers={"pull_request": "pr", "schedule": "full"},
    branches=("main", "dev"),
    requirements=("requirements.txt",),
    gpu_runners={"h100:2": ("two-h100",)},
)
_EVENTS = ("push", "pull_request", "tag", "schedule", "manual", "model_update")
_SUBSETS = {"max_size": 3, "unique": True}


@st.composite
def stages(draw: st.DrawFn, name: str, known: tuple[str, ...]) -> StageSpec:
    events = tuple(draw(st.lists(st.sampled_from(_EVENTS), **_SUBSETS)))
    tiers = tuple(draw(st.sampled_from([(), ("pr", "full"), ("full",)]))) if set(events) != {"pull_request"} else ()
    branches = tuple(draw(st.lists(st.sampled_from(["main", "release/*", "*-a", "*e*", "a.b", "*"]), **_SUBSETS)))
    environment = draw(st.sampled_from(["", "staging", "production"]))
    shards = draw(st.integers(1, 3))
    return StageSpec(
        name=name,
        run=("echo", draw(st.sampled_from(WORDS))),
        needs=tuple(draw(st.lists(st.sampled_from(known), **_SUBSETS))) if known else (),
        timeout_s=draw(st.sampled_from([1.0, 90.5, 1800.0])),
        retries=draw(st.integers(0, 3)),
        allow_failure=draw(st.booleans()) if environment != "production" else False,
        env=tuple(draw(st.lists(st.sampled_from(["TOKEN", "yes", "SHIPWAY_ID_TOKEN"]), **_SUBSETS))),
        inputs=("src/**",) if draw(st.booleans()) else (),
        outputs=tuple(draw(st.lists(st.sampled_from(["dist/**", "a b/c.txt", "no", "1e3"]), **_SUBSETS))),
        metrics=draw(st.sampled_from(["", "m.json"])),
        report=draw(st.sampled_from(["", "junit.xml"])),
        image=draw(st.sampled_from(["", "registry.example.com/x:1@sha256:" + "0" * 64])),
        resources=Resources(gpus=draw(st.integers(0, 2)), gpu_type=draw(st.sampled_from(["", "h100"]))),
        when=When(branches if set(events) != {"tag"} else (), events, tuple(draw(st.sampled_from(_CHANGED))), tiers),
        environment=environment,
        concurrency=f"group-{name}" if shards == 1 and draw(st.booleans()) else "",
        shards=shards,
    )


def plain_ci() -> Ci:
    """Settings for targets whose events have no tiers of their own."""
    return CI.model_copy(update={"tiers": {}, "gpu_runners": {"h100:2": ("gpu.nvidia.medium",)}})


def without(graph: StageGraph, *keys: str) -> StageGraph:
    """The same pipeline without what a target refuses: `changed`, half of the pushes, parts that hand on, images."""
    needed = {need for stage in graph.stages.values() for need in stage.needs}
    kept: dict[tuple[str, ...], None] = {}
    found = []
    for stage in graph.stages.values():
        events = stage.when.events
        if "pushes" in keys and len({"push", "pull_request"} & set(events)) == 1:
            events = tuple(dict.fromkeys((*events, "push", "pull_request")))
        branches = stage.when.branches
        if "branches" in keys and branches not in kept and len(kept) == _MOST_BRANCH_SETS:
            branches = ()
        kept |= {branches: None} if branches else {}
        gpus = Resources(gpus=2, gpu_type="h100") if stage.resources.gpus else Resources()
        found.append(
            replace(
                stage,
                when=When(branches, events, () if "changed" in keys else stage.when.changed),
                shards=1 if "parts" in keys and stage.name in needed else stage.shards,
                resources=gpus if "gpus" in keys else stage.resources,
                env=tuple(name for name in stage.env if "identity" not in keys or name != "SHIPWAY_ID_TOKEN"),
                image="" if "gpus" in keys and gpus.gpus else stage.image,
            )
        )
    return build_graph(found)


_MOST_BRANCH_SETS = 3
_CHANGED = [(), ("code",), ("prompt", "data")]


@st.composite
def graphs(draw: st.DrawFn) -> StageGraph:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    found = [draw(stages(name, tuple(names[:index]))) for index, name in enumerate(names)]
    return build_graph(found)


@st.composite
def circumstances(draw: st.DrawFn) -> Circumstance:
    event = draw(st.sampled_from(_EVENTS))
    compared = event in ("push", "pull_request")
    changed = tuple(draw(st.lists(st.sampled_from(list(PARTS)), **_SUBSETS))) if compared else None
    return Circumstance(event, "" if event == "tag" else draw(st.sampled_from(BRANCHES)), changed)


def source(graph: StageGraph, ci: Ci = CI, folder: str = "") -> Source:
    parts = {part: tuple(folder + path for path in paths) for part, paths in PARTS.items()}
    return Source(graph, plan_digest(graph, __version__), __version__, ci, folder, parts)
