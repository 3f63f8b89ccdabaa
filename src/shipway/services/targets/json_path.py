"""Reading a value out of a JSON reply by a path such as `choices.0.message.content` or `sources.*.id`."""

from typing import Any

from shipway.config.sections.eval_targets import EVERY, path_parts
from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.replies import excerpt

_SHOWN_KEYS = 8


class JsonPath:
    """A path, taken apart once. A number is the place in a list, from 0 or, below 0, from its end."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = path_parts(text)

    def read(self, value: Any) -> Any:
        """Return what stands there; with `*` a list.

        Raises:
            NoAnswerError: the value has no such place.
        """
        return self._read(value, 0)

    def answer(self, value: Any) -> str:
        """Return the text that stands there; a number or truth value as JSON writes it.

        Raises:
            NoAnswerError: there is none.
        """
        found = self.read(value)
        if isinstance(found, str):
            return found
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, int | float):
            return str(found)
        raise NoAnswerError(f"{self.text!r} of the reply is no text but {excerpt(found)}")

    def _read(self, value: Any, start: int) -> Any:
        for number in range(start, len(self._parts)):
            part = self._parts[number]
            if part == EVERY and isinstance(value, list):
                return [self._read(item, number + 1) for item in value]
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (LookupError, ValueError, TypeError):
                raise NoAnswerError(self._missing(value, number)) from None
        return value

    def _missing(self, value: Any, number: int) -> str:
        where = ".".join(self._parts[:number])
        place = f"{where!r}" if where else "it"
        if isinstance(value, dict):
            keys = [str(key) for key in value]
            listed = ", ".join(keys[:_SHOWN_KEYS]) + (", …" if len(keys) > _SHOWN_KEYS else "")
            return f"the reply has no {self.text!r}: {place} has {listed or 'nothing'}"
        if isinstance(value, list):
            return f"the reply has no {self.text!r}: {place} is a list of {len(value)}"
        return f"the reply has no {self.text!r}: {place} is {excerpt(value)}"
