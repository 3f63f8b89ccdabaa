"""Windows of the week: what is one, when it is open, and when the next one is."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from shipway.rollouts.calendar import is_open, next_opening, window_problem

OFFICE = ("Mon-Fri 09:00-17:00",)


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    "text", ["Mon-Fri 09:00-17:00", "sat,sun 10:00-12:30", "Fri-Mon 00:00-24:00", "mon,Wed-Fri 9:00-17:00"]
)
def test_windows_as_people_write_them(text):
    assert window_problem(text) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("weekdays", "is no window; use days and a time of day"),
        ("Mon 09:00", "is no window"),
        ("Mon 17:00-09:00", "ends before it begins"),
        ("Mon 09:00-09:00", "ends before it begins"),
        ("Mon 20:00-25:00", "a time after 24:00"),
        ("Montag 09:00-17:00", "is no window"),
        ("", "is no window"),
    ],
)
def test_what_is_no_window_is_told(text, problem):
    assert problem in window_problem(text)


def test_a_window_is_open_from_its_first_to_before_its_last_minute():
    assert is_open(OFFICE, "UTC", at("2026-11-20T09:00"))
    assert is_open(OFFICE, "UTC", at("2026-11-20T16:59:59"))
    assert not is_open(OFFICE, "UTC", at("2026-11-20T17:00"))
    assert not is_open(OFFICE, "UTC", at("2026-11-21T12:00"))
    assert is_open((), "UTC", at("2026-11-21T12:00"))


def test_days_go_over_the_end_of_the_week():
    windows = ("Sat-Mon 00:00-24:00",)
    days = [is_open(windows, "UTC", at(f"2026-11-{day}T12:00")) for day in range(20, 25)]
    assert days == [False, True, True, True, False]


def test_times_are_local_summer_time_included():
    berlin = "Europe/Berlin"
    for day in ("2026-03-27", "2026-03-30"):  # before and after the clock changes
        assert not is_open(OFFICE, berlin, at(f"{day}T08:59", berlin))
        assert is_open(OFFICE, berlin, at(f"{day}T09:00", berlin))


def test_the_next_opening_is_named_in_local_time():
    assert next_opening(OFFICE, "Europe/Berlin", at("2026-11-21T12:00")) == "Mon 2026-11-23 09:00 CET"
    assert next_opening(OFFICE, "UTC", at("2026-11-23T10:00")).startswith("Mon 2026-11-23 10:15")
