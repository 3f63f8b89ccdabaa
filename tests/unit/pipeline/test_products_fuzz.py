"""People and stages write into the same folders, attempts fail, parts of a pipeline run: results are right anyway.

And whatever a person wrote that no stage made is as they left it.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.project_stages import Project

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import RunReport, StageOutcome, StageResult
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

STAGES = (
    StageSpec("gen", run=("gen",), inputs=("in/gen",), outputs=("gen/**",), retries=1),
    StageSpec("mid", run=("mid",), needs=("gen",), inputs=("in/mid",), outputs=("out/mid*",), retries=1),
    StageSpec("top", run=("top",), needs=("mid",), inputs=("in/top",)),
)
MADE = {"gen/made": "gen", "gen/table": "gen", "out/mid": "mid"}
"""What stages make, with the stage."""
Change = tuple[str, str, str]
BYTES = st.sampled_from(["a", "b", ""])
CHANGES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(["in/gen", "in/mid", "in/top"]), BYTES),
    st.tuples(st.just("hand"), st.sampled_from(["gen/hand", "gen/hand2"]), BYTES),
    st.tuples(st.just("harm"), st.sampled_from(sorted(MADE)), st.just("")),
    st.tuples(st.just("remove"), st.sampled_from(sorted(MADE)), st.just("")),
    st.tuples(st.just("fail"), st.sampled_from(["gen", "mid"]), st.sampled_from(["once", "always"])),
    st.tuples(st.just("forget"), st.just(""), st.just("")),
)
STEPS = st.tuples(st.lists(CHANGES, min_size=1, max_size=3), st.sampled_from(["", "", "mid", "top"]))


@dataclass
class Work:
    """A project in which people and stages write; `hand` is what people wrote, by path."""

    project: Project
    hand: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    last: dict[str, StageResult] = field(default_factory=dict)
    harmed: dict[str, str] = field(default_factory=dict)
    """What people wrote where stages make their products, by path; no two times the same."""
    times: int = 0

    @classmethod
    def begun(cls, root: Path) -> "Work":
        """Return a project whose stages leave something half done when they fail."""
        work = cls(Project(root, STAGES))
        for name in ("in/gen", "in/mid", "in/top"):
            work.project.write(name, "a")
        project = work.project

        def gen() -> None:
            project.write("gen/made", f"letter {project.read('in/gen').isalpha()}")
            project.write("gen/table", f"table {project.read('in/gen')}")

        def mid() -> None:
            project.write("out/mid", f"{project.read('gen/made')} {project.read('gen/table')} {project.read('in/mid')}")

        async def top(_context: StageContext) -> StageOutcome:
            return StageOutcome(Verdict.PASS, outputs={"saw": f"{project.read('out/mid')} {project.read('in/top')}"})

        def failing(name: str, half: str, whole):  # type: ignore[no-untyped-def]
            async def act(context: StageContext) -> StageOutcome | None:
                how = work.failing.get(name, "")
                if how == "always" or (how == "once" and context.attempt == 1):
                    project.write(half, "half")
                    project.write(f"{half}-stray", "half")
                    return StageOutcome(Verdict.ERROR, 7)
                whole()
                return None

            return act

        project.acts |= {"gen": failing("gen", "gen/made", gen), "mid": failing("mid", "out/mid", mid), "top": top}
        return work

    def apply(self, change: Change) -> None:
        kind, name, value = change
        match kind:
            case "hand" if value:
                self.hand[name] = value
                self.project.write(name, value)
            case "hand":
                self.hand.pop(name, None)
                (self.project.root / name).unlink(missing_ok=True)
            case "file":
                self.project.write(name, value)
            case "harm":
                self.times += 1
                self.harmed[name] = f"by hand {self.times}"
                self.project.write(name, self.harmed[name])
            case "fail":
                self.failing[name] = value
                self.times += 1
                self.project.write(f"in/{name}", f"other {self.times}")
            case "forget":
                for entry in (self.project.root / self.project.cache / "entries").glob("*"):
                    entry.unlink()
            case _:
                self.harmed.pop(name, None)
                (self.project.root / name).unlink(missing_ok=True)

    async def run(self, settled: dict[str, StageResult] | None = None) -> RunReport:
        """Run the stages; what people wrote where stages make their products is overwritten by these alone."""
        report = await self.project.run(settled=settled)
        for path in [path for path, stage in MADE.items() if stage in self.project.ran]:
            self.harmed.pop(path, None)
        there = self.files()
        assert {path: there.get(path) for path in self.harmed} == self.harmed
        assert {path: text for path, text in there.items() if "hand" in path} == self.hand
        return report

    async def run_part(self, part: str) -> None:
        """Run `--from part`, which is refused without a trace or builds on what the others left."""
        order = [stage.name for stage in STAGES]
        settled = {name: self.last[name] for name in order[: order.index(part)]}
        before = self.files()
        try:
            await self.run(settled)
        except UsageError:
            assert {name: text for name, text in self.files().items() if name in before} == before

    async def run_all(self) -> None:
        """Run everything; what failing stages left harms no later run."""
        report = await self.run()
        if self.failing:
            self.failing.clear()
            report = await self.run()
        assert report.verdict is Verdict.PASS, [result.problem for result in report.results]
        self.last = {result.name: result for result in report.results}
        read = {name: self.project.read(f"in/{name}") for name in ("gen", "mid", "top")}
        made = f"letter {read['gen'].isalpha()} table {read['gen']} {read['mid']}"
        assert self.project.read("out/mid") == made
        assert self.last["top"].outputs["saw"] == f"{made} {read['top']}"
        assert set(self.files()) == {*MADE, *self.hand}

    def files(self) -> dict[str, str]:
        found = (path for folder in ("gen", "out") for path in (self.project.root / folder).rglob("*"))
        return {path.relative_to(self.project.root).as_posix(): path.read_text() for path in found}


async def check(root: Path, steps: list[tuple[list[Change], str]]) -> None:
    work = Work.begun(root)
    await work.run_all()
    for changes, part in steps:
        for change in changes:
            work.apply(change)
        if part:
            await work.run_part(part)
        await work.run_all()
    # With nothing changed any more, everything is known.
    await work.run_all()
    assert work.project.ran == []


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=1, max_size=5))
def test_results_are_right_and_nobodys_work_is_lost(steps: list[tuple[list[Change], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(check, Path(folder), steps)
