"""Running the checks over facts: what each says, the level that this makes, and what raises it soonest.

Held here for all checks: no PASS and no NOT_APPLICABLE without evidence; what could not be looked at is NOT_CHECKED; a
statement counts only where nothing could look, while its audit chain holds and it has not expired.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from shipway.readiness.catalogue import CHECKS, LEVELS, wording
from shipway.readiness.facts import Absent, Attestation, Facts
from shipway.readiness.model import (
    HOLDS,
    Check,
    Effort,
    Evidence,
    Outcome,
    Source,
    State,
    UndecidedError,
)

_STEPS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What an audit says of one check: `fix` would make it hold, `note` tells of a statement that does not count."""

    check: Check
    state: State
    evidence: tuple[Evidence, ...]
    why: str
    fix: str
    note: str = ""

    @property
    def holds(self) -> bool:
        """Return whether a level that needs the check is not held up by it."""
        return self.state in HOLDS

    @property
    def statement(self) -> str:
        """Return the command that states it, empty where only looking counts."""
        may = self.state is State.NOT_CHECKED and self.check.attest
        return f'shipway readiness attest {self.check.id} --statement "..." --by NAME' if may else ""

    @property
    def todo(self) -> str:
        """Return what to do; where nothing else would help, the statement's command."""
        return f"{self.fix}: `{self.statement}`" if self.statement and "attest" in self.fix else self.fix


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing to do, the checks that it decides or mends, and the level that needs them."""

    todo: str
    checks: tuple[str, ...]
    level: int


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit: a result for each check, the level, and what holds the next one up."""

    results: tuple[Result, ...]
    level: int
    steps: tuple[NextStep, ...]
    absent: tuple[tuple[str, Absent], ...]
    environment: str
    """Whose settings were looked at, empty when none were."""

    @property
    def counts(self) -> dict[State, int]:
        """Return how many checks are in each state."""
        return {state: sum(result.state is state for result in self.results) for state in State}

    def holding_up(self, level: int) -> tuple[Result, ...]:
        """Return what keeps the app from a level."""
        return tuple(result for result in self.results if result.check.level <= level and not result.holds)


def audit(facts: Facts, checks: Iterable[Check] = CHECKS) -> Audit:
    """Run the checks."""
    results = tuple(_result(check, facts) for check in checks)
    environment = "" if isinstance(facts.settings, Absent) else facts.settings.environment
    return Audit(results, level_of(results), next_steps(results), _absent(facts), environment)


def level_of(results: tuple[Result, ...]) -> int:
    """Return the highest level of which every check, and every check of the levels below, holds."""
    reached = 0
    for level in range(1, len(LEVELS)):
        if any(result.check.level == level and not result.holds for result in results):
            break
        reached = level
    return reached


def next_steps(results: tuple[Result, ...], most: int = _STEPS) -> tuple[NextStep, ...]:
    """Return what raises the level soonest: the next level's checks first, of these what takes least.

    Checks that the same thing decides are one step.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        if not result.holds:
            groups.setdefault(result.todo, []).append(result)
    ranked = sorted(
        groups.items(),
        key=lambda item: (
            min(result.check.level for result in item[1]),
            min(_effort(result) for result in item[1]),
            -len(item[1]),
        ),
    )
    return tuple(
        NextStep(todo, tuple(result.check.id for result in found), min(result.check.level for result in found))
        for todo, found in ranked[:most]
    )


def _effort(result: Result) -> Effort:
    return min(result.check.effort, Effort.STATEMENT) if result.state is State.NOT_CHECKED else result.check.effort


def _result(check: Check, facts: Facts) -> Result:
    try:
        outcome = check.run(facts)
    except UndecidedError as error:
        outcome = Outcome(State.NOT_CHECKED, error.evidence, error.why, error.needed)
    if outcome.state in HOLDS and not outcome.evidence:
        outcome = Outcome(State.NOT_CHECKED, (), "the check gave no evidence", "tell the authors of Shipway")
    if not check.attest:
        return Result(check, outcome.state, outcome.evidence, outcome.why, outcome.fix)
    stated, note = _stated(check, facts)
    if stated is not None and outcome.state is State.NOT_CHECKED:
        told = Evidence(Source.STORE, f"audit event {stated.seq}", _told(stated))
        return Result(check, State.ATTESTED, (*outcome.evidence, told), "", "")
    if stated is not None and outcome.state is State.FAIL:
        note = f"stated by {stated.by}, but what was seen decides"
    return Result(check, outcome.state, outcome.evidence, outcome.why, outcome.fix, note)


def _stated(check: Check, facts: Facts) -> tuple[Attestation | None, str]:
    """Return the newest statement on a check if it counts, else why it does not."""
    own = [item for item in facts.attestations if item.check == check.id]
    if not own or isinstance(facts.store, Absent):
        return None, ""
    newest = max(own, key=lambda item: item.seq)
    if facts.store.faults:
        return None, f"stated by {newest.by}, but the audit log is damaged: {facts.store.faults[0]}"
    if newest.wording != wording(check):
        return None, f"stated by {newest.by} on another question: the check's wording has changed"
    if not newest.at_s <= facts.now_s < newest.expires_at_s:
        return None, f"stated by {newest.by}, expired on {_day(newest.expires_at_s)}"
    return newest, ""


def _told(item: Attestation) -> str:
    when = f"on {_day(item.at_s)}, until {_day(item.expires_at_s)}"
    return f"{item.by} (entered by {item.entered_by}) {when}: {item.statement}"


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def _absent(facts: Facts) -> tuple[tuple[str, Absent], ...]:
    named = {source.value: getattr(facts, source.value) for source in Source}
    return tuple((name, found) for name, found in named.items() if isinstance(found, Absent))
