"""YAML that means the same to every reader: each text is quoted unless no version of YAML takes it for something else.

PyYAML knows YAML 1.1 alone and would leave `1e3`, `0o7` or `12:30:45` bare where another reader sees a number.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+)*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf", "infinity"})


class _Text(yaml.SafeDumper):
    """The dumper of this module."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: no anchors."""
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - theirs
        """Indent lists below their key."""
        del indentless
        super().increase_indent(flow, indentless=False)


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _BARE.fullmatch(value) and value.lower() not in _WORDS
    style = "|" if "\n" in value else None if bare else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Text.add_representer(str, _string)


def yaml_text(document: Mapping[str, Any], header: str, *, compact: bool = False) -> str:
    """Return a document as YAML below the lines of `header` as comments; the same document gives the same text.

    `compact` puts a list or mapping without others in it on one line.
    """
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    flow = None if compact else False
    body = yaml.dump(
        dict(document), Dumper=_Text, sort_keys=False, allow_unicode=True, width=1_000_000, default_flow_style=flow
    )
    return comment + body
