"""What a judging model writes, as a judgement or as an error; `services/judges/llm` calls `parse_reply`.

Strict on purpose: a reply that is guessed at becomes a score that nobody gave. Exactly one JSON object counts, alone or
inside one ```json fence; whatever else it says makes the score missing, never 0.
"""

import functools
import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jsonschema_rs

from shipway.core.errors import JudgeReplyError
from shipway.core.nesting import DEEPEST, too_deep
from shipway.evals.judgement import CLAIM_TASKS, PASSES_FROM, Claim, Judgement, Task, claims_judgement

MAX_CLAIMS = 100
_MAX_CHARS = 100_000
_SHOWN_CHARS = 80
_SAME_SCORE = 0.005
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_TEXT = {"type": "string", "maxLength": 10_000}
_OPINION = {"score": {"type": "number", "minimum": 0, "maximum": 1}, "pass": {"type": "boolean"}, "reason": _TEXT}
_CLAIM = {
    "type": "object",
    "properties": {"text": {**_TEXT, "minLength": 1}, "supported": {"type": ["boolean", "null"]}, "evidence": _TEXT},
    "required": ["text", "supported"],
    "additionalProperties": False,
}
_SCORED: Mapping[str, Any] = {
    "type": "object",
    "properties": _OPINION,
    "required": ["score", "pass"],
    "additionalProperties": False,
}
_CLAIMED: Mapping[str, Any] = {
    "type": "object",
    "properties": {**_OPINION, "claims": {"type": "array", "maxItems": MAX_CLAIMS, "items": _CLAIM}},
    "required": ["claims"],
    "additionalProperties": False,
}
REPLY_SCHEMAS: Mapping[Task, Mapping[str, Any]] = MappingProxyType(
    {
        "faithfulness": _CLAIMED,
        "relevance": _SCORED,
        "completeness": _CLAIMED,
        "citation": _CLAIMED,
        "rubric": _SCORED,
        "abstention": _SCORED,
    }
)


def parse_reply(text: str, task: Task) -> Judgement:
    """Return the judgement that a reply is.

    Raises:
        JudgeReplyError: prose, invalid JSON, another schema, a score outside [0, 1], or two statements that contradict
            each other; with the beginning of the reply.
    """
    if not text.strip():
        raise JudgeReplyError("the judge replied with nothing")
    if len(text) > _MAX_CHARS:
        raise JudgeReplyError(f"the judge's reply has {len(text)} characters, more than {_MAX_CHARS}: {_shown(text)}")
    value = _one_object(text)
    try:
        _validator(task).validate(value)
    except jsonschema_rs.ValidationError as error:
        place = ".".join(str(part) for part in error.instance_path) or "the reply"
        # What is wrong stands at the end, behind the value.
        wrong = _line(error.message)[-_SHOWN_CHARS:]
        reason = f"the judge's reply does not have the form asked for: {place}: {wrong}"
        raise JudgeReplyError(f"{reason}: {_shown(text)}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise JudgeReplyError(f"the judge's reply holds what JSON cannot ({error}): {_shown(text)}") from error
    if task in CLAIM_TASKS:
        return _claimed(value, task, text)
    _demand_agreement(value, float(value["score"]), text)
    return Judgement(task, float(value["score"]), value.get("reason", ""))


def _claimed(value: Mapping[str, Any], task: Task, text: str) -> Judgement:
    claims = tuple(Claim(item["text"], item["supported"], item.get("evidence", "")) for item in value["claims"])
    found = claims_judgement(task, claims, value.get("reason", ""))
    if found.score is None:
        if "score" in value or "pass" in value:
            raise JudgeReplyError(f"the judge scores an answer of which it decided no statement: {_shown(text)}")
        return found
    if "score" in value and abs(value["score"] - found.score) > _SAME_SCORE:
        told = f"score {value['score']:g}, but {found.score:.2g} of its statements are supported"
        raise JudgeReplyError(f"the judge contradicts itself: {told}: {_shown(text)}")
    _demand_agreement(value, value.get("score", found.score), text)
    return found


def _demand_agreement(value: Mapping[str, Any], score: float, text: str) -> None:
    if "pass" in value and value["pass"] != (score >= PASSES_FROM):
        told = f"pass is {str(value['pass']).lower()} and score {score:g}"
        raise JudgeReplyError(f"the judge contradicts itself: {told}: {_shown(text)}")


def _one_object(text: str) -> Any:
    fenced = _FENCE.fullmatch(text.strip())
    try:
        value = json.loads(
            fenced.group(1) if fenced else text,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except JudgeReplyError as error:
        raise JudgeReplyError(f"{error.message}: {_shown(text)}") from error
    except (ValueError, RecursionError) as error:
        what = getattr(error, "msg", type(error).__name__)
        raise JudgeReplyError(f"the judge's reply is not one JSON object ({what}): {_shown(text)}") from error
    if not isinstance(value, dict):
        raise JudgeReplyError(f"the judge's reply is a JSON {type(value).__name__}, not an object: {_shown(text)}")
    if too_deep(value):
        raise JudgeReplyError(f"the judge's reply is nested more than {DEEPEST} levels deep: {_shown(text)}")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        # Half a surrogate pair would break whoever writes the reason down.
        raise JudgeReplyError(f"the judge's reply holds what is not Unicode: {_shown(text)}") from error
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JudgeReplyError(f"the judge's reply has {twice!r} twice")
    return found


def _refuse_constant(name: str) -> float:
    raise JudgeReplyError(f"the judge's reply holds {name}, which is no score")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JudgeReplyError(f"the judge's reply holds {text}, which is no score")
    return value


@functools.cache
def _validator(task: Task) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(REPLY_SCHEMAS[task]))


def _shown(text: str) -> str:
    """Return the beginning of a reply on one line."""
    line = _line(text[: 2 * _SHOWN_CHARS])
    return repr(line[:_SHOWN_CHARS] + ("…" if len(line) > _SHOWN_CHARS or len(text) > 2 * _SHOWN_CHARS else ""))


def _line(text: str) -> str:
    """Return a text on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
