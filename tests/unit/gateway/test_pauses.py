"""Pauses: for everybody when a time was named, else for the release that was turned away."""

import pytest

from shipway.core.clock import ManualClock
from shipway.gateway.pauses import Pauses
from shipway.gateway.ports import ChatRoute
from shipway.gateway.routed import pause_key

ENGINE = "http://engine/v1 tiny"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def pauses(clock):
    return Pauses(clock)


def left(pauses):
    return [pauses.left_s(ENGINE, release) for release in ("rel_stable", "rel_candidate")]


def test_nobody_leaves_an_engine_alone_that_never_asked_for_it(pauses):
    assert left(pauses) == [0.0, 0.0]
    assert not pauses.concerns(ENGINE)
    assert pauses.told_left_s(ENGINE) == 0.0


def test_a_time_that_the_engine_named_holds_for_every_release_until_it_is_over(pauses, clock):
    pauses.told(ENGINE, 30.0)
    clock.advance(10.0)
    assert (left(pauses), pauses.told_left_s(ENGINE), pauses.concerns(ENGINE)) == ([20.0, 20.0], 20.0, True)
    clock.advance(20.0)
    assert (left(pauses), pauses.told_left_s(ENGINE), pauses.concerns(ENGINE)) == ([0.0, 0.0], 0.0, False)


def test_a_guess_holds_for_the_release_that_was_turned_away_alone(pauses, clock):
    pauses.guessed(ENGINE, "rel_candidate", 1.0)
    assert (left(pauses), pauses.told_left_s(ENGINE), pauses.concerns(ENGINE)) == ([0.0, 1.0], 0.0, True)
    clock.advance(1.0)
    assert (left(pauses), pauses.concerns(ENGINE)) == ([0.0, 0.0], False)


def test_neither_a_later_word_nor_a_guess_shortens_a_pause(pauses):
    pauses.told(ENGINE, 30.0)
    pauses.told(ENGINE, 1.0)
    pauses.guessed(ENGINE, "rel_candidate", 1.0)
    assert (left(pauses), pauses.concerns(ENGINE)) == ([30.0, 30.0], True)
    pauses.guessed(ENGINE, "rel_candidate", 40.0)
    pauses.guessed(ENGINE, "rel_candidate", 2.0)
    assert left(pauses) == [30.0, 40.0]


def test_guesses_that_are_over_are_forgotten(pauses, clock):
    for number in range(100):
        pauses.guessed(ENGINE, f"rel_{number}", 1.0)
        clock.advance(1.0)
    assert len(pauses._pauses[ENGINE].guessed_s) == 1


@pytest.mark.parametrize("other", [{"engine_base_url": "http://b/v1"}, {"upstream_model": "huge"}, {"api_key": "k2"}])
def test_a_pause_belongs_to_one_model_of_one_engine_for_one_key(other):
    limited = {"engine_base_url": "http://a/v1", "upstream_model": "tiny", "api_key": "k1"}
    assert pause_key(ChatRoute(**limited, prompt_version="a@1")) == pause_key(ChatRoute(**limited))
    assert pause_key(ChatRoute(**limited)) != pause_key(ChatRoute(**{**limited, **other}))


def test_no_key_is_readable_in_what_a_pause_is_kept_under():
    assert "sk-secret" not in pause_key(ChatRoute("http://a/v1", "tiny", api_key="sk-secret"))
