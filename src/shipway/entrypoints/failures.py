"""The one table from error and verdict to exit code and HTTP status.

Exit codes: 0 done or PASS; 1 a gate's FAIL; 2 usage or configuration; 3 ERROR, any unexpected exception too;
4 INCONCLUSIVE or NO_DATA; 128+n ended by signal n. Commands that carry no gate use 0, 2 and 3.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from shipway.core.errors import (
    ConflictError,
    DeadlineError,
    FencedError,
    ForbiddenError,
    GateRefusedError,
    IntegrityError,
    JudgeReplyError,
    NotFoundError,
    NotYetError,
    RateLimitedError,
    ShipwayError,
    StoreError,
    UnauthorizedError,
    UnavailableError,
    UsageError,
)
from shipway.core.verdicts import Verdict

INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT
TERMINATED_EXIT_CODE = 128 + signal.SIGTERM
CLOSED_PIPE_EXIT_CODE = 128 + signal.SIGPIPE
UNEXPECTED_EXIT_CODE = 3
USAGE_EXIT_CODE = 2

VERDICT_EXIT_CODES: dict[Verdict, int] = {
    Verdict.PASS: 0,
    Verdict.FAIL: 1,
    Verdict.ERROR: 3,
    Verdict.INCONCLUSIVE: 4,
    Verdict.NO_DATA: 4,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a class of error means outside."""

    exit_code: int
    http_status: int


# The first class that an error is an instance of decides, so narrow classes stand before wide ones.
FAILURES: tuple[tuple[type[ShipwayError], Failure], ...] = (
    (NotFoundError, Failure(2, 404)),
    (ConflictError, Failure(2, 409)),
    (UsageError, Failure(2, 400)),
    (UnauthorizedError, Failure(2, 401)),
    (ForbiddenError, Failure(2, 403)),
    (RateLimitedError, Failure(3, 429)),
    (GateRefusedError, Failure(1, 409)),
    (IntegrityError, Failure(3, 500)),
    (FencedError, Failure(3, 409)),
    (StoreError, Failure(3, 503)),
    (DeadlineError, Failure(3, 504)),
    (UnavailableError, Failure(3, 503)),
    (JudgeReplyError, Failure(3, 502)),
    (NotYetError, Failure(2, 501)),
    (ShipwayError, Failure(3, 500)),
)


def failure_of(error: ShipwayError) -> Failure:
    """Return what an error means outside; a refused gate exits with its verdict's code."""
    if isinstance(error, GateRefusedError):
        return Failure(VERDICT_EXIT_CODES[error.verdict], 409)
    return next(failure for kind, failure in FAILURES if isinstance(error, kind))


# What stays of a command that Ctrl-C or SIGTERM ended: the words of the command and what a user wants to know then.
# `rag build` prints what it kept itself.
LEFT_BEHIND: tuple[tuple[tuple[str, ...], str], ...] = (
    (("up",), "everything that it had started is stopped; the store is kept"),
    (("down",), "processes may still be stopping; `shipway status` shows them"),
    (("restart",), "stopped waiting; what was begun goes on: `shipway status` shows which processes are leaving"),
    (("deploy",), "stopped waiting; a rollout that was started goes on: `shipway rollout status`"),
    (("reload",), "either every gateway worker obeys the new configuration or none; `shipway status` shows which"),
    (("rollback",), "stopped waiting; `shipway status` shows which release is stable"),
    (("rollout", "watch"), "stopped watching; the rollout goes on"),
    (("eval", "run"), "no verdict was stored; the same command with --resume asks only what is not answered yet"),
    (("eval",), "stopped; no verdict was stored"),
    (("judge", "label"), "every label that was given is in the file"),
    (("pipeline", "run"), "stopped; stages that had ended are kept"),
    (("load",), "stopped; no verdict was made"),
    (("chaos",), "stopped; what was broken is mended, and what could not be is left to `shipway chaos --undo`"),
)


def interruption(arguments: Sequence[str], *, terminated: bool) -> str:
    """Return the line for a command that a signal ended."""
    words = tuple(argument for argument in arguments if not argument.startswith("-"))
    left = next((text for command, text in LEFT_BEHIND if words[: len(command)] == command), "stopped")
    return f"{'terminated' if terminated else 'interrupted'}; {left}"
