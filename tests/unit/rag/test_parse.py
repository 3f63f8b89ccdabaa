"""Metadata is read strictly, and `supersedes` cannot leave its tenant."""

import pytest

from shipway.core.errors import DocumentError
from shipway.core.ids import Digest, TenantId
from shipway.rag.model import ManifestDocument
from shipway.rag.parse import document_digest, make_document, parse_metadata, parse_sidecar
from shipway.rag.ports import Block, Extract

PINNED = ManifestDocument("acme/a.md", Digest("sha256:0"), "text/1", TenantId("acme"), ("public",))


TEXT = (Block("text", "Text."),)


def made(metadata, sidecar=None, blocks=TEXT):
    return make_document(
        PINNED, Extract(tuple(blocks), title="From the file", metadata=metadata), sidecar or {}, "acme"
    )


def test_a_sidecar_wins_over_the_files_own_metadata():
    found = made({"title": "Own", "effective": "2024-01-02"}, {"title": "Sidecar"})
    assert (found.title, found.effective) == ("Sidecar", "2024-01-02")


def test_the_title_falls_back_to_file_heading_and_name():
    assert made({}).title == "From the file"
    heading = Extract((Block("heading", "Head", 1), Block("text", "x")))
    assert make_document(PINNED, heading, {}, "acme").title == "Head"
    assert make_document(PINNED, Extract((Block("text", "x"),)), {}, "acme").title == "a"


def test_supersedes_paths_start_at_the_tenants_root():
    assert made({"supersedes": ["policies/old.md"]}).supersedes == ("acme/policies/old.md",)
    assert made({"supersedes": "old.md"}).supersedes == ("acme/old.md",)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"effective": "soon"}, "effective 'soon' is not a date"),
        ({"effective": 2024}, "effective 2024 is not a date"),
        ({"supersedes": 3}, "supersedes 3 is not a list of paths"),
        ({"supersedes": ["../zenith/a.md"]}, "which cannot be"),
        ({"supersedes": ["a.md"]}, "which cannot be"),
    ],
)
def test_metadata_that_cannot_be_is_refused(metadata, message):
    with pytest.raises(DocumentError, match=message):
        made(metadata)


def test_a_document_without_text_is_refused():
    with pytest.raises(DocumentError, match="has no text"):
        made({}, blocks=(Block("text", "  "),))


@pytest.mark.parametrize("data", [b"- a list", b"a: [", b"\x00\xff"])
def test_a_sidecar_that_is_no_mapping_is_refused(data):
    with pytest.raises(DocumentError, match=r"acme/a\.pdf\.meta\.yaml: metadata"):
        parse_sidecar("acme/a.pdf", data)


def test_path_content_sidecar_and_reader_all_change_the_digest():
    digests = {
        document_digest("a", b"x", None, "r"),
        document_digest("b", b"x", None, "r"),
        document_digest("a", b"y", None, "r"),
        document_digest("a", b"x", b"", "r"),
        document_digest("a", b"x", None, "s"),
    }
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: " + "[" * 100_000, "metadata is nested more than 64 levels deep"),
        ("title: " + "[" * 100 + "]" * 100, "metadata is nested more than 64 levels deep"),
        ("title: a\nsupersedes: [b", "metadata is not YAML in its line 2: a list that begins with ["),
        ("effective: 2026-02-30", "metadata is not YAML: "),
    ],
)
def test_metadata_that_cannot_be_read_is_refused_with_the_document_and_the_reason(text, reason):
    with pytest.raises(DocumentError) as refused:
        parse_metadata("a.md", text)
    assert refused.value.message.startswith(f"a.md: {reason}")
    assert refused.value.hint
