"""Prompt files and the messages made of them; releases check prompts here, the answerer composes with them.

A prompt file is YAML: `system`, `examples` (user and assistant texts, sent as they are) and `user`, a template with
`{passage}` and `{question}`. System and examples come first and never change, so that an engine reads them once and
keeps them in its prefix cache.
"""

import difflib
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from shipway.config.yaml_source import Place, YamlFile, parse_yaml
from shipway.core.errors import ConfigError, UsageError

Message: TypeAlias = dict[str, str]
"""`role` and `content`."""

PLACEHOLDERS = ("passage", "question")
_REQUIRED = frozenset({"name", "version", "system"})
_KNOWN = _REQUIRED | {"description", "examples", "user", "max_tokens"}
_ALL_KEYS = ", ".join(sorted(_KNOWN))
_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 5
"""What a chat template puts around a message."""


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange shown to the model."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file; `max_tokens` is how long an answer may get."""

    name: str
    version: str
    system: str
    user: str = "{question}"
    examples: tuple[Example, ...] = ()
    max_tokens: int = 64
    description: str = ""

    def prefix_messages(self) -> tuple[Message, ...]:
        """Return what comes before every question: system and examples."""
        found: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples:
            found.append({"role": "user", "content": example.user})
            found.append({"role": "assistant", "content": example.assistant})
        return tuple(found)

    def missing_placeholders(self) -> tuple[str, ...]:
        """Return the placeholders that an answer from documents needs and the template lacks."""
        return tuple(name for name in PLACEHOLDERS if name not in _placeholders(self.user))


def estimate_tokens(text: str) -> int:
    """Estimate a text's tokens where the model's own tokenizer cannot be asked (English: about 4 characters each)."""
    return -(-len(text) // _CHARS_PER_TOKEN)


def parse_prompt(data: bytes, shown_as: str) -> Prompt:
    """Return the prompt of a file; `shown_as` names it in errors.

    Raises:
        ConfigError: it is not YAML, a key is missing or unknown, or a placeholder is not one of PLACEHOLDERS.
    """
    text = _text_of(data, shown_as)
    try:
        read = parse_yaml(text, shown_as)
    except ConfigError as error:
        raise ConfigError(error.problems, hint=f"a prompt file is YAML with the keys {_ALL_KEYS}") from error
    loaded = read.data
    problems = [f"{_place(read, key, shown_as)}: {problem}" for key, problem in _problems(loaded)]
    if problems:
        raise ConfigError(problems, hint=f"a prompt file has the keys {_ALL_KEYS}")
    return Prompt(
        name=str(loaded["name"]),
        version=str(loaded["version"]),
        system=loaded["system"].strip(),
        user=loaded.get("user", "{question}"),
        examples=tuple(Example(item["user"], item["assistant"]) for item in loaded.get("examples") or ()),
        max_tokens=loaded.get("max_tokens", 64),
        description=loaded.get("description", ""),
    )


def _text_of(data: bytes, shown_as: str) -> str:
    start = data.find(b"\0")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        start, text = error.start if start < 0 else min(start, error.start), ""
    if start < 0:
        return text
    line = data.count(b"\n", 0, start) + 1
    raise ConfigError(
        [f"{shown_as}:{line}: binary content (byte 0x{data[start]:02x} at {start}), not a prompt in UTF-8 text"],
        hint="name the prompt's own file, or save it as UTF-8",
    )


def _place(read: YamlFile, key: str, shown_as: str) -> Place:
    return read.places.get((key,)) or read.places.get(()) or Place(shown_as, 1)


def compose(
    prompt: Prompt,
    passage: str,
    question: str,
    *,
    max_tokens: int,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> list[Message]:
    """Return the messages for a question within `max_tokens`.

    What does not fit goes in this order: examples from the last one, then the end of the passage. System text and
    question always stay whole.

    Raises:
        UsageError: system text and question alone are too long.
    """

    def size(messages: list[Message]) -> int:
        return sum(count_tokens(message["content"]) + _TOKENS_PER_MESSAGE for message in messages)

    prefix = list(prompt.prefix_messages())
    ask = {"role": "user", "content": prompt.user.format(passage=passage, question=question)}
    while len(prefix) > 1 and size([*prefix, ask]) > max_tokens:
        prefix = prefix[:-2]
    words = passage.split()
    while words and size([*prefix, ask]) > max_tokens:
        words = words[: len(words) * 9 // 10]
        ask = {"role": "user", "content": prompt.user.format(passage=" ".join(words), question=question)}
    needed = size([*prefix, ask])
    if needed > max_tokens:
        message = f"prompt {prompt.name!r} with this question needs about {needed} tokens, the budget is {max_tokens}"
        raise UsageError(message, hint="ask a shorter question, or raise budgets.max_prompt")
    return [*prefix, ask]


_Problem: TypeAlias = tuple[str, str]
"""The key whose line is meant, and what is wrong there."""


def _problems(loaded: dict[str, Any]) -> list[_Problem]:
    unknown = [key for key in loaded if key not in _KNOWN]
    found = [(key, f"unknown key {key!r}{_did_you_mean(key, _KNOWN - loaded.keys())}") for key in unknown]
    found += [("", f"key {key!r} is missing") for key in sorted(_REQUIRED - loaded.keys())]
    for key in ("system", "user", "description"):
        if key in loaded and not isinstance(loaded[key], str):
            found.append((key, f"{key} is {_kind(loaded[key])}, not text"))
    for key in ("name", "version"):
        if key in loaded and (loaded[key] is None or isinstance(loaded[key], dict | list)):
            found.append((key, f"{key} is {_kind(loaded[key])}, not a name"))
    found += [("examples", problem) for problem in _example_problems(loaded.get("examples") or [])]
    limit = loaded.get("max_tokens", 64)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        found.append(("max_tokens", f"max_tokens {limit!r} is not a positive whole number"))
    if isinstance(loaded.get("user"), str):
        found += [("user", problem) for problem in _template_problems(loaded["user"])]
    return found


def _example_problems(examples: Any) -> list[str]:
    if not isinstance(examples, list):
        return [f"examples is {_kind(examples)}, not a list"]
    return [
        f"examples[{index}] needs exactly the texts user and assistant"
        for index, item in enumerate(examples)
        if not isinstance(item, dict)
        or item.keys() != {"user", "assistant"}
        or not all(isinstance(text, str) for text in item.values())
    ]


def _template_problems(template: str) -> list[str]:
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError:
        return ["user: a single { or } stands in it; write {{ and }} for braces"]
    allowed = ", ".join("{" + name + "}" for name in PLACEHOLDERS)
    return [
        f"user: unknown placeholder {{{name}}}{_meant(name)}; there are {allowed}, and {{{{ }}}} for braces"
        for _, name, spec, conversion in pieces
        if name is not None and (name not in PLACEHOLDERS or spec or conversion)
    ]


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0.6)
    return f"; did you mean {{{close[0]}}}?" if close and close[0] != name else ""


def _did_you_mean(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", bool: "true or false", type(None): "empty"}
    return kinds.get(type(value), f"the number {value}")


def _placeholders(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(template) if name)
