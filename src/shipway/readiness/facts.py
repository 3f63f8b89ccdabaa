"""What was found out about a project, as one value: the only thing that checks see.

`services/readiness` collects it. Whatever could not be looked at is an `Absent` that says why; asking for it raises, so
a check cannot take silence for consent.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.config.yaml_source import KeyPath, dotted
from shipway.core.ports import AuditEvent
from shipway.readiness.model import Evidence, Source, UndecidedError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Absent:
    """A source that was not looked at: why, and what would change that."""

    why: str
    needed: str


@dataclass(frozen=True, slots=True)
class Repository:
    """The files that a checkout of the project holds. `texts` are those that were read; others have a path alone."""

    paths: frozenset[str]
    texts: Mapping[str, str]

    def text(self, path: str) -> str | None:
        """Return a file's text, None when there is no such file.

        Raises:
            UndecidedError: it is there and could not be read as text.
        """
        if path not in self.paths:
            return None
        if path not in self.texts:
            raise UndecidedError(f"{path} is too large or no UTF-8 text", f"make {path} readable")
        return self.texts[path]

    def ending(self, *suffixes: str) -> Iterator[tuple[str, str]]:
        """Yield path and text of readable files by the end of their name, in path order."""
        for path in sorted(self.texts):
            if path.endswith(suffixes):
                yield path, self.texts[path]


@dataclass(frozen=True, slots=True)
class GitFacts:
    """The history: which files are tracked, which differ from the commit, and the commits of the files asked for."""

    commit: str
    prefix: str
    """The project's folder inside the repository, empty when it is the top."""
    tracked: frozenset[str]
    changed: frozenset[str]
    ignored: frozenset[str]
    commits: Mapping[str, tuple[str, ...]]
    """By file, newest first: `short-sha date author subject`."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """The cases that releases are judged on: how many there are, and how many ask something different."""

    path: str
    cases: int
    questions: int


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What this installation remembers."""

    environment: str
    events: tuple[AuditEvent, ...]
    faults: tuple[str, ...]
    """What is wrong with the audit chain."""
    stable: str
    """The release that is served, empty when none is."""
    corpus: str
    """The manifest of the corpus that is built, empty when none is."""
    stable_corpus: str
    """The manifest that the stable release pins."""
    feedback: int
    refused: int
    """Requests that were answered with 429."""
    shadowed: int
    """Shadow copies that a candidate answered."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log, parsed when it is a JSON object."""

    where: str
    text: str
    fields: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The newest log lines of the gateway."""

    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the running service; header names are lower case, the body may be cut."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The running service: what it answered by request, such as `GET /health`; what is not there got no answer.

    Names that end in `+key` were sent with an API key.
    """

    url: str
    answers: Mapping[str, Answer]
    has_key: bool

    def answer(self, request: str) -> Answer:
        """Return an answer.

        Raises:
            UndecidedError: the request was not sent, or nobody answered.
        """
        found = self.answers.get(request)
        if found is not None:
            return found
        if request.endswith("+key") and not self.has_key:
            raise UndecidedError(
                f"{request.removesuffix(' +key')} needs an API key",
                "export the key and name its variable: `shipway readiness --key-env NAME`",
            )
        raise UndecidedError(f"{self.url} did not answer {request}", "`shipway status`, `shipway logs gateway`")

    def evidence(self, request: str, says: str = "") -> Evidence:
        """Return what an answer shows."""
        found = self.answer(request)
        return Evidence(Source.SERVICE, f"{request} at {self.url}", says or f"HTTP {found.status}")


@dataclass(frozen=True, slots=True)
class Attestation:
    """What somebody stated about a check, as the audit log holds it."""

    check: str
    statement: str
    by: str
    entered_by: str
    """Who ran the command."""
    at_s: float
    expires_at_s: float
    seq: int
    digest: str
    wording: str
    """The digest of what the check asked for when it was stated."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known about one project at one moment."""

    repository: Repository | Absent
    git: GitFacts | Absent
    settings: LoadedProject | Absent
    dataset: DatasetFacts | Absent
    store: StoreFacts | Absent
    logs: LogFacts | Absent
    service: ServiceFacts | Absent
    now_s: float = math.nan
    attestations: tuple[Attestation, ...] = field(default=())

    def the_repository(self) -> Repository:
        """Return the files, or raise UndecidedError."""
        return _known(self.repository)

    def the_git(self) -> GitFacts:
        """Return the history, or raise UndecidedError."""
        return _known(self.git)

    def the_settings(self) -> LoadedProject:
        """Return the project file, or raise UndecidedError."""
        return _known(self.settings)

    def the_project(self) -> Project:
        """Return the settings themselves, or raise UndecidedError."""
        return self.the_settings().project

    def the_dataset(self) -> DatasetFacts:
        """Return the cases, or raise UndecidedError."""
        return _known(self.dataset)

    def the_store(self) -> StoreFacts:
        """Return what the installation remembers, or raise UndecidedError."""
        return _known(self.store)

    def the_logs(self) -> LogFacts:
        """Return the log lines, or raise UndecidedError."""
        return _known(self.logs)

    def the_service(self) -> ServiceFacts:
        """Return the running service, or raise UndecidedError."""
        return _known(self.service)

    def setting(self, *path: str | int, says: str = "") -> Evidence:
        """Return a setting and its value as evidence, with where it was written."""
        loaded = self.the_settings()
        place = loaded.origin(path)
        value = says or shown(_value(loaded.project, path))
        return Evidence(Source.SETTINGS, f"{place} {dotted(path)}", value)

    def line(self, path: str, line: int, says: str) -> Evidence:
        """Return a line of a file as evidence."""
        return Evidence(Source.REPOSITORY, f"{path}:{line}", says)


def _known(source: Found | Absent) -> Found:
    if isinstance(source, Absent):
        raise UndecidedError(source.why, source.needed)
    return source


def _value(node: Any, path: KeyPath) -> Any:
    for part in path:
        node = node[part] if isinstance(node, dict) or not isinstance(part, str) else getattr(node, part)
    return node


def shown(value: Any) -> str:
    """Return a value as YAML would write it on a line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
