"""The values of the receiver: what changed in the repository, and a run that waits, runs or has ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Literal

Provider = Literal["github", "gitlab"]
ChangeEvent = Literal["push", "pull_request", "tag"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a request says happened; every name and id in it is one that git takes."""

    provider: Provider
    event: ChangeEvent
    name: str
    """The branch or tag; of a pull request the branch that it comes from."""
    ref: str
    """Where the configured repository has it: refs/heads/main."""
    commit: str
    """What it points to now."""
    target: str = ""
    """Of a pull request, the branch that it is to be merged into."""
    fork: bool = False
    """A pull request that comes from another repository."""
    repository: str = ""
    """The repository that the request names; it is compared, never fetched from."""

    @property
    def shown_branch(self) -> str:
        """Return the branch that stages see; empty for a tag.

        A fork may call its branch main, and anybody who may push a tag may call that main: neither name is handed on.
        """
        if self.event == "tag":
            return ""
        return self.ref.removeprefix("refs/").removesuffix("/head") if self.fork else self.name


@dataclass(frozen=True, slots=True)
class Ignored:
    """A request that is right and starts nothing."""

    reason: str


class EntryState(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """The receiver ended while it ran; it runs again once."""
    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    ERROR = "error"
    SUPERSEDED = "superseded"
    """Its commit is no longer what the branch points to."""
    CANCELLED = "cancelled"


WAITING = frozenset({EntryState.QUEUED, EntryState.INTERRUPTED})
LIVE = WAITING | {EntryState.RUNNING}


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the queue."""

    id: str
    provider: Provider
    event: ChangeEvent
    branch: str
    """The branch that stages see; empty for a tag."""
    ref: str
    commit: str
    fork: bool
    arguments: tuple[str, ...]
    """The options of `pipeline run` that the rule gives."""
    timeout_s: float
    cancels: bool
    """It ends the run of an older commit of the same branch."""
    marks: tuple[str, ...]
    """By what the request that asked for it is known again."""
    queued_at_s: float
    state: EntryState = EntryState.QUEUED
    reason: str = ""
    attempts: int = 0
    started_at_s: float = 0.0
    ended_at_s: float = 0.0
    exit_code: int | None = None
    told: str = ""
    """The last state that GitHub or GitLab took."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        found = asdict(self)
        return found | {"state": self.state.value, "arguments": list(self.arguments), "marks": list(self.marks)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Entry":
        """Return the entry of a stored document; keys of a later version are left out."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        values["state"] = EntryState(values["state"])
        values |= {key: tuple(values[key]) for key in ("arguments", "marks")}
        return cls(**values)
