"""Which requests went wrong: by their records, by what users and judges said of them. No text is looked at.

A cursor in the state remembers up to where records and observations were read, so that each look is about what is new.
A kept text may reach the store after its record: what had none is looked for again for a while.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from shipway.core.observation import PAIR, QUALITY, SAFETY, THUMBS, Observation
from shipway.core.record import OF_GUARDS, ServedRequest
from shipway.gateway.shadow import SHADOW
from shipway.services.application import Application

CURSOR_KIND = "proposal_cursor"
_PAGE = 5000
_LOOK_BACK = 50_000
"""Records that are read at the first look."""
_PATIENCE_S = 60.0
_MOST_TEXTLESS = 1000
_SHADOW_SUFFIX = f".{SHADOW}"


@dataclass(slots=True)
class Signals:
    """Why requests went wrong and since when that is known, by their ids, and up to where was read."""

    reasons: dict[str, dict[str, None]] = field(default_factory=dict)
    known_s: dict[str, float] = field(default_factory=dict)
    records: int = 0
    observations: int = 0

    def add(self, request_id: str, reason: str, at_s: float) -> None:
        """Add a reason once."""
        self.reasons.setdefault(request_id, {})[reason] = None
        self.known_s.setdefault(request_id, at_s)


async def new_signals(app: Application) -> Signals:
    """Return what went wrong since the last look; `remember` ends it."""
    found = await app.state.documents.get(CURSOR_KIND, app.environment)
    if found is None:
        last = await app.state.records.last_position()
        signals = Signals(records=max(0, last - _LOOK_BACK))
    else:
        signals = Signals(records=int(found[0]["records"]), observations=int(found[0]["observations"]))
        for request_id, (at_s, reasons) in found[0]["textless"].items():
            for reason in reasons:
                signals.add(request_id, reason, at_s)
    events = frozenset(app.project.rollout.events)
    while page := await app.state.records.after(signals.records, environment=app.environment, limit=_PAGE):
        signals.records = page[-1].position
        for stored in page:
            for reason in reasons_of(stored.record, events):
                signals.add(stored.record.id, reason, app.clock.now_s())
    pass_from = app.project.quality.rules.pass_from
    while noted := await app.state.observations.after(
        signals.observations, environment=app.environment, kinds=(THUMBS, QUALITY, PAIR, SAFETY), limit=_PAGE
    ):
        signals.observations = noted[-1].position
        for item in noted:
            said = reason_of(item.observation, pass_from)
            if said and item.observation.record_id:
                signals.add(item.observation.record_id.removesuffix(_SHADOW_SUFFIX), said, app.clock.now_s())
    return signals


async def remember(app: Application, signals: Signals, textless: Collection[str]) -> int:
    """Read on from here the next time; return how many of those without a text are given up."""
    since_s = app.clock.now_s() - _PATIENCE_S
    young = [request_id for request_id in textless if signals.known_s[request_id] > since_s][:_MOST_TEXTLESS]
    body: dict[str, Any] = {
        "records": signals.records,
        "observations": signals.observations,
        "textless": {name: [signals.known_s[name], list(signals.reasons[name])] for name in young},
    }
    await app.state.documents.put(CURSOR_KIND, app.environment, body)
    return len(textless) - len(young)


def reasons_of(record: ServedRequest, bad_events: Collection[str]) -> list[str]:
    """Return what a record says: a candidate's bad events, and what a guard has blocked for anybody."""
    if record.shadow_of:
        return []
    blocked = [event for event in record.events if event.startswith(OF_GUARDS)]
    failed = [event for event in record.events if event in bad_events] if record.is_candidate else []
    return [*(f"blocked: {event}" for event in blocked), *(f"candidate: {event}" for event in failed)]


def reason_of(observation: Observation, pass_from: float) -> str:
    """Return what an observation says against an answer, "" when nothing."""
    value = observation.value
    match observation.kind:
        case "thumbs" if value < 1.0:
            return "thumbs down"
        case "quality" if value < pass_from:
            return f"judged {value:.2f}"
        case "safety" if value < 1.0:
            return "unsafe"
        case "pair" if value < 0.0:
            return "worse in a shadow copy"
        case _:
            return ""
