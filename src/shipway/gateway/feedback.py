"""What users say about an answer: checked, masked, tied to the record of the request. `app` serves it.

Nothing of it is on the way of a model request.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from shipway.core.canonical import digest_json
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError
from shipway.core.ids import ulid
from shipway.core.observation import THUMBS, Observation, about
from shipway.core.ports import DocumentStore, ObservationStore
from shipway.core.record import ServedRequest
from shipway.gateway.replies import RefusedError
from shipway.telemetry.masking import mask_text

CountRating = Callable[[str, str, str], None]
"""Counts a rating by route, release and verdict."""

KIND = "score"
"""The kind of the documents that hold feedback; the key is `{request id}/{feedback id}`."""

_FIELDS = frozenset({"request_id", "id", "thumbs", "rating", "comment", "correction", "labels"})
_CONTENT = ("thumbs", "rating", "comment", "correction", "labels")
_LONGEST_COMMENT = 4_000
_LONGEST_CORRECTION = 16_000
_MOST_LABELS = 20
_MOST_OF_A_REQUEST = 50
_BEST = 5
_MIDDLE = 3
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_LABEL = re.compile(r"[\w.:/ -]{1,64}")
_MARK_BYTES = 8
_COMPLETION_PREFIX = "chatcmpl-"
# A record reaches the store some ten milliseconds after its answer; a fast client must not be told that it is unknown.
_WAITS_S = (0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class Feedback:
    """One user's word on one answer; at least one of the last five is given."""

    request_id: str
    id: str = ""
    thumbs: str | None = None
    rating: int | None = None
    comment: str | None = None
    correction: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Return `up`, `down` or `neutral`; thumbs say it, else the rating."""
        if self.thumbs is not None:
            return self.thumbs
        if self.rating is None or self.rating == _MIDDLE:
            return "neutral"
        return "up" if self.rating > _MIDDLE else "down"

    def masked(self) -> "Feedback":
        """Return it without e-mail addresses, keys and long numbers."""
        return replace(
            self,
            comment=None if self.comment is None else mask_text(self.comment),
            correction=None if self.correction is None else mask_text(self.correction),
            labels=tuple(mask_text(label) for label in self.labels),
        )


@dataclass(frozen=True, slots=True)
class Received:
    """The stored feedback's id; `repeated` when it was there already."""

    id: str
    request_id: str
    repeated: bool


class RecordLookup(Protocol):
    """Finds the record of a request."""

    async def find(self, record_id: str) -> ServedRequest | None:
        """Return it, None when the store does not have it."""
        ...


class FeedbackDesk:
    """Takes feedback; what rates an answer is told to `observations` too."""

    def __init__(
        self,
        records: RecordLookup,
        documents: DocumentStore,
        clock: Clock,
        *,
        observations: ObservationStore | None = None,
        count: CountRating | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._records = records
        self._documents = documents
        self._clock = clock
        self._observations = observations
        self._count = count
        self._sleep = sleep

    async def take(self, body: Mapping[str, Any], *, tenant: str, key_id: str) -> Received:
        """Store the feedback of a caller.

        Raises:
            RefusedError: 400 naming the field; 404 for a request that this tenant did not make; 409 for an id that
                carried something else before, or too many for one request.
        """
        given = feedback_of(body)
        record = await self._record(given.request_id, tenant)
        if not await self._has_room(given):
            message = f"the request has {_MOST_OF_A_REQUEST} feedbacks already; no more are taken"
            raise RefusedError(409, message, code="too_many_feedbacks")
        own = given.masked()
        own = replace(own, id=own.id or f"fb_{ulid(self._clock.now_s())}")
        row = {
            **asdict(own),
            "labels": list(own.labels),
            "source": "user",
            "at_s": self._clock.now_s(),
            "tenant": tenant,
            "key_id": key_id,
            "route": record.route,
            "release": record.release,
            "environment": record.environment,
            "conversation": record.conversation,
            "is_candidate": record.is_candidate,
            "rollout": record.rollout,
        }
        received = await self._stored(own, row)
        # Repeated feedback too: the worker may have died between the two, and the same twice is stored once.
        if self._observations is not None and own.verdict != "neutral":
            await self._observations.append([thumbs_of(own, record, row["at_s"])])
        # Words alone rate nothing.
        rated = own.thumbs is not None or own.rating is not None
        if self._count is not None and rated and not received.repeated:
            self._count(record.route, record.release, own.verdict)
        return received

    async def _record(self, request_id: str, tenant: str) -> ServedRequest:
        for wait_s in (*_WAITS_S, None):
            record = await self._records.find(request_id)
            if record is not None:
                break
            if wait_s is not None:
                await self._sleep(wait_s)
        else:
            record = None
        # Another tenant's request and none at all must look alike.
        if record is None or record.tenant != tenant or not tenant:
            message = f"there is no request {request_id[:100]!r}; send the x-request-id of an answer that you got"
            raise RefusedError(404, message, code="request_not_found", param="request_id")
        return record

    async def _has_room(self, given: Feedback) -> bool:
        prefix = f"{given.request_id}/"
        known = await self._documents.list(KIND, prefix=prefix, limit=_MOST_OF_A_REQUEST)
        return len(known) < _MOST_OF_A_REQUEST or any(key == f"{prefix}{given.id}" for key, _, _ in known)

    async def _stored(self, own: Feedback, row: dict[str, Any]) -> Received:
        key = f"{own.request_id}/{own.id}"
        try:
            await self._documents.put(KIND, key, row, expected_version=0)
        except ConflictError:
            found = await self._documents.get(KIND, key)
            if found is not None and _content(found[0]) == _content(row):
                return Received(own.id, own.request_id, repeated=True)
            message = f"the feedback id {own.id!r} was used for something else; send a new id"
            raise RefusedError(409, message, code="feedback_id_used", param="id") from None
        return Received(own.id, own.request_id, repeated=False)


def thumbs_of(given: Feedback, record: ServedRequest, at_s: float) -> Observation:
    """Return what feedback says of an answer without any of its words; its id is the client's, so it is hashed."""
    mark = hashlib.blake2b(given.id.encode(), digest_size=_MARK_BYTES).hexdigest()
    details = {} if given.rating is None else {"rating": given.rating}
    return about(record, THUMBS, float(given.verdict == "up"), at_s=at_s, mark=mark, details=details)


def feedback_of(body: Mapping[str, Any]) -> Feedback:
    """Return the checked feedback.

    Raises:
        RefusedError: 400 naming the field.
    """
    unknown = sorted(map(str, body.keys() - _FIELDS))
    if unknown:
        raise _wrong(unknown[0][:100], f"is unknown; there are {', '.join(sorted(_FIELDS))}")
    given = {name: body[name] for name in _CONTENT if body.get(name) is not None}
    if not given:
        raise RefusedError(400, f"send at least one of {', '.join(_CONTENT)}")
    return Feedback(
        request_id=_matching(body.get("request_id"), "request_id").removeprefix(_COMPLETION_PREFIX),
        id="" if body.get("id") is None else _matching(body["id"], "id"),
        thumbs=_thumbs(given.get("thumbs")),
        rating=_rating(given.get("rating")),
        comment=_text(given.get("comment"), "comment", _LONGEST_COMMENT),
        correction=_text(given.get("correction"), "correction", _LONGEST_CORRECTION),
        labels=_labels(given.get("labels", ())),
    )


def _content(row: Mapping[str, Any]) -> str:
    return digest_json({name: row.get(name) for name in (*_CONTENT, "tenant")})


def _matching(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _wrong(name, "must be 1 to 100 letters, digits, or one of _ . : -")
    return value


def _thumbs(value: Any) -> str | None:
    if value is not None and value not in ("up", "down"):
        raise _wrong("thumbs", "must be up or down")
    return None if value is None else str(value)


def _rating(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _BEST:
        raise _wrong("rating", f"must be a whole number from 1 to {_BEST}")
    return value


def _text(value: Any, name: str, longest: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > longest or "\x00" in value:
        raise _wrong(name, f"must be a text of 1 to {longest} characters")
    return value


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MOST_LABELS:
        raise _wrong("labels", f"must be a list of at most {_MOST_LABELS} texts")
    if not all(isinstance(label, str) and _LABEL.fullmatch(label) for label in value):
        raise _wrong("labels", "must hold texts of 1 to 64 letters, digits, spaces, or one of _ . : / -")
    return tuple(dict.fromkeys(value))


def _wrong(name: str, message: str) -> RefusedError:
    return RefusedError(400, f"{name} {message}", param=name)
