"""The events of the list as lines."""

import io
import json

import pytest

from shipway.telemetry.events import EVENTS, leveled
from shipway.telemetry.logs import configure, logger


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    configure(stream)
    return stream


@pytest.mark.parametrize("event", [event for event in EVENTS if event.level != "debug"], ids=lambda event: event.name)
def test_an_events_line_has_its_level_and_every_field_that_the_reference_names(lines, event):
    leveled(logger("shipway.test"))(event.name, **dict.fromkeys(event.fields, 7))
    (line,) = map(json.loads, lines.getvalue().splitlines())

    assert (line["event"], line["level"], line["component"]) == (event.name, event.level, "shipway.test")
    assert {name: line[name] for name in event.fields} == dict.fromkeys(event.fields, 7)


def test_a_budgets_name_and_an_errors_text_can_be_read_in_their_lines(lines):
    note = leveled(logger("shipway.test"))
    note("budget_alert", budget="acme/tenant/daily_usd", percent=80, spent_usd=8.0, limit_usd=10.0)
    note("limits_lost", mode="fail_closed", error="ConnectionError('refused')")
    alert, lost = map(json.loads, lines.getvalue().splitlines())

    assert (alert["budget"], alert["percent"], alert["spent_usd"]) == ("acme/tenant/daily_usd", 80, 8.0)
    assert (lost["mode"], lost["error"]) == ("fail_closed", "ConnectionError('refused')")
