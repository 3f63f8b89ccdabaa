"""The last rule that names a document decides; what no rule names is refused."""

import os

import pytest

from shipway.config.sections.corpus import Corpus, Source
from shipway.core.errors import DocumentError, NotFoundError
from shipway.rag.sources import problem_lines, refuse, rule_for, scan, tenant_root


def rules(*items: tuple[str, str, str]) -> list[Source]:
    return [Source(path=path, tenant=tenant, groups=(group,)) for path, tenant, group in items]


def corpus(*items: tuple[str, str, str]) -> Corpus:
    return Corpus(root="papers", sources=tuple(rules(*items)))


EVERYBODY = corpus(("**", "acme", "public"))


def test_the_last_matching_rule_wins():
    found = rules(("acme/**", "acme", "public"), ("acme/staff/**", "acme", "staff"))
    assert rule_for("acme/staff/a/b.md", found).groups == ("staff",)
    assert rule_for("acme/a.md", found).groups == ("public",)
    assert rule_for("acme/a.md", found[::-1]).groups == ("public",)
    assert rule_for("acme/staff/a.md", found[::-1]).groups == ("public",)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("acme/**", "acme/a/b.md", True),
        ("acme/**", "acme2/a.md", False),
        ("acme/*.md", "acme/a/b.md", False),
        ("**/*.md", "a.md", True),
        ("**/*.md", "x/y/a.md", True),
        ("a/**/c.md", "a/c.md", True),
        ("a/**/c.md", "a/b/b/c.md", True),
        ("a.md", "a_md", False),
        ("?.md", "ab.md", False),
        ("acme/**", "Acme/a.md", False),
    ],
)
def test_globs_cross_directories_only_by_two_stars(pattern, path, matches):
    assert (rule_for(path, rules((pattern, "t", "g"))) is not None) == matches


def test_a_tenants_root_is_what_its_rules_share():
    found = rules(("x/acme/**", "acme", "a"), ("x/acme/staff/**", "acme", "b"), ("zenith/**", "zenith", "a"))
    assert tenant_root("acme", found) == "x/acme"
    assert tenant_root("zenith", found) == "zenith"


def test_hidden_files_and_sidecars_are_no_documents(tmp_path):
    for name in (".hidden.md", "a.md", "a.md.meta.yaml", ".git/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("title: x")
    (found,) = scan(EVERYBODY, tmp_path, {".md"}).files
    assert (found.path, found.sidecar) == ("a.md", b"title: x")


def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (refused,) = scan(EVERYBODY, tmp_path, {".md", ".html"}).refused
    assert str(refused) == "a.png: unknown suffix '.png'\n  known are .html, .md"


def test_a_link_out_of_the_corpus_is_refused(tmp_path):
    (tmp_path / "outside.md").write_text("secret")
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.md").symlink_to(tmp_path / "outside.md")
    (refused,) = scan(EVERYBODY, root, {".md"}).refused
    assert str(refused).startswith("a.md: is a link that leads out of the corpus")


def test_one_refused_file_does_not_hide_the_others_nor_those_that_are_right(tmp_path):
    for name in ("acme/good.md", "acme/a.png", "stray.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = scan(corpus(("acme/**", "acme", "public")), tmp_path, {".md"})
    assert [file.path for file in found.files] == ["acme/good.md"]
    assert [error.path for error in found.refused] == ["acme/a.png", "stray.md"]


def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.md").write_text("x")
    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    (refused,) = scan(EVERYBODY, tmp_path, {".md"}).refused
    assert str(refused).startswith("a.md: cannot be read: Permission denied\n  let the user who builds read it")


def test_a_link_to_nothing_and_a_name_that_is_no_text_are_refused_and_a_folder_is_not(tmp_path):
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "dangling.md").symlink_to(tmp_path / "gone.md")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.md", os.O_CREAT))
    found = scan(EVERYBODY, tmp_path, {".md"})
    assert found.files == ()
    assert [str(error) for error in found.refused] == [
        "dangling.md: is a link to nothing\n  mend or remove it",
        "\\udcff.md: its name is not UTF-8\n  rename the file",
    ]


def test_a_missing_root_is_named_as_the_user_wrote_it(tmp_path):
    with pytest.raises(NotFoundError, match=r"corpus\.root 'papers' is not a directory"):
        scan(EVERYBODY, tmp_path / "gone", {".md"})


def test_a_single_refused_document_is_an_error_with_the_path_that_the_user_knows():
    with pytest.raises(DocumentError) as caught:
        refuse("./papers", [DocumentError("x/a.md", "is empty", hint="remove it")])
    assert str(caught.value) == "papers/x/a.md: is empty\n  remove it"


def test_many_refused_documents_are_one_error_with_a_bounded_list_in_path_order():
    errors = [DocumentError(f"{number:02}.md", "two\nlines", hint="mend it") for number in reversed(range(25))]
    with pytest.raises(DocumentError) as caught:
        refuse("papers", errors)
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["papers: 25 files cannot be taken as documents:", "papers/00.md: two lines; mend it"]
    assert lines[20:] == [
        "papers/19.md: two lines; mend it",
        "papers: and 5 more",
        "  correct all of them, or move them out of the folder, and build again",
    ]


def test_nothing_refused_raises_and_lists_nothing():
    refuse("papers", [])
    assert problem_lines("papers", []) == []
