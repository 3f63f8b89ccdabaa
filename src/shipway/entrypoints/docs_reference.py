"""The reference pages that are written from code: the commands, the settings and the built-in stages.

Run as `python -m shipway.entrypoints.docs_reference docs/reference`; a test compares the committed pages with these.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from typer.main import get_command

from shipway.config.project import Project
from shipway.entrypoints.cli.main import COMMANDS, app
from shipway.entrypoints.stage_reference import stage_reference

_EVERYWHERE = frozenset({"project", "as_json", "debug", "help"})
_CLI_INTRO = """\
# Commands

Written from the code by `python -m shipway.entrypoints.docs_reference docs/reference`; do not edit it by hand.

`shipway --help` lists the commands, `shipway COMMAND --help` explains one. Every command has these options:

| Option | Meaning |
| --- | --- |
| `--json` | Print one JSON document instead of lines; so is an error, with `type`, `message` and `exit_code` |
| `--debug` | Show where an unexpected error happened |
| `--help` | Show the command's help |

Commands that work on a project also have `--project FOLDER` (`-p`): the project's folder, by default the nearest one,
at or above the present one, with a `shipway.yaml`. [Exit codes](exit-codes.md) are the same everywhere.
"""
_SETTINGS_INTRO = """\
# Settings

Written from the code by `python -m shipway.entrypoints.docs_reference docs/reference`; do not edit it by hand.

The project file is `shipway.yaml`. Values come, later wins, from defaults, `shipway.yaml`, `configs/<APP_ENV>.yaml` and
environment variables `SHIPWAY__SECTION__KEY` (YAML values; `SHIPWAY__RATES__PER_KEY_MIN=600`). Mappings are merged,
lists and single values replaced. `APP_ENV` names the environment; without it the environment is `local`, which needs no
overlay file. An unknown key is an error that names file, line and key. Credentials in clear text are refused: write
`{env: NAME}` or `{file: path}`.

`shipway config check` validates the file, `shipway config show` prints every value and where it came from,
`shipway config schema` prints the JSON Schema for editors. Which settings are part of a release and which belong to one
environment is told in [the architecture](../architecture.md#what-a-release-is-made-of).

`NAME` in a heading stands for a name of yours (lower-case letters, digits, `-` and `_`, a letter first), `[]` for each
entry of a list.
"""


def cli_reference() -> str:
    """Return the page of all commands, in the order of `shipway --help`."""
    root: Any = get_command(app)
    parts = [_CLI_INTRO]
    for name, (_, summary) in COMMANDS.items():
        command = root.get_command(None, name)
        children: Mapping[str, Any] = getattr(command, "commands", {})
        if not children:
            parts.append("\n".join(_command(f"shipway {name}", command)))
            continue
        parts.append(f"## shipway {name}\n\n{summary}\n")
        parts += ["\n".join(_command(title, child, "###")) for title, child in _below(f"shipway {name}", children)]
    return "\n".join(parts)


def settings_reference() -> str:
    """Return the page of all settings, section by section."""
    schema = Project.model_json_schema()
    sections = _sections(schema, schema.get("$defs", {}), "")
    return "\n".join([_SETTINGS_INTRO, *("\n".join(lines) for lines in sections)])


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    return {"cli.md": cli_reference(), "settings.md": settings_reference(), "stages.md": stage_reference()}


def _below(title: str, children: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group with their whole names, those of groups inside it after one another."""
    for key, child in children.items():
        inner: Mapping[str, Any] = getattr(child, "commands", {})
        yield from _below(f"{title} {key}", inner) if inner else ((f"{title} {key}", child),)


def _command(title: str, command: Any, mark: str = "##") -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and param.name not in _EVERYWHERE]
    usage = [title, *(_shown_argument(param) for param in arguments), *(["[OPTIONS]"] if options else [])]
    yield f"{mark} {title}\n"
    yield f"{(command.help or '').strip()}\n"
    yield f"```text\n{' '.join(usage)}\n```\n"
    if arguments:
        yield from _table(("Argument", "Default", "Meaning"), [_argument_row(param) for param in arguments])
    if options:
        yield from _table(("Option", "Default", "Meaning"), [_option_row(param) for param in options])


def _shown_argument(param: Any) -> str:
    name = str(param.name).upper()
    return name if param.required else f"[{name}]"


def _argument_row(param: Any) -> tuple[str, str, str]:
    return f"`{str(param.name).upper()}`", "required" if param.required else _default(param.default), param.help or ""


def _option_row(param: Any) -> tuple[str, str, str]:
    value = "" if param.is_flag else " " + (_choices(param.default) or "VALUE")
    names = ", ".join(f"`{name}{value}`" for name in param.opts)
    return names, "" if param.is_flag else _default(param.default), param.help or ""


def _choices(default: Any) -> str:
    return "|".join(str(item.value) for item in type(default)) if isinstance(default, Enum) else ""


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "| " + " | ".join("---" for _ in header) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _sections(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Iterator[list[str]]:
    """Yield the lines of a section and then those of the sections inside it."""
    required = node.get("required", ())
    rows, inner = [], []
    for key, rule in node["properties"].items():
        here = f"{path}.{key}" if path else key
        found = _section_inside(rule, definitions)
        if found is not None:
            suffix, section = found
            inner.append((here + suffix, section))
        default = "required" if key in required else "" if found is not None else _json(rule.get("default"))
        meaning = rule.get("description") or (found[1].get("description", "") if found else "")
        rows.append((f"`{key}`", _type(rule, definitions), default, meaning))
    title = [f"## {path}\n", node.get("description", "") + "\n"] if path else ["## The sections\n"]
    yield [*title, *_table(("Key", "Type", "Default", "Meaning"), rows)]
    for name, section in inner:
        yield from _sections(section, definitions, name)


def _section_inside(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return how a section is reached from its key (`""`, `.NAME`, `[]`) and its schema."""
    if "$ref" in rule:
        return "", definitions[rule["$ref"].rsplit("/", 1)[1]]
    for choice in rule.get("anyOf", ()):
        if "$ref" in choice:
            return _section_inside(choice, definitions)
    named = next(iter(rule.get("patternProperties", {}).values()), None)
    for suffix, held in ((".NAME", named), ("[]", rule.get("items"))):
        if held and "$ref" in held:
            return suffix, definitions[held["$ref"].rsplit("/", 1)[1]]
    return None


def _type(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in rule:
        return "mapping"
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(_type(choice, definitions) for choice in rule["anyOf"]))
    if "enum" in rule or "const" in rule:
        return ", ".join(f"`{value}`" for value in rule.get("enum", [rule.get("const")]))
    kind = rule.get("type", "")
    if kind == "array":
        return f"list of {_type(rule['items'], definitions)}"
    if kind == "object":
        return "mapping"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null"}
    return " ".join([names.get(kind, kind), *_range(rule)])


def _range(rule: Mapping[str, Any]) -> list[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return [f"{sign} {rule[name]:g}" for name, sign in signs.items() if name in rule]


def _json(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
