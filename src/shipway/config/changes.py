"""What a changed project file changes: at once, with a restart, or with a release.

A gateway worker asks when it is to obey another configuration; `shipway reload` shows what it finds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shipway.config.loading import flattened
from shipway.config.project import Project
from shipway.config.yaml_source import KeyPath, dotted

_STARTED_HERE = ("llamacpp", "echo")
_SERVER = ("host", "port", "workers", "drain_s")
_START: tuple[KeyPath, ...] = (("app",), *(("server", name) for name in _SERVER))
_RESTART: tuple[KeyPath, ...] = (("redis",), ("logging",), ("telemetry", "traces"))
_RELEASE: tuple[KeyPath, ...] = (
    ("code",),
    ("decoding",),
    ("prompts",),
    ("routes",),
    *(("routing", name) for name in ("default", "rules", "splits", "fallbacks", "escalate")),
    ("budgets", "max_prompt"),
    ("budgets", "max_new"),
    ("safety",),
    ("corpus",),
    ("retrieval",),
)
_OF_A_RELEASE_IN_MODELS = frozenset({"engine", "model", "max_ctx", "max_out"})
# Commands read these when they run; no process keeps them.
_OF_COMMANDS = frozenset({"contacts", "datasets", "judges", "evals", "gates", "rollout", "pipeline", "ci", "webhooks"})


@dataclass(frozen=True, slots=True)
class Changes:
    """The keys that differ, by when the difference takes effect.

    `at_restart` when the gateway's processes are replaced, `at_start` when everything is stopped and started.
    """

    now: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    at_start: tuple[str, ...] = ()
    with_release: tuple[str, ...] = ()


def changes(running: Project, wanted: Project) -> Changes:
    """Return what differs between what a process obeys and what it is to obey."""
    before, after = dict(flattened(running)), dict(flattened(wanted))
    found: dict[str, dict[str, None]] = {name: {} for name in ("now", "at_restart", "at_start", "with_release")}
    for path in [*before, *(path for path in after if path not in before)]:
        if before.get(path, _NOTHING) != after.get(path, _NOTHING) and path[0] not in _OF_COMMANDS:
            found[_when(path, (running, wanted))][dotted(path)] = None
    return Changes(**{when: tuple(keys) for when, keys in found.items()})


def obeyable(running: Project, wanted: Project) -> Project:
    """Return what a process can obey as it is: the wanted project with what only a new process changes."""
    fixed = {name: getattr(running.server, name) for name in _SERVER}
    return wanted.model_copy(
        update={
            "app": running.app,
            "redis": running.redis,
            "logging": running.logging,
            "server": wanted.server.model_copy(update=fixed),
            "telemetry": wanted.telemetry.model_copy(update={"traces": running.telemetry.traces}),
        }
    )


_NOTHING = object()


def _when(path: KeyPath, projects: Iterable[Project]) -> str:
    if any(path[: len(prefix)] == prefix for prefix in _START):
        return "at_start"
    if any(path[: len(prefix)] == prefix for prefix in _RESTART):
        return "at_restart"
    if path[0] == "models" and len(path) > 1:
        entries = [project.models.get(str(path[1])) for project in projects]
        if any(entry is not None and entry.engine in _STARTED_HERE for entry in entries) and path[2:3] != ("price",):
            return "at_start"
        if path[2:3] and path[2] in _OF_A_RELEASE_IN_MODELS and None not in entries:
            return "with_release"
    return "with_release" if any(path[: len(prefix)] == prefix for prefix in _RELEASE) else "now"
