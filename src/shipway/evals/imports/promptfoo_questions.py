"""Which variable of a promptfoo test is the question."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = (
    "question",
    "query",
    "input",
    "prompt",
    "message",
    "user_input",
    "user_question",
    "text",
    "instruction",
    "topic",
)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def question_of(variables: Mapping[str, Any], prompts: Sequence[Any]) -> str:
    """Return the question: a variable of such a name, else the only prompt with its variables, else the only variable.

    Raises:
        ValueError: nothing of that exists.
    """
    texts = {name: value for name, value in variables.items() if isinstance(value, str) and value.strip()}
    for name in _NAMES:
        if name in texts:
            return texts[name]
    rendered = _rendered(prompts, variables)
    if rendered:
        return rendered
    if len(texts) == 1:
        return next(iter(texts.values()))
    has = f"it has {', '.join(sorted(variables))}" if variables else "it has none"
    raise ValueError(f"no variable is the question ({has}); name the one that is `question`")


def is_whole(question: str, variables: Mapping[str, Any], prompts: Sequence[Any]) -> bool:
    """Tell whether a question is all that the prompts would have sent."""
    return _rendered(prompts, variables) == question


def _rendered(prompts: Sequence[Any], variables: Mapping[str, Any]) -> str:
    inline = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(inline) != 1 or len(prompts) != 1 or inline[0].startswith("file://") or inline[0].lstrip().startswith("["):
        return ""
    text = _VARIABLE.sub(lambda found: str(variables.get(found[1], found[0])), inline[0])
    return "" if "{{" in text or "{%" in text else text
