"""Building the corpus, and saying which one a release pins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import anyio.to_thread

from shipway.config.sections.corpus import Corpus
from shipway.core.errors import IntegrityError, NotFoundError, UsageError
from shipway.core.ids import Digest
from shipway.evals.metrics import DocumentAccess
from shipway.rag.build import BuildParts, build_corpus, stale_documents
from shipway.rag.manifest import corpus_directory, read_manifest, verify
from shipway.rag.model import BuildReport, CorpusManifest
from shipway.rag.ports import DocumentReader
from shipway.services.application import Application

_KIND = "corpus"
_CURRENT = "current"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class BuiltCorpora:
    """The corpora of one installation; implements `services.releases.CorpusState`."""

    readers: Mapping[str, DocumentReader]

    async def build(self, app: Application, parts: BuildParts, progress: Callable[[int, int], None]) -> BuildReport:
        """Build the project's corpus and make it the one that the next release pins.

        Raises:
            UsageError: the project declares none.
            DocumentError: documents cannot be read, or nobody may read them.
            StoreError: the disk is full; the corpus built before is whole.
        """
        corpus = _declared(app)
        report = await build_corpus(
            corpus,
            app.loaded.root / corpus.root,
            app.workspace.corpora,
            parts,
            before=await self._finished(app),
            progress=progress,
        )
        body = {
            "manifest": report.digest,
            "documents": len(report.manifest.documents),
            "chunks": report.manifest.chunks,
        }
        before = await app.state.documents.get(_KIND, _CURRENT)
        if before is None or before[0] != body:
            await app.state.documents.put(_KIND, _CURRENT, body)
            await app.audit("corpus.built", report.digest, documents=body["documents"], chunks=body["chunks"])
        return report

    async def current(self, app: Application) -> dict[str, object]:
        """Return the built corpus, after checking that it is whole and the documents are what it was built from.

        Raises:
            NotFoundError: none was built, or it is not on this machine.
            IntegrityError: its files are damaged, or documents changed since.
            DocumentError: a document that it was not built from cannot be taken.
        """
        corpus = _declared(app)
        found = await app.state.documents.get(_KIND, _CURRENT)
        if found is None:
            raise NotFoundError("the corpus has not been built", hint="run `shipway rag build`")
        digest = Digest(str(found[0]["manifest"]))
        manifest = await anyio.to_thread.run_sync(verify, corpus_directory(app.workspace.corpora, digest), digest)
        stale = await stale_documents(manifest, corpus, app.loaded.root / corpus.root, self.readers)
        if stale:
            shown = ", ".join(str(PurePosixPath(corpus.root) / path) for path in stale[:_SHOWN])
            more = f" and {len(stale) - _SHOWN} more" if len(stale) > _SHOWN else ""
            raise IntegrityError(
                f"documents changed since the corpus was built: {shown}{more}",
                hint="run `shipway rag build`",
            )
        return dict(found[0])

    async def manifest(self, app: Application, digest: Digest) -> CorpusManifest:
        """Return a corpus manifest after checking its digest.

        Raises:
            NotFoundError: it is not on this machine.
            IntegrityError: it is not what the digest says.
        """
        return await anyio.to_thread.run_sync(read_manifest, corpus_directory(app.workspace.corpora, digest), digest)

    async def _finished(self, app: Application) -> CorpusManifest | None:
        found = await app.state.documents.get(_KIND, _CURRENT)
        if found is None:
            return None
        try:
            return await self.manifest(app, Digest(str(found[0]["manifest"])))
        except (NotFoundError, IntegrityError):
            # It was deleted or damaged; this build makes it anew, and there is nothing to compare with.
            return None

    async def access(self, app: Application, digest: Digest) -> dict[str, DocumentAccess]:
        """Return who may see which document of a corpus."""
        manifest = await self.manifest(app, digest)
        return {item.path: DocumentAccess(item.tenant, frozenset(item.groups)) for item in manifest.documents}


def report_as_dict(report: BuildReport) -> dict[str, Any]:
    """Return what a build did, as JSON values."""
    return {
        "manifest": report.digest,
        "documents": len(report.manifest.documents),
        "chunks": report.manifest.chunks,
        "added": len(report.added),
        "changed": len(report.changed),
        "removed": len(report.removed),
        "unchanged": report.unchanged,
        "embedded": report.embedded,
        "reused": report.reused,
    }


def _declared(app: Application) -> Corpus:
    if app.project.corpus is None:
        raise UsageError("the project declares no corpus", hint="add a corpus section to shipway.yaml")
    return app.project.corpus
