"""Relative links lead somewhere, and so do the headings that they name."""

import re

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NOT_IN_A_SLUG = re.compile(r"[^\w\- ]")


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    return {_NOT_IN_A_SLUG.sub("", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def broken(page) -> list[str]:
    found = []
    for target in _LINK.findall(page.prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        if not path.exists():
            found.append(f"{page.name}: {target}: no such file")
        elif anchor and anchor not in slugs(path.read_text(encoding="utf-8")):
            found.append(f"{page.name}: {target}: no such heading")
    return found


def test_every_relative_link_resolves(pages):
    assert sum(len(_LINK.findall(page.prose)) for page in pages) > 50
    assert [problem for page in pages for problem in broken(page)] == []


def test_every_page_can_be_reached_from_the_readme(pages):
    known = {page.path.resolve(): page for page in pages}
    reached, waiting = set(), [page.path.resolve() for page in pages if page.name == "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path not in known:
            continue
        reached.add(path)
        waiting += [(path.parent / t.partition("#")[0]).resolve() for t in _LINK.findall(known[path].prose)]

    assert {page.name for path, page in known.items() if path not in reached} == set()


def test_a_broken_link_is_found(page):
    readme = page("README.md")
    changed = type(readme)("README.md", "see [this](docs/none.md), [that](docs/index.md#none), [it](docs/index.md)")

    assert broken(changed) == [
        "README.md: docs/none.md: no such file",
        "README.md: docs/index.md#none: no such heading",
    ]


def test_an_anchor_is_made_like_that_of_a_code_host():
    assert slugs("# A `release`: what's in\n\n## Two-part (it)\n") == {"a-release-whats-in", "two-part-it"}
