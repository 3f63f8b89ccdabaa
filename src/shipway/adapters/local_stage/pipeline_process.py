"""Programs that the webhook receiver runs, each in a process group that ends with the receiver.

`PipelineProcess` implements `pipeline.webhooks.ports.RunProcess`; `run_program` is what checkouts start git with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.processes import Command, how_it_ended, run_group
from shipway.core.errors import UnavailableError
from shipway.pipeline.tail import OutputTail
from shipway.pipeline.webhooks.model import Entry
from shipway.pipeline.webhooks.ports import Ended

_GIT_GRACE_S = 2.0
# Its own stages have five seconds between SIGTERM and SIGKILL.
_RUN_GRACE_S = 15.0
_MOST_SAID_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PipelineProcess:
    """`program` is called as `program pipeline run`, in the folder `root`."""

    program: tuple[str, ...]
    root: Path
    keeper: GroupKeeper
    environment: Callable[[Entry], Mapping[str, str]]
    output: Callable[[Entry], OutputTail]

    async def run(self, entry: Entry, arguments: Sequence[str]) -> Ended:
        """Run the command to its end; however this ends, no process of it is left."""
        argv = (*self.program, "pipeline", "run", *arguments)
        command = Command(argv, self.root, self.environment(entry), self.keeper, _RUN_GRACE_S)
        output = self.output(entry)
        try:
            with anyio.fail_after(entry.timeout_s):
                code = await run_group(command, output)
        except TimeoutError:
            return Ended(None, f"stopped after {entry.timeout_s:g} s")
        except (OSError, ValueError) as error:
            raise UnavailableError(f"cannot start {argv[0]!r}: {error}") from error
        finally:
            output.close()
        return Ended(code, how_it_ended(code))


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs that say something short."""

    keeper: GroupKeeper

    async def run(self, argv: Sequence[str], root: Path, environment: Mapping[str, str]) -> tuple[int, bytes]:
        """Run a program to its end; returns its exit code and what it printed."""
        output = OutputTail(_MOST_SAID_BYTES)
        code = await run_group(Command(tuple(argv), root, environment, self.keeper, _GIT_GRACE_S), output)
        return code, output.last(_MOST_SAID_BYTES)
