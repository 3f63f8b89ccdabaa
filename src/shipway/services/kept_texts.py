"""Questions and answers of served requests that were kept, masked: replays and proposed cases are made of them.

They come from sampled answers (`quality.sample`), from shadow pairs (`shadow.keep_answers`) and from the gateway's own
log lines (`logging.question: mask`). None of them is kept unless the project asks for it.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import orjson

from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry
from shipway.gateway.sampling import SAMPLE_KIND
from shipway.gateway.shadow import PAIR_KIND
from shipway.services.application import Installation
from shipway.telemetry.masking import mask_text

HOW_TO_KEEP = (
    "keep masked texts: `quality: { sample: 0.05 }`, `shadow: { keep_answers: 500 }` or `logging: { question: mask }`"
    " in shipway.yaml, then `shipway reload`, and for the last one `shipway restart` after it"
)

_ALL = 1_000_000
_HASH = re.compile(r"[0-9a-f]{32}")
_REQUEST = b'"event":"request"'
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class KeptText:
    """A question, and the answer that the user got where it was kept; `route` is empty where nobody knows it.

    `conversation` is what a line said; a text whose request has a record belongs to the record's.
    """

    request_id: str
    question: str
    answer: str = ""
    route: str = ""
    release: str = ""
    at_s: float = 0.0
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked, as far as the record and the keys in force tell."""

    tenant: str = ""
    groups: tuple[str, ...] = ()


async def sampled_texts(app: Installation) -> list[KeptText]:
    """Return the sampled answers of this environment that are still kept."""
    return [
        KeptText(
            body["request_id"], body["question"], body["answer"], body["route"], body["release"], float(body["at_s"])
        )
        for _, body, _ in await app.state.documents.list(SAMPLE_KIND, limit=_ALL)
        if body["environment"] == app.environment
    ]


async def paired_texts(app: Installation) -> list[KeptText]:
    """Return the questions of the shadow pairs that are still kept, with the answers that users got."""
    return [
        KeptText(
            body["request_id"],
            body["question"],
            body["stable_answer"],
            body["route"],
            body["stable"],
            float(body["at_s"]),
        )
        for _, body, _ in await app.state.documents.list(PAIR_KIND, limit=_ALL)
    ]


async def logged_texts(app: Installation, wanted: Collection[str] | None = None) -> list[KeptText]:
    """Return the questions in the gateway's log lines, which hold them in the mode `mask` alone.

    `wanted` are request ids; None takes every line.
    """
    files = sorted(app.workspace.logs.glob("*.log*")) if app.workspace.logs.is_dir() else []
    only = None if wanted is None else frozenset(wanted)

    def read() -> list[KeptText]:
        return [text for file in files for text in _logged(file, only)]

    return await anyio.to_thread.run_sync(read)


def line_text(line: bytes) -> KeptText | None:
    """Return the question of a JSON line, masked; None for a line without one or with its hash alone.

    Raises:
        ValueError: it is no JSON object.
    """
    row = orjson.loads(line)
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    question = row.get("question")
    if not isinstance(question, str) or not question.strip() or _HASH.fullmatch(question):
        return None
    named = row.get("request_id", row.get("id"))
    answer, route, release, conversation = (row.get(name) for name in ("answer", "route", "release", "conversation"))
    return KeptText(
        named if isinstance(named, str) else "",
        mask_text(question),
        mask_text(answer) if isinstance(answer, str) else "",
        route if isinstance(route, str) else "",
        release if isinstance(release, str) else "",
        conversation=conversation if isinstance(conversation, str) else "",
    )


def asker_of(record: ServedRequest | None, keys: Iterable[KeyEntry]) -> Asker:
    """Return who made a request; a key that was revoked takes its groups with it."""
    if record is None:
        return Asker()
    groups = next((key.groups for key in keys if key.key_id == record.key_id), ())
    return Asker(record.tenant, groups)


def _logged(file: Path, wanted: frozenset[str] | None) -> Iterator[KeptText]:
    try:
        with file.open("rb") as lines:
            while line := lines.readline(_LONGEST_LINE):
                text = _of_request(line)
                if text is not None and (wanted is None or text.request_id in wanted):
                    yield text
    except OSError:
        # Put away while it was read: what it held is in the next one or gone.
        return


def _of_request(line: bytes) -> KeptText | None:
    if _REQUEST not in line:
        return None
    try:
        return line_text(line)
    except (TypeError, ValueError):
        return None
