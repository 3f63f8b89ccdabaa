"""The ledger refuses what it does not know."""

import sqlite3

import pytest

from shipway.core.errors import StoreError
from shipway.rag.ledger import Ledger


def test_a_ledger_of_another_version_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="ledger version 99, this Shipway knows 1"):
        Ledger.open(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"is damaged .*\n  move it away; the next build makes it anew"):
        Ledger.open(path)
