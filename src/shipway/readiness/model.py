"""The words of an audit: checks, what they found, and the evidence that every claim needs.

A check is a pure function of `Facts`. It says PASS or NOT_APPLICABLE only with evidence; what it could not look at
raises `UndecidedError` and becomes NOT_CHECKED, which never counts as passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipway.readiness.facts import Facts


class Area(StrEnum):
    """What a check is about; the part of its id before the dash is in `PREFIXES`."""

    APPLICATION = "application"
    DOCKER = "docker"
    CICD = "ci/cd"
    TESTING = "testing"
    MONITORING = "monitoring"
    SECURITY = "security"
    RELIABILITY = "reliability"
    GO_LIVE = "go-live"


PREFIXES = {
    Area.APPLICATION: "APP",
    Area.DOCKER: "DOCKER",
    Area.CICD: "CICD",
    Area.TESTING: "TEST",
    Area.MONITORING: "MON",
    Area.SECURITY: "SEC",
    Area.RELIABILITY: "REL",
    Area.GO_LIVE: "LIVE",
}


class State(StrEnum):
    """What an audit says of a check."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    ATTESTED = "ATTESTED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NOT_CHECKED = "NOT_CHECKED"
    FAIL = "FAIL"


HOLDS = frozenset({State.PASS, State.ATTESTED, State.NOT_APPLICABLE})
"""The states with which a level is reached."""


class Source(StrEnum):
    """Where evidence comes from; an audit can lack any of them."""

    REPOSITORY = "repository"
    GIT = "git"
    SETTINGS = "settings"
    DATASET = "dataset"
    STORE = "store"
    LOGS = "logs"
    SERVICE = "service"


class Effort(IntEnum):
    """How much it takes to make a check hold, least first; next steps are ordered by it."""

    LINE = 1
    RUN = 2
    STATEMENT = 3
    FILE = 4
    WORK = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen: `where` is file:line, a setting, a command or an HTTP request."""

    source: Source
    where: str
    says: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found. `why` is empty for a PASS, `fix` for what needs none."""

    state: State
    evidence: tuple[Evidence, ...] = ()
    why: str = ""
    fix: str = ""


class UndecidedError(Exception):
    """A check cannot tell; `needed` says what would let it."""

    def __init__(self, why: str, needed: str, evidence: tuple[Evidence, ...] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.needed = needed
        self.evidence = evidence


def passed(*evidence: Evidence) -> Outcome:
    """Return a PASS; without evidence the audit makes NOT_CHECKED of it."""
    return Outcome(State.PASS, evidence)


def failed(why: str, fix: str, *evidence: Evidence) -> Outcome:
    """Return a FAIL with what is wrong and what to do."""
    return Outcome(State.FAIL, evidence, why, fix)


def not_applicable(why: str, *evidence: Evidence) -> Outcome:
    """Return NOT_APPLICABLE; the evidence shows that what the check is about does not exist here."""
    return Outcome(State.NOT_APPLICABLE, evidence, why)


@dataclass(frozen=True, slots=True)
class Check:
    """One numbered question. `number` is stable for ever: attestations and CI files name it.

    `level` is the lowest maturity level that needs it and `because` why; `origin` is the checklist it answers.
    `attest` is what a person may state where nothing can look; empty when only looking counts.
    """

    area: Area
    number: int
    title: str
    origin: str
    level: int
    because: str
    run: Callable[["Facts"], Outcome]
    attest: str = ""
    effort: Effort = Effort.FILE

    @property
    def id(self) -> str:
        """Return the id, such as `SEC-7`."""
        return f"{PREFIXES[self.area]}-{self.number}"
