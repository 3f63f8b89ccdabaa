"""Every `shipway` command that the documentation shows can be typed."""

import re
import shlex
from collections.abc import Iterator

import pytest
from typer.main import get_command

from shipway.entrypoints.cli.main import app

_INLINE = re.compile(r"`shipway ([^`]+)`")
_ENDS = frozenset({"|", "||", "&&", ";", ">", ">>", "&"})


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `shipway` call in shell text."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;>")
        lexer.whitespace_split = True
        call: list[str] | None = None
        for word in lexer:
            if word in _ENDS:
                if call is not None:
                    yield call
                call = None
            elif call is not None:
                call.append(word)
            elif word == "shipway" or word.endswith("/shipway"):
                call = []
        if call is not None:
            yield call


def problem_of(arguments: list[str], *, whole: bool = True) -> str:
    """Return why the command line would not take these arguments; empty when it would.

    A call that is not `whole` may lack its arguments, as prose does.
    """
    command, context, rest = get_command(app), None, list(arguments)
    while rest and hasattr(command, "get_command"):
        found = command.get_command(context, rest[0])
        if found is None:
            return "" if rest in (["--help"], ["--version"]) else f"no command {rest[0]!r}"
        command, rest = found, rest[1:]
    if hasattr(command, "get_command"):
        return "names a group only" if whole else ""
    if rest == ["--help"]:
        return ""
    if not whole:
        options = {name for param in command.params for name in param.opts}
        return ", ".join(f"no option {word}" for word in rest if word.startswith("-") and word not in options)
    try:
        command.make_context("shipway", rest)
    except Exception as error:  # noqa: BLE001 - whatever the parser says is the problem
        return f"{type(error).__name__}: {error}"
    return ""


def test_every_command_in_a_block_parses(pages):
    calls = [
        (block.place, call)
        for page in pages
        for block in page.blocks
        if block.language == "sh"
        for call in commands_of(block.text)
    ]

    assert len(calls) > 50
    assert {f"{place}: {' '.join(call)}: {problem}" for place, call in calls if (problem := problem_of(call))} == set()


def test_every_command_in_prose_exists(pages):
    calls = [
        (page.name, text)
        for page in pages
        if page.name != "docs/reference/cli.md"
        for text in _INLINE.findall(page.prose)
        if not text.startswith("COMMAND")
    ]

    wrong = {
        f"{name}: {text}: {problem}" for name, text in calls if (problem := problem_of(shlex.split(text), whole=False))
    }
    assert len(calls) > 50
    assert wrong == set()


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("shipway up   # starts", [["up"]]),
        (
            "$ .venv/bin/shipway eval run REL --json | jq . && shipway down",
            [["eval", "run", "REL", "--json"], ["down"]],
        ),
        ('shipway rollback \\\n  -m "it is wrong"', [["rollback", "-m", "it is wrong"]]),
        ("make demo", []),
    ],
)
def test_commands_are_read_out_of_shell_text(text, calls):
    assert list(commands_of(text)) == calls


@pytest.mark.parametrize(
    "arguments", [["fly"], ["deploy"], ["deploy", "REL", "--now"], ["eval"], ["init", "x", "--kind", "pdf"]]
)
def test_a_command_that_cannot_be_typed_is_found(arguments):
    assert problem_of(arguments)


def test_a_wrong_option_in_prose_is_found():
    assert problem_of(["deploy", "--now"], whole=False) == "no option --now"
    assert problem_of(["rollout", "fly"], whole=False) == "no command 'fly'"
