"""Strangers' text made harmless to look at; every report passes answers, questions and messages through here.

What cannot be seen is shown as an escape, so that it can neither drive a terminal nor reorder a line nor break XML.
"""

import re

# Controls but tab and line feed, halves of surrogate pairs, embeddings and overrides of direction, separators that only
# some programs take for line ends, tag characters (text that no font draws), and what XML 1.0 cannot hold.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHRINKS = 4
_SPACE = re.compile(r"\s+")


def visible(text: str) -> str:
    r"""Return a text in which every hidden character is an escape such as `\x1b`; line ends are line feeds."""
    return _HIDDEN.sub(_escape, text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, most: int | None = None) -> str:
    """Return a text on one line, hidden characters shown, cut to `most` characters."""
    # White space shrinks, so that somewhat more than `most` is looked at; never all of ten megabytes.
    looked_at = text if most is None else text.lstrip()[: most * _SHRINKS]
    line = _SPACE.sub(" ", visible(_SPACE.sub(" ", looked_at))).strip()
    if most is None or (len(line) <= most and len(looked_at) < most * _SHRINKS):
        return line
    return line[: most - 1] + "…"


def cut(text: str, most: int) -> tuple[str, int]:
    """Return the first `most` characters and how many are left out."""
    return text[:most], max(0, len(text) - most)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - widths of escapes
