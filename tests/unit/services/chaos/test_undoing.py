"""The journal: what a run that died left is undone by the next one, and only that."""

import json

import pytest
from tests.unit.services.chaos.machine import FakeProcesses

from shipway.chaos.journal import Undo
from shipway.core.errors import DocumentError, StoreError, UnavailableError
from shipway.services.chaos.undoing import Journal, undo_left_over

pytestmark = pytest.mark.anyio

ENGINES = {"small": "http://127.0.0.1:1/v1"}
PROXIED = {"small": "http://127.0.0.1:9/v1"}
SUPERVISOR = (5, 50)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "chaos" / "undo.json", SUPERVISOR)


async def undone(journal, processes=None, engines=None):
    asked = []

    async def redirect(wanted):
        asked.append(dict(wanted))

    told = await undo_left_over(journal, processes or FakeProcesses(), redirect, engines or PROXIED)
    return told, asked


async def test_nothing_left_is_nothing_done(journal):
    assert await undone(journal) == ([], [])


async def test_stopped_processes_go_on_and_limits_are_set_back(journal):
    processes = FakeProcesses({7: 70, 8: 80}, limits={8: 0})
    journal.write(Undo("disk-full", resume=((7, 70),), file_sizes=((8, 80, -1),)))

    told, _ = await undone(journal, processes)

    assert processes.said == ["resume 7", "limit 8 to -1"]
    assert told == ["disk-full: process 7 goes on", "disk-full: process 8 may write again"]
    assert journal.read() is None


async def test_gateways_are_brought_back_to_their_engines(journal):
    journal.write(Undo("engine-errors", engines=ENGINES))

    told, asked = await undone(journal)

    assert (told, asked) == (["engine-errors: gateways ask their engines again"], [ENGINES])


async def test_gateways_that_ask_their_engines_already_are_left_alone(journal):
    journal.write(Undo("engine-errors", engines=ENGINES))

    assert (await undone(journal, engines=ENGINES))[1] == []
    assert journal.read() is None


async def test_engines_of_a_project_that_was_started_anew_are_left_alone(journal):
    journal.write(Undo("engine-errors", engines=ENGINES))
    later = Journal(journal.path, (6, 60))

    assert (await undone(later))[1] == []
    assert later.read() is None


async def test_a_process_that_is_another_one_by_now_is_not_touched(journal):
    processes = FakeProcesses({7: 71})
    journal.write(Undo("engine-stuck", resume=((7, 70),)))

    told, _ = await undone(journal, processes)

    assert (processes.said, told) == ([], ["engine-stuck: nothing of it was left"])


async def test_what_could_not_be_undone_stays_written_down(journal):
    journal.write(Undo("engine-errors", engines=ENGINES))

    async def fails(_engines):
        raise UnavailableError("a new worker did not serve")

    with pytest.raises(UnavailableError):
        await undo_left_over(journal, FakeProcesses(), fails, PROXIED)

    assert journal.read().engines == ENGINES


async def test_what_needs_no_undoing_is_not_written_down(journal):
    journal.write(Undo("worker-killed"))

    assert not journal.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"experiment": "x"}', '{"experiment": "x", "engines": []}'])
async def test_a_journal_that_cannot_be_read_stops_the_run_and_says_what_to_do(journal, text):
    journal.path.parent.mkdir()
    journal.path.write_text(text)

    with pytest.raises(DocumentError, match="mend that by hand"):
        await undone(journal)


async def test_nothing_may_be_broken_that_cannot_be_written_down(tmp_path):
    (tmp_path / "chaos").write_text("a file where a folder belongs")

    with pytest.raises(StoreError):
        Journal(tmp_path / "chaos" / "undo.json").write(Undo("disk-full", resume=((1, 2),)))


async def test_the_journal_is_json_with_everything_in_it(journal):
    undo = Undo("x", ENGINES, ((7, 70),), ((8, 80, -1),))
    journal.write(undo)

    assert json.loads(journal.path.read_text())["supervisor"] == list(SUPERVISOR)
    assert journal.read() == Undo("x", ENGINES, ((7, 70),), ((8, 80, -1),), SUPERVISOR)
