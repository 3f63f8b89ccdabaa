"""Which files are documents and who may read them; `build` scans with these rules.

Access is denied by default: a file that no rule names stops the build, because leaving it out silently would hide a
mistake and taking it in would give it away.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from shipway.config.sections.corpus import Source
from shipway.core.errors import DocumentError, NotFoundError
from shipway.core.ids import TenantId
from shipway.rag.model import Access
from shipway.rag.parse import SIDECAR_SUFFIX


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A document's file before it is parsed."""

    path: str
    data: bytes
    sidecar: bytes | None
    access: Access
    tenant_root: str


def scan(root: Path, sources: Sequence[Source], suffixes: Collection[str]) -> list[FoundFile]:
    """Read all documents below the corpus root, in path order; hidden files and directories are passed over.

    Raises:
        NotFoundError: the root is no directory.
        DocumentError: a file that no rule names, of an unknown suffix, or that leads out of the root.
    """
    if not root.is_dir():
        raise NotFoundError(f"corpus.root {root.name!r} is not a directory", hint="create it or change `corpus.root`")
    resolved = root.resolve()
    found = []
    for file in sorted(root.rglob("*"), key=lambda item: item.relative_to(root).as_posix()):
        path = file.relative_to(root).as_posix()
        if (
            not file.is_file()
            or path.endswith(SIDECAR_SUFFIX)
            or any(p.startswith(".") for p in file.relative_to(root).parts)
        ):
            continue
        if not file.resolve().is_relative_to(resolved):
            raise DocumentError(path, "is a link that leads out of the corpus", hint="copy the file into it")
        found.append(_read(file, path, sources, suffixes))
    return found


def rule_for(path: str, sources: Sequence[Source]) -> Source | None:
    """Return the last rule that names the path; later rules are the more particular ones."""
    return next((source for source in reversed(sources) if _pattern(source.path).fullmatch(path)), None)


def tenant_root(tenant: str, sources: Sequence[Source]) -> str:
    """Return the directory that all of a tenant's rules share; `supersedes` paths start there."""
    prefixes = [_fixed_prefix(source.path) for source in sources if source.tenant == tenant]
    shared = prefixes[0]
    for prefix in prefixes[1:]:
        length = next(
            (i for i, (a, b) in enumerate(zip(shared, prefix, strict=False)) if a != b), min(len(shared), len(prefix))
        )
        shared = shared[:length]
    return "/".join(shared)


def _read(file: Path, path: str, sources: Sequence[Source], suffixes: Collection[str]) -> FoundFile:
    rule = rule_for(path, sources)
    if rule is None:
        hint = f"add a rule to `corpus.sources` (path: {PurePosixPath(path).parent / '**'}), or move the file away"
        raise DocumentError(path, "no rule says who may read it", hint=hint)
    if file.suffix.lower() not in suffixes:
        raise DocumentError(path, f"unknown suffix {file.suffix!r}", hint=f"known are {', '.join(sorted(suffixes))}")
    sidecar = file.with_name(file.name + SIDECAR_SUFFIX)
    return FoundFile(
        path=path,
        data=file.read_bytes(),
        sidecar=sidecar.read_bytes() if sidecar.is_file() else None,
        access=Access(TenantId(rule.tenant), frozenset(rule.groups)),
        tenant_root=tenant_root(rule.tenant, sources),
    )


def _fixed_prefix(pattern: str) -> list[str]:
    parts = PurePosixPath(pattern).parts
    fixed = [part for part in parts[:-1] if not re.search(r"[*?]", part)]
    return fixed[: next((i for i, part in enumerate(parts) if re.search(r"[*?]", part)), len(parts))]


@lru_cache(maxsize=512)
def _pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob: `*` and `?` stay inside one directory, `**` crosses them."""
    parts = PurePosixPath(glob).parts
    pieces: list[str] = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
            continue
        translated = "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in part)
        pieces.append(translated + ("" if last else "/"))
    return re.compile("".join(pieces), re.DOTALL)
