"""Whether another attempt at a stage is honest, and wanted."""

from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.spec import StageSpec


def may_retry(stage: StageSpec, outcome: StageOutcome) -> bool:
    """Tell whether another attempt may be made.

    A command may be flaky. The verdict of a gate is not: repeating it until it passes would be no gate, so a built-in
    stage is repeated only when nothing could be measured, and INCONCLUSIVE never.
    """
    if outcome.verdict not in (Verdict.ERROR, Verdict.FAIL):
        return False
    if outcome.verdict is Verdict.FAIL and stage.uses is not None:
        return False
    return not stage.retry_on or not reasons_of(outcome).isdisjoint(stage.retry_on)


def reasons_of(outcome: StageOutcome) -> set[str | int]:
    """Return what `retry_on` may name for an outcome."""
    reasons: set[str | int] = {"fail"} if outcome.verdict is Verdict.FAIL else {"error"}
    if outcome.timed_out:
        reasons.add("timeout")
    if outcome.exit_code is not None:
        reasons.add("signal" if outcome.exit_code < 0 else outcome.exit_code)
    return reasons
