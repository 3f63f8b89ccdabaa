"""Digests are remembered for as long as a file is certainly the same."""

import os
from pathlib import Path

import pytest

from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.core.canonical import digest_bytes

LATER_NS = 10_000_000_000


class Watched(StatCache):
    """Counts how often a file is read; its clock stands `ahead_ns` behind the newest file."""

    def __init__(self, file: Path, at_ns: int) -> None:
        super().__init__(file, lambda: at_ns)
        self.read = 0

    def _read(self, path: Path, key: str) -> str | None:
        self.read += 1
        return super()._read(path, key)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def at(file: Path, later_ns: int) -> int:
    return file.stat().st_ctime_ns + later_ns


def test_a_file_left_alone_for_a_while_is_read_once(file: Path, tmp_path: Path) -> None:
    cache = Watched(tmp_path / "stat.json", at(file, LATER_NS))
    assert cache.digest(file) == cache.digest(file) == digest_bytes(b"one")
    assert cache.read == 1


def test_a_file_that_was_written_just_now_is_read_each_time(file: Path, tmp_path: Path) -> None:
    cache = Watched(tmp_path / "stat.json", at(file, 1))
    cache.digest(file)
    # Same size, same times, same inode: only reading tells.
    found = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert cache.digest(file) == digest_bytes(b"two")
    assert cache.read == 2


def test_a_change_whose_modification_time_was_set_back_is_seen(file: Path, tmp_path: Path) -> None:
    os.utime(file, ns=(1, 1))
    cache = Watched(tmp_path / "stat.json", at(file, LATER_NS))
    cache.digest(file)
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:
        file.write_bytes(b"two")
        os.utime(file, ns=(1, 1))
    assert cache.digest(file) == digest_bytes(b"two")


def test_a_file_in_the_place_of_another_is_another(file: Path, tmp_path: Path) -> None:
    cache = Watched(tmp_path / "stat.json", at(file, LATER_NS))
    cache.digest(file)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    other.replace(file)
    assert cache.digest(file) == digest_bytes(b"two")


def test_what_was_learnt_is_known_to_the_next_process(file: Path, tmp_path: Path) -> None:
    first = Watched(tmp_path / "stat.json", at(file, LATER_NS))
    first.digest(file)
    first.save()
    second = Watched(tmp_path / "stat.json", at(file, LATER_NS))
    assert (second.digest(file), second.read) == (digest_bytes(b"one"), 0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "files": []}', '{"schema": 0, "files": {}}'])
def test_a_file_that_is_no_such_cache_is_an_empty_one(file: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "stat.json").write_text(text)
    assert Watched(tmp_path / "stat.json", at(file, LATER_NS)).digest(file) == digest_bytes(b"one")


def test_whether_a_file_may_be_run_is_part_of_what_it_is(file: Path, tmp_path: Path) -> None:
    file.chmod(0o755)
    assert Watched(tmp_path / "stat.json", at(file, LATER_NS)).digest(file) == digest_bytes(b"one") + "+x"


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    cache = Watched(tmp_path / "stat.json", 0)
    assert (cache.digest(tmp_path), cache.digest(tmp_path / "nothing")) == (None, None)
