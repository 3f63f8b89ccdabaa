import hashlib
import os
from pathlib import Path

import pytest

from shipway.core.errors import StoreError
from shipway.entrypoints.gateway_process import _hash_key


def test_the_key_for_hashing_questions_is_made_once_and_read_by_its_owner_alone(tmp_path):
    path = tmp_path / ".shipway" / "question-hash.key"

    first = _hash_key(path)

    assert _hash_key(path) == first
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (32, 0o600)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_no_empty_key_behind(tmp_path, monkeypatch):
    path = tmp_path / "question-hash.key"

    def full(descriptor: int, mode: str) -> None:
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shipway.entrypoints.gateway_process.os.fdopen", full)
    with pytest.raises(StoreError, match=r"question-hash.key cannot be written: the disk is full"):
        _hash_key(path)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_key_of_a_full_disk_is_made_anew(tmp_path):
    path: Path = tmp_path / "question-hash.key"
    path.touch()

    assert _hash_key(path) != hashlib.sha256(b"").digest()
