"""Records go from the gateway's spool to the store in the control process, and `down` leaves none behind."""

import os
import signal

import pytest

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


def test_after_down_the_store_has_every_acknowledged_record_and_the_spool_is_empty(chat, load, until):
    with load(chat, "/v1/chat/completions", ASK) as clients:
        until(lambda: len(clients.answered) > 50, "requests are served")
        until(chat.recorded, "records arrive while they are")
        chat.run("down")
    acknowledged = {reply.request_id for reply in clients.answered}
    assert acknowledged <= chat.recorded()
    assert list((chat.root / ".shipway" / "spool").glob("*.jsonl")) == []
    assert chat.query("SELECT * FROM spool_marks") == []


def test_requests_are_served_while_control_is_away_and_their_records_arrive_when_it_is_back(chat, load, until):
    with load(chat, "/v1/chat/completions", ASK) as clients:
        until(lambda: clients.answered, "requests are served")
        control = chat.pids()["control"]
        os.kill(control, signal.SIGSTOP)
        before = len(clients.answered)
        until(lambda: len(clients.answered) > before + 50, "requests are served without control")
        os.kill(control, signal.SIGCONT)
    acknowledged = {reply.request_id for reply in clients.answered}
    until(lambda: acknowledged <= chat.recorded(), "every acknowledged request is recorded")
