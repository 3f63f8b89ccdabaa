"""Run another program so that it can neither hang nor stay: its own process group, a time limit, the end of its words.

The environment is made here and nowhere inherited: no keys of the user, no proxies but one that leads nowhere, so that
what honours proxies reaches loopback and the given hosts only; telemetry off, model hubs offline.
"""

import codecs
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
_LONGEST_KEPT_LINE = 20_000
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
    """How a program ended: `code` is None when it was stopped after `timeout_s`; `tail` is the end of its output.

    `output` is all of it where that was wanted, without its middle where it was more.
    """

    code: int | None
    tail: str
    timeout_s: float
    output: str = ""

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


class _Heard:
    """What a program says: its last lines, and up to `keep_bytes` of all of them, the first and the last."""

    def __init__(self, keep_bytes: int) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._half_bytes = keep_bytes // 2
        self._first: list[str] = []
        self._last: deque[tuple[str, int]] = deque()
        self._first_bytes = self._last_bytes = self._left_out = 0

    def line(self, line: str) -> None:
        """Take a line."""
        shown = _shown(line)
        if shown.strip():
            self.tail.append(shown[-_LONGEST_LINE:])
        if self._half_bytes:
            self._keep(shown)

    def output(self) -> str:
        """Return all lines, and in their middle how many are not there."""
        gap = [f"[{self._left_out} lines are left out]"] if self._left_out else []
        return "\n".join([*self._first, *gap, *(line for line, _ in self._last)]).strip("\n")

    def _keep(self, line: str) -> None:
        size = len(line.encode()) + 1
        if not self._last and self._first_bytes + size <= self._half_bytes:
            self._first.append(line)
            self._first_bytes += size
            return
        self._last.append((line, size))
        self._last_bytes += size
        while self._last_bytes > self._half_bytes:
            self._last_bytes -= self._last.popleft()[1]
            self._left_out += 1


async def run_program(
    argv: Sequence[str], folder: Path, env: Mapping[str, str], timeout_s: float, *, keep_bytes: int = 0
) -> Ended:
    """Run a program to its end, or end it with all that it has started; `keep_bytes` of its output are kept.

    Raises:
        OSError: it cannot be started.
    """
    words = _Heard(keep_bytes)
    async with await _started(argv, folder, env) as process:
        code: int | None = None
        try:
            with anyio.move_on_after(timeout_s):
                async with anyio.create_task_group() as group:
                    heard = anyio.Event()
                    group.start_soon(_listen, process, words, heard)
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
    return Ended(code, "\n".join(words.tail), timeout_s, words.output())


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


async def _listen(process: anyio.abc.Process, words: _Heard, heard: anyio.Event) -> None:
    rest = ""
    if process.stdout is None:
        heard.set()
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    async for data in process.stdout:
        *lines, rest = (rest + decoder.decode(data).replace("\r", "\n")).split("\n")
        for line in lines:
            words.line(line)
        rest = rest[-_LONGEST_KEPT_LINE:]
    if rest:
        words.line(rest)
    heard.set()


def _shown(line: str) -> str:
    return repeatable("".join(character for character in line if character.isprintable()).rstrip())[
        -_LONGEST_KEPT_LINE:
    ]


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
