"""Commits of a repository in folders of their own; implements `pipeline.webhooks.ports.Checkouts`.

The repository is that of the configuration, what it holds is not trusted: no hooks, no submodules, no filters (LFS), no
settings of the user or the machine, and only the transport that its address names.
"""

import re
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from shipway.core.disk import explained
from shipway.core.errors import UnavailableError
from shipway.pipeline.webhooks.model import Entry
from shipway.pipeline.webhooks.ports import CheckedOut, NotTheTip

_REMOTE_TIMEOUT_S = 600.0
_LOCAL_TIMEOUT_S = 120.0
_TIP = "refs/shipway/tip"
_SHOWN = 300
_SHA256_DIGITS = 64
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "credential.helper": "",
    "protocol.allow": "never",
    "advice.detachedHead": "false",
}
Run = Callable[[Sequence[str], Path, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Runs a program in a folder with an environment to its end; returns its exit code and what it printed."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The repository; `environ` is where PATH and the user's ssh configuration come from."""

    address: str
    """URL, or an absolute path."""
    environ: Mapping[str, str]
    authorization: str = field(default="", repr=False)
    """The header that https requests carry."""

    def environment(self) -> dict[str, str]:
        """Return the environment of git; secrets are in it and never among the arguments."""
        settings = _SETTINGS | {f"protocol.{self._transport()}.allow": "always"}
        if self.authorization:
            settings[f"http.{self.address}.extraHeader"] = f"Authorization: {self.authorization}"
        kept = {name: self.environ[name] for name in ("PATH", "HOME", "LANG", "SSH_AUTH_SOCK") if name in self.environ}
        numbered = enumerate(settings.items())
        pairs = {
            f"GIT_CONFIG_{kind}_{n}": text for n, pair in numbered for kind, text in zip(_KINDS, pair, strict=True)
        }
        return {
            **kept,
            **pairs,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30",
        }

    def _transport(self) -> str:
        if "://" in self.address:
            return urlsplit(self.address).scheme
        return "file" if self.address.startswith("/") else "ssh"


_KINDS = ("KEY", "VALUE")


class GitCheckouts:
    """Checkouts below a folder, one for each entry, by its id."""

    def __init__(self, remote: Remote, folder: Path, run: Run) -> None:
        self._remote = remote
        self._folder = folder
        self._run = run

    async def tip(self, entry: Entry) -> str:
        """Return the commit of an entry if its ref still points to it, else what it points to; empty when gone."""
        await anyio.to_thread.run_sync(self._make_folder)
        # Both: an annotated tag is an object of its own, which GitHub and GitLab name.
        wanted = (entry.ref, f"{entry.ref}^{{}}")
        said = await self._git(self._folder, "ls-remote", "--", self._remote.address, *wanted, far=True)
        line = re.compile(rb"([0-9a-f]{40,64})\t(\S+)")
        found = {match[2].decode(): match[1].decode() for match in map(line.fullmatch, said.splitlines()) if match}
        tips = [found[ref] for ref in wanted if ref in found]
        return entry.commit if entry.commit in tips else (tips[-1] if tips else "")

    async def make(self, entry: Entry, compared_with: str) -> CheckedOut | NotTheTip:
        """Check out the commit of an entry if its ref still points to it."""
        tip = await self.tip(entry)
        if tip != entry.commit:
            return NotTheTip(tip)
        place = self._folder / entry.id
        await anyio.to_thread.run_sync(_empty, place)
        kind = "sha256" if len(entry.commit) == _SHA256_DIGITS else "sha1"
        await self._git(place, "init", "--quiet", "--template=", f"--object-format={kind}")
        await self._fetch(place, f"+{entry.ref}:{_TIP}")
        fetched = (await self._git(place, "rev-parse", "--verify", _TIP)).decode().strip()
        if fetched != entry.commit:
            # It moved between the question and the answer.
            peeled = (await self._git(place, "rev-parse", "--verify", f"{_TIP}^{{commit}}")).decode().strip()
            if peeled != entry.commit:
                return NotTheTip(peeled)
        await self._git(place, "checkout", "--quiet", "--force", "--detach", f"{_TIP}^{{commit}}")
        return CheckedOut(place, await self._changed(place, compared_with))

    async def remove_all_but(self, kept: Collection[str]) -> None:
        """Remove the folders of other entries."""

        def remove() -> None:
            for folder in self._folder.iterdir() if self._folder.is_dir() else ():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

        await anyio.to_thread.run_sync(remove)

    def _make_folder(self) -> None:
        with explained(self._folder, "cannot be made"):
            self._folder.mkdir(parents=True, exist_ok=True)

    async def _changed(self, place: Path, before: str) -> tuple[str, ...] | None:
        if not before:
            return None
        with suppress(UnavailableError):
            # Some servers give no commit that no ref points to; then everything may have changed.
            await self._fetch(place, f"+{before}:refs/shipway/before")
            said = await self._git(
                place, "diff", "--name-only", "--no-renames", "-z", "refs/shipway/before", "HEAD", "--"
            )
            return tuple(name.decode(errors="surrogateescape") for name in said.split(b"\0") if name)
        return None

    async def _fetch(self, place: Path, refspec: str) -> None:
        options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")
        await self._git(place, "fetch", *options, "--", self._remote.address, refspec, far=True)

    async def _git(self, place: Path, *arguments: str, far: bool = False) -> bytes:
        limit_s = _REMOTE_TIMEOUT_S if far else _LOCAL_TIMEOUT_S
        try:
            with anyio.fail_after(limit_s):
                code, said = await self._run(("git", *arguments), place, self._remote.environment())
        except TimeoutError:
            raise UnavailableError(f"git {arguments[0]} did not end within {limit_s:g} s") from None
        except OSError as error:
            hint = "install git, and check that it is on PATH"
            raise UnavailableError(f"git cannot be started: {error.strerror or error}", hint=hint) from error
        if code != 0:
            raise UnavailableError(f"git {arguments[0]} ended with {code}: {_last(said)}")
        return said


def _empty(place: Path) -> None:
    with explained(place, "cannot be made"):
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)


def _last(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    # git says first what is wrong and then what might be.
    found = next(
        (line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "nothing said"
    )
    return "".join(sign for sign in found[:_SHOWN] if sign.isprintable())
