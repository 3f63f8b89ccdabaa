"""What an audit promises of every check: nothing is claimed that was not looked at."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.readiness.ready_app import NOW_S, App, edit, file, has, store

from shipway.readiness.audit import audit, level_of, next_steps
from shipway.readiness.catalogue import CHECKS, LEVELS, wording
from shipway.readiness.facts import Absent, Attestation, Facts
from shipway.readiness.model import Area, Check, Effort, Evidence, Source, State, passed

READY = App().facts()
FOUND = {result.check.id: result for result in audit(READY).results}
GONE = Absent("nobody looked", "look")
HOLD = {State.PASS, State.NOT_APPLICABLE, State.ATTESTED}
DAY_S = 86_400.0


def without(facts: Facts, sources: set[Source]) -> Facts:
    return replace(facts, **{source.value: GONE for source in sources})


@given(st.sets(st.sampled_from(list(Source)), min_size=1))
def test_without_a_source_no_check_that_relied_on_it_passes(sources):
    for result in audit(without(READY, sources)).results:
        before = FOUND[result.check.id]
        relied = {item.source for item in before.evidence}
        if result.state in HOLD:
            assert not {item.source for item in result.evidence} & sources
            # Feedback has two sources, each enough: the store that has some, the service that takes some.
            assert not relied & sources or result.check.id == "MON-7"


def test_without_any_source_nothing_holds():
    found = audit(without(READY, set(Source)))

    assert {result.state for result in found.results} == {State.NOT_CHECKED}
    assert found.level == 0
    assert {name for name, _ in found.absent} == {source.value for source in Source}


def cited(check: str) -> list[str]:
    places = [item.where.rpartition(":")[0] or item.where for item in FOUND[check].evidence]
    return sorted({place for place in places if place in App().files})


CITING = [check.id for check in CHECKS if cited(check.id) and FOUND[check.id].state is State.PASS]


@pytest.mark.parametrize("check", CITING)
def test_without_the_files_it_cites_a_check_does_not_pass(check):
    app = App()
    for path in cited(check):
        app = file(path, None)(app)
    (found,) = audit(app.facts(), [item for item in CHECKS if item.id == check]).results

    # With neither Dockerfile nor code there is nothing to hold against the app; the claim is another one then.
    if check in {"APP-7", "SEC-8"}:
        assert "Dockerfile:" not in str(found.evidence)
    elif check == "SEC-5":
        assert found.evidence == ()
        assert found.state is State.NOT_CHECKED
    else:
        assert found.state in {State.FAIL, State.NOT_CHECKED}


@given(st.sets(st.sampled_from(sorted(App().files)), min_size=1))
def test_no_evidence_names_a_file_that_is_gone(gone):
    app = App()
    for path in gone:
        app = file(path, None)(app)

    for result in audit(app.facts()).results:
        for item in result.evidence:
            assert item.source is not Source.REPOSITORY or item.where.rpartition(":")[0] not in gone


@given(st.sets(st.sampled_from(sorted(App().answers)), min_size=1))
def test_no_check_passes_on_an_answer_that_was_not_given(gone):
    answers = {name: answer for name, answer in App().answers.items() if name not in gone}

    for result in audit(has(answers=answers)(App()).facts()).results:
        if result.state in HOLD:
            assert not {item.where.split(" at ")[0] for item in result.evidence} & gone


def test_a_check_that_gives_no_evidence_has_not_passed():
    silent = Check(Area.DOCKER, 99, "nothing", "D 11", 1, "a test", lambda facts: passed())
    (found,) = audit(READY, [silent]).results

    assert found.state is State.NOT_CHECKED


def stated(check: str, **changed) -> Attestation:
    asked = next(item for item in CHECKS if item.id == check)
    made = Attestation(
        check, "it is so", "Ann", "user:ann", NOW_S - DAY_S, NOW_S + DAY_S, 7, "sha256:0", wording(asked)
    )
    return replace(made, **changed)


def one(check: str, *statements: Attestation, change=lambda app: app):
    facts = replace(change(App()).facts(), attestations=statements)
    (found,) = audit(facts, [item for item in CHECKS if item.id == check]).results
    return found


def test_a_statement_counts_as_stated_and_never_as_passed():
    found = one("SEC-2", stated("SEC-2"))

    assert (found.state, found.holds) == (State.ATTESTED, True)
    assert "Ann (entered by user:ann) on 2027-01-14, until 2027-01-16: it is so" in found.evidence[-1].says


@pytest.mark.parametrize(
    ("statement", "note"),
    [
        (stated("SEC-2", expires_at_s=NOW_S), "expired on 2027-01-15"),
        (stated("SEC-2", at_s=NOW_S + 1), "expired"),
        (stated("SEC-2", wording="sha256:other"), "wording has changed"),
    ],
)
def test_a_statement_that_is_over_or_about_something_else_does_not_count(statement, note):
    found = one("SEC-2", statement)

    assert found.state is State.NOT_CHECKED
    assert note in found.note


def test_no_statement_counts_while_the_audit_chain_is_broken():
    found = one("SEC-2", stated("SEC-2"), change=store(faults=("audit seq 7: changed",)))

    assert found.state is State.NOT_CHECKED
    assert "audit seq 7" in found.note


def test_the_newest_statement_decides_even_when_it_has_expired():
    newest = stated("SEC-2", seq=8, expires_at_s=NOW_S - 1)

    assert one("SEC-2", newest, stated("SEC-2")).state is State.NOT_CHECKED


def test_a_statement_does_not_count_against_what_was_seen():
    found = one("MON-2", stated("MON-2"), change=edit("monitoring/dashboard.json", "shipway_requests_total", "up"))

    assert found.state is State.FAIL
    assert "what was seen decides" in found.note


def test_a_check_that_is_not_for_statements_ignores_one():
    statement = Attestation("DOCKER-1", "it is so", "Ann", "user:ann", NOW_S - 1, NOW_S + 1, 1, "", wording(CHECKS[8]))

    assert one("DOCKER-1", statement, change=file("Dockerfile", None)).state is State.FAIL


def everything_stated() -> Facts:
    return replace(READY, attestations=tuple(stated(check.id) for check in CHECKS if check.attest))


def test_an_app_that_is_ready_and_stated_is_at_the_top():
    found = audit(everything_stated())

    assert (found.level, found.steps) == (len(LEVELS) - 1, ())


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_each_check_alone_can_hold_up_its_level(check):
    results = tuple(
        replace(result, state=State.FAIL) if result.check.id == check.id else result
        for result in audit(everything_stated()).results
    )

    assert level_of(results) == check.level - 1


def test_next_steps_are_those_of_the_next_level_first_and_of_these_the_easiest():
    results = tuple(replace(result, state=State.FAIL, fix=result.check.id) for result in FOUND.values())
    steps = next_steps(results, most=len(results))

    levels = [step.level for step in steps]
    efforts = {check.id: check.effort for check in CHECKS}
    assert levels == sorted(levels)
    assert efforts[steps[0].checks[0]] is Effort.LINE
    assert len(next_steps(results)) == 3


def test_checks_that_one_thing_decides_are_one_step():
    steps = audit(without(READY, {Source.SERVICE})).steps

    assert steps[0].todo == "look"
    assert {"APP-1", "APP-2", "SEC-6"} <= set(steps[0].checks)


def test_evidence_is_shown_with_its_place():
    assert str(Evidence(Source.GIT, "git log a", "one commit")) == "git log a: one commit"
