"""Run another program so that it can neither hang nor stay: its own process group, a time limit, the end of its words.

The environment is made here and nowhere inherited: no keys of the user, no proxies but one that leads nowhere, so that
what honours proxies reaches loopback and the given hosts only; telemetry off, model hubs offline.
"""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.abc

from shipway.config.credentials import repeatable

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_NOWHERE = "http://127.0.0.1:9"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TAIL_LINES = 25
_LONGEST_LINE = 400
_GRACE_S = 2.0
_POLL_S = 0.01
_OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
    "PROMPTFOO_SELF_HOSTED": "1",
    # Node's own clients honour the proxy variables only when told to.
    "NODE_USE_ENV_PROXY": "1",
    "NODE_NO_WARNINGS": "1",
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "DEEPEVAL_DISABLE_DOTENV": "1",
    "RAGAS_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "CI": "1",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "GIT_CEILING_DIRECTORIES": "/",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: `code` is None when it was stopped after `timeout_s`; `tail` is the end of its output."""

    code: int | None
    tail: str
    timeout_s: float

    @property
    def how(self) -> str:
        """Say how it ended, with the end of its output."""
        ending = f"did not end within {self.timeout_s:g} s and was stopped"
        if self.code is not None:
            ending = f"ended with exit code {self.code}" if self.code >= 0 else f"was ended by signal {-self.code}"
        return f"{ending}; its last words:\n{self.tail}" if self.tail else f"{ending} without a word"


def environment(
    environ: Mapping[str, str], home: Path, extra: Mapping[str, str], *, reached: Collection[str] = ()
) -> dict[str, str]:
    """Return the environment of a tool; `reached` are addresses that it may ask beside loopback."""
    hosts = [*_LOOPBACK, *(host for address in reached if (host := urlsplit(address).hostname))]
    open_to = ",".join(dict.fromkeys(hosts))
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE) | {"NO_PROXY": open_to}
    return {
        **{name: environ[name] for name in _KEPT if name in environ},
        **_OFFLINE,
        **proxies,
        **{name.lower(): value for name, value in proxies.items()},
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "HF_HOME": str(home / ".cache" / "huggingface"),
        **extra,
    }


async def run_program(argv: Sequence[str], folder: Path, env: Mapping[str, str], timeout_s: float) -> Ended:
    """Run a program to its end, or end it with all that it has started.

    Raises:
        OSError: it cannot be started.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    async with await _started(argv, folder, env) as process:
        code: int | None = None
        try:
            with anyio.move_on_after(timeout_s):
                async with anyio.create_task_group() as group:
                    heard = anyio.Event()
                    group.start_soon(_listen, process, tail, heard)
                    code = await process.wait()
                    with anyio.CancelScope(shield=True):
                        await _end_group(process)
                    # What left the group may hold the pipe for ever.
                    with anyio.move_on_after(_GRACE_S):
                        await heard.wait()
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _end_group(process)
    return Ended(code, "\n".join(line for line in tail if line.strip()), timeout_s)


async def _started(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> anyio.abc.Process:
    # Shielded: cut off between fork and return, nobody would know the process and what it has started.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            list(argv),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process  # noqa: RET504 - within the block the type checker sees a way past it


async def _listen(process: anyio.abc.Process, tail: deque[str], heard: anyio.Event) -> None:
    rest = ""
    if process.stdout is None:
        heard.set()
        return
    async for data in process.stdout:
        *lines, rest = (rest + data.decode(errors="replace").replace("\r", "\n")).split("\n")
        tail.extend(_shown(line) for line in lines if line.strip())
        rest = rest[-_LONGEST_LINE:]
    tail.append(_shown(rest))
    heard.set()


def _shown(line: str) -> str:
    return repeatable("".join(character for character in line if character.isprintable()).rstrip())[-_LONGEST_LINE:]


async def _end_group(process: anyio.abc.Process) -> None:
    """End the whole group, whose leader may be gone already."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signalled(process.pid, number):
            break
        with anyio.move_on_after(_GRACE_S):
            # No event tells when the last process of a group has ended.
            while _signalled(process.pid, 0):  # noqa: ASYNC110
                await anyio.sleep(_POLL_S)
    await process.wait()


def _signalled(group: int, number: int) -> bool:
    """Send a signal to a group; false when nobody is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
