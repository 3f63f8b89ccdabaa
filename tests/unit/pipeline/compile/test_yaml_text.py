"""Text stays text for every reader of YAML, old and new."""

import re
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from shipway.pipeline.compile.yaml_text import yaml_text

_TEXTS = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20),
    st.sampled_from(
        [
            "on",
            "off",
            "yes",
            "no",
            "y",
            "N",
            "true",
            "null",
            "~",
            "1e3",
            "0o7",
            "0x1f",
            "1_000",
            "12:30:45",
            ".5",
            "2026-01-01",
            "=",
            "<<",
            "-",
            "?",
            "!a",
            "&a",
            "*a",
            "{}",
            "[]",
        ]
    ),
    st.sampled_from(["", " a", "a ", "a: b", "a #b", "${{ x }}", "$(x)", "{{x}}", "a\nb\n", "1e3\n"]),
)


class Yaml12(yaml.SafeLoader):
    """Reads plain scalars as YAML 1.2's core schema and the readers of Go do."""


Yaml12.yaml_implicit_resolvers = {}
for _tag, _expression in (
    ("null", r"null|Null|NULL|~|"),
    ("bool", r"(?i:true|false|y|n|yes|no|on|off)"),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0b[01]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(?i:inf)|\.(?i:nan)"),
):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_expression})$"), None)


def scalar_tags(text: str, loader: Any) -> set[str]:
    found = yaml.compose(text, loader)
    return {value.tag for _, value in found.value} | {key.tag for key, _ in found.value}


@given(st.dictionaries(_TEXTS, _TEXTS, min_size=1, max_size=4))
def test_no_text_becomes_a_number_a_truth_or_nothing(document: dict[str, str]) -> None:
    text = yaml_text(document, "head")

    assert yaml.safe_load(text) == document
    for loader in (yaml.SafeLoader, Yaml12):
        assert scalar_tags(text, loader) == {"tag:yaml.org,2002:str"}


def test_what_stands_twice_is_written_twice_below_the_header() -> None:
    shared = ["a"]

    assert yaml_text({"v": shared, "w": shared}, "one\ntwo") == "# one\n# two\nv:\n  - a\nw:\n  - a\n"
