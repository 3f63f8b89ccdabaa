"""What a person decides about proposed cases: accepted ones are appended to a dataset's file, with where they are from.

Every decision is one entry of the audit log. An acceptance that was interrupted is finished by giving it again.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.core.disk import explained
from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.evals.dataset import read_dataset, written_jsonl
from shipway.evals.model import Case, Split
from shipway.services.application import Application
from shipway.services.dataset_files import entry_named, form_of
from shipway.services.proposals.gathering import stored_proposals
from shipway.services.proposals.model import KIND, Proposal, Status

PRODUCTION_TAG = "production"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a right answer is, in a person's words; `question` replaces a masked one that lost its sense."""

    reference: str = ""
    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    unanswerable: bool = False
    tags: tuple[str, ...] = ()
    split: Split = "test"
    question: str = ""

    @property
    def says_something(self) -> bool:
        """Return whether a case of it can be judged."""
        judged = (self.reference, self.must_contain, self.must_not_contain, self.sources, self.unanswerable)
        return any(judged)


async def find_proposal(app: Application, name: str) -> tuple[Proposal, int]:
    """Return a proposal by its id or the beginning of one, and its version.

    Raises:
        NotFoundError: there is none.
        UsageError: several begin so.
    """
    found = [one for one in await stored_proposals(app) if one.id.startswith(name)]
    exact = [one for one in found if one.id == name] or found
    if not exact:
        hint = "`shipway dataset proposals list --all` shows them"
        raise NotFoundError(f"no proposal {name!r} in {app.environment}", hint=hint)
    if len(exact) > 1:
        raise UsageError(f"{name!r} stands for {len(exact)} proposals: {', '.join(one.id for one in exact[:5])}")
    stored = await app.state.documents.get(KIND, _key(exact[0]))
    if stored is None:
        raise NotFoundError(f"proposal {exact[0].id} is gone")
    return Proposal.from_dict(stored[0]), stored[1]


async def accept(app: Application, name: str, expectation: Expectation, *, dataset: str = "") -> Proposal:
    """Append a proposal to a dataset as a case.

    Raises:
        NotFoundError: no such proposal or file.
        UsageError: it was accepted before, nothing is expected of an answer, or the file is no JSON lines.
        DatasetError: the file, or what would be in it, is malformed; nothing was written.
    """
    proposal, version = await find_proposal(app, name)
    if proposal.status is Status.ACCEPTED:
        raise UsageError(f"{proposal.id} was accepted by {proposal.decided_by}: case {proposal.case_id!r}")
    # A user's own correction is a reference that a person has just agreed to.
    wanted = replace(expectation, reference=expectation.reference or proposal.correction)
    if wanted.unanswerable:
        wanted = replace(wanted, reference=expectation.reference)
    if not wanted.says_something:
        raise UsageError(
            f"{proposal.id}: say what a right answer is, or no gate can judge the case",
            hint="--reference, --must-contain, --must-not-contain, --source or --unanswerable",
        )
    shown, path = _file(app.loaded, dataset or app.project.evals.dataset)
    accepted = replace(
        proposal,
        status=Status.ACCEPTED,
        decided_by=app.actor,
        decided_at_s=app.clock.now_s(),
        case_id=f"production-{proposal.id.removeprefix('prop_')}",
        dataset=shown,
    )
    await anyio.to_thread.run_sync(_append, app, path, shown, case_of(accepted, wanted))
    await _put(app, accepted, version)
    await app.audit(
        "dataset.proposal_accepted",
        accepted.id,
        dataset=shown,
        case=accepted.case_id,
        request=accepted.request_id,
        reasons=list(accepted.reasons),
    )
    return accepted


async def reject(app: Application, name: str, reason: str) -> Proposal:
    """Keep a proposal out of every dataset; what asks the same is not proposed again.

    Raises:
        NotFoundError: no such proposal.
        UsageError: it was accepted before.
    """
    proposal, version = await find_proposal(app, name)
    if proposal.status is Status.ACCEPTED:
        raise UsageError(f"{proposal.id} was accepted: remove case {proposal.case_id!r} from {proposal.dataset}")
    if proposal.status is Status.REJECTED:
        return proposal
    rejected = replace(
        proposal, status=Status.REJECTED, decided_by=app.actor, decided_at_s=app.clock.now_s(), note=reason
    )
    await _put(app, rejected, version)
    await app.audit("dataset.proposal_rejected", rejected.id, request=rejected.request_id, reason=reason)
    return rejected


def case_of(proposal: Proposal, wanted: Expectation) -> Case:
    """Return the case of an accepted proposal, with where it is from."""
    decided = datetime.fromtimestamp(proposal.decided_at_s, UTC).isoformat(timespec="seconds")
    return Case(
        id=proposal.case_id or proposal.id,
        question=wanted.question or proposal.question,
        tenant=proposal.tenant,
        groups=proposal.groups,
        expected_sources=wanted.sources,
        must_contain=wanted.must_contain,
        must_not_contain=wanted.must_not_contain,
        reference=wanted.reference or None,
        unanswerable=wanted.unanswerable,
        tags=tuple(dict.fromkeys((PRODUCTION_TAG, *wanted.tags))),
        cluster=proposal.cluster,
        split=wanted.split,
        metadata={
            "origin": proposal.request_id,
            "proposal": proposal.id,
            "release": proposal.release,
            "route": proposal.route,
            "reasons": list(proposal.reasons),
            **({"accepted_by": proposal.decided_by, "accepted_at": decided} if proposal.decided_by else {}),
        },
    )


def exported(proposals: list[Proposal]) -> bytes:
    """Return proposals as cases in JSON lines, for whoever decides elsewhere; nothing is expected of them yet."""
    return written_jsonl(case_of(one, Expectation(reference=one.correction)) for one in proposals)


def _file(loaded: LoadedProject, named: str) -> tuple[str, Path]:
    entry = entry_named(loaded, named)
    shown = entry.path if entry else named
    path = (loaded.root / shown).resolve()
    form = form_of(entry)
    if form.format not in {"auto", "jsonl"} or path.suffix != ".jsonl" or (form.encoding or "utf-8") != "utf-8":
        raise UsageError(
            f"{shown}: only JSON lines in UTF-8 can be appended to",
            hint="`shipway dataset proposals export --out cases.jsonl`, then add them by hand",
        )
    if not path.is_file():
        raise NotFoundError(f"no dataset {named!r}: there is no file {shown}")
    return shown, path


def _append(app: Application, path: Path, shown: str, case: Case) -> None:
    with _locked(app.workspace.home / "datasets.lock"), explained(path, "cannot be written"):
        before = path.read_bytes()
        known = read_dataset(before, shown).dataset
        if any(item.id == case.id for item in known.cases):
            # It was written, and then the command was interrupted.
            return
        after = before + (b"" if before.endswith(b"\n") or not before else b"\n") + written_jsonl([case])
        read_dataset(after, shown)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(after)
        part.chmod(path.stat().st_mode)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with explained(path, "cannot be locked"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def _put(app: Application, proposal: Proposal, version: int) -> None:
    try:
        await app.state.documents.put(KIND, _key(proposal), proposal.to_dict(), expected_version=version)
    except ConflictError as error:
        raise ConflictError(f"somebody else has just decided about {proposal.id}; look at it again") from error


def _key(proposal: Proposal) -> str:
    return f"{proposal.environment}/{proposal.id}"
