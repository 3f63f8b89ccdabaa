"""What a run on disk was going to ask: `plan.json`. Runs are continued, and shards merged, under equal plans alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shipway.core.canonical import digest_json
from shipway.core.errors import UsageError
from shipway.core.ids import Digest

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFile:
    """A plan.

    `identity` holds everything that decides what the answers mean: targets with their digests, dataset, bindings,
    repeats, order, seed and settings. `shard` is empty for a whole run. `provenance` is shown and not compared.
    """

    run: str
    identity: Mapping[str, Any] = field(hash=False)
    shard: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> Digest:
        """What has to be equal; shards of one run share it."""
        return digest_json(dict(self.identity))

    @property
    def targets(self) -> list[str]:
        """The names of the targets, the candidate first."""
        return list(self.identity["targets"])

    def to_dict(self) -> dict[str, Any]:
        """Return the file's JSON form."""
        body = {"schema": SCHEMA, "run": self.run, **self.identity, "shard": self.shard or None}
        return {**body, "provenance": dict(self.provenance), "digest": self.digest}

    @classmethod
    def parse(cls, data: bytes, name: str) -> "RunFile":
        """Read a plan.

        Raises:
            UsageError: it is none, or one of another version, or it was changed by hand.
        """
        try:
            body = orjson.loads(data)
            if body.pop("schema") != SCHEMA:
                raise UsageError(f"{name}: a plan of another version of shipway", hint="run the evaluation again")
            run, shard = str(body.pop("run")), body.pop("shard") or ""
            provenance, digest = body.pop("provenance"), body.pop("digest")
            found = cls(run, body, shard, provenance)
            if not isinstance(body["targets"], dict) or found.digest != digest:
                raise UsageError(f"{name}: was changed after the run began", hint="run the evaluation again")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{name}: is no plan of a run ({type(error).__name__}: {error})") from error
        return found


def differing_keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return what differs between two plans, one line a key: `repeats: 3 against 1`.

    Of targets that only one of them has the names are told; what else is written under those names differs anyhow.
    """
    lines: list[str] = []
    only_a, only_b = _names_of_one(a, b), _names_of_one(b, a)
    if only_a or only_b:
        lines.append(f"targets: {', '.join(only_a) or 'nothing'} against {', '.join(only_b) or 'nothing'}")
        a, b = _without(a, only_a), _without(b, only_b)
    return lines + _differing(a, b, "")


def _names_of_one(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [name for name in a.get("targets", {}) if name not in b.get("targets", {})]


def _without(body: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return a body without what stands under these names, at any depth."""
    return {
        key: _without(value, names) if isinstance(value, Mapping) else value
        for key, value in body.items()
        if key not in names
    }


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += _differing(one, other, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {_shown(one)} against {_shown(other)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)
