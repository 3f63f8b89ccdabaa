"""Names of branches and tags, and ids of commits, as strangers send them: only what git itself would take goes on."""

import re

_LONGEST = 255
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")


def is_commit(text: str) -> bool:
    """Tell whether a text is the whole id of a commit; the id of nothing is one too."""
    return _COMMIT.fullmatch(text) is not None


def is_nothing(commit: str) -> bool:
    """Tell whether an id stands for no commit: that of a branch that was made or deleted."""
    return is_commit(commit) and not commit.strip("0")


def is_name(text: str) -> bool:
    """Tell whether git takes a text as the name of a branch or tag, and no program as an option.

    Source: git-check-ref-format, rules 1 to 9, and `--branch` (no '-' in front, not HEAD).
    """
    if not text or len(text.encode(errors="replace")) > _LONGEST or text.startswith("-") or text in {"@", "HEAD"}:
        return False
    if not _is_text(text) or _FORBIDDEN.search(text) or ".." in text or "@{" in text or text.endswith("."):
        return False
    return all(part and not part.startswith(".") and not part.endswith(".lock") for part in text.split("/"))


def _is_text(text: str) -> bool:
    # JSON can spell half a surrogate pair, which no argument of a process can hold.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
