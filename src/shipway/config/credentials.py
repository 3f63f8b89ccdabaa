"""Finding credentials that stand in clear text in a project file or a prompt.

`loading` calls this before anything is validated, the release service for each prompt. Such a file is committed, so a
credential in it is already leaked. No message repeats one: messages end in terminals and CI logs.
"""

import re
from collections.abc import Iterator
from typing import Any

from shipway.config.yaml_source import KeyPath

# Shapes of well-known credentials: OpenAI, ours, AWS, GitHub, GitLab, Slack, Hugging Face, Google, Stripe, JWT, PEM,
# and a password inside a URL.
_CREDENTIAL = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|swk_[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[baprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{20,}"
    r"|AIza[A-Za-z0-9_-]{30,}|[rs]k_live_[A-Za-z0-9]{16,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]*:[^/\s@]+@"
)
NOT_REPEATED = "(what it says holds a credential and is not repeated)"
_SECRET_KEY = re.compile(r"(?:^|_)(?:keys?|secrets?|token|password|passwd|credentials?)$", re.IGNORECASE)


def is_credential(text: str) -> bool:
    """Tell whether a text holds something shaped like a credential."""
    return _CREDENTIAL.search(text) is not None


def repeatable(text: str) -> str:
    """Return what somebody else said as a message may quote it: some endpoints repeat the key that they refuse."""
    return NOT_REPEATED if is_credential(text) else text


def credential_lines(text: str) -> list[int]:
    """Return the numbers, from 1, of the lines that hold something shaped like a credential."""
    return [number for number, line in enumerate(text.splitlines(), start=1) if is_credential(line)]


def names_a_secret(path: KeyPath) -> bool:
    """Tell whether a key path reads as if a secret stands there, so that no message may show the value."""
    return any(isinstance(part, str) and _SECRET_KEY.search(part) is not None for part in path)


def credentials_in(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the key path of every text shaped like a credential; of a key that is one, the path of its mapping."""
    if isinstance(value, str):
        if is_credential(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if is_credential(key):
                yield path
            else:
                yield from credentials_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from credentials_in(item, (*path, index))
