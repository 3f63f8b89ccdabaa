"""Who waits for a process is told when it ends again and again, by its name and how it ended."""

import pytest

from shipway.core.errors import UnavailableError
from shipway.services.process_starts import ProcessStarts

NAME = "classify-rel_1"


def process(restarts, name=NAME, problem="ended with 3; see classify-rel_1.log"):
    return {"name": name, "restarts": restarts, "last_exit": 3, "problem": problem}


def looked(*looks, names=(NAME,)):
    """Look once at each of some lists of processes."""
    lists = iter(looks)
    starts = ProcessStarts(names, lambda: next(lists))
    for _ in looks:
        starts.require_hope()


def test_a_process_that_ends_again_and_again_ends_the_wait_with_its_exit_code_and_its_name_for_the_logs():
    with pytest.raises(UnavailableError, match="classify-rel_1 ends as soon as it starts: ended with 3") as raised:
        looked([], [process(0)], [process(1)], [process(2)])
    assert raised.value.hint == "`shipway logs classify-rel_1` says more"


def test_one_restart_is_waited_for():
    looked([process(0)], [process(1)], [process(1)])


def test_restarts_of_before_the_wait_do_not_count():
    looked([process(7)], [process(7)], [process(0)], [process(1)])
    with pytest.raises(UnavailableError):
        looked([process(7)], [process(9)])


def test_other_processes_do_not_count():
    looked([process(0, name="gateway")], [process(9, name="gateway")])


def test_a_command_that_cannot_be_started_is_told_as_that():
    with pytest.raises(UnavailableError, match="cannot start 'pyhton'"):
        looked([process(0)], [process(2, problem="cannot start 'pyhton': No such file or directory")])
    with pytest.raises(UnavailableError, match="exit code 3"):
        looked([process(0)], [process(2, problem="")])
