"""Evaluations as a file that one store hands to another: what the gates read, tied together by digests.

The stage `evaluate` writes it for the jobs of a CI system, whose stores end with them; stages that judge or deploy read
it where their own store lacks the evaluation. Two lines: the document of the evaluation, and the runs that it names,
byte for byte as the store holds them. There is nothing in it that the store does not have.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import orjson

from shipway.core.canonical import digest_bytes
from shipway.core.errors import ConflictError, IntegrityError, NotFoundError
from shipway.core.ids import Digest
from shipway.core.verdicts import Verdict
from shipway.services.application import Application
from shipway.services.releases import verified_blob

_KIND = "evaluation"
_SCHEMA = 1
_TEXTS = ("id", "release", "verdict", "actor", "runs")
_BEGINNING = "eval_"


@dataclass(frozen=True, slots=True)
class HandedEvaluation:
    """An evaluation that came as a file, checked: its document, and its runs as the store keeps them."""

    document: Mapping[str, Any] = field(hash=False)
    runs: bytes

    @property
    def id(self) -> str:
        """Return the id of the evaluation."""
        return str(self.document["id"])

    @property
    def release(self) -> str:
        """Return the release that was evaluated."""
        return str(self.document["release"])


async def handed_on(app: Application, release: str, evaluation: str) -> bytes:
    """Return the file of an evaluation that the store has.

    Raises:
        NotFoundError: it has not.
        IntegrityError: the runs that the evaluation names are gone.
    """
    found = await app.state.documents.get(_KIND, f"{release}/{evaluation}")
    if found is None:
        raise NotFoundError(f"evaluation {evaluation} of release {release} is not in the store")
    document = found[0]
    runs = await verified_blob(app, Digest(document["runs"]), f"evaluation {evaluation}")
    return orjson.dumps({"schema": _SCHEMA, "evaluation": document}) + b"\n" + runs


async def has_evaluation(app: Application, release: str, evaluation: str) -> bool:
    """Tell whether the store has an evaluation."""
    return await app.state.documents.get(_KIND, f"{release}/{evaluation}") is not None


async def read_handed(data: bytes, digest: str, shown: str) -> HandedEvaluation:
    """Return the evaluation of a file; `digest` is what its maker said, `shown` names the file in errors.

    Raises:
        IntegrityError: it is not what was handed on, or its parts do not belong together.
    """
    return await anyio.to_thread.run_sync(_read, data, digest, shown)


async def take_over(app: Application, handed: HandedEvaluation) -> bool:
    """Put an evaluation into the store, with who did so in the audit log; what the store has stays. False then.

    Raises:
        NotFoundError: the store does not have its release.
    """
    document = dict(handed.document)
    release = (await app.releases.get(handed.release)).id
    key = f"{release}/{handed.id}"
    if await app.state.documents.get(_KIND, key) is not None:
        return False
    await app.state.blobs.put(handed.runs)
    try:
        await app.state.documents.put(_KIND, key, document, expected_version=0)
    except ConflictError:
        return False
    told = {"verdict": document["verdict"], "evaluation": handed.id, "baseline": document["baseline"]}
    statement = {
        "statement": "evaluated",
        "by": document["actor"],
        "at_s": document["at_s"],
        "taken_over_by": app.actor,
    }
    await app.releases.sign_off(release, statement | told)
    await app.audit("evaluation.taken_over", release, made_by=document["actor"], runs=document["runs"], **told)
    return True


def _read(data: bytes, digest: str, shown: str) -> HandedEvaluation:
    found = digest_bytes(data)
    if found != digest:
        raise IntegrityError(
            f"changed since it was handed on: {shown} has the digest {found}, not {digest or 'any that is known'};"
            " nothing was judged",
            hint="somebody changed it, or it is of another run: fetch what the job of that stage kept, or run it again",
        )
    head, _, runs = data.partition(b"\n")
    try:
        body = orjson.loads(head)
        handed = HandedEvaluation(body["evaluation"], runs)
        _check(handed, body["schema"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise IntegrityError(
            f"{shown} is no evaluation that was handed on: {wrong}", hint="run the stage that made it again"
        ) from error
    return handed


def _check(handed: HandedEvaluation, schema: object) -> None:
    """Raise ValueError where the parts do not belong together."""
    if schema != _SCHEMA:
        raise ValueError(f"its schema is {schema!r}, and this version of Shipway reads {_SCHEMA}")
    document = handed.document
    for name in _TEXTS:
        if not isinstance(document[name], str):
            raise ValueError(f"{name} is {document[name]!r}, no text")  # noqa: TRY004 - one error for a file's faults
    if not handed.id.startswith(_BEGINNING):
        raise ValueError(f"{handed.id!r} is no id of an evaluation")
    Verdict(document["verdict"])
    float(document["at_s"])
    if digest_bytes(handed.runs) != document["runs"]:
        raise ValueError(f"its runs have the digest {digest_bytes(handed.runs)}, and it names {document['runs']}")
    runs = json.loads(handed.runs)
    candidate, baseline = runs["candidate"], runs.get("baseline")
    if candidate["target"] != handed.release:
        raise ValueError(f"its run is of {candidate['target']}, the evaluation of {handed.release}")
    if (baseline["target"] if baseline else None) != document["baseline"]:
        raise ValueError(f"its runs have another baseline than {document['baseline']}")
    for name, value in document["binding"].items():
        if candidate["binding"][name] != value:
            raise ValueError(f"{name} of its run is {candidate['binding'][name]}, of the evaluation {value}")
