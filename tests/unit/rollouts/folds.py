"""Served requests folded into evidence, for tests of folding and of what is judged from it."""

from tests.served import served_request

from shipway.core.observation import Observation
from shipway.core.ports import StoredRecord
from shipway.core.record import ServedRequest
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.folding import fold
from shipway.rollouts.plan import BAD_EVENTS

EMPTY = CanaryEvidence.start(harm_ratio=3.0)


def served(conversation, *, candidate=False, weight=0.5, **fields) -> ServedRequest:
    return served_request(conversation, is_candidate=candidate, candidate_weight=weight, **fields)


def stored(records, *, after=0) -> list[StoredRecord]:
    return [StoredRecord(after + number, record) for number, record in enumerate(records, 1)]


def folded(*records, start=EMPTY, **options) -> CanaryEvidence:
    return fold(start, stored(records, after=start.cursor), rollout="ro", bad_events=BAD_EVENTS, **options)


def observation(kind, conversation, value, *, candidate=False, weight=0.5, **fields):
    return Observation(
        **{
            "id": f"{kind}/{conversation}/{value}",
            "at_s": 1.0,
            "kind": kind,
            "environment": "production",
            "route": "ask",
            "release": "rel",
            "value": value,
            "is_candidate": candidate,
            "candidate_weight": weight,
            "rollout": "ro",
            "conversation": conversation,
            **fields,
        }
    )
