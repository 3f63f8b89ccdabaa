"""Log lines: one JSON object each, masked last before rendering. Edges log, domain code returns facts.

`configure` is called once by each process's entry point. Until then lines go where the standard library sends them.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import orjson

from shipway.core.errors import ShipwayError
from shipway.telemetry.masking import DROPPED, DropBodies, Masker

_OWN = "shipway"
"""Our lines' logger in the standard library; the others there are other libraries'."""
_FIELDS = "shipway_fields"
_FRAMES = 20


def configure(stream: TextIO, masker: Masker | None = None, level: str = "INFO") -> None:
    """Send log lines of at least `level` to a stream; other libraries' warnings too.

    Raises:
        ValueError: no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    logging.getLogger(_OWN).setLevel(number)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, Lines)]:
        root.removeHandler(handler)
    root.addHandler(Lines(stream, masker or DropBodies(), foreign_from=max(number, logging.WARNING)))


def logger(name: str) -> "Logger":
    """Return a logger whose lines carry `name` as `component`."""
    return Logger({"component": name})


class Logger:
    """Writes events with fields: its own and those of the call. `exc_info` may be True, an error or a triple."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self._target = logging.getLogger(_OWN)

    def bind(self, **fields: Any) -> "Logger":
        """Return a logger with more fields of its own."""
        return Logger({**self._fields, **fields})

    def debug(self, event: str, /, *values: Any, **fields: Any) -> None:
        """Write a line of level debug."""
        self._write(logging.DEBUG, event, values, fields)

    def info(self, event: str, /, *values: Any, **fields: Any) -> None:
        """Write a line of level info."""
        self._write(logging.INFO, event, values, fields)

    def warning(self, event: str, /, *values: Any, **fields: Any) -> None:
        """Write a line of level warning."""
        self._write(logging.WARNING, event, values, fields)

    def error(self, event: str, /, *values: Any, **fields: Any) -> None:
        """Write a line of level error."""
        self._write(logging.ERROR, event, values, fields)

    def exception(self, event: str, /, *values: Any, **fields: Any) -> None:
        """Write a line of level error about the exception that is being handled."""
        self._write(logging.ERROR, event, values, {"exc_info": True, **fields})

    def _write(self, level: int, event: str, values: tuple[Any, ...], fields: dict[str, Any]) -> None:
        target = self._target
        if target.isEnabledFor(level):
            info = _exc_info(fields.pop("exc_info", None))
            extra = {_FIELDS: {**self._fields, **fields}}
            target.handle(target.makeRecord(_OWN, level, "", 0, event, values, info, extra=extra))


class Lines(logging.Handler):
    """Writes our lines, and what other libraries (aiohttp, uvicorn, asyncio) log, through the same masking."""

    def __init__(self, stream: TextIO, masker: Masker, *, foreign_from: int) -> None:
        super().__init__()
        self._stream = stream
        self._masker = masker
        self._foreign_from = foreign_from

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        try:
            line = self._line(record)
            if line is not None:
                self._stream.write(line)
                self._stream.flush()
        except Exception:  # noqa: BLE001 - the library's contract: a handler reports, it never raises
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str | None:
        fields = getattr(record, _FIELDS, None)
        if fields is None:
            if record.levelno < self._foreign_from:
                return None
            fields = {"component": record.name}
        event = {
            **fields,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            **_described(record.exc_info[1] if record.exc_info else None),
        }
        return orjson.dumps(self._masked(event), default=lambda value: f"[{type(value).__name__}]").decode() + "\n"

    def _masked(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """Return what may be written of an event; a masker that fails costs its content, never its secrecy."""
        try:
            return self._masker.mask(event)
        except Exception as error:  # noqa: BLE001 - fails closed: a broken rule must not let the line through
            return {"event": DROPPED, "masking_failed": type(error).__name__}


def _exc_info(info: Any) -> Any:
    if info is True:
        return sys.exc_info()
    return (type(info), info, info.__traceback__) if isinstance(info, BaseException) else info


def _described(error: BaseException | None) -> dict[str, Any]:
    """Return an error's type, place and, for errors of ours alone, message.

    Other errors' messages may quote what a user sent (a validation error does).
    """
    if error is None:
        return {}
    reason = {"reason": str(error)} if isinstance(error, ShipwayError) else {}
    return {"error": type(error).__name__, **reason, "frames": _frames(error.__traceback__)}


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
