"""The journal on disk: written before a fault is made, removed when it is mended, undone by the next run otherwise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shipway.chaos.journal import Undo
from shipway.core.disk import explained
from shipway.core.errors import DocumentError
from shipway.services.chaos.faults import Redirect
from shipway.services.chaos.ports import Processes
from shipway.services.running import write_json


@dataclass(frozen=True, slots=True)
class Journal:
    """One file of one project; `supervisor` is what keeps its processes now, as pid and start."""

    path: Path
    supervisor: tuple[int, int] = (0, 0)

    def write(self, undo: Undo) -> None:
        """Write down what must be undone; nothing when nothing must.

        Raises:
            StoreError: it cannot be written, and so nothing may be broken.
        """
        if undo.is_needed:
            with explained(self.path, "cannot be written"):
                write_json(self.path, replace(undo, supervisor=self.supervisor).to_dict())

    def clear(self) -> None:
        """Strike it out."""
        self.path.unlink(missing_ok=True)

    def read(self) -> Undo | None:
        """Return what an earlier run left, None when it left nothing.

        Raises:
            DocumentError: the file cannot be read as one.
        """
        try:
            return Undo.from_dict(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            hint = "look at what it says, mend that by hand (`shipway down`, `shipway up`), then delete it"
            raise DocumentError(self.path, f"cannot be read: {error}", hint=hint) from error


async def undo_left_over(
    journal: Journal, processes: Processes, redirect: Redirect, engines: Mapping[str, str]
) -> list[str]:
    """Undo what an earlier run left, and say what that was; `engines` are the addresses that gateways ask now.

    Raises:
        DocumentError: the journal cannot be read.
        UnavailableError: gateways could not be brought back to their engines; the journal stays.
    """
    left = journal.read()
    if left is None:
        return []
    done = []
    for pid, started in left.resume:
        if processes.resume(pid, started):
            done.append(f"{left.experiment}: process {pid} goes on")
    for pid, started, soft in left.file_sizes:
        if processes.limit_file_size(pid, started, soft):
            done.append(f"{left.experiment}: process {pid} may write again")
    if left.supervisor == journal.supervisor and left.engines and dict(engines) != left.engines:
        await redirect(left.engines)
        done.append(f"{left.experiment}: gateways ask their engines again")
    journal.clear()
    return done or [f"{left.experiment}: nothing of it was left"]
