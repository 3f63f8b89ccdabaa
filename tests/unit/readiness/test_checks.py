"""Every check on an app that satisfies it, on one that does not, and on one that only looks as if it did."""

import pytest
from tests.unit.readiness.broken_apps import BROKEN
from tests.unit.readiness.lookalike_apps import LOOKALIKES
from tests.unit.readiness.other_ways import OTHER_WAYS
from tests.unit.readiness.ready_app import App, Change

from shipway.readiness.audit import Result, audit
from shipway.readiness.catalogue import CHECKS, check_named
from shipway.readiness.model import State

# What the app that is ready is said to be; all else is PASS.
NOT_PASSED = {
    "DOCKER-5": State.NOT_CHECKED,
    "DOCKER-6": State.NOT_CHECKED,
    "TEST-5": State.NOT_CHECKED,
    "SEC-2": State.NOT_CHECKED,
    "SEC-3": State.NOT_CHECKED,
    "REL-5": State.NOT_APPLICABLE,
    "REL-8": State.NOT_APPLICABLE,
    "REL-9": State.NOT_CHECKED,
    "LIVE-1": State.NOT_CHECKED,
    "LIVE-2": State.NOT_APPLICABLE,
    "LIVE-4": State.NOT_CHECKED,
    "LIVE-7": State.NOT_APPLICABLE,
}
# These say the same of every app: nothing can look, so only a statement counts.
STATED_ALONE = {"TEST-5", "SEC-2", "SEC-3", "REL-9"}


def result(check: str, change: Change = lambda app: app) -> Result:
    (found,) = audit(change(App()).facts(), [check_named(check)]).results
    return found


def numbered(cases):
    found = []
    counts: dict[str, int] = {}
    for check, change, state in cases:
        counts[check] = counts.get(check, 0) + 1
        found.append(pytest.param(check, change, state, id=f"{check}-{counts[check]}"))
    return found


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_an_app_that_is_ready_passes_what_can_be_looked_at(check):
    found = result(check)

    assert (found.state, found.why if found.state is State.FAIL else "") == (NOT_PASSED.get(check, State.PASS), "")
    assert found.evidence or found.state is State.NOT_CHECKED


@pytest.mark.parametrize(("check", "change", "state"), numbered(BROKEN))
def test_what_does_not_hold_is_told_with_what_to_do(check, change, state):
    found = result(check, change)

    assert found.state is state, (found.why, found.evidence)
    assert found.why
    assert found.fix


@pytest.mark.parametrize(("check", "change", "state"), numbered(LOOKALIKES))
def test_what_only_looks_as_if_it_held_is_not_passed(check, change, state):
    found = result(check, change)

    assert found.state is state, (found.why, found.evidence)
    assert found.state in {State.FAIL, State.NOT_CHECKED}


@pytest.mark.parametrize(("check", "change", "state"), numbered(OTHER_WAYS))
def test_there_are_other_ways_to_hold(check, change, state):
    found = result(check, change)

    assert found.state is state, (found.why, found.evidence)
    assert found.evidence


def test_every_check_is_tried_on_an_app_of_each_kind():
    every = {check.id for check in CHECKS}

    assert {case[0] for case in BROKEN} == every - STATED_ALONE
    assert {case[0] for case in LOOKALIKES} == every
