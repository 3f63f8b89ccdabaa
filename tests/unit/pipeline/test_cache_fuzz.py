"""Whatever is changed, exactly the stages run that it concerns, and what comes out is what a fresh run would make."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.project_stages import Project

from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

FILES = ("in/gen", "in/mid", "in/top", "in/solo")
STAGES = (
    StageSpec("gen", run=("gen",), inputs=("in/gen",), outputs=("out/gen",)),
    StageSpec("mid", run=("mid",), needs=("gen",), inputs=("in/mid",), outputs=("out/mid",), env=("MODE",)),
    StageSpec("top", run=("top",), needs=("mid",), inputs=("in/top",)),
    StageSpec("solo", run=("solo",), inputs=("in/solo",), tools=("ruff",)),
)
Change = tuple[str, str, str]

# One byte, so that an example often returns to what it was; `gen` hands on only whether it is a letter, so that some
# changes end there.
BYTES = st.sampled_from(["a", "b", "1", "2", ""])
KNOWN_CHANGES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(FILES), BYTES),
    st.tuples(st.just("same"), st.sampled_from(FILES), st.just("")),
    st.tuples(st.just("variable"), st.just("MODE"), BYTES),
    st.tuples(st.just("tool"), st.just("ruff"), BYTES),
    st.tuples(st.just("remove"), st.sampled_from(["out/gen", "out/mid"]), st.just("")),
)
CHANGES = st.one_of(KNOWN_CHANGES, st.tuples(st.just("harm"), st.sampled_from(["out/gen", "out/mid"]), BYTES))


def fuzzed(root: Path) -> Project:
    """Return a project whose stages hand on something of all that decides them."""
    project = Project(root, STAGES, variables={"MODE": "m"})
    project.tools.versions_by_name["ruff"] = "1"
    for name in FILES:
        project.write(name, "a")

    async def gen(_context: StageContext) -> None:
        project.write("out/gen", f"letter {project.read('in/gen').isalpha()}")

    async def mid(_context: StageContext) -> None:
        mode = project.variables.get("MODE", "unset")
        project.write("out/mid", f"{project.read('out/gen')} {project.read('in/mid')} {mode}")

    async def top(_context: StageContext) -> StageOutcome:
        return StageOutcome(Verdict.PASS, outputs={"saw": f"{project.read('out/mid')} {project.read('in/top')}"})

    async def solo(_context: StageContext) -> StageOutcome:
        version = project.tools.versions_by_name["ruff"]
        return StageOutcome(Verdict.PASS, outputs={"saw": f"{project.read('in/solo')} {version}"})

    project.acts |= {"gen": gen, "mid": mid, "top": top, "solo": solo}
    return project


def apply(project: Project, change: Change) -> None:
    kind, name, value = change
    match kind:
        case "file" | "harm":
            project.write(name, value)
        case "same":
            project.write(name, project.read(name))
        case "variable" if value:
            project.variables[name] = value
        case "variable":
            project.variables.pop(name, None)
        case "tool":
            project.tools.versions_by_name[name] = value
        case _:
            (project.root / name).unlink(missing_ok=True)


def deciding(project: Project) -> dict[str, tuple[str, ...]]:
    """Return what decides each stage, by the rules of the stages above and not by those of the keys."""
    read = {name.removeprefix("in/"): project.read(name) for name in FILES}
    handed = f"letter {read['gen'].isalpha()}"
    mode = project.variables.get("MODE", "unset")
    return {
        "gen": (read["gen"],),
        "mid": (read["mid"], handed, mode),
        "top": (read["top"], f"{handed} {read['mid']} {mode}"),
        "solo": (read["solo"], project.tools.versions_by_name["ruff"]),
    }


async def check(root: Path, changes: list[Change], harm: Callable[[Project], None] | None = None) -> None:
    project = fuzzed(root)
    seen: dict[str, set[tuple[str, ...]]] = {stage.name: set() for stage in STAGES}
    for change in [None, *changes]:
        if change is not None:
            apply(project, change)
        expected = {name for name, value in deciding(project).items() if value not in seen[name]}
        if harm is not None:
            harm(project)
        report = await project.run()
        assert report.verdict is Verdict.PASS, [result.problem for result in report.results]
        if harm is None:
            assert set(project.ran) == expected
        assert expected <= set(project.ran)
        for name, value in deciding(project).items():
            seen[name].add(value)
        decided = deciding(project)
        made = {result.name: result.outputs for result in report.results}
        assert project.read("out/mid") == decided["top"][1]
        assert made["top"]["saw"] == f"{decided['top'][1]} {decided['top'][0]}"
        assert made["solo"]["saw"] == " ".join(decided["solo"])


@settings(max_examples=40)
@given(st.lists(KNOWN_CHANGES, min_size=1, max_size=6))
def test_exactly_what_a_change_concerns_runs_again(changes: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(check, Path(folder), changes)


@settings(max_examples=15)
@given(st.lists(CHANGES, min_size=1, max_size=4), st.integers(0, 10**6), st.binary(min_size=1, max_size=1))
def test_a_byte_changed_anywhere_in_the_cache_changes_no_result(changes: list[Change], place: int, byte: bytes) -> None:
    def harm(project: Project) -> None:
        kept = sorted(path for path in (project.root / project.cache).rglob("*") if path.is_file())
        if kept:
            path = kept[place % len(kept)]
            data = bytearray(path.read_bytes() or b" ")
            data[place % len(data)] = byte[0]
            path.write_bytes(data)

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(check, Path(folder), changes, harm)
