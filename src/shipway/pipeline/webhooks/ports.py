"""What the receiver needs of the world.

Above: `services.webhooks`, which takes requests, keeps the queue and works through it. Below: `adapters/git` for
checkouts, `adapters/local_stage` for processes, `adapters/commit_status` for GitHub's and GitLab's API.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shipway.pipeline.webhooks.model import Entry


@dataclass(frozen=True, slots=True)
class NotTheTip:
    """The ref points to another commit now, or is gone (empty)."""

    tip: str


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The files of a commit, in a folder of their own."""

    folder: Path
    changed_files: tuple[str, ...] | None
    """Paths that differ from the commit that was asked to compare with; None when nobody knows."""


class Checkouts(Protocol):
    """Fetches commits of the configured repository."""

    async def make(self, entry: Entry, compared_with: str) -> CheckedOut | NotTheTip:
        """Check out the commit of an entry if its ref still points to it.

        Raises:
            UnavailableError: the repository cannot be reached.
            StoreError: the files cannot be written.
        """
        ...

    async def tip(self, entry: Entry) -> str:
        """Return the commit of an entry if its ref still points to it, else what it points to; empty when it is gone.

        Raises:
            UnavailableError: the repository cannot be reached.
        """
        ...

    async def remove_all_but(self, kept: Collection[str]) -> None:
        """Remove the folders of entries other than these ids."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run's process ended; without an exit code it was stopped after its time."""

    exit_code: int | None
    how: str


class RunProcess(Protocol):
    """Runs `shipway pipeline run` in a process group of its own."""

    async def run(self, entry: Entry, arguments: Sequence[str]) -> Ended:
        """Run the command to its end; however this ends, no process of it is left.

        Raises:
            UnavailableError: it cannot be started.
        """
        ...


class StatusSender(Protocol):
    """Tells GitHub or GitLab how a commit's run stands."""

    async def send(self, entry: Entry, text: str) -> None:
        """Report the state of an entry once.

        Raises:
            UpstreamError: it was refused.
            UnavailableError: nobody answered.
        """
        ...


StatusSenders = Mapping[str, StatusSender]
"""By provider; a provider that is not there is told nothing."""
