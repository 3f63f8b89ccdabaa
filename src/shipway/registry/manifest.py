"""Putting a release's manifest together from settings and digests; no file is read here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.config.project import Project
from shipway.core.canonical import canonical_json
from shipway.registry.model import MANIFEST_SCHEMA

# What belongs to one environment and not to the release: addresses, credentials, prices, thread counts.
_BUDGET_FIELDS = ("max_prompt", "max_new")
_MODEL_FIELDS = ("engine", "model", "max_ctx", "max_out")
_ROUTING_FIELDS = ("default", "rules", "splits", "fallbacks", "escalate")


@dataclass(frozen=True, slots=True)
class Ingredients:
    """The digests a manifest needs beside the settings."""

    code: Mapping[str, str]
    """Relative POSIX path to digest."""
    prompts: Mapping[str, tuple[str, str]]
    """Prompt name to (relative path, digest)."""
    model_files: Mapping[str, str | None]
    """Model alias to the digest of its weights, None for an engine that keeps them elsewhere."""
    corpus: Mapping[str, Any] | None
    """`manifest` (digest), `documents`, `chunks`."""


def build_manifest(project: Project, ingredients: Ingredients) -> dict[str, Any]:
    """Return the manifest: JSON values only, the same on every machine for the same content."""
    settings = project.model_dump(mode="json")
    models = {
        alias: {name: entry[name] for name in _MODEL_FIELDS} | {"file_digest": ingredients.model_files.get(alias)}
        for alias, entry in settings["models"].items()
    }
    policy = {name: settings[name] for name in ("routes", "decoding", "retrieval", "budgets", "safety")}
    policy["budgets"] = {name: settings["budgets"][name] for name in _BUDGET_FIELDS}
    routing = {name: settings["routing"][name] for name in _ROUTING_FIELDS if settings["routing"][name]}
    if routing:
        # Absent without rules, so that releases of projects that never heard of routing keep their ids.
        policy["routing"] = routing
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "app": project.app,
        "code": {"files": dict(ingredients.code)},
        "prompts": {name: {"path": path, "digest": digest} for name, (path, digest) in ingredients.prompts.items()},
        "models": models,
        "data": {"corpus": dict(ingredients.corpus) if ingredients.corpus else None},
        "policy": policy,
    }
    # What is stored is what was hashed: the NFC file names of a checkout on another system, 1 for 1.0.
    found: dict[str, Any] = json.loads(canonical_json(manifest))
    return found
