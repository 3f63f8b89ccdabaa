"""A job of a CI system, as the readers of GitHub's and GitLab's files return it."""

from dataclasses import dataclass, field
from enum import StrEnum

from shipway.readiness.shell import Command


class Event(StrEnum):
    """When jobs run, as far as checks ask."""

    PULL_REQUEST = "pull requests"
    MAIN = "pushes to the main branch"


MAIN_BRANCHES = frozenset({"main", "master", "trunk", "production"})


@dataclass(frozen=True, slots=True)
class Job:
    """One job: the events that surely start it, its commands with their places, and the actions it uses."""

    path: str
    name: str
    line: int
    events: frozenset[Event]
    commands: tuple[tuple[str, Command], ...] = ()
    actions: tuple[tuple[str, str], ...] = ()
    """Place and name without the version, such as `docker/build-push-action`."""
    unclear: tuple[str, ...] = field(default=())
    """What it does that was not read."""
