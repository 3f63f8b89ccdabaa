"""Scoring the answers that a run directory holds: judges first, then metrics, case by case.

Answers are read from the disk and let go again; what stays in memory are scores.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

import anyio.to_thread

from shipway.core.canonical import digest_json
from shipway.core.disk import explained
from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.evals.assertions import (
    CaseError,
    LoadedAssertions,
    flat,
    load_assertions,
    parse_assertions,
    prepare_similarities,
)
from shipway.evals.baseline import NO_JUDGE
from shipway.evals.budget import Meter
from shipway.evals.calibration import judge_digest
from shipway.evals.judgement import Task
from shipway.evals.judgement_log import JudgementLog
from shipway.evals.judging import Judgements, judge_attempts
from shipway.evals.metric_context import DocumentAccess, Function, MetricContext
from shipway.evals.metric_names import functions_needed, tasks_needed
from shipway.evals.metrics import Metric
from shipway.evals.model import Attempt, CaseResult, Dataset
from shipway.evals.ports import Judge, Similarity
from shipway.evals.run_directory import JUDGEMENTS_FILE, SCORES_FILE, RunDirectory, StoredResults, score_lines
from shipway.evals.scores import ScoreTable
from shipway.evals.scoring import score_attempt, score_repeats
from shipway.services.application import Application
from shipway.services.judges.building import JudgeParts, build_judge, project_anchors
from shipway.services.judges.calibrating import check_judge
from shipway.services.judges.purse import JudgePurse, judge_charge_name
from shipway.services.judges.similarity import EmbeddedSimilarity
from shipway.services.project_functions import imported, project_modules


@dataclass(frozen=True, slots=True)
class Scoring:
    """What answers are scored by; `functions` are those that metrics name, `tasks` what a judge is asked."""

    metrics: Mapping[str, Metric]
    assertions: LoadedAssertions
    functions: Mapping[str, Function]
    tasks: frozenset[Task] = frozenset()
    has_similar: bool = False

    def context(self, access: Mapping[str, DocumentAccess] | None) -> MetricContext:
        """Return what the metrics of a run need."""
        return MetricContext(
            access=access,
            assertions=self.assertions.by_case,
            functions={**self.assertions.functions, **self.functions},
        )


@dataclass(frozen=True, slots=True)
class Opinions:
    """The judge and the model of similarity of a run; `drift` says why the judge cannot be believed, "" when it can.

    `purse` is what a judge that costs something takes its calls from.
    """

    judge: Judge | None = None
    judge_digest: Digest = NO_JUDGE
    similarity: Similarity | None = None
    drift: str = ""
    purse: JudgePurse | None = None

    @property
    def is_over_budget(self) -> bool:
        """Whether answers were not judged because the budget is used up."""
        return self.purse is not None and self.purse.is_used_up

    def schemas(self, schemas: Digest | None) -> Digest | None:
        """Return the digest of what scores depend on beside code and cases: schema files, the model of similarity."""
        if self.similarity is None:
            return schemas
        return digest_json([schemas, self.similarity.digest])


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one target in a run directory."""

    directory: RunDirectory
    target: str
    dataset: Dataset
    repeats: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out of answers before they are scored."""

    judgements: Judgements | None = None
    similarities: Mapping[tuple[str, int], Mapping[str, float]] = field(default_factory=dict)

    def of(self, attempt: Attempt, context: MetricContext) -> MetricContext:
        place = (attempt.case_id, attempt.repeat)
        if place in self.similarities:
            context = replace(context, similarities=self.similarities[place])
        if self.judgements is None:
            return context
        found, missing = self.judgements.context_for(*place)
        return replace(context, judgements=found, missing_judgements=missing)


async def load_scoring(app: Application, dataset: Dataset, metrics: Mapping[str, Metric]) -> Scoring:
    """Load what scoring needs, before an answer is paid for.

    Raises:
        UsageError: a function that cannot be imported, a file that is no schema.
    """
    root = app.loaded.root
    functions = {path: imported(path, root) for path in functions_needed(metrics)}
    for case_id, path in _called(dataset):
        try:
            imported(path, root)
        except UsageError as error:
            raise CaseError(case_id, error) from error
    with project_modules(root):
        loaded = await load_assertions(dataset, root)
    tasks = tasks_needed(metrics, dataset.cases)
    single = flat(chain.from_iterable(parse_assertions(case.assertions) for case in dataset.cases))
    return Scoring(metrics, loaded, functions, tasks, any(item.type == "similar" for item in single))


def _called(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield the functions that assertions name, each with the first case that does."""
    known: set[str] = set()
    for case in dataset.cases:
        for item in flat(parse_assertions(case.assertions)):
            if item.type == "python" and item.value not in known:
                known.add(item.value)
                yield case.id, item.value


@asynccontextmanager
async def opened_opinions(
    app: Application,
    scoring: Scoring,
    parts: JudgeParts | None,
    tell: Callable[[str], None] = lambda _line: None,
    meter: Meter | None = None,
) -> AsyncIterator[Opinions]:
    """Open the judge that the project names, where something is to be judged, and hold it to its anchors.

    What its model takes is counted by the meter, as far as that allows it.

    Raises:
        NotFoundError: a model is not installed.
        UnavailableError: the judge's engine does not run.
        ConfigError: the file of its anchors cannot be read.
    """
    name = app.project.evals.judge
    similarity = None
    if parts is not None and scoring.has_similar:
        similarity = EmbeddedSimilarity(await parts.embedder())
    if parts is not None and name is None and "rubric" in scoring.tasks:
        tell(
            "warning: no judge is named, so the llm-rubric assertions of cases have no score; name one of `judges`"
            " in evals.judge"
        )
    if parts is None or name is None or not scoring.tasks:
        yield Opinions(similarity=similarity)
        return
    purse = None if meter is None else JudgePurse(judge_charge_name(name), meter)
    async with build_judge(app, name, parts, purse) as judge:
        anchors = await project_anchors(app, name)
        if anchors:
            tell(f"judge {name} judges its {len(anchors)} anchors again")
        checked = await check_judge(app, judge)
        drift = "" if checked is None else checked.drift
        yield Opinions(judge, judge_digest(judge.identity, anchors), similarity, drift, purse)


async def scored(
    answers: Answers, metrics: Mapping[str, Metric], opinions: Opinions, context: MetricContext
) -> StoredResults:
    """Have the answers of a target judged and scored; what judges said is kept in the directory."""
    dataset, repeats = answers.dataset, answers.repeats
    judgements = await _judged(answers, tasks_needed(metrics, dataset.cases), opinions.judge)
    similarities: Mapping[tuple[str, int], Mapping[str, float]] = {}
    if opinions.similarity is not None:
        attempts = answers.directory.every_attempt(answers.target, repeats)
        similarities = await prepare_similarities(dataset.cases, attempts, opinions.similarity)
    results = _results(answers, metrics, context, _Known(judgements, similarities))
    table = ScoreTable.of(dataset, results, repeats, tuple(metrics))
    return answers.directory.results(answers.target, table)


async def write_scores(directory: RunDirectory, runs: Mapping[str, StoredResults]) -> None:
    """Write `scores.jsonl` anew."""
    path = directory.path / SCORES_FILE

    def write() -> None:
        with explained(path, "cannot be written"), path.open("wb") as file:
            for target, results in runs.items():
                file.writelines(score_lines(target, results.scores()))

    await anyio.to_thread.run_sync(write)


async def _judged(answers: Answers, tasks: frozenset[Task], judge: Judge | None) -> Judgements | None:
    if judge is None or not tasks:
        return None
    log = JudgementLog(answers.directory.path / JUDGEMENTS_FILE, answers.target)
    try:
        attempts = answers.directory.every_attempt(answers.target, answers.repeats)
        return await judge_attempts(attempts, answers.dataset, judge, tasks, sink=log)
    finally:
        log.close()


def _results(
    answers: Answers, metrics: Mapping[str, Metric], context: MetricContext, known: _Known
) -> Iterator[CaseResult]:
    over_repeats = any(metric.over_repeats is not None for metric in metrics.values())
    for case in answers.dataset.cases:
        attempts = answers.directory.attempts(answers.target, case, answers.repeats)
        found = [score_attempt(item, case, known.of(item, context), metrics) for item in attempts]
        yield from score_repeats(case, found, metrics) if over_repeats and found else found
