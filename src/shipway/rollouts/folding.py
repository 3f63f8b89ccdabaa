"""Folds served requests, and what was observed of them later, into a rollout's evidence. Pure; the controller calls it.

A conversation's memory are 24 bits of flags: the place of its first weight in `strata` (5 bits), whether it is the
candidate's, whether it turned bad, whether it saw both arms and is out; whether it had failed, been slow (twice) or
unsafe; and for each metric of the plan whether it was counted.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import astuple, replace

from shipway.core.ids import RolloutId
from shipway.core.observation import QUALITY, SAFETY, Observation, StoredObservation
from shipway.core.ports import StoredRecord
from shipway.core.record import ServedRequest
from shipway.rollouts import windows as window
from shipway.rollouts.baseline import is_failure
from shipway.rollouts.evidence import HASH_BITS, MAX_TRACKED, ArmCounts, CanaryEvidence, Stratum
from shipway.rollouts.measuring import Measures
from shipway.rollouts.metrics import PAIRED
from shipway.rollouts.tallies import Tallies
from shipway.stats.sample_ratio import update_sample_ratio
from shipway.stats.sequential import update

_PLACE, _CANDIDATE, _BAD, _OUT = 0b0001_1111, 0b0010_0000, 0b0100_0000, 0b1000_0000
_FAILED, _SLOW, _SLOWER, _UNSAFE = (1 << bit for bit in range(8, 12))
_FIRST_METRIC = 12
_MAX_STRATA = _PLACE + 1
_HASH_BYTES = HASH_BITS // 8
_CONVERSATIONS, _TURNED, _REQUESTS, _FAILURES, _FAILING = range(5)
_NO_MEASURES = Measures()
_HALF = 0.5


def fold(
    evidence: CanaryEvidence,
    records: Sequence[StoredRecord],
    *,
    rollout: RolloutId,
    bad_events: Collection[str],
    measures: Measures = _NO_MEASURES,
    max_tracked: int = MAX_TRACKED,
) -> CanaryEvidence:
    """Return the evidence after records in commit order; those up to its cursor or of other rollouts are skipped."""
    folding = _Folding(evidence, rollout, measures, max_tracked)
    bad = frozenset(bad_events)
    for stored in records:
        if stored.position > folding.cursor:
            folding.cursor = stored.position
            if stored.record.rollout == rollout:
                folding.add(stored.record, bad=not bad.isdisjoint(stored.record.events))
    return folding.result()


def fold_observations(
    evidence: CanaryEvidence,
    observations: Sequence[StoredObservation],
    *,
    rollout: RolloutId,
    measures: Measures,
    candidate: str | None = None,
    max_tracked: int = MAX_TRACKED,
) -> CanaryEvidence:
    """Return the evidence after observations in commit order, after the records that they are about.

    Pairs of another release than the `candidate`, such as those of a user's own shadow, are none of the rollout's.
    """
    folding = _Folding(evidence, rollout, measures, max_tracked)
    for stored in observations:
        if stored.position > folding.observed:
            folding.observed = stored.position
            observation = stored.observation
            foreign = candidate is not None and observation.kind in PAIRED and observation.release != candidate
            if observation.rollout == rollout and not foreign:
                folding.observe(observation)
    return folding.result()


class _Folding:
    """The evidence while records are added; `result` freezes it again."""

    def __init__(self, start: CanaryEvidence, rollout: RolloutId, measures: Measures, max_tracked: int) -> None:
        self._start = start
        self._rollout = rollout
        self._measures = measures
        self._max_tracked = max_tracked
        self.cursor = start.cursor
        self.observed = start.observed
        self._process = start.process
        self._outcomes = start.outcomes
        self._weights = [stratum.weight for stratum in start.strata]
        self._counts = [[list(astuple(arm)) for arm in (s.stable, s.candidate)] for s in start.strata]
        self._places = {stratum.weight: place for place, stratum in enumerate(start.strata)}
        self._fresh: dict[int, tuple[int, int]] = {}
        self._events = {name: (candidate, stable) for name, candidate, stable in start.events}
        self._seen = dict(start.seen)
        self._bits = start.sample_bits
        self._crossed = start.crossed
        self._first_bad_s = start.first_bad_event_at_s
        self._last_candidate_s = start.last_candidate_assignment_at_s
        self._tallies = Tallies(start.metrics)
        self._windows = window.WindowsFolding(start.windows)

    def add(self, record: ServedRequest, *, bad: bool) -> None:
        place = self._place(record.candidate_weight)
        if place is None:
            return
        self._outcomes = self._outcomes.seen_until(record.at_s)
        failed = is_failure(record)
        self._count_request(place, record, failed=failed)
        if record.is_candidate:
            self._last_candidate_s = max(record.at_s, self._last_candidate_s or record.at_s)
            if bad and self._first_bad_s is None:
                self._first_bad_s = record.at_s
        key = _conversation_hash(self._rollout, record.conversation)
        flags = self._judge_conversation(key, place, record, bad=bad) if _sampled(key, self._bits) else None
        noted = self._count_window(record, flags, failed=failed)
        if flags is not None:
            if failed and not flags & _FAILED:
                self._counts[place][record.is_candidate][_FAILING] += 1 << self._bits
                noted |= _FAILED
            self._seen[key] = noted
            self._forget()

    def observe(self, observation: Observation) -> None:
        """Count what was learnt later about an answer."""
        key = _conversation_hash(self._rollout, observation.conversation)
        probes = self._measures.observed.get(observation.kind, ())
        if observation.kind in PAIRED:
            # Its conversation had no chance of being the candidate's, so the arms are not compared by it.
            flags = self._seen.get(key, _OUT) if _sampled(key, self._bits) else None
        elif self._place(observation.candidate_weight) is None:
            return
        else:
            self._observe_window(observation)
            flags = self._comparable(key, observation)
        if flags is None:
            return
        for probe in probes:
            bit = 1 << _FIRST_METRIC + probe.place
            if not flags & bit and (observation.kind in PAIRED or self._tallies.wants(probe.metric, observation.value)):
                flags |= bit
                self._tallies.observe(probe.metric, flags & _PLACE, observation)
        self._seen[key] = flags
        self._forget()

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
            observed=self.observed,
            strata=tuple(
                Stratum(weight, candidate=ArmCounts(*candidate), stable=ArmCounts(*stable))
                for weight, (stable, candidate) in zip(self._weights, self._counts, strict=True)
            ),
            events=tuple((name, *counts) for name, counts in sorted(self._events.items())),
            crossed=self._crossed,
            sample_bits=self._bits,
            seen=self._seen,
            first_bad_event_at_s=self._first_bad_s,
            last_candidate_assignment_at_s=self._last_candidate_s,
            metrics=self._tallies.result(),
            windows=self._windows.result(),
        )

    def _place(self, weight: float) -> int | None:
        # At weight 0 (the dead man's) nothing is assigned by chance and nothing can be the candidate's.
        if weight not in self._places and weight > 0.0 and len(self._weights) < _MAX_STRATA:
            self._places[weight] = len(self._weights)
            self._weights.append(weight)
            self._counts.append([[0] * 5, [0] * 5])
        return self._places.get(weight)

    def _count_request(self, place: int, record: ServedRequest, *, failed: bool) -> None:
        counts = self._counts[place][record.is_candidate]
        counts[_REQUESTS] += 1
        counts[_FAILURES] += failed
        for name in set(record.events):
            candidate, stable = self._events.get(name, (0, 0))
            self._events[name] = (candidate + record.is_candidate, stable + (not record.is_candidate))

    def _judge_conversation(self, key: int, place: int, record: ServedRequest, *, bad: bool) -> int:
        """Return a conversation's flags after a record."""
        flags = self._seen.get(key)
        if flags is None:
            flags = self._begin(place, record)
        if not flags & _OUT and bool(flags & _CANDIDATE) != record.is_candidate:
            flags |= _OUT
            self._crossed += 1
            if flags & _CANDIDATE and not flags & _BAD:
                self._outcomes = self._outcomes.gone()
        if flags & _OUT:
            return flags
        if bad and not flags & _BAD:
            flags |= _BAD
            self._turn_bad(place, record, compared=flags & _PLACE == place)
        if flags & _PLACE == place:
            for probe, hit in self._measures.hits:
                bit = 1 << _FIRST_METRIC + probe.place
                if not flags & bit and hit(record):
                    flags |= bit
                    self._tallies.count(probe.metric.name, place, is_candidate=record.is_candidate)
        return flags

    def _begin(self, place: int, record: ServedRequest) -> int:
        self._counts[place][record.is_candidate][_CONVERSATIONS] += 1
        candidates, stable = self._fresh.get(place, (0, 0))
        self._fresh[place] = (candidates + record.is_candidate, stable + (not record.is_candidate))
        for probe, value in self._measures.values:
            found = value(record)
            if found is not None:
                self._tallies.add(probe.metric.name, place, found, is_candidate=record.is_candidate)
        if not record.is_candidate:
            return place
        self._outcomes = self._outcomes.begun(record.at_s)
        return place | _CANDIDATE

    def _turn_bad(self, place: int, record: ServedRequest, *, compared: bool) -> None:
        """Count a conversation's first bad event; the arms are compared only at the weight they were drawn with."""
        if record.is_candidate:
            self._outcomes = self._outcomes.turned_bad()
        if compared:
            self._counts[place][record.is_candidate][_TURNED] += 1
            self._process = update(
                self._process, is_candidate=record.is_candidate, candidate_weight=record.candidate_weight
            )

    def _count_window(self, record: ServedRequest, flags: int | None, *, failed: bool) -> int:
        """Count a request, and its conversation's first trouble of each kind; return the flags with those noted."""
        noted = flags or 0
        arm = self._windows.arm(record.at_s, is_candidate=record.is_candidate)
        if arm is None:
            return noted
        counts, latency_ms, measures = arm.counts, record.latency_ms, self._measures
        counts[window.REQUESTS] += 1
        arm.latency(latency_ms)
        # Each sampled conversation stands for those that are not.
        one = 0 if flags is None else 1 << self._bits
        for happened, place, bit in (
            (failed, window.FAILURES, _FAILED),
            (latency_ms > measures.slow_ms, window.SLOW, _SLOW),
            (latency_ms > measures.slower_ms.get(record.route, latency_ms), window.SLOWER, _SLOWER),
            (not measures.safety_events.isdisjoint(record.events), window.UNSAFE, _UNSAFE),
        ):
            if happened:
                counts[place] += 1
                if not noted & bit:
                    counts[place + 1] += one
                    noted |= bit
        return noted

    def _observe_window(self, observation: Observation) -> None:
        arm = self._windows.arm(observation.at_s, is_candidate=observation.is_candidate)
        if arm is None:
            return
        if observation.kind == SAFETY:
            arm.counts[window.CHECKED] += 1
            arm.counts[window.UNSAFE_CHECKED] += observation.value < _HALF
        elif observation.kind == QUALITY:
            arm.counts[window.SCORED] += 1
            arm.counts[window.SCORE_SUM] += observation.value

    def _comparable(self, key: int, observation: Observation) -> int | None:
        """Return the flags of a conversation that the arms may be compared by; None for any other."""
        flags = self._seen.get(key) if _sampled(key, self._bits) else None
        if flags is None or flags & _OUT or bool(flags & _CANDIDATE) != observation.is_candidate:
            return None
        return flags if flags & _PLACE == self._places.get(observation.candidate_weight) else None

    def _forget(self) -> None:
        while len(self._seen) > self._max_tracked:
            self._bits += 1
            self._seen = {key: flags for key, flags in self._seen.items() if _sampled(key, self._bits)}
            self._outcomes = self._outcomes.forgotten()


def _conversation_hash(rollout: RolloutId, conversation: str) -> int:
    # Personalised: the arm is drawn from a plain hash of the same strings, and the sample must not depend on the arm.
    raw = hashlib.blake2b(f"{rollout}\x00{conversation}".encode(), digest_size=8, person=b"evidence").digest()
    return int.from_bytes(raw[:_HASH_BYTES], "big")


def _sampled(key: int, bits: int) -> bool:
    return key >> (HASH_BITS - bits) == 0
