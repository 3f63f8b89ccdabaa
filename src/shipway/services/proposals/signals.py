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
LOST_DAYS = 7
"""For so long a request that was given up without a text is counted."""
_DAY_S = 86_400.0


@dataclass(slots=True)
class Signals:
    """Why requests went wrong and since when that is known, by their ids, and up to where was read.

    `lost` counts those that were given up without a text, by the day since the epoch: whoever looks first, most often
    the control process, must not take the count from whoever looks next.
    """

    reasons: dict[str, dict[str, None]] = field(default_factory=dict)
    known_s: dict[str, float] = field(default_factory=dict)
    records: int = 0
    observations: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def add(self, request_id: str, reason: str, at_s: float) -> None:
        """Add a reason once."""
        self.reasons.setdefault(request_id, {})[reason] = None
        self.known_s.setdefault(request_id, at_s)


@dataclass(frozen=True, slots=True)
class Textless:
    """How many requests have no text: those whose text may still come, and those given up in the last `LOST_DAYS`."""

    awaited: int
    lost: int


async def new_signals(app: Application) -> Signals:
    """Return what went wrong since the last look; `remember` ends it."""
    found = await app.state.documents.get(CURSOR_KIND, app.environment)
    if found is None:
        last = await app.state.records.last_position()
        signals = Signals(records=max(0, last - _LOOK_BACK))
    else:
        body = found[0]
        # A row of an older writer has no `lost`.
        lost = dict(body.get("lost", {}))
        signals = Signals(records=int(body["records"]), observations=int(body["observations"]), lost=lost)
        for request_id, (at_s, reasons) in body["textless"].items():
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


async def remember(app: Application, signals: Signals, textless: Collection[str]) -> Textless:
    """Read on from here the next time; return how many requests have no text."""
    now_s = app.clock.now_s()
    young = [name for name in textless if signals.known_s[name] > now_s - _PATIENCE_S][:_MOST_TEXTLESS]
    today = int(now_s // _DAY_S)
    lost = {day: count for day, count in signals.lost.items() if int(day) > today - LOST_DAYS}
    if len(textless) > len(young):
        lost[str(today)] = lost.get(str(today), 0) + len(textless) - len(young)
    body: dict[str, Any] = {
        "records": signals.records,
        "observations": signals.observations,
        "textless": {name: [signals.known_s[name], list(signals.reasons[name])] for name in young},
        "lost": lost,
    }
    await app.state.documents.put(CURSOR_KIND, app.environment, body)
    return Textless(awaited=len(young), lost=sum(lost.values()))


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
