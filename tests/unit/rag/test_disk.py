"""What the disk refuses is said with the path, the room that is left and what to do."""

import errno
import os
import sqlite3

import pytest

from shipway.core.errors import StoreError
from shipway.rag import disk
from shipway.rag.disk import disk_failures, ledger_failure


def failing(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_free_space(tmp_path, number):
    (tmp_path / "0f3a").mkdir()  # a corpus
    with pytest.raises(StoreError) as caught, disk_failures(tmp_path, tmp_path / "ledger"):
        raise OSError(number, os.strerror(number), str(tmp_path / "vectors"))
    assert caught.value.message.startswith(f"{tmp_path / 'vectors'} cannot be written: the disk is full (")
    assert "MB free" in caught.value.message
    assert caught.value.hint.startswith("make room on that disk; the corpus built before is whole")


def test_an_error_without_a_path_names_the_folder_of_the_corpora(tmp_path):
    with (
        pytest.raises(StoreError, match=f"^{tmp_path} cannot be written: Input/output error"),
        disk_failures(tmp_path, tmp_path),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_FULL, "cannot be written: the disk is full"),
        (sqlite3.SQLITE_NOTADB, "is damaged"),
        (sqlite3.SQLITE_CORRUPT | 1 << 8, "is damaged"),
        (sqlite3.SQLITE_BUSY, "is locked by another program"),
        (sqlite3.SQLITE_IOERR_WRITE, "cannot be written: disk I/O error"),
    ],
)
def test_an_error_of_the_ledger_says_what_it_means(tmp_path, code, said):
    with pytest.raises(StoreError) as caught, disk_failures(tmp_path, tmp_path / "ledger"):
        raise failing(code)
    assert caught.value.message.startswith(f"{tmp_path / 'ledger'} {said}")
    assert caught.value.hint


def test_an_input_output_error_of_the_ledger_on_a_full_disk_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "obstacle", lambda _: "the disk is full (0.0 MB free)")
    found = ledger_failure(tmp_path / "ledger", failing(sqlite3.SQLITE_IOERR_WRITE))
    assert "cannot be written: the disk is full (0.0 MB free)" in found.message


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match="mine"), disk_failures(tmp_path, tmp_path):
        raise ValueError("mine")


def test_a_corpus_built_before_is_spoken_of_only_where_there_is_one(tmp_path):
    (tmp_path / ".building-0f3a").mkdir()

    with pytest.raises(StoreError) as caught, disk_failures(tmp_path, tmp_path / "ledger"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "vectors"))

    assert "built before" not in caught.value.hint
    assert "built before" not in ledger_failure(tmp_path / "ledger", failing(sqlite3.SQLITE_FULL)).hint


def test_a_read_only_file_system_is_not_to_be_emptied_but_mounted_writable(tmp_path):
    with pytest.raises(StoreError) as caught, disk_failures(tmp_path, tmp_path / "ledger"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "vectors"))

    assert "read-only" in caught.value.message
    assert "make room" not in caught.value.hint
    assert "mount it writable" in caught.value.hint
