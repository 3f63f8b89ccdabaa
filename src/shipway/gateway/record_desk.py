"""Records that are written together: those of all replies that one turn of the event loop brought on the short way.

A write costs the kernel more than a record is long, so a turn's records go to the spool in one. Nothing of a reply is
sent before its record is written: the desk works before the outbox sends (`Outbox.first`).
"""

import asyncio
from typing import Protocol

from shipway.core.record import ServedRequest
from shipway.gateway.ports import RecordSink


class Landing(Protocol):
    """A request whose reply is there; `gateway.flight` has them."""

    def acknowledged(self, record: ServedRequest, reply: bytes) -> None:
        """Answer: the record is written."""
        ...

    def unrecorded(self, error: Exception) -> None:
        """Answer with an error: the record cannot be written."""
        ...


class RecordDesk:
    """The records of one turn and who waits for them."""

    __slots__ = ("_records", "_waiting")

    def __init__(self, records: RecordSink) -> None:
        self._records = records
        self._waiting: list[tuple[Landing, ServedRequest, bytes]] = []

    def put(self, landing: Landing, record: ServedRequest, reply: bytes) -> bool:
        """Keep a record for `commit`; returns whether it is the first, so that `commit` has to be called."""
        self._waiting.append((landing, record, reply))
        return len(self._waiting) == 1

    def commit(self) -> None:
        """Write all records, and let everybody answer."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            self._records.append_all([record for _, record, _ in waiting])
        except Exception:  # noqa: BLE001 - one that cannot be written must not cost the others theirs
            self._one_by_one(waiting)
            return
        for landing, record, reply in waiting:
            _acknowledge(landing, record, reply)

    def _one_by_one(self, waiting: list[tuple[Landing, ServedRequest, bytes]]) -> None:
        for landing, record, reply in waiting:
            try:
                self._records.append(record)
            except Exception as error:  # noqa: BLE001 - the long way says what failed
                landing.unrecorded(error)
            else:
                _acknowledge(landing, record, reply)


def _acknowledge(landing: Landing, record: ServedRequest, reply: bytes) -> None:
    try:
        landing.acknowledged(record, reply)
    except Exception as error:  # noqa: BLE001 - nobody stands above a callback, and the others wait behind it
        context = {"message": "a reply that could not be given to its client", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
