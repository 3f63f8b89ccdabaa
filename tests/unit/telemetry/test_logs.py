import io
import json
import logging

import pytest

from shipway.core.errors import StoreError
from shipway.telemetry.logs import Lines, configure, logger
from shipway.telemetry.masking import DROPPED

SECRET_WORDS = ("ada@example.com", "4111111111111111", "4111 1111 1111 1111", "swk_live_0123456789", "my illness")


@pytest.fixture
def stream():
    root = logging.getLogger()
    before = list(root.handlers)
    stream = io.StringIO()
    configure(stream)
    yield stream
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    logging.getLogger("shipway").setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_event_level_component_and_iso_time(stream):
    logger("shipway.gateway").info("request_served", status=200)
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {"event": "request_served", "level": "info", "component": "shipway.gateway", "status": 200}


def test_nothing_personal_planted_in_any_kind_of_field_reaches_the_stream(stream):
    planted = " / ".join(SECRET_WORDS[:-1])
    log = logger("test").bind(caller="ada@example.com")
    log.info(planted, note=planted, prompt="my illness", nested={"text": "my illness", "list": [planted, {planted: 1}]})
    log.info("positional %s", planted)
    log.bind(bound=planted).warning("bound", number=4111111111111111, obj=ValueError("my illness"), raw=b"my illness")
    log.info("asked", messages=[{"role": "user", "content": "my illness"}], question="my illness", answer="my illness")
    try:
        float("my illness of " + planted)
    except ValueError:
        log.exception("failed")
    logging.getLogger("aiohttp").error("foreign %s", planted)
    written = stream.getvalue()
    assert len(lines(stream)) == 6
    assert [word for word in SECRET_WORDS if word in written] == []


def test_an_exception_of_another_library_shows_type_and_place_but_not_its_message(stream):
    try:
        int("my illness")
    except ValueError:
        logger("test").exception("failed")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert "reason" not in line
    assert line["frames"][-1].startswith("test_logs.py:")


def test_an_error_of_ours_shows_its_message_masked(stream):
    logger("test").error("failed", exc_info=StoreError("state.db is locked by ada@example.com"))
    assert lines(stream)[0]["reason"] == "state.db is locked by [email]"


def test_a_masker_that_fails_costs_the_line_its_content(stream):
    class Broken:
        def mask(self, event_dict):
            raise KeyError(event_dict["note"])

    configure(stream, Broken())
    logger("test").info("event", note="my illness")
    assert lines(stream) == [{"event": DROPPED, "masking_failed": "KeyError"}]


def test_an_own_masker_replaces_the_default(stream):
    class OnlyEvent:
        def mask(self, event_dict):
            return {"event": event_dict["event"]}

    configure(stream, OnlyEvent())
    logger("test").info("event", note="x")
    assert lines(stream) == [{"event": "event"}]


def test_lines_below_the_level_are_not_written(stream):
    configure(stream, level="WARNING")
    logger("test").info("quiet")
    logger("test").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_an_unknown_level_is_refused_by_name(stream):
    with pytest.raises(ValueError, match="LOUD"):
        configure(stream, level="LOUD")


def test_configuring_twice_does_not_write_foreign_lines_twice(stream):
    configure(stream)
    logging.getLogger("aiohttp").warning("once")
    assert [line["event"] for line in lines(stream)] == ["once"]
    assert sum(isinstance(handler, Lines) for handler in logging.getLogger().handlers) == 1


def test_a_logger_made_before_configuring_writes_to_the_new_stream(stream):
    log = logger("early")
    later = io.StringIO()
    configure(later)
    log.info("event")
    assert [line["event"] for line in lines(later)] == ["event"]


def test_a_stream_that_fails_does_not_fail_who_logs(stream, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    stream.close()
    logger("test").info("event")
    configure(io.StringIO())


def test_nothing_is_said_of_an_error_where_none_is_handled(stream):
    logger("test").exception("failed")
    (line,) = lines(stream)
    assert line.keys() == {"event", "level", "component", "at"}
