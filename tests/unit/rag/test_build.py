"""Builds are incremental, honour deletions and rules, and survive being killed."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from shipway.adapters.documents.readers import default_readers
from shipway.adapters.memory_rag.indexes import WordFormat
from shipway.core.errors import ConflictError, DocumentError, IntegrityError, NotFoundError, StoreError
from shipway.rag.build import _exclusive, build_corpus, stale_documents
from shipway.rag.ledger import Ledger
from shipway.rag.manifest import corpus_directory, verify

pytestmark = pytest.mark.anyio


class Interrupted(WordFormat):
    """Ctrl-C in the middle of writing."""

    async def write(self, directory, chunks):
        (directory / "half").write_text("written")
        raise KeyboardInterrupt


class FullDisk(WordFormat):
    """No room for the second file."""

    async def write(self, directory, content):
        (directory / "half").write_text("written")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


KILLED_BUILD = """
import os, signal, sys
from pathlib import Path
import anyio
from shipway.adapters.documents.readers import default_readers
from shipway.adapters.memory_rag.indexes import NumpyVectorFormat, WordFormat
from shipway.adapters.memory_rag.models import HashingEmbedder
from shipway.config.sections.corpus import Corpus
from shipway.core.clock import SystemClock
from shipway.rag.build import BuildParts, build_corpus
from shipway.rag.index import IndexFormats

class Killed(WordFormat):
    async def write(self, directory, chunks):
        os.kill(os.getpid(), signal.SIGKILL)

class KilledEmbedder(HashingEmbedder):
    calls = 0
    async def embed(self, texts):
        self.calls += 1
        if self.calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().embed(texts)

root, corpora, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
corpus = Corpus.model_validate({"sources": [{"path": "acme/**", "tenant": "acme", "groups": ["public"]}],
    "chunk": {"size": 60, "overlap": 10}, "embedding": "hashing"})
formats = IndexFormats(NumpyVectorFormat(), Killed() if where == "writing" else WordFormat())
embedder = KilledEmbedder() if where == "embedding" else HashingEmbedder()
anyio.run(build_corpus, corpus, root, corpora, BuildParts(default_readers(), embedder, formats, SystemClock()))
"""


async def test_a_second_build_parses_and_embeds_nothing(workshop):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    workshop.write("acme/b.txt", "The grinder is loud.")
    first = await workshop.build()
    second = await workshop.build()
    assert (first.added, first.embedded) == (("acme/a.md", "acme/b.txt"), 2)
    assert (second.added, second.changed, second.removed, second.unchanged) == ((), (), (), 2)
    assert (second.embedded, second.reused, second.digest) == (0, 2, first.digest)


async def test_only_the_changed_document_is_embedded_again(workshop):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    workshop.write("acme/b.md", "# B\n\nThe grinder is loud.")
    before = await workshop.build()
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 3 litres.")
    after = await workshop.build()
    assert (after.changed, after.embedded, after.reused) == (("acme/a.md",), 1, 1)
    assert after.digest != before.digest


async def test_a_deleted_document_is_gone_from_index_ledger_and_vectors(workshop, principal):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    workshop.write("acme/secret.md", "# S\n\nThe zebra code is 4711.")
    await workshop.build()
    (workshop.root / "acme/secret.md").unlink()
    report = await workshop.build()
    found = await (await workshop.retriever(report)).retrieve("What is the zebra code?", principal(), top_k=50)
    assert report.removed == ("acme/secret.md",)
    assert {p.document for p in found.passages} == {"acme/a.md"}
    ledger = Ledger.open(workshop.corpora / "ledger.sqlite3")
    try:
        assert [item.path for item in ledger.documents()] == ["acme/a.md"]
        assert len(ledger.vectors(workshop.embedder.digest)) == 1
        assert [(path, at) for path, _, at in ledger.tombstones()] == [("acme/secret.md", workshop.clock.now_s())]
    finally:
        ledger.close()


async def test_a_changed_rule_reaches_unchanged_documents_without_embedding(workshop, principal):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    before = await workshop.build()
    workshop.sources.append({"path": "acme/a.md", "tenant": "acme", "groups": ["staff"]})
    after = await workshop.build()
    retriever = await workshop.retriever(after)
    assert after.embedded == 0
    assert after.digest != before.digest
    assert not (await retriever.retrieve("kettle?", principal("acme", "public"))).passages
    assert (await retriever.retrieve("kettle?", principal("acme", "staff"))).passages


async def test_the_digest_depends_on_content_and_settings_and_not_on_place_or_time(workshop, tmp_path):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    here = await workshop.build()
    other = tmp_path / "elsewhere"
    (other / "acme").mkdir(parents=True)
    (other / "acme/a.md").write_bytes((workshop.root / "acme/a.md").read_bytes())
    os.utime(other / "acme/a.md", (1, 1))
    workshop.root, workshop.corpora = other, tmp_path / "other-corpora"
    workshop.clock.advance(1000)
    assert (await workshop.build()).digest == here.digest
    assert (await workshop.build(size=80)).digest != here.digest
    assert str(tmp_path) not in str(asdict(here.manifest))


async def test_equal_files_of_two_tenants_stay_two_documents(workshop, principal):
    for tenant in ("acme", "zenith"):
        workshop.write(f"{tenant}/a.md", "# A\n\nThe kettle holds 2 litres.")
    report = await workshop.build()
    retriever = await workshop.retriever(report)
    for tenant in ("acme", "zenith"):
        found = await retriever.retrieve("kettle?", principal(tenant))
        assert [p.document for p in found.passages] == [f"{tenant}/a.md"]
    assert len({chunk.id for chunk in (await workshop.open(report)).chunks}) == 2


@pytest.mark.parametrize("where", ["embedding", "writing"])
async def test_a_killed_build_leaves_the_old_corpus_whole_and_the_next_one_resumes(workshop, principal, where):
    workshop.sources[:] = [{"path": "acme/**", "tenant": "acme", "groups": ["public"]}]
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    old = await workshop.build()
    for number in range(100):
        workshop.write(f"acme/{number}.md", f"# Number {number}\n\nThe part {number} costs EUR {number}.")
    argv = [sys.executable, "-c", KILLED_BUILD, str(workshop.root), str(workshop.corpora), where]
    killed = subprocess.run(argv, check=False, capture_output=True, timeout=50)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    verify(corpus_directory(workshop.corpora, old.digest), old.digest)
    found = await (await workshop.retriever(old)).retrieve("kettle?", principal())
    assert [p.document for p in found.passages] == ["acme/a.md"]

    resumed = await workshop.build()
    assert resumed.manifest.chunks == 101
    assert resumed.embedded == (36 if where == "embedding" else 0)
    assert not list(workshop.corpora.glob(".building-*"))


async def test_what_changed_is_told_against_the_finished_corpus_and_not_against_an_interrupted_build(workshop):
    for name in ("same", "edited", "removed", "reruled"):
        workshop.write(f"acme/{name}.md", f"# {name}\n\nText.")
    await workshop.build()
    workshop.write("acme/edited.md", "# edited\n\nOther text.")
    workshop.write("acme/new.md", "# new\n\nText.")
    (workshop.root / "acme/removed.md").unlink()
    workshop.sources.append({"path": "acme/reruled.md", "tenant": "acme", "groups": ["staff"]})
    whole = workshop.formats
    workshop.formats = type(whole)(whole.vectors, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        await workshop.build()
    workshop.formats = whole

    report = await workshop.build()

    assert (report.added, report.removed, report.unchanged) == (("acme/new.md",), ("acme/removed.md",), 1)
    assert report.changed == ("acme/edited.md", "acme/reruled.md")
    assert (report.embedded, report.reused) == (0, 4)


async def test_an_interrupted_build_leaves_no_half_written_corpus(workshop):
    workshop.write("acme/a.md", "# A\n\nText.")
    workshop.formats = type(workshop.formats)(workshop.formats.vectors, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        await workshop.build()
    assert sorted(path.name for path in workshop.corpora.iterdir()) == ["build.lock", "ledger.sqlite3"]


@pytest.mark.parametrize("part", ["vectors", "keywords"])
async def test_a_full_disk_is_said_clearly_and_the_corpus_before_stays_whole(workshop, principal, part):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    old = await workshop.build()
    workshop.write("acme/b.md", "# B\n\nThe grinder is loud.")
    whole = workshop.formats
    workshop.formats = replace(whole, **{part: FullDisk()})

    with pytest.raises(StoreError, match=r"corpora cannot be written: the disk is full \(.* free") as caught:
        await workshop.build()

    assert "make room" in caught.value.hint
    assert "the corpus built before is whole and stays in use" in caught.value.hint
    assert not list(workshop.corpora.glob(".building-*"))
    workshop.formats = whole
    found = await (await workshop.retriever(old)).retrieve("kettle?", principal())
    assert [p.document for p in found.passages] == ["acme/a.md"]
    assert (await workshop.build()).added == ("acme/b.md",)


async def test_a_ledger_that_finds_no_room_is_a_full_disk(workshop, monkeypatch):
    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    workshop.write("acme/a.md", "# A\n\nText.")
    monkeypatch.setattr(Ledger, "put_document", full)
    with pytest.raises(StoreError, match=r"ledger\.sqlite3 cannot be written: the disk is full"):
        await workshop.build()


async def test_all_documents_that_cannot_be_read_are_named_with_the_corpus_root_and_none_is_lost(workshop):
    workshop.write("acme/good.md", "# A\n\nText.")
    workshop.write("acme/latin.md", b"caf\xe9")
    workshop.write("acme/empty.txt", "")
    workshop.write("stray.md", "# Stray\n\nText.")
    with pytest.raises(DocumentError) as caught:
        await workshop.build()
    lines = str(caught.value).splitlines()
    assert lines[0] == "docs: 3 files cannot be taken as documents:"
    assert [line.partition(": ")[0] for line in lines[1:4]] == [
        "docs/acme/empty.txt",
        "docs/acme/latin.md",
        "docs/stray.md",
    ]
    for name in ("acme/latin.md", "acme/empty.txt", "stray.md"):
        (workshop.root / name).unlink()
    assert (await workshop.build()).added == ("acme/good.md",)


async def test_a_document_without_a_rule_stops_the_build(workshop):
    workshop.write("acme/a.md", "# A\n\nText.")
    workshop.write("stray.md", "# Stray\n\nText.")
    with pytest.raises(DocumentError, match=r"^docs/stray\.md: no rule says who may read it"):
        await workshop.build()
    assert not list(workshop.corpora.glob("*/manifest.json"))


async def test_an_empty_corpus_and_a_missing_root_are_refused(workshop):
    with pytest.raises(DocumentError, match="holds no documents"):
        await workshop.build()
    workshop.root = workshop.root / "missing"
    with pytest.raises(NotFoundError, match="is not a directory"):
        await workshop.build()


async def test_two_builds_at_once_are_refused(workshop):
    workshop.write("acme/a.md", "# A\n\nText.")
    workshop.corpora.mkdir()
    with _exclusive(workshop.corpora), pytest.raises(ConflictError, match="another corpus build"):
        await workshop.build()


@pytest.mark.parametrize("file", ["manifest.json", "passages.jsonl", "vectors.npy", "words.json"])
async def test_a_corpus_with_a_changed_file_is_refused_and_a_build_makes_it_whole(workshop, file):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    report = await workshop.build()
    path = corpus_directory(workshop.corpora, report.digest) / file
    path.write_bytes(path.read_bytes().replace(b"acme", b"evil") + b" ")
    with pytest.raises(IntegrityError, match=file):
        await workshop.open(report)
    assert (await workshop.build()).digest == report.digest
    await workshop.open(report)


async def test_a_corpus_that_is_not_there_is_not_found(workshop):
    workshop.write("acme/a.md", "# A\n\nText.")
    report = await workshop.build()
    (corpus_directory(workshop.corpora, report.digest) / "manifest.json").unlink()
    with pytest.raises(NotFoundError, match="is not in corpora/"):
        await workshop.open(report)


async def test_an_index_of_another_size_than_the_manifest_is_refused(workshop):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    report = await workshop.build()

    class Shrunk(type(workshop.formats.vectors)):
        async def open(self, directory):
            index = await super().open(directory)
            index._vectors = index._vectors[:0]
            return index

    workshop.formats = type(workshop.formats)(Shrunk(), workshop.formats.keywords)
    with pytest.raises(IntegrityError, match="the vector index has 0 chunks, the manifest 1"):
        await workshop.open(report)


async def test_documents_that_differ_from_the_manifest_are_named(workshop):
    for name in ("same", "edited", "removed", "reruled"):
        workshop.write(f"acme/{name}.md", f"# {name}\n\nText.")
    report = await workshop.build()
    workshop.write("acme/edited.md", "# edited\n\nOther text.")
    workshop.write("acme/new.md", "# new\n\nText.")
    (workshop.root / "acme/removed.md").unlink()
    workshop.sources.append({"path": "acme/reruled.md", "tenant": "acme", "groups": ["staff"]})
    stale = await stale_documents(report.manifest, workshop.corpus(), workshop.root, default_readers())
    assert stale == ("acme/edited.md", "acme/new.md", "acme/removed.md", "acme/reruled.md")


async def test_progress_counts_up_to_the_chunks_to_embed(workshop):
    for number in range(70):
        workshop.write(f"acme/{number}.md", f"# Number {number}\n\nText {number}.")
    seen = []
    await build_corpus(
        workshop.corpus(), workshop.root, workshop.corpora, workshop.parts(), progress=lambda *done: seen.append(done)
    )
    assert seen == [(64, 70), (70, 70)]
