import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from shipway.core.disk import disk_error, explained, obstacle, remedy, require_writable_file
from shipway.core.errors import StoreError, UsageError


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets every disk look as told."""

    def looks(*, flag: int = 0, free_bytes: int = 10**12) -> None:
        found = SimpleNamespace(f_flag=flag, f_blocks=10**12, f_bavail=free_bytes, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path: found)

    return looks


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_free_space_and_what_to_do(tmp_path, disk, number):
    disk(free_bytes=300_000)

    error = disk_error(OSError(number, "No space left"), tmp_path / "new" / "state.db", "cannot be written")

    assert error.message == f"{tmp_path}/new/state.db cannot be written: the disk is full (0.3 MB free at {tmp_path})"
    assert "make room" in error.hint
    assert "what was stored before is intact" in error.hint


def test_a_read_only_file_system_is_named(tmp_path, disk):
    disk(flag=os.ST_RDONLY)

    error = disk_error(OSError(errno.EROFS, "Read-only file system"), tmp_path / "up.lock", "cannot be locked")

    assert error.message == f"{tmp_path}/up.lock cannot be locked: the file system of {tmp_path} is read-only"
    assert "mount it writable" in error.hint


def test_a_folder_of_another_user_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    assert "this user may not write in" in obstacle(tmp_path / "state.db")
    assert "give this user the folder" in remedy(tmp_path / "state.db")


def test_a_limit_of_file_sizes_is_not_taken_for_a_full_disk(tmp_path):
    error = disk_error(OSError(errno.EFBIG, "File too large"), tmp_path / "a.log", "cannot be written")

    assert "limit of file sizes" in error.message
    assert "ulimit -f" in error.hint


def test_nothing_is_in_the_way_on_a_sound_disk(tmp_path, disk):
    disk()

    assert (obstacle(tmp_path / "state.db"), remedy(tmp_path / "state.db")) == ("", "")


def test_another_failure_keeps_the_words_of_the_system(tmp_path):
    (tmp_path / "a").write_text("a file")
    path = tmp_path / "a" / "b"

    with pytest.raises(StoreError, match=r"a/b cannot be made: Not a directory"), explained(path, "cannot be made"):
        path.write_text("")


def test_a_path_that_does_not_exist_yet_is_judged_by_its_nearest_folder(tmp_path, disk):
    disk(free_bytes=0)

    assert obstacle(tmp_path / "x" / "y" / "z").endswith(f"free at {Path(tmp_path)})")


def test_a_folder_whose_name_says_full_is_not_taken_for_a_full_disk(tmp_path, disk):
    disk(flag=os.ST_RDONLY)
    (tmp_path / "full").mkdir()

    assert "mount it writable" in remedy(tmp_path / "full" / "state.db")


def test_a_read_only_mount_that_only_the_write_meets_is_named_as_one(tmp_path, disk):
    disk(free_bytes=0)

    error = disk_error(OSError(errno.EROFS, "Read-only file system"), tmp_path / "a", "cannot be written")

    assert error.message.endswith("is read-only")
    assert "make room" not in error.hint


@pytest.mark.parametrize(("name", "why"), [("x/report.md", "there is no folder"), (".", "is a folder")])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, name, why):
    with pytest.raises(UsageError, match=f"--markdown: .*{why}"):
        require_writable_file(tmp_path / name, "--markdown")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_read_only_disk_is_refused_before_the_work(tmp_path, disk):
    disk(flag=os.ST_RDONLY)

    with pytest.raises(UsageError, match="read-only"):
        require_writable_file(tmp_path / "report.md", "--markdown")


def test_a_file_that_can_be_written_is_not_touched_by_the_check(tmp_path, disk):
    disk()
    require_writable_file(tmp_path / "report.md", "--markdown")
    assert not (tmp_path / "report.md").exists()


def test_a_place_that_is_no_disk_is_refused_with_the_words_of_the_system_and_not_as_full():
    with pytest.raises(UsageError, match=r"^--markdown: no file can be made in /proc: ") as caught:
        require_writable_file(Path("/proc/no-such-report.md"), "--markdown")
    assert "full" not in caught.value.message


def test_an_error_that_says_its_cause_is_not_taken_for_a_full_disk_where_little_is_free(tmp_path, disk):
    disk(free_bytes=0)

    error = disk_error(OSError(errno.ENOENT, "No such file or directory"), tmp_path / "a", "cannot be written")

    assert error.message.endswith("cannot be written: No such file or directory")
    assert "make room" not in error.hint


def test_an_input_or_output_error_is_explained_by_the_disk_that_is_full(tmp_path, disk):
    disk(free_bytes=0)

    error = disk_error(OSError(errno.EIO, "Input/output error"), tmp_path / "a", "cannot be written")

    assert "the disk is full" in error.message
