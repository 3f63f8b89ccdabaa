"""Releases that nobody made: one release with a part of another, to find out which part does what.

Attribution swaps whole parts, matrix runs put values into them. A hybrid is asked and never deployed.
"""

import copy
from collections.abc import Callable, Collection
from typing import Any

from shipway.registry.model import PARTS, PartKind, Provenance, Release, release_id

Manifest = dict[str, Any]


def with_parts(base: Release, donor: Release, parts: Collection[PartKind], provenance: Provenance) -> Release:
    """Return a release with some parts of another; swapping what does not differ gives the release itself."""
    manifest = base.manifest | {PARTS[part]: donor.manifest[PARTS[part]] for part in parts}
    made = release_id(manifest)
    known = next((release for release in (base, donor) if release.id == made), None)
    return known or Release(made, manifest, provenance)


def changed(base: Release, change: Callable[[Manifest], None], provenance: Provenance) -> Release:
    """Return a release whose manifest `change` has written to."""
    manifest = copy.deepcopy(base.manifest)
    change(manifest)
    made = release_id(manifest)
    return base if made == base.id else Release(made, manifest, provenance)


def contradictions(manifest: Manifest) -> list[str]:
    """Return why the parts of a manifest do not fit together, one line a reason: a hybrid's may not."""
    found: list[str] = []
    for name, route in manifest["policy"]["routes"].items():
        for kind, key in (("model", "models"), ("prompt", "prompts")):
            wanted = route.get(kind)
            if wanted is not None and wanted not in manifest[key]:
                has = ", ".join(sorted(manifest[key])) or "none"
                found.append(f"route {name!r} asks for {kind} {wanted!r}, and there is {has}")
        if route["kind"] == "rag" and manifest["data"]["corpus"] is None:
            found.append(f"route {name!r} answers from documents, and there is no corpus")
    return found
