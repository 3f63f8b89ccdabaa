from dataclasses import replace
from pathlib import Path

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ports import AuditEvent
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.readiness.attestations import ACTION, Statement, attest, attestations

pytestmark = pytest.mark.anyio
SAID = Statement("sec-2", "  The proxy  masks personal data. ", " Ann ", 30)


@pytest.fixture
def app(tmp_path: Path) -> RunningInstallation:
    return RunningInstallation("local", Workspace(tmp_path), MemoryStore(), ManualClock(), "user:ann")


async def test_a_statement_is_an_event_of_the_audit_log(app):
    made = await attest(app, SAID)
    (event,) = await app.state.audit.entries()

    assert (event.action, event.subject, event.actor) == (ACTION, "SEC-2", "user:ann")
    assert (made.statement, made.by) == ("The proxy masks personal data.", "Ann")
    assert made.expires_at_s == app.clock.now_s() + 30 * 86_400
    assert list(attestations([event])) == [made]
    assert await app.state.audit.verify() == []


async def test_only_statements_are_read_and_what_is_broken_is_left_out(app):
    made = await attest(app, SAID)
    other = AuditEvent(1.0, "a", "key.created", "SEC-2", {"statement": "x", "by": "y"})
    broken = AuditEvent(1.0, "a", ACTION, "SEC-2", {"statement": "x"})

    assert list(attestations([other, broken, *await app.state.audit.entries()])) == [made]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"check": "DOCKER-1"}, "looked at, not stated"),
        ({"text": "yes"}, "says nothing"),
        ({"text": " \n "}, "says nothing"),
        ({"by": " "}, "names nobody"),
    ],
)
async def test_what_says_nothing_is_refused_and_not_stored(app, changed, told):
    with pytest.raises(UsageError, match=told):
        await attest(app, replace(SAID, **changed))

    assert await app.state.audit.entries() == []


async def test_a_check_that_is_none_is_told(app):
    with pytest.raises(NotFoundError, match="SEC-99"):
        await attest(app, replace(SAID, check="SEC-99"))
