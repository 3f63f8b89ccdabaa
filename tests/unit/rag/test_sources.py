"""The last rule that names a document decides; what no rule names is refused."""

import pytest

from shipway.config.sections.corpus import Source
from shipway.core.errors import DocumentError
from shipway.rag.sources import rule_for, scan, tenant_root


def rules(*items: tuple[str, str, str]) -> list[Source]:
    return [Source(path=path, tenant=tenant, groups=(group,)) for path, tenant, group in items]


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
    (found,) = scan(tmp_path, rules(("**", "acme", "public")), {".md"})
    assert (found.path, found.sidecar) == ("a.md", b"title: x")


def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DocumentError, match=r"unknown suffix '\.png'\n  known are \.html, \.md"):
        scan(tmp_path, rules(("**", "acme", "public")), {".md", ".html"})


def test_a_link_out_of_the_corpus_is_refused(tmp_path):
    (tmp_path / "outside.md").write_text("secret")
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.md").symlink_to(tmp_path / "outside.md")
    with pytest.raises(DocumentError, match="leads out of the corpus"):
        scan(root, rules(("**", "acme", "public")), {".md"})
