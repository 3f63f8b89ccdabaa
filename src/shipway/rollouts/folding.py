"""Folds served requests into a rollout's evidence. Pure; the controller calls it with what is new.

A conversation's memory is one byte of flags: the place of its first weight in `strata` (5 bits), whether it is the
candidate's, whether it turned bad, whether it saw both arms and is out.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace

from shipway.core.ids import RolloutId
from shipway.core.ports import StoredRecord
from shipway.core.record import ERROR, TIMEOUT, ServedRequest
from shipway.rollouts.evidence import MAX_TRACKED, ArmCounts, CanaryEvidence, Stratum
from shipway.stats.sample_ratio import update_sample_ratio
from shipway.stats.sequential import update

_PLACE, _CANDIDATE, _BAD, _OUT = 0b0001_1111, 0b0010_0000, 0b0100_0000, 0b1000_0000
_MAX_STRATA = _PLACE + 1
_HASH_BITS = 64
_SERVER_ERROR = 500


def fold(
    evidence: CanaryEvidence,
    records: Sequence[StoredRecord],
    *,
    rollout: RolloutId,
    bad_events: Collection[str],
    max_tracked: int = MAX_TRACKED,
) -> CanaryEvidence:
    """Return the evidence after records in commit order; those up to its cursor or of other rollouts are skipped."""
    folding = _Folding(evidence, rollout, frozenset(bad_events), max_tracked)
    for stored in records:
        if stored.position > folding.cursor:
            folding.cursor = stored.position
            if stored.record.rollout == rollout:
                folding.add(stored.record)
    return folding.result()


class _Folding:
    """The evidence while records are added; `result` freezes it again."""

    def __init__(self, start: CanaryEvidence, rollout: RolloutId, bad_events: frozenset[str], max_tracked: int) -> None:
        self._start = start
        self._rollout = rollout
        self._bad_events = bad_events
        self._max_tracked = max_tracked
        self.cursor = start.cursor
        self._process = start.process
        self._outcomes = start.outcomes
        self._weights = [stratum.weight for stratum in start.strata]
        self._counts = [[Counter(asdict(arm)) for arm in (s.stable, s.candidate)] for s in start.strata]
        self._places = {stratum.weight: place for place, stratum in enumerate(start.strata)}
        self._fresh: dict[int, tuple[int, int]] = {}
        self._events = {name: (candidate, stable) for name, candidate, stable in start.events}
        self._seen = dict(start.seen)
        self._bits = start.sample_bits
        self._crossed = start.crossed
        self._first_bad_s = start.first_bad_event_at_s
        self._last_candidate_s = start.last_candidate_assignment_at_s

    def add(self, record: ServedRequest) -> None:
        place = self._place(record.candidate_weight)
        if place is None:
            return
        self._outcomes = self._outcomes.seen_until(record.at_s)
        bad = not self._bad_events.isdisjoint(record.events)
        self._count_request(place, record)
        if record.is_candidate:
            self._last_candidate_s = max(record.at_s, self._last_candidate_s or record.at_s)
            if bad and self._first_bad_s is None:
                self._first_bad_s = record.at_s
        self._judge_conversation(place, record, bad=bad)

    def result(self) -> CanaryEvidence:
        sample_ratio = self._start.sample_ratio
        for place, (candidates, stable) in self._fresh.items():
            weight = self._weights[place]
            sample_ratio = update_sample_ratio(
                sample_ratio, candidates=candidates, stable=stable, candidate_weight=weight
            )
        return replace(
            self._start,
            process=self._process,
            sample_ratio=sample_ratio,
            outcomes=self._outcomes,
            cursor=self.cursor,
            strata=tuple(
                Stratum(weight, candidate=ArmCounts(**candidate), stable=ArmCounts(**stable))
                for weight, (stable, candidate) in zip(self._weights, self._counts, strict=True)
            ),
            events=tuple((name, *counts) for name, counts in sorted(self._events.items())),
            crossed=self._crossed,
            sample_bits=self._bits,
            seen=self._seen,
            first_bad_event_at_s=self._first_bad_s,
            last_candidate_assignment_at_s=self._last_candidate_s,
        )

    def _place(self, weight: float) -> int | None:
        # At weight 0 (the dead man's) nothing is assigned by chance and nothing can be the candidate's.
        if weight not in self._places and weight > 0.0 and len(self._weights) < _MAX_STRATA:
            self._places[weight] = len(self._weights)
            self._weights.append(weight)
            self._counts.append([Counter(), Counter()])
        return self._places.get(weight)

    def _count_request(self, place: int, record: ServedRequest) -> None:
        failed = record.status >= _SERVER_ERROR or ERROR in record.events or TIMEOUT in record.events
        counts = self._counts[place][record.is_candidate]
        counts["requests"] += 1
        counts["failures"] += failed
        for name in set(record.events):
            candidate, stable = self._events.get(name, (0, 0))
            self._events[name] = (candidate + record.is_candidate, stable + (not record.is_candidate))

    def _judge_conversation(self, place: int, record: ServedRequest, *, bad: bool) -> None:
        key = _conversation_hash(self._rollout, record.conversation)
        if not _sampled(key, self._bits):
            return
        flags = self._seen.get(key)
        if flags is None:
            flags = self._begin(place, record)
        if not flags & _OUT and bool(flags & _CANDIDATE) != record.is_candidate:
            flags |= _OUT
            self._crossed += 1
            if flags & _CANDIDATE and not flags & _BAD:
                self._outcomes = self._outcomes.gone()
        if bad and not flags & (_BAD | _OUT):
            flags |= _BAD
            self._turn_bad(place, record, compared=flags & _PLACE == place)
        self._seen[key] = flags
        self._forget()

    def _begin(self, place: int, record: ServedRequest) -> int:
        self._counts[place][record.is_candidate]["conversations"] += 1
        candidates, stable = self._fresh.get(place, (0, 0))
        self._fresh[place] = (candidates + record.is_candidate, stable + (not record.is_candidate))
        if not record.is_candidate:
            return place
        self._outcomes = self._outcomes.begun(record.at_s)
        return place | _CANDIDATE

    def _turn_bad(self, place: int, record: ServedRequest, *, compared: bool) -> None:
        """Count a conversation's first bad event; the arms are compared only at the weight they were drawn with."""
        if record.is_candidate:
            self._outcomes = self._outcomes.turned_bad()
        if compared:
            self._counts[place][record.is_candidate]["bad"] += 1
            self._process = update(
                self._process, is_candidate=record.is_candidate, candidate_weight=record.candidate_weight
            )

    def _forget(self) -> None:
        while len(self._seen) > self._max_tracked:
            self._bits += 1
            self._seen = {key: flags for key, flags in self._seen.items() if _sampled(key, self._bits)}
            self._outcomes = self._outcomes.forgotten()


def _conversation_hash(rollout: RolloutId, conversation: str) -> int:
    # Personalised: the arm is drawn from a plain hash of the same strings, and the sample must not depend on the arm.
    raw = hashlib.blake2b(f"{rollout}\x00{conversation}".encode(), digest_size=8, person=b"evidence").digest()
    return int.from_bytes(raw, "big")


def _sampled(key: int, bits: int) -> bool:
    return key >> (_HASH_BITS - bits) == 0
