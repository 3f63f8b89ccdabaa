"""Every error that Shipway raises on purpose.

    ShipwayError                 root; `retryable` says whether trying again can help
    ├── UsageError               the request itself is wrong
    │   ├── ConfigError          the project file is wrong: file, line, key
    │   ├── DatasetError         a dataset line is wrong: file, line, field
    │   └── DocumentError        a document cannot be read as what it claims to be
    ├── NotFoundError            no such release, rollout, prompt, file
    ├── ConflictError            the state does not allow it (a second `up`, a second rollout, a port in use)
    ├── GateRefusedError         the evidence does not allow it; carries the verdict
    ├── UnauthorizedError        no or a wrong key
    ├── ForbiddenError           a valid key that may not do this
    ├── RateLimitedError         over a limit; `retry_after_s`
    ├── IntegrityError           content does not match its digest or manifest
    ├── FencedError              a newer leader has written; this process must stop writing
    ├── StoreError               the store cannot do it (locked, read-only, full)
    ├── UnavailableError         a part is not there now (engine not ready, queue full)
    │   ├── DeadlineError        it did not answer in time
    │   └── UpstreamError        it answered with an error; `status`
    ├── JudgeReplyError          a judge answered with something that is no judgement
    └── NotYetError              a later version brings this

`entrypoints/failures.py` maps each class to its exit code and HTTP status.
"""

from pathlib import Path

from shipway.core.verdicts import Verdict


class ShipwayError(Exception):
    """The root of the tree."""

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(ShipwayError):
    """The request itself is wrong."""


class ConfigError(UsageError):
    """The project file is wrong.

    `problems` are whole lines (`shipway.yaml:12: rates.per_key_mn: unknown key; did you mean 'per_key_min'?`).
    """

    def __init__(self, problems: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class DatasetError(UsageError):
    """A dataset is wrong; one problem a line, each with file, line and field."""

    def __init__(self, problems: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class DocumentError(UsageError):
    """A document cannot be read as what it claims to be."""

    def __init__(self, path: Path | str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = str(path)
        self.reason = reason


class NotFoundError(ShipwayError):
    """No such thing."""


class ConflictError(ShipwayError):
    """The present state does not allow it."""


class GateRefusedError(ShipwayError):
    """The evidence does not allow it."""

    def __init__(self, verdict: Verdict, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict


class UnauthorizedError(ShipwayError):
    """No key or a wrong one."""


class ForbiddenError(ShipwayError):
    """A valid key that may not do this."""


class RateLimitedError(ShipwayError):
    """Over a limit."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IntegrityError(ShipwayError):
    """Content does not match its digest or manifest."""


class FencedError(ShipwayError):
    """A newer leader has written."""


class StoreError(ShipwayError):
    """The store cannot do it."""


class UnavailableError(ShipwayError):
    """A part is not there now."""

    retryable = True


class DeadlineError(UnavailableError):
    """It did not answer in time."""


class UpstreamError(UnavailableError):
    """It answered with an error."""

    def __init__(self, message: str, *, status: int, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class JudgeReplyError(ShipwayError):
    """A judge answered with something that is no judgement; becomes a missing score (ERROR), never 0."""


class NotYetError(ShipwayError):
    """A later version brings this."""
