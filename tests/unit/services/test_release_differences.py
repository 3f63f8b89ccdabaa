"""Two releases compared down to the lines of their prompts and code, and how people see it."""

from typing import Any

import pytest

from shipway.adapters.memory.store import MemoryBlobs
from shipway.entrypoints.cli.release_lines import difference_lines
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.release_differences import ComparedReleases, compared_releases

OLD = """name: answer
version: "1"
system: |
  Be kind.
  Be short.
user: "{passage} {question}"
"""
NEW = OLD.replace('"1"', '"2"').replace("Be short.", "Be brief.")


class Shelf:
    """A store of texts, and releases made of them."""

    def __init__(self) -> None:
        self.blobs = MemoryBlobs()

    async def release(self, prompts: dict[str, str], code: dict[str, bytes] | None = None, **policy: Any) -> Release:
        manifest = {
            "schema": 1,
            "app": "shop",
            "code": {"files": {path: await self.blobs.put(data) for path, data in (code or {}).items()}},
            "prompts": {
                name: {"path": f"prompts/{name}.yaml", "digest": await self.blobs.put(text.encode())}
                for name, text in prompts.items()
            },
            "models": {},
            "data": {"corpus": None},
            "policy": policy,
        }
        return Release(release_id(manifest), manifest, Provenance("ada", 0.0))

    async def compared(self, before: Release, after: Release) -> ComparedReleases:
        return await compared_releases(self.blobs, before, after)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_a_changed_prompt_is_shown_line_by_line_with_its_versions(shelf):
    found = await shelf.compared(await shelf.release({"answer": OLD}), await shelf.release({"answer": NEW}))
    (text,) = found.texts
    assert (text.part, text.key) == ("prompt", "answer.digest")
    assert (text.version_before, text.version_after) == ("1", "2")
    assert [line for line in text.diff if line[0] in "+-"] == [
        "--- prompts/answer.yaml",
        "+++ prompts/answer.yaml",
        '-version: "1"',
        '+version: "2"',
        "-  Be short.",
        "+  Be brief.",
    ]
    lines = difference_lines(found)
    assert "  prompt  answer: version 1 -> 2" in lines
    assert "    +  Be brief." in lines
    assert not any("sha256:" in line for line in lines)


async def test_a_text_that_changed_under_the_same_version_is_said_to(shelf):
    changed = OLD.replace("kind", "rude")
    found = await shelf.compared(await shelf.release({"answer": OLD}), await shelf.release({"answer": changed}))
    assert "  prompt  answer: version 1 on both sides, the text differs" in difference_lines(found)


async def test_settings_are_shown_as_key_old_and_new(shelf):
    long = "I cannot answer this from the documents that I was given, please ask somebody who knows it "
    before = await shelf.release({}, decoding={"temperature": 0.0}, safety={"refusal": long + "well."})
    after = await shelf.release({}, decoding={"temperature": 0.7}, safety={"refusal": long + "better."})
    assert difference_lines(await shelf.compared(before, after))[1:] == [
        "  policy  decoding.temperature: 0.0 -> 0.7",
        "  policy  safety.refusal:",
        f'    - "{long}well."',
        f'    + "{long}better."',
    ]


async def test_code_files_that_came_or_went_are_shown_whole(shelf):
    before = await shelf.release({}, {"app/old.py": b"a = 1\n"})
    after = await shelf.release({}, {"app/new.py": b"b = 2"})
    assert difference_lines(await shelf.compared(before, after))[1:] == [
        "  code    app/new.py: new",
        "    --- (not there)",
        "    +++ app/new.py",
        "    @@ -0,0 +1 @@",
        "    +b = 2 (no line end)",
        "  code    app/old.py: removed",
        "    --- app/old.py",
        "    +++ (not there)",
        "    @@ -1 +0,0 @@",
        "    -a = 1",
    ]


async def test_a_changed_line_end_shows(shelf):
    before = await shelf.release({}, {"a.py": b"x\n"})
    after = await shelf.release({}, {"a.py": b"x\r\n"})
    (text,) = (await shelf.compared(before, after)).texts
    assert text.diff[-2:] == ("-x", "+x\\r")


@pytest.mark.parametrize("content", [b"\xff\x00", b"x" * 200_001], ids=["bytes", "too long"])
async def test_what_is_no_text_to_read_is_shown_by_its_digests(shelf, content):
    before, after = await shelf.release({}, {"a.bin": b"x"}), await shelf.release({}, {"a.bin": content})
    found = await shelf.compared(before, after)
    assert found.texts == ()
    lines = difference_lines(found)
    assert lines[1] == "  code    files.a.bin:"
    assert all("sha256:" in line for line in lines[2:])


async def test_a_text_that_the_store_has_lost_does_not_hide_the_rest(shelf):
    before = await shelf.release({"answer": OLD, "other": OLD})
    after = await shelf.release({"answer": NEW, "other": NEW.replace("kind", "good")})
    del shelf.blobs._data[after.manifest["prompts"]["other"]["digest"]]
    found = await shelf.compared(before, after)
    assert [text.key for text in found.texts] == ["answer.digest"]
    assert [change.key for change in found.other_changes] == ["other.digest"]


async def test_long_differences_are_cut_and_say_how_much_is_left(shelf):
    files = {f"{name}.py": b"\n".join(b"line %d" % i for i in range(100)) + b"\n" for name in "abcdefg"}
    found = await shelf.compared(await shelf.release({}), await shelf.release({}, files))
    lines = difference_lines(found)
    assert lines.count("    … 63 more lines; --json has them all") == 5
    assert lines.count("    … 103 more lines; --json has them all") == 2
    assert len(lines) < 230
    assert all(len(text.diff) == 103 for text in found.texts)


async def test_a_line_without_end_is_cut(shelf):
    found = await shelf.compared(await shelf.release({}), await shelf.release({}, {"a.py": b"x" * 5000}))
    assert max(map(len, difference_lines(found))) == 200
