"""What the jobs of `watch` do once there is something to do; this module loads judges, datasets and statistics."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from shipway.config.quality_checks import EMBEDDED
from shipway.core.errors import ShipwayError
from shipway.evals.ports import JsonCaller, Judge
from shipway.services.application import Application
from shipway.services.judges.building import JudgeParts, build_judge, judge_entry
from shipway.services.judges.embedded import EmbeddedJudge
from shipway.services.judges.similarity import EmbeddedSimilarity
from shipway.services.quality.goldens import GoldenAsker
from shipway.services.quality.judging import ERROR_KIND, AnswerJudging, OnlineJudge
from shipway.services.quality.purse import PursedParts
from shipway.services.quality.status import broken_rules, purse_of
from shipway.services.quality.topic import on_topic
from shipway.services.quality.watch import Note

_RELEVANCE, _RUBRIC = "relevance", "rubric"


class JudgingWork:
    """Judges kept answers with the judge of the configuration."""

    def __init__(self, parts: Callable[[Application], JudgeParts], note: Note) -> None:
        self._parts = parts
        self._note = note
        self._judging: AnswerJudging | None = None
        self._judge: OnlineJudge | None = None
        self._opened_for: Application | None = None
        self._opened = AsyncExitStack()
        self._said = ""

    async def work(self, app: Application) -> None:
        """Judge some of what waits."""
        if self._judging is None:
            self._judging = AnswerJudging(app.state, app.clock.now_s, app.environment)
        judge = await self._judge_of(app)
        if judge is not None:
            await self._judging.judge_samples(judge)
            await self._judging.judge_pairs(judge)

    async def close(self) -> None:
        """Close the judge."""
        await self._opened.aclose()

    async def _judge_of(self, app: Application) -> OnlineJudge | None:
        """Return the judge of a configuration; None, and a line in the log, when it cannot be opened."""
        if self._opened_for is app:
            return self._judge
        await self._opened.aclose()
        self._opened, self._judge, self._opened_for = AsyncExitStack(), None, app
        try:
            self._judge = await self._open(app)
        except ShipwayError as error:
            if error.retryable:
                self._opened_for = None
            await self._without(app, error)
        return self._judge

    async def _without(self, app: Application, error: ShipwayError) -> None:
        """Say that nothing is judged, where `shipway quality status` finds it and once in the log."""
        row = {"attempts": 1, "at_s": app.clock.now_s(), "error": type(error).__name__, "route": ""}
        await app.state.documents.put(ERROR_KIND, f"{app.environment}/judge", row)
        if self._said != error.message:
            self._said = error.message
            self._note("quality_judge_unavailable", judge=app.project.quality.judge, error=error.message)

    async def _open(self, app: Application) -> OnlineJudge:
        name, purse = app.project.quality.judge, purse_of(app)
        parts = PursedParts(self._parts(app), purse)
        if name == EMBEDDED and name not in app.project.judges:
            embedder = await parts.embedder()
            judge: Judge = EmbeddedJudge(name, embedder, await parts.reranker())
            return OnlineJudge(judge, _RELEVANCE, purse, similarity=EmbeddedSimilarity(embedder), worth=on_topic)
        entry = judge_entry(app, name)
        judge = await self._opened.enter_async_context(build_judge(app, name, parts))
        if entry.kind == EMBEDDED:
            similarity = EmbeddedSimilarity(await parts.embedder())
            return OnlineJudge(judge, _RELEVANCE, purse, similarity=similarity, worth=on_topic)
        task = _RUBRIC if entry.rubric is not None else _RELEVANCE
        return OnlineJudge(judge, task, purse, is_embedded=False)


class GoldensWork:
    """Asks the goldens of the configuration."""

    def __init__(self, caller: JsonCaller, environ: Mapping[str, str]) -> None:
        self._caller = caller
        self._environ = environ
        self._asker: GoldenAsker | None = None

    async def work(self, app: Application) -> None:
        """Ask what this turn has to ask."""
        chosen = app.project.quality.goldens
        if chosen is None:
            self._asker = None
            return
        if self._asker is None or self._asker.app is not app:
            self._asker = GoldenAsker(app, chosen, self._caller, self._environ)
        await self._asker.ask()

    async def close(self) -> None:
        """Hold nothing; the caller is whose it was."""


class RulesWork:
    """Raises the alarm of broken rules: once a day in the audit log, once a process in the log."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._said: set[str] = set()

    async def work(self, app: Application) -> None:
        """Look at the rules."""
        day = datetime.fromtimestamp(app.clock.now_s(), UTC).date().isoformat()
        for reading in await broken_rules(app):
            action_id = f"quality/{app.environment}/{reading.rule.name}/{reading.route}/{reading.release}/{day}"
            if action_id in self._said:
                continue
            rule, release = reading.rule, reading.release
            figures = {"n": reading.n, "passed": reading.passed, "minimum": rule.minimum}
            await app.audit(
                "quality.broken", reading.route, action_id=action_id, rule=rule.name, release=release, **figures
            )
            self._note(
                "quality_broken",
                rule=rule.name,
                route=reading.route,
                release=release,
                n=reading.n,
                passed=reading.passed,
                minimum=rule.minimum,
            )
            self._said.add(action_id)

    async def close(self) -> None:
        """Hold nothing."""
