"""From what went wrong to proposed cases: masked, once each, without near-duplicates of the dataset or one another.

`shipway dataset proposals list` calls this, and the control process from time to time. A request whose text nobody kept
cannot be proposed; it is counted.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b

import anyio

from shipway.config.sections.datasets import DatasetChecks
from shipway.core.errors import ConflictError
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry
from shipway.evals.data_duplicates import duplicates, near_duplicates
from shipway.evals.model import Case
from shipway.gateway.feedback import KIND as FEEDBACK_KIND
from shipway.services.application import Application
from shipway.services.dataset_files import entry_named, load_project_dataset
from shipway.services.kept_texts import KeptText, asker_of, logged_texts, paired_texts, sampled_texts
from shipway.services.proposals.model import KIND, Proposal, Status, proposal_id
from shipway.services.proposals.signals import Signals, new_signals, remember
from shipway.telemetry.masking import mask_text

MOST_WAITING = 500
"""Beyond this no more are proposed until a person has decided about some."""
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one look has brought: new proposals, those that repeat another, and requests that could not be proposed.

    `without_text` is of the last `LOST_DAYS`, whoever looked; the text of those in `awaiting_text` may still come.
    """

    proposed: int = 0
    duplicates: int = 0
    without_text: int = 0
    no_room: int = 0
    awaiting_text: int = 0


async def stored_proposals(app: Application) -> list[Proposal]:
    """Return the proposals of this environment, oldest first."""
    rows = await app.state.documents.list(KIND, prefix=f"{app.environment}/", limit=_ALL)
    return [Proposal.from_dict(body) for _, body, _ in rows]


async def gather(app: Application) -> Gathered:
    """Propose what has gone wrong since the last look.

    Raises:
        DatasetError: the project's dataset is malformed, so nothing can be compared with it.
    """
    signals = await new_signals(app)
    before = await stored_proposals(app)
    known = {proposal.request_id for proposal in before}
    wanted = [request_id for request_id in signals.reasons if request_id not in known]
    texts = await _texts(app, wanted)
    for proposal in before:
        if proposal.status is Status.PROPOSED and proposal.request_id in signals.reasons:
            await _told_more(app, proposal, signals.reasons[proposal.request_id])
    room = MOST_WAITING - sum(proposal.status is Status.PROPOSED for proposal in before)
    found = await _proposals(app, signals, [name for name in wanted if name in texts], texts)
    new = await _without_duplicates(app, found, before) if found else []
    counts = {Status.PROPOSED: 0, Status.DUPLICATE: 0}
    no_room = 0
    for proposal in new:
        if proposal.status is Status.PROPOSED and counts[Status.PROPOSED] >= room:
            no_room += 1
        elif await _added(app, proposal):
            counts[proposal.status] += 1
    textless = await remember(app, signals, [name for name in wanted if name not in texts])
    return Gathered(counts[Status.PROPOSED], counts[Status.DUPLICATE], textless.lost, no_room, textless.awaited)


async def _texts(app: Application, wanted: Iterable[str]) -> dict[str, KeptText]:
    names = frozenset(wanted)
    if not names:
        return {}
    # An answer tells more than a question alone: the last one found counts.
    kept = [*await logged_texts(app, names), *await paired_texts(app), *await sampled_texts(app)]
    return {text.request_id: text for text in kept if text.request_id in names and text.question.strip()}


async def _proposals(
    app: Application, signals: Signals, wanted: Iterable[str], texts: Mapping[str, KeptText]
) -> list[Proposal]:
    keys = await app.state.keys.list()
    found = []
    for request_id in wanted:
        record = await app.state.records.find(request_id)
        if record is not None:
            correction = await _correction(app, request_id)
            proposal = _proposal(record, texts[request_id], keys, found_at_s=app.clock.now_s())
            found.append(replace(proposal, reasons=tuple(signals.reasons[request_id]), correction=correction))
    return found


def _proposal(record: ServedRequest, text: KeptText, keys: Iterable[KeyEntry], *, found_at_s: float) -> Proposal:
    asker = asker_of(record, keys)
    conversation = record.conversation.encode()
    return Proposal(
        id=proposal_id(record.environment, record.id),
        request_id=record.id,
        environment=record.environment,
        route=record.route,
        release=record.release,
        is_candidate=record.is_candidate,
        question=mask_text(text.question),
        answer=mask_text(text.answer),
        reasons=(),
        at_s=record.at_s,
        found_at_s=found_at_s,
        tenant=asker.tenant,
        groups=asker.groups,
        cluster=blake2b(conversation, digest_size=8).hexdigest() if conversation else "",
    )


async def _correction(app: Application, request_id: str) -> str:
    """Return what a user said would have been right, the newest word."""
    rows = await app.state.documents.list(FEEDBACK_KIND, prefix=f"{request_id}/")
    said = [str(body["correction"]) for _, body, _ in rows if body.get("correction")]
    return mask_text(said[-1]) if said else ""


async def _without_duplicates(app: Application, found: list[Proposal], before: list[Proposal]) -> list[Proposal]:
    """Return the proposals, of which those that ask nearly what something earlier asks are duplicates."""
    named = app.project.evals.dataset
    entry = entry_named(app.loaded, named)
    is_there = await anyio.Path(app.loaded.root / (entry.path if entry else named)).exists()
    # Who has no cases yet begins with these.
    known = (await load_project_dataset(app.loaded)).cases if is_there else ()
    threshold = (entry.checks if entry else DatasetChecks()).near_duplicate
    # A duplicate of a duplicate is one of the first; a rejected question needs no second decision.
    earlier = [proposal.case() for proposal in before if proposal.status is not Status.DUPLICATE]
    cases: list[Case] = [*known, *earlier, *(proposal.case() for proposal in found)]
    pairs = [*near_duplicates(cases, threshold), *duplicates(cases)]
    of = {pair.second.id: pair.first.id for pair in pairs}
    return [
        replace(proposal, status=Status.DUPLICATE, duplicate_of=of[proposal.id]) if proposal.id in of else proposal
        for proposal in found
    ]


async def _told_more(app: Application, proposal: Proposal, reasons: Iterable[str]) -> None:
    """Add what was learnt about a request since it was proposed, unless somebody has just decided about it."""
    key = f"{proposal.environment}/{proposal.id}"
    stored = await app.state.documents.get(KIND, key)
    if stored is None or stored[0]["status"] != Status.PROPOSED.value:
        return
    all_of_them = tuple(dict.fromkeys((*proposal.reasons, *reasons)))
    correction = await _correction(app, proposal.request_id) or proposal.correction
    more = replace(proposal, reasons=all_of_them, correction=correction)
    if more != proposal:
        with suppress(ConflictError):
            await app.state.documents.put(KIND, key, more.to_dict(), expected_version=stored[1])


async def _added(app: Application, proposal: Proposal) -> bool:
    key = f"{proposal.environment}/{proposal.id}"
    try:
        await app.state.documents.put(KIND, key, proposal.to_dict(), expected_version=0)
    except ConflictError:
        # Another process has looked at the same time.
        return False
    return True
