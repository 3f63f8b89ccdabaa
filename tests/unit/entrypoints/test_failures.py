import pytest

from shipway.entrypoints.cli.main import COMMANDS
from shipway.entrypoints.failures import LEFT_BEHIND, interruption


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["up"], "interrupted; everything that it had started is stopped; the store is kept"),
        (["deploy", "rel_1", "--wait"], "interrupted; stopped waiting; a rollout that was started goes on"),
        (["rollout", "watch", "ro_1"], "interrupted; stopped watching; the rollout goes on"),
        (["release", "list"], "interrupted; stopped"),
        ([], "interrupted; stopped"),
    ],
)
def test_an_interrupted_command_says_what_it_left(arguments, line):
    assert interruption(arguments, terminated=False).startswith(line)


def test_a_terminated_command_says_that_it_was_terminated():
    assert interruption(["up"], terminated=True).startswith("terminated; everything")


def test_only_commands_that_exist_have_a_line_of_their_own():
    assert {command[0] for command, _ in LEFT_BEHIND} <= set(COMMANDS)
