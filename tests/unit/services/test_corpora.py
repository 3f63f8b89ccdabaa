"""What a release pins is whole, up to date and told in the user's words."""

from pathlib import Path

import pytest

from shipway.adapters.documents.readers import default_readers
from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.memory_rag.indexes import NumpyVectorFormat, WordFormat
from shipway.adapters.memory_rag.models import HashingEmbedder
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest
from shipway.rag.build import BuildParts
from shipway.rag.index import IndexFormats
from shipway.rag.manifest import corpus_directory
from shipway.rag.model import BuildReport
from shipway.services.application import Application, Workspace
from shipway.services.corpora import BuiltCorpora

pytestmark = pytest.mark.anyio

PROJECT = """\
app: shop
routes: {ask: {kind: rag, model: small, prompt: answer}}
models: {small: {engine: echo, model: echo}}
prompts: {answer: prompts/answer.yaml}
corpus: {root: ./papers, embedding: hashing, sources: [{path: "**", tenant: t, groups: [public]}]}
"""


@pytest.fixture
def app(tmp_path: Path) -> Application:
    (tmp_path / "papers").mkdir()
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    (tmp_path / "papers" / "kettle.md").write_text("# Kettle\n\nIt holds 2 litres.")
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), ManualClock(), "user:test")


@pytest.fixture
def corpora() -> BuiltCorpora:
    return BuiltCorpora(default_readers())


async def build(app: Application, corpora: BuiltCorpora) -> BuildReport:
    formats = IndexFormats(NumpyVectorFormat(), WordFormat())
    parts = BuildParts(default_readers(), HashingEmbedder(), formats, app.clock)
    return await corpora.build(app, parts, lambda _done, _total: None)


async def test_the_built_corpus_is_the_current_one(app, corpora):
    report = await build(app, corpora)
    assert await corpora.current(app) == {"manifest": report.digest, "documents": 1, "chunks": 1}


@pytest.mark.parametrize("file", ["vectors.npy", "words.json", "passages.jsonl", "seal.json"])
async def test_damaged_bytes_keep_a_corpus_out_of_a_release_until_a_build_repairs_it(app, corpora, file):
    report = await build(app, corpora)
    path = corpus_directory(app.workspace.corpora, report.digest) / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(IntegrityError, match=file) as caught:
        await corpora.current(app)

    assert "run `shipway rag build`" in caught.value.hint
    assert (await build(app, corpora)).digest == report.digest
    assert (await corpora.current(app))["manifest"] == report.digest


async def test_a_seal_that_is_no_mapping_is_damage_too(app, corpora):
    report = await build(app, corpora)
    (corpus_directory(app.workspace.corpora, report.digest) / "seal.json").write_text("[]")
    with pytest.raises(IntegrityError, match=r"seal\.json"):
        await corpora.current(app)


async def test_documents_that_changed_are_named_with_the_folder_that_the_user_knows(app, corpora):
    await build(app, corpora)
    (app.loaded.root / "papers" / "kettle.md").write_text("# Kettle\n\nIt holds 3 litres.")
    with pytest.raises(IntegrityError, match=r"built: papers/kettle\.md\n  run `shipway rag build`"):
        await corpora.current(app)


async def test_each_build_tells_what_changed_since_the_last_finished_one(app, corpora):
    first = await build(app, corpora)
    (app.loaded.root / "papers" / "mill.md").write_text("# Mill\n\nIt is loud.")
    second = await build(app, corpora)
    third = await build(app, corpora)
    assert [report.added for report in (first, second, third)] == [("kettle.md",), ("mill.md",), ()]


async def test_a_lost_corpus_is_not_found_and_made_again_with_all_documents_as_new(app, corpora):
    first = await build(app, corpora)
    directory = corpus_directory(app.workspace.corpora, Digest(first.digest))
    for path in directory.iterdir():
        path.unlink()
    with pytest.raises(NotFoundError, match="run `shipway rag build`"):
        await corpora.current(app)
    assert (await build(app, corpora)).added == ("kettle.md",)
    assert (await corpora.current(app))["manifest"] == first.digest
