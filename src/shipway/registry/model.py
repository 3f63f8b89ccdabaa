"""The release: an immutable manifest addressed by its content, and who made it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shipway.core.canonical import digest_json
from shipway.core.ids import ReleaseId

MANIFEST_SCHEMA = 1
PartKind = Literal["code", "prompt", "model", "data", "policy"]
PARTS: dict[PartKind, str] = {
    "code": "code",
    "prompt": "prompts",
    "model": "models",
    "data": "data",
    "policy": "policy",
}
"""Part kind to its key in the manifest."""
_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who made a release from what; beside the manifest, never in its id."""

    created_by: str
    created_at_s: float
    commit: str | None = None
    dirty: bool = False
    message: str = ""
    shipway_version: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A manifest and its id.

    The manifest holds JSON only: `schema`, `app` and one object a part. It has digests of code files and prompts,
    settings, and the digest of the corpus *manifest*; index bytes, paths of this machine and times are not in it.
    """

    id: ReleaseId
    manifest: dict[str, Any]
    provenance: Provenance
    signed_off: tuple[dict[str, Any], ...] = field(default_factory=tuple)

    @property
    def app(self) -> str:
        """Return the app's name."""
        return str(self.manifest["app"])

    def part_digests(self) -> dict[str, str]:
        """Return the digest of each part."""
        return {kind: digest_json(self.manifest[key]) for kind, key in PARTS.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Release":
        """Return the release of a JSON form."""
        return cls(
            id=ReleaseId(data["id"]),
            manifest=data["manifest"],
            provenance=Provenance(**data["provenance"]),
            signed_off=tuple(data.get("signed_off", ())),
        )


def release_id(manifest: dict[str, Any]) -> ReleaseId:
    """Return `rel_` and the first 16 hexadecimal digits (64 bits) of the manifest's digest.

    A collision needs about 2**32 releases of one store; `ReleaseRegistry.add` refuses one all the same.
    """
    return ReleaseId("rel_" + digest_json(manifest).removeprefix("sha256:")[:_ID_DIGITS])
