"""What is known of the quality of what users get: the rules, the judge's budget, pairs and errors.

`shipway quality status` shows it, the control process raises the alarm by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shipway.core.observation import GOLDEN, JUDGED_PAIR, PAIR, QUALITY, SAFETY, THUMBS, Observation
from shipway.operations.quality import QualityLimits, QualityRule, RuleReading, quality_rules, readings
from shipway.services.application import Application
from shipway.services.quality.judging import ERROR_KIND
from shipway.services.quality.purse import DailyPurse

_PAGE = 5_000
_RULED = (GOLDEN, QUALITY, SAFETY)
_PAIRS = (PAIR, JUDGED_PAIR)
_MOST_ERRORS = 100_000


@dataclass(frozen=True, slots=True)
class PairSummary:
    """What shadow copies of a release did against the users' answers; `worse` counts those below."""

    route: str
    release: str
    kind: str
    pairs: int
    worse: int
    better: int
    mean: float


@dataclass(frozen=True, slots=True)
class QualityStatus:
    """The last `window_s` of an environment; `thumbs` is (up, down)."""

    window_s: float
    rules: tuple[RuleReading, ...]
    pairs: tuple[PairSummary, ...]
    thumbs: tuple[int, int]
    errors: dict[str, int]
    tokens_taken: int
    tokens_per_day: int
    judge: str
    sample: float


async def quality_status(app: Application, *, every_release: bool = False) -> QualityStatus:
    """Return what was observed of the releases that are served, or of every release."""
    chosen, now_s = app.project.quality, app.clock.now_s()
    window_s = chosen.rules.window_s
    seen = await observed_since(app, now_s - window_s, (*_RULED, *_PAIRS, THUMBS))
    served = (await app.state.snapshots.read(app.environment)).releases()
    if not every_release:
        seen = [item for item in seen if item.release in served]
    thumbs = [item.value for item in seen if item.kind == THUMBS]
    return QualityStatus(
        window_s=window_s,
        rules=tuple(readings(rules_of(app), seen, limits_of(app))),
        pairs=tuple(_pair_summaries(item for item in seen if item.kind in _PAIRS)),
        thumbs=(sum(value > 0 for value in thumbs), sum(value <= 0 for value in thumbs)),
        errors=await _errors(app, now_s - window_s),
        tokens_taken=await purse_of(app).taken(),
        tokens_per_day=chosen.budget_tokens_per_day,
        judge=chosen.judge,
        sample=chosen.sample,
    )


async def broken_rules(app: Application) -> list[RuleReading]:
    """Return the rules that a release which users may get has broken."""
    window_s = app.project.quality.rules.window_s
    seen = await observed_since(app, app.clock.now_s() - window_s, _RULED)
    served = (await app.state.snapshots.read(app.environment)).assigned()
    found = readings(rules_of(app), (item for item in seen if item.release in served), limits_of(app))
    return [reading for reading in found if reading.verdict == "FAIL"]


async def observed_since(app: Application, since_s: float, kinds: tuple[str, ...]) -> list[Observation]:
    """Return an environment's observations of a time on, oldest first."""
    found: list[Observation] = []
    position = 0
    while True:
        page = await app.state.observations.after(
            position, environment=app.environment, kinds=kinds, since_s=since_s, limit=_PAGE
        )
        found += [stored.observation for stored in page]
        if len(page) < _PAGE:
            return found
        position = page[-1].position


def rules_of(app: Application) -> tuple[QualityRule, ...]:
    """Return the rules that the project file sets."""
    chosen = app.project.quality.rules
    return quality_rules(min_pass=chosen.min_pass, min_safety=chosen.min_safety, pass_from=chosen.pass_from)


def limits_of(app: Application) -> QualityLimits:
    """Return how the rules look."""
    chosen = app.project.quality.rules
    return QualityLimits(chosen.window_s, chosen.min_samples, chosen.mean_run)


def purse_of(app: Application) -> DailyPurse:
    """Return the budget of judging."""
    tokens = app.project.quality.budget_tokens_per_day
    return DailyPurse(app.state.documents, app.clock, app.environment, tokens)


def _pair_summaries(pairs: Iterable[Observation]) -> list[PairSummary]:
    groups: dict[tuple[str, str, str], list[float]] = {}
    for item in pairs:
        groups.setdefault((item.route, item.release, item.kind), []).append(item.value)
    return [
        PairSummary(
            *key,
            pairs=len(values),
            worse=sum(value < 0 for value in values),
            better=sum(value > 0 for value in values),
            mean=sum(values) / len(values),
        )
        for key, values in sorted(groups.items())
    ]


async def _errors(app: Application, since_s: float) -> dict[str, int]:
    found: dict[str, int] = {}
    prefix = f"{app.environment}/"
    for key, row, _ in await app.state.documents.list(ERROR_KIND, prefix=prefix, limit=_MOST_ERRORS):
        if row["at_s"] >= since_s:
            found[row["error"]] = found.get(row["error"], 0) + (row["attempts"] if "/golden/" in key else 1)
    return found
