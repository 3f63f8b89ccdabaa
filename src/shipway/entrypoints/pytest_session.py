"""What the pytest plugin does its work with, from the first use to the end of the run.

Tests are plain functions and targets are not, so everything that waits runs on a loop in a thread of its own. Each case
is asked once a repeat and target, whichever tests and gates want the answer.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from shipway.adapters.memory.run_sink import MemoryRun
from shipway.config.loading import LoadedProject, find_root
from shipway.core.canonical import digest_json
from shipway.core.clock import SystemClock
from shipway.core.errors import NotFoundError, ShipwayError, UsageError
from shipway.core.ids import Digest
from shipway.entrypoints.evaluation_parts import evaluation_targets, target_parts
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.pytest_scoring import Scoring, dataset_report, gate_of, load_scoring, scored, verdict_on
from shipway.entrypoints.wiring import load, opened
from shipway.evals.dataset import load_dataset
from shipway.evals.gate_report import GateReport
from shipway.evals.judgement import Judgement, JudgeRequest, Task
from shipway.evals.metric_names import resolve_metrics, tasks_needed
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import Judge, Target
from shipway.evals.runner import Around, RunPlan, run
from shipway.evals.suggestions import did_you_mean
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.judges.building import build_judge
from shipway.services.targets.choosing import choose_target
from shipway.services.targets.python_function import PythonFunction, opened_function
from shipway.services.targets.recorded_log import opened_log
from shipway.testing import CaseMark, NotMeasuredError

_RELEASE = "rel_"
_TIMEOUT_S = 60.0
_CONCURRENCY = 4
Opened = TypeVar("Opened")
_Answers = dict[tuple[int, Digest, int], Attempt]
"""By target, what was asked, and repeat."""


@dataclass(frozen=True, slots=True)
class SessionTarget:
    """A target as tests use it."""

    found: Target
    session: "Session"

    @property
    def name(self) -> str:
        """Return what reports call it."""
        return self.found.name

    def ask(self, asked: str | Case, *, repeat: int = 0) -> Output:
        """Ask a question, or a case of a dataset, now.

        Raises:
            NotMeasuredError: there is no answer.
        """
        case = asked if isinstance(asked, Case) else Case("question", asked)
        return self.session.asked(self.found, case, repeat)


@dataclass(frozen=True, slots=True)
class SessionJudge:
    """A judge as tests use it."""

    found: Judge
    session: "Session"

    def judge(self, case: Case, answer: str | Output, *, task: Task = "rubric", rubric: str = "") -> Judgement:
        """Return an opinion on an answer.

        Raises:
            NotMeasuredError: the judge does not answer, or replies with something that is no judgement.
        """
        output = answer if isinstance(answer, Output) else Output(answer=answer)
        return self.session.opinion(self.found, JudgeRequest(task, case, output, rubric))


class Session:
    """Everything that one pytest run has opened."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._app: Application | None = None
        self._targets: dict[str, SessionTarget] = {}
        self._datasets: dict[tuple[str, Path], Dataset] = {}
        self._answers: _Answers = {}
        self._loaded: LoadedProject | None = None
        self._looked = False
        self._judges: dict[str, SessionJudge] = {}

    def close(self) -> None:
        """Close what was opened, the last first."""
        self._stack.close()

    def dataset(self, named: str, near: Path) -> Dataset:
        """Return a dataset: a file beside the test or below the folder of the run, or one that the project names."""
        if (named, near) not in self._datasets:
            with _told():
                self._datasets[named, near] = self._loop().call(self._read, named, near)
        return self._datasets[named, near]

    def cases(self, mark: CaseMark, near: Path) -> list[Case]:
        """Return the cases that a test is run for; those for calibration only when they are named."""
        dataset = self.dataset(mark.dataset, near)
        known = {case.id: case for case in dataset.cases}
        for name in mark.ids:
            if name not in known:
                raise NotMeasuredError(f"dataset {dataset.name!r} has no case {name!r}; {did_you_mean(name, known)}")
        if mark.ids:
            return [known[name] for name in mark.ids]
        return [case for case in dataset.cases if case.split != "calibration"]

    def target(self, wanted: object) -> SessionTarget:
        """Return a target for what a fixture or option says: a text, a function of a case, or a target."""
        if isinstance(wanted, SessionTarget):
            return wanted
        key = wanted if isinstance(wanted, str) else f"object {id(wanted)}"
        if key not in self._targets:
            with _told():
                self._targets[key] = SessionTarget(self._target(wanted), self)
        return self._targets[key]

    def judge(self, name: str) -> SessionJudge:
        """Open a judge of the project: the one of this name, or the one that evaluations have."""
        if name not in self._judges:
            with _told():
                app = self._application("a judge")
                wanted = name or _only_judge(app)
                judge = self._open(build_judge(app, wanted, LocalJudgeParts(app)))
                self._judges[name] = SessionJudge(judge, self)
        return self._judges[name]

    def answers(self, target: SessionTarget, case: Case, repeats: int) -> list[Output]:
        """Return the answers to a case; those that are there are not asked for again."""
        with _told():
            (attempts,) = self._loop().call(self._ask, [target.found], (case,), repeats)
        return [_answered(target.found, attempt) for attempt in attempts]

    def asked(self, target: Target, case: Case, repeat: int) -> Output:
        """Return the answer to a question that is asked now."""

        async def ask() -> Attempt:
            sink, plan = MemoryRun(), RunPlan(first_repeat=repeat, timeout_s=self._timeout_s())
            await run({target.name: target}, [case], plan, sink, Around(SystemClock()))
            return sink.attempts(target.name, [case], repeat + 1)[-1]

        with _told():
            return _answered(target, self._loop().call(ask))

    def opinion(self, judge: Judge, request: JudgeRequest) -> Judgement:
        """Return what a judge says."""

        async def ask() -> Judgement:
            return await judge.judge(request, repeat=0)

        with _told():
            return self._loop().call(ask)

    def judged(
        self,
        case: Case,
        answers: Sequence[Output],
        limits: Sequence[tuple[str, float | None]],
        judge_of: Callable[[], object],
    ) -> tuple[str, str]:
        """Return the verdict on the answers to one case, and why."""
        dataset = Dataset("case", (case,))
        attempts = [Attempt(case.id, repeat, output) for repeat, output in enumerate(answers)]

        async def judge(scoring: Scoring) -> tuple[str, str]:
            return verdict_on(case, await scored(scoring, attempts), dict(limits), scoring.metrics)

        with _told():
            return self._loop().call(
                judge, self._scoring(dataset, [name for name, _ in limits], len(answers), judge_of)
            )

    def gate(
        self,
        targets: Sequence[SessionTarget],
        dataset: Dataset,
        wanted: Mapping[str, object],
        repeats: int,
        judge_of: Callable[[], object],
    ) -> tuple[GateReport, str, str]:
        """Ask a whole dataset and judge one gate; return the report, its verdict and its lines."""
        asked = [target.found for target in targets]

        async def judge(scoring: Scoring) -> tuple[GateReport, str, str]:
            results = [await scored(scoring, found) for found in await self._ask(asked, dataset.cases, repeats)]
            return dataset_report(asked, results, scoring, repeats, wanted)

        with _told():
            names = [spec.metric for spec in gate_of(wanted)]
            return self._loop().call(judge, self._scoring(dataset, names, repeats, judge_of))

    def _scoring(self, dataset: Dataset, names: Sequence[str], repeats: int, judge_of: Callable[[], object]) -> Scoring:
        metrics = resolve_metrics(names, has_judge=True, repeats=repeats)
        # Opened here and not on the loop, which would wait for itself.
        judge = _judge_in(judge_of()) if tasks_needed(metrics, dataset.cases) else None
        return self._loop().call(load_scoring, dataset, metrics, self._folder(), judge)

    async def _ask(self, targets: Sequence[Target], cases: Sequence[Case], repeats: int) -> list[Sequence[Attempt]]:
        """Ask targets, interleaved, what they have not been asked before."""
        named = {_label(place, target, targets): target for place, target in enumerate(targets)}
        kept = _Kept(self._answers, {name: id(target) for name, target in named.items()}, cases)
        plan = RunPlan(repeats, self._concurrency(), self._timeout_s())
        await run(named, cases, plan, kept, Around(SystemClock()))
        return [kept.attempts(name, repeats) for name in named]

    async def _read(self, named: str, near: Path) -> Dataset:
        places = [near / named, self._root / named]
        for path in places if named else ():
            if path.is_file():
                return await load_dataset(path)
        project = self._project()
        if project is None:
            shown = f"no dataset {named!r}" if named else "no dataset is named"
            looked = f" in {' or '.join(dict.fromkeys(str(path.parent) for path in places))}" if named else ""
            raise UsageError(f"{shown}{looked}, and there is no project", hint='write dataset="evals/cases.jsonl"')
        return await load_project_dataset(project, named)

    def _target(self, wanted: object) -> Target:
        if isinstance(wanted, str):
            return self._named_target(wanted)
        if hasattr(wanted, "ask") and hasattr(wanted, "name"):
            return cast("Target", wanted)
        if callable(wanted):
            path = getattr(wanted, "__qualname__", type(wanted).__qualname__)
            return PythonFunction(path, wanted, self._folder(), digest_json({"function": path}))
        raise UsageError(f"shipway_target is {type(wanted).__name__}, not a text, a function of a case, or a target")

    def _named_target(self, named: str) -> Target:
        kind, _, rest = named.partition(":")
        folder = self._folder()
        if kind == "python" and rest:
            return self._open(opened_function(rest, folder))
        if kind == "log" and rest:
            return self._open(opened_log(folder / rest, rest))
        return self._open(_opened_target(self._application(f"target {named!r}"), named))

    def _application(self, what: str) -> Application:
        if self._app is None:
            project = self._project()
            if project is None:
                raise UsageError(f"{what} needs a project, and there is no shipway.yaml in {self._root} or above it")
            self._app = self._open(opened(project.root, loaded=project))
        return self._app

    def _project(self) -> LoadedProject | None:
        if not self._looked:
            self._looked = True
            with suppress(NotFoundError):
                self._loaded = load(find_root(self._root))
        return self._loaded

    def _folder(self) -> Path:
        project = self._project()
        return self._root if project is None else project.root

    def _timeout_s(self) -> float:
        project = self._project()
        return _TIMEOUT_S if project is None else project.project.evals.case_timeout_s

    def _concurrency(self) -> int:
        project = self._project()
        return _CONCURRENCY if project is None else project.project.evals.concurrency

    def _loop(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal())
        return self._portal

    def _open(self, opening: AbstractAsyncContextManager[Opened]) -> Opened:
        return self._stack.enter_context(self._loop().wrap_async_context_manager(opening))


class _Kept:
    """The answers of this run to some cases; implements `evals.ports.RunSink`.

    Answers are kept by what was asked, not by the case's id: another dataset may have the same ids.
    """

    def __init__(self, answers: _Answers, targets: Mapping[str, int], cases: Sequence[Case]) -> None:
        self._all, self._targets = answers, targets
        self._cases = {case.id: digest_json(case.to_dict()) for case in cases}

    def write(self, target: str, attempt: Attempt) -> None:
        self._all[self._targets[target], self._cases[attempt.case_id], attempt.repeat] = attempt

    def finished(self, target: str) -> frozenset[tuple[str, int]]:
        ids = {digest: case_id for case_id, digest in self._cases.items()}
        return frozenset(
            (ids[digest], repeat)
            for (asked, digest, repeat), attempt in self._all.items()
            if asked == self._targets[target] and digest in ids and attempt.output.error is None
        )

    def attempts(self, target: str, repeats: int) -> list[Attempt]:
        """Return what there is of a target, by repeat and case."""
        places = [
            (self._targets[target], digest, repeat) for repeat in range(repeats) for digest in self._cases.values()
        ]
        return [self._all[place] for place in places if place in self._all]


@contextmanager
def _told() -> Iterator[None]:
    """Turn what this package refuses into what the plugin reports as an error."""
    try:
        yield
    except ShipwayError as error:
        raise NotMeasuredError(f"{error.message}\n  {error.hint}" if error.hint else error.message) from error


@asynccontextmanager
async def _opened_target(app: Application, named: str) -> AsyncIterator[Target]:
    async with AsyncExitStack() as stack:
        if named.startswith(_RELEASE):
            targets = await stack.enter_async_context(evaluation_targets(app))
            release = await app.releases.get(named)
            yield await stack.enter_async_context(targets.opened(release))
            return
        parts = await stack.enter_async_context(target_parts(app))
        yield await stack.enter_async_context(choose_target(app, named, parts))


def _answered(target: Target, attempt: Attempt) -> Output:
    if attempt.output.error is not None:
        raise NotMeasuredError(f"{target.name} does not answer case {attempt.case_id!r}: {attempt.output.error}")
    return attempt.output


def _label(place: int, target: Target, targets: Sequence[Target]) -> str:
    several = sum(other.name == target.name for other in targets) > 1
    return f"{target.name} ({'baseline' if place else 'target'})" if several else target.name


def _judge_in(found: object) -> Judge:
    return found.found if isinstance(found, SessionJudge) else cast("Judge", found)


def _only_judge(app: Application) -> str:
    named = app.project.evals.judge
    known = list(app.project.judges)
    if named is None and len(known) != 1:
        has = f"the project has {', '.join(known)}" if known else "the project has none"
        raise UsageError(f"which judge is asked is not said, and {has}", hint="give --shipway-judge NAME")
    return named or known[0]
