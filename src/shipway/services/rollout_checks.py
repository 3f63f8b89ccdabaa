"""Checks that a rollout waits for, done by this program's own commands in processes of their own.

The rollout controller asks for a result again and again; the first question starts the command. What it said is kept as
a document, so that the next controller need not ask the candidate again; one that dies with its command has kept
nothing, and the next controller starts it afresh. All that the commands printed is a blob that the document names.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from anyio.abc import TaskGroup

from shipway.core.clock import Clock
from shipway.core.errors import IntegrityError, NotFoundError, ShipwayError
from shipway.core.ids import Digest
from shipway.core.ports import BlobStore, DocumentStore, State
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import SMOKE, CheckResult
from shipway.rollouts.model import Rollout
from shipway.rollouts.ports import Target
from shipway.telemetry.logs import logger
from shipway.telemetry.masking import mask_text

KIND = "rollout_check"
_VERDICTS = {0: Verdict.PASS, 1: Verdict.FAIL}
_LONGEST_TEXT = 600
_CUT = " ..."
_VERDICT = "verdict: "
_FAILED = re.compile(r"(?:[^:]+(?::\d+)?: )?(?:FAIL|ERROR)\b")
"""A line that tells of a failure: commands put the suite or `file:line` of the check in front."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: `code` is None when it was stopped, `end` the end of what it printed, `whole` all of it."""

    code: int | None
    end: str
    whole: str = ""


RunCommand = Callable[[Sequence[str]], Awaitable[Ran]]
"""Runs this program with arguments."""


class CommandChecks:
    """The rollout controller's `Checks`; `group` outlives the controller's looks, not its process."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        target: Target,
        run: RunCommand,
        group: TaskGroup,
    ) -> None:
        self._documents = state.documents
        self._blobs = state.blobs
        self._clock = clock
        self._target = target
        self._run = run
        self._group = group
        self._running: set[str] = set()
        self._log = logger("shipway.rollouts")

    async def result(self, kind: str, rollout: Rollout) -> CheckResult | None:
        """Return what a check said of the rollout's candidate, None while it runs; the first call starts it."""
        found = await kept_result(self._documents, kind, rollout)
        if found is not None:
            return found
        key = check_key(kind, rollout)
        if key not in self._running:
            self._running.add(key)
            self._group.start_soon(self._check, key, kind, rollout)
        return None

    async def _check(self, key: str, kind: str, rollout: Rollout) -> None:
        try:
            commands = await self._commands(kind, rollout)
            printed: list[str] = []
            found = [await self._checked(command, printed) for command in commands]
            worst = next((item for item in found if item.verdict is not Verdict.PASS), None)
            said = worst or CheckResult(Verdict.PASS, found[-1].text if found else "its processes are healthy")
            output = await self._kept(printed)
            body = {"verdict": said.verdict.value, "text": said.text, "at_s": self._clock.now_s(), "output": output}
            await self._documents.put(KIND, key, body)
        except ShipwayError as error:
            # Asked again, it is tried again: a store that is away must not end the control process.
            self._log.warning("rollout_check_lost", check=key, error=error.message)
        finally:
            self._running.discard(key)

    async def _commands(self, kind: str, rollout: Rollout) -> list[list[str]]:
        candidate, smoke_file = rollout.candidate, rollout.plan.smoke_file
        if kind != SMOKE:
            return [["eval", "run", candidate]]
        file = [smoke_file] if smoke_file else []
        services = await self._target.endpoints(candidate)
        if not services:
            return [["eval", "smoke", *file, "--release", candidate]]
        # The default suite asks chat and rag routes; what a service of one's own must be able to do, only a file says.
        return [["eval", "smoke", *file, "--url", url] for url in services.values()] if file else []

    async def _checked(self, command: list[str], printed: list[str]) -> CheckResult:
        line = f"shipway {' '.join(command)}"
        try:
            ran = await self._run(command)
        except OSError as error:
            return CheckResult(Verdict.ERROR, f"cannot run `{line}`: {error}")
        printed.append(f"$ {line}\n{ran.whole or ran.end}")
        verdict = Verdict.ERROR if ran.code is None else _VERDICTS.get(ran.code, Verdict.ERROR)
        named = "" if verdict is Verdict.PASS else f"`{line}`: "
        return CheckResult(verdict, named + _in_one_line(ran.end, _LONGEST_TEXT - len(named)))

    async def _kept(self, printed: list[str]) -> Digest | None:
        """Return where all that commands printed is kept, masked; None where there were none."""
        if not printed:
            return None
        # Regular expressions over a megabyte must not hold up the controller.
        masked = await to_thread.run_sync(mask_text, "\n\n".join(printed) + "\n")
        return await self._blobs.put(masked.encode())


async def kept_result(documents: DocumentStore, kind: str, rollout: Rollout) -> CheckResult | None:
    """Return what a check said of the rollout's candidate; None before it has ended, or where it never began."""
    stored = await documents.get(KIND, check_key(kind, rollout))
    return None if stored is None else CheckResult(Verdict(stored[0]["verdict"]), stored[0]["text"])


async def kept_checks(documents: DocumentStore, rollout: Rollout) -> list[dict[str, Any]]:
    """Return what the checks of a rollout said, oldest first; `output` is the blob of all that they printed, or None.

    Checks of a version before have no output.
    """
    found = await documents.list(KIND, prefix=f"{rollout.id}/")
    return [
        {
            "check": key.removeprefix(f"{rollout.id}/"),
            "verdict": body["verdict"],
            "text": body["text"],
            "at_s": body["at_s"],
            "output": body.get("output"),
        }
        for key, body, _ in found
    ]


async def printed_by(blobs: BlobStore, check: dict[str, Any]) -> list[str]:
    """Return the lines that a kept check's commands printed."""
    if check["output"] is None:
        return ["nothing that it printed is kept"]
    try:
        return (await blobs.get(Digest(check["output"]))).decode().splitlines()
    except (IntegrityError, NotFoundError) as error:
        return [error.message]


def check_key(kind: str, rollout: Rollout) -> str:
    """Return the key of the document that keeps what a check said; checks that are done again have another one."""
    again = rollout.smoke_again if kind == SMOKE else 0
    return f"{rollout.id}/{kind}/{again}" if again else f"{rollout.id}/{kind}"


def _in_one_line(said: str, longest: int) -> str:
    """Return the failures and the last line of what a command printed, the end of it where no line tells of a failure.

    Of an evaluation the verdict with its gates says it: tables are read in the output that is kept.
    Failures are printed first and the summary last: what is too long is cut between them.
    """
    lines = [shown for line in said.splitlines() if (shown := " ".join(line.split()))]
    longest = max(longest, 0)
    judged = next((line for line in lines if line.startswith(_VERDICT)), "")
    if judged:
        return judged[:longest]
    failed = "; ".join(line for line in lines[:-1] if _FAILED.match(line))
    if not failed:
        return "; ".join(lines)[-longest:] if longest else ""
    room = longest - len(lines[-1]) - len("; ")
    if room <= len(_CUT):
        return failed[:longest]
    shown = failed if len(failed) <= room else failed[: room - len(_CUT)] + _CUT
    return f"{shown}; {lines[-1]}"
