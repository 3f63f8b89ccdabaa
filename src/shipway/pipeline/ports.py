"""What runs one attempt of a stage.

Above: `runner`, which decides what runs when, how often and how long. Below: `adapters/local_stage` for commands and
the services behind the built-in stages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shipway.pipeline.model import StageEvent, StageOutcome, StageResult, StageSpec
from shipway.pipeline.tail import OutputTail

Progress = Callable[[StageEvent], None]


@dataclass(frozen=True, slots=True)
class StageContext:
    """What an attempt may know: the run, its number (from 1) and the results of every stage it depends on.

    Whatever the attempt prints goes to `output`, which outlives an attempt that is cut off.
    """

    run_id: str
    attempt: int
    results: Mapping[str, StageResult]
    output: OutputTail = field(default_factory=OutputTail)


class StageRunner(Protocol):
    """Runs a stage's command."""

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run one attempt to its end.

        The caller's timeout and cancellation arrive as cancellation: everything that was started must have ended
        before it is passed on.
        """
        ...


class BuiltinStage(Protocol):
    """A use case that a stage names in `uses`."""

    async def __call__(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run one attempt to its end; a ShipwayError is an ERROR, a GateRefusedError its verdict."""
        ...
