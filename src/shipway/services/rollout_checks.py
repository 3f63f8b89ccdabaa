"""Checks that a rollout waits for, done by this program's own commands in processes of their own.

The rollout controller asks for a result again and again; the first question starts the command. What it said is kept as
a document, so that the next controller need not ask the candidate again; one that dies with its command has kept
nothing, and the next controller starts it afresh.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

from anyio.abc import TaskGroup

from shipway.core.clock import Clock
from shipway.core.errors import ShipwayError
from shipway.core.ports import DocumentStore
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import SMOKE, CheckResult
from shipway.rollouts.model import Rollout
from shipway.rollouts.ports import Target
from shipway.telemetry.logs import logger

KIND = "rollout_check"
_VERDICTS = {0: Verdict.PASS, 1: Verdict.FAIL}
_LONGEST_TEXT = 600
_CUT = " ..."
_FAILED = re.compile(r"(?:[^:]+(?::\d+)?: )?(?:FAIL|ERROR)\b")
"""A line that tells of a failure: commands put the suite or `file:line` of the check in front."""

RunCommand = Callable[[Sequence[str]], Awaitable[tuple[int | None, str]]]
"""Runs this program with arguments; returns its exit code (None: it was stopped) and the end of what it printed."""


class CommandChecks:
    """The rollout controller's `Checks`; `group` outlives the controller's looks, not its process."""

    def __init__(
        self,
        documents: DocumentStore,
        clock: Clock,
        target: Target,
        run: RunCommand,
        group: TaskGroup,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._target = target
        self._run = run
        self._group = group
        self._running: set[str] = set()
        self._log = logger("shipway.rollouts")

    async def result(self, kind: str, rollout: Rollout) -> CheckResult | None:
        """Return what a check said of the rollout's candidate, None while it runs; the first call starts it."""
        key = f"{rollout.id}/{kind}"
        stored = await self._documents.get(KIND, key)
        if stored is not None:
            return CheckResult(Verdict(stored[0]["verdict"]), stored[0]["text"])
        if key not in self._running:
            self._running.add(key)
            self._group.start_soon(self._check, key, kind, rollout)
        return None

    async def _check(self, key: str, kind: str, rollout: Rollout) -> None:
        try:
            commands = await self._commands(kind, rollout)
            found = [await self._checked(command) for command in commands]
            worst = next((item for item in found if item.verdict is not Verdict.PASS), None)
            said = worst or CheckResult(Verdict.PASS, found[-1].text if found else "its processes are healthy")
            body = {"verdict": said.verdict.value, "text": said.text, "at_s": self._clock.now_s()}
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

    async def _checked(self, command: list[str]) -> CheckResult:
        try:
            code, said = await self._run(command)
        except OSError as error:
            return CheckResult(Verdict.ERROR, f"cannot run `shipway {' '.join(command)}`: {error}")
        verdict = Verdict.ERROR if code is None else _VERDICTS.get(code, Verdict.ERROR)
        named = "" if verdict is Verdict.PASS else f"`shipway {' '.join(command)}`: "
        return CheckResult(verdict, named + _in_one_line(said, _LONGEST_TEXT - len(named)))


def _in_one_line(said: str, longest: int) -> str:
    """Return the failures and the last line of what a command printed, the end of it where no line tells of a failure.

    Failures are printed first and the summary last: what is too long is cut between them.
    """
    lines = [shown for line in said.splitlines() if (shown := " ".join(line.split()))]
    failed = "; ".join(line for line in lines[:-1] if _FAILED.match(line))
    longest = max(longest, 0)
    if not failed:
        return "; ".join(lines)[-longest:] if longest else ""
    room = longest - len(lines[-1]) - len("; ")
    if room <= len(_CUT):
        return failed[:longest]
    shown = failed if len(failed) <= room else failed[: room - len(_CUT)] + _CUT
    return f"{shown}; {lines[-1]}"
