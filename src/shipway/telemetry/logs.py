"""Log lines: one JSON object each, masked last before rendering. Edges log, domain code returns facts.

`configure` is called once by each process's entry point.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import orjson
import structlog

from shipway.core.errors import ShipwayError
from shipway.telemetry.masking import DROPPED, DropBodies, Masker

_Event = MutableMapping[str, Any]
_FRAMES = 20


def configure(stream: TextIO, masker: Masker | None = None, level: str = "INFO") -> None:
    """Send log lines of at least `level` to a stream; other libraries' warnings too.

    Raises:
        ValueError: no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            describe_exception,
            MaskingProcessor(masker or DropBodies()),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, ForeignLines)]:
        root.removeHandler(handler)
    root.addHandler(ForeignLines(level=max(number, logging.WARNING)))


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines carry `name` as `component`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(component=name))


class MaskingProcessor:
    """Applies the masker; a masker that fails costs the line's content, never its secrecy."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker

    def __call__(self, _logger: Any, _method: str, event_dict: _Event) -> _Event:
        """Return what may be written of an event."""
        try:
            return self._masker.mask(event_dict)
        except Exception as error:  # noqa: BLE001 - fails closed: a broken rule must not let the line through
            return {"event": DROPPED, "masking_failed": type(error).__name__}


class ForeignLines(logging.Handler):
    """Brings the standard library's log records (aiohttp, uvicorn, asyncio) through the same masking."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one of our lines."""
        try:
            logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - the library's contract: a handler reports, it never raises
            self.handleError(record)


def describe_exception(_logger: Any, _method: str, event_dict: _Event) -> _Event:
    """Replace `exc_info` by type, place and, for errors of ours alone, message.

    Other errors' messages may quote what a user sent (a validation error does).
    """
    info = event_dict.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event_dict["error"] = type(error).__name__
        if isinstance(error, ShipwayError):
            event_dict["reason"] = str(error)
        event_dict["frames"] = _frames(error.__traceback__)
    return event_dict


def render(_logger: Any, _method: str, event_dict: _Event) -> str:
    """Return the line."""
    return orjson.dumps(event_dict, default=lambda value: f"[{type(value).__name__}]").decode()


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
