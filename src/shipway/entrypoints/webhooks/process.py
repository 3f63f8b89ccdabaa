"""The process of `shipway pipeline serve`: the HTTP server and the worker, over one queue."""

import base64
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import uvicorn

from shipway.adapters.commit_status.senders import Forge, GitHubStatus, GitLabStatus
from shipway.adapters.git.checkouts import GitCheckouts, Remote
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.pipeline_process import PipelineProcess, Programs
from shipway.adapters.pipeline_store.log_file import LoggedTail
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, load_project
from shipway.config.secrets import resolve_secret
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.webhooks import Webhooks
from shipway.core.disk import explained
from shipway.core.errors import ConfigError, ConflictError, ShipwayError
from shipway.entrypoints.dataplane.server import bind
from shipway.entrypoints.webhooks.app import Intake, receiver_app
from shipway.entrypoints.webhooks.leftovers import Leftovers
from shipway.entrypoints.wiring import opened
from shipway.pipeline.visible import ALWAYS_VISIBLE
from shipway.pipeline.webhooks.model import WAITING, Entry
from shipway.pipeline.webhooks.ports import StatusSender
from shipway.services.application import Application
from shipway.services.pipeline_compile import changed_parts
from shipway.services.webhooks.queue import RunQueue
from shipway.services.webhooks.receiving import HookSecrets, Receiver
from shipway.services.webhooks.telling import Teller
from shipway.services.webhooks.working import Worker, WorkParts
from shipway.telemetry.events import leveled
from shipway.telemetry.logs import configure, logger

_DAY_S = 86_400.0
_MOST_CONNECTIONS = 64
# What stages print has files of its own; this is the run's table of them.
_LOGGED_BYTES = 1024 * 1024
# The runner itself is found by these; no stage sees them.
_OF_THE_PROGRAM = ("PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Serving:
    """Where to listen, and how many runs at once."""

    host: str
    port: int
    parallel: int


@dataclass(frozen=True, slots=True)
class Places:
    """The files of the receiver, below the folder of pipelines."""

    root: Path

    @property
    def pipeline(self) -> Path:
        """Return where everything about pipelines is kept."""
        return self.root / ".shipway" / "pipeline"

    @property
    def lock(self) -> Path:
        """Return the file that the receiver keeps locked while it lives."""
        return self.pipeline / "receiver.lock"

    @property
    def leftovers(self) -> Leftovers:
        """Return what runs leave for later ones."""
        return Leftovers(self.pipeline / "caches", self.pipeline / "queue")


def settings_of(loaded: LoadedProject) -> Webhooks:
    """Return the settings of the receiver.

    Raises:
        ConfigError: there are none.
    """
    found = loaded.project.webhooks
    if found is None:
        hint = "name the repository and the secret of the webhook: docs/how-to/run-on-webhooks.md"
        raise ConfigError(["shipway.yaml has no webhooks section"], hint=hint)
    return found


async def open_queue(app: Application, settings: Webhooks) -> RunQueue:
    """Open the queue for writing; who does so holds the lock."""
    remember_s = settings.remember_days * _DAY_S
    return await RunQueue.open(app.state.documents, app.clock, max_queued=settings.max_queued, remember_s=remember_s)


async def run_receiver(loaded: LoadedProject, serving: Serving, stop: anyio.Event) -> None:
    """Serve and work until `stop`.

    Raises:
        ConfigError: no settings, or a secret that cannot be read.
        ConflictError: another receiver works here, or the port is in use.
    """
    settings, places = settings_of(loaded), Places(loaded.root)
    secrets = HookSecrets.of(settings, loaded.root, process_environment())
    senders, remote = senders_of(loaded, settings), remote_of(loaded, settings)
    held = LocalHost().lock(places.lock)
    if held is None:
        raise ConflictError("another receiver works on this project", hint="one is enough; end it first")
    try:
        configure(sys.stdout)
        # Before the queue is touched: a port that is in use leaves everything as it was.
        listener = bind(serving.host, serving.port)
        note = leveled(logger("shipway.webhooks"))
        async with opened(None, as_actor="webhooks", loaded=loaded) as app:
            queue = await open_queue(app, settings)
            receiver = Receiver(settings, secrets, queue, app.clock, note)
            intake = Intake(receiver, queue, settings.max_body_bytes, stop.is_set)
            teller = Teller(queue, senders, note)
            with GroupKeeper() as keeper:
                parts = _parts(loaded, keeper, remote, teller)
                note("webhooks_ready", host=serving.host, port=listener.getsockname()[1], waiting=queue.count(WAITING))
                async with anyio.create_task_group() as beside:
                    beside.start_soon(teller.run)
                    beside.start_soon(_serve, intake, listener)
                    await Worker(queue, parts, parallel=serving.parallel).run(stop)
                    beside.cancel_scope.cancel()
    finally:
        LocalHost().unlock(held)


async def _serve(intake: Intake, listener: socket.socket) -> None:
    config = uvicorn.Config(
        receiver_app(intake), log_config=None, access_log=False, lifespan="off", limit_concurrency=_MOST_CONNECTIONS
    )
    await _Server(config).serve(sockets=[listener])


def senders_of(loaded: LoadedProject, settings: Webhooks) -> dict[str, StatusSender]:
    """Return who tells the providers how runs stand.

    Raises:
        ConfigError: a token without the name of the repository, or one that cannot be read.
    """
    found: dict[str, StatusSender] = {}
    for name, hook, kind in (("github", settings.github, GitHubStatus), ("gitlab", settings.gitlab, GitLabStatus)):
        if hook is None or hook.status_token is None:
            continue
        if not settings.slug:
            raise ConfigError(
                [f"webhooks.{name}.status_token: webhooks.repository is a path, which names no owner"],
                hint="give webhooks.name, such as acme/assistant",
            )
        token = _secret(loaded, hook.status_token)
        found[name] = kind(Forge(hook.api_url, settings.slug, settings.context, token))
    return found


def remote_of(loaded: LoadedProject, settings: Webhooks) -> Remote:
    """Return the repository that is fetched from."""
    address = settings.repository
    if "://" not in address and "@" not in address.partition("/")[0]:
        address = str((loaded.root / address).resolve())
    authorization = ""
    if settings.git_token is not None:
        # GitHub and GitLab take a token as the password of any user.
        pair = f"x-access-token:{_secret(loaded, settings.git_token)}".encode()
        authorization = f"Basic {base64.b64encode(pair).decode()}"
    return Remote(address, process_environment(), authorization)


def environment_of(settings: Webhooks, environ: Mapping[str, str], empty_home: Path, entry: Entry) -> dict[str, str]:
    """Return what a run may see; of a fork, neither the declared variables nor the user's home."""
    names = (*ALWAYS_VISIBLE, *_OF_THE_PROGRAM, *(() if entry.fork else settings.env))
    found = {name: environ[name] for name in names if name in environ}
    folder = str(Path(sys.executable).parent)
    found["PATH"] = f"{folder}{os.pathsep}{found.get('PATH', os.defpath)}"
    if entry.fork:
        found["HOME"] = str(empty_home)
    return found


def _parts(loaded: LoadedProject, keeper: GroupKeeper, remote: Remote, teller: Teller) -> WorkParts:
    settings, places = settings_of(loaded), Places(loaded.root)
    home, leftovers = places.pipeline / "home", places.leftovers
    for folder in (home, leftovers.log("").parent):
        with explained(folder, "cannot be made"):
            folder.mkdir(parents=True, exist_ok=True)
    processes = PipelineProcess(
        # -P: a module in the present folder must not take the place of one of Shipway's.
        program=(sys.executable, "-P", *LocalHost().program()[1:]),
        root=loaded.root,
        keeper=keeper,
        environment=partial(environment_of, settings, process_environment(), home),
        output=lambda entry: LoggedTail(leftovers.log(entry.id), _LOGGED_BYTES),
    )
    return WorkParts(
        checkouts=GitCheckouts(remote, places.pipeline / "checkouts", Programs(keeper).run),
        processes=processes,
        teller=teller,
        note=leveled(logger("shipway.webhooks")),
        folder=settings.folder,
        kept_checkouts=settings.kept_checkouts,
        changed_parts=_changed_parts,
        lend=leftovers.lend,
        tidy=leftovers.tidy,
    )


def _changed_parts(root: Path, files: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return changed_parts(load_project(root, {}).project, files)
    except ShipwayError:
        # The run itself says what is wrong with the project file.
        return None


def _secret(loaded: LoadedProject, reference: SecretRef) -> str:
    return resolve_secret(reference, root=loaded.root, environ=process_environment()).strip()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: the command owns signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield
