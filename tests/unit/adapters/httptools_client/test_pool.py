import pytest

from shipway.adapters.httptools_client.connection import EngineConnection
from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.adapters.httptools_client.pool import ConnectionPool
from shipway.gateway.outbox import Outbox

pytestmark = pytest.mark.anyio


class Pipe:
    """A transport that only knows whether it was cut."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True

    def is_closing(self) -> bool:
        return self.is_cut


def opened(pool: ConnectionPool) -> tuple[EngineConnection, Pipe]:
    connection, pipe = EngineConnection(pool.keep, KnownReplies(), Outbox()), Pipe()
    connection.connection_made(pipe)
    pool.keep(connection)
    return connection, pipe


async def test_the_connection_used_last_is_the_next():
    pool = ConnectionPool(8)
    first, _ = opened(pool)
    second, _ = opened(pool)

    assert [pool.take(), pool.take(), pool.take()] == [second, first, None]


async def test_one_too_many_is_cut():
    pool = ConnectionPool(1)
    kept, _ = opened(pool)
    _, pipe = opened(pool)

    assert (list(pool.idle), pipe.is_cut) == ([kept], True)


async def test_what_is_closed_or_too_old_is_not_given_to_a_request():
    pool = ConnectionPool(8)
    old, old_pipe = opened(pool)
    old.idle_since_s -= 60.0
    opened(pool)[1].abort()

    assert pool.take() is None
    assert old_pipe.is_cut


async def test_a_sweep_cuts_what_is_too_old_and_nothing_else():
    pool = ConnectionPool(8)
    old, old_pipe = opened(pool)
    old.idle_since_s -= 60.0
    young, _ = opened(pool)
    pool.sweep()

    assert (list(pool.idle), old_pipe.is_cut) == ([young], True)
