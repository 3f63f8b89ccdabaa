"""The reference page of the built-in stages, written from their catalogue; `docs_reference` writes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.config.sections.section import Section
from shipway.entrypoints.builtin_stages import catalogue
from shipway.pipeline.builtins import Builtin

_INTRO = """\
# Built-in stages

Written from the code by `python -m shipway.entrypoints.docs_reference docs/reference`; do not edit it by hand.

A stage of a pipeline names one in `uses` and gives it options in `with`:
[how to use them](../how-to/built-in-stages.md). A stage that says nothing about `inputs`, `outputs`, `tools` and `env`
has those of its built-in. The result of a stage that is kept is given again while its inputs, options, tools' versions
and what it needs are the same; only PASS is kept.

What a program's exit code means:

| Program | nothing found | found something | everything else |
| --- | --- | --- | --- |
| ruff | 0 | 1 | ERROR |
| black | 0 | 1; 123 when it cannot read a file | ERROR |
| mypy | 0 | 1; 2 with a syntax error, else ERROR | ERROR |
| bandit, yamllint, hadolint | 0 | 1; by severity FAIL or a warning | ERROR |
| radon, detect-secrets | 0, their report says it | | ERROR |
| interrogate | 0 | 1 with a result line, else ERROR | ERROR |
| pip-audit | 0 | 1; NO_DATA when it reaches nobody or knows a package not | ERROR |
| terraform fmt | 0 | 3 | ERROR |
| helm, kubeconform, schemathesis | 0 | 1 | ERROR |
| pytest | 0; 5 is NO_DATA | 1; 2 when tests could not be collected | ERROR |
| docker, buildctl, buildah, kaniko, cyclonedx-py, syft | 0 | | ERROR |

An exit code that says findings without any in the output, an output that cannot be read and a signal are ERROR; a
program that is not installed is ERROR with the line that installs it.
"""


def stage_reference() -> str:
    """Return the page of all built-in stages."""
    return "\n".join([_INTRO, *("\n".join(_stage(builtin)) for builtin in catalogue().values())])


def _stage(builtin: Builtin) -> Iterator[str]:
    yield f"## {builtin.name}\n"
    yield f"{builtin.summary}\n"
    kept = "yes" if builtin.inputs else "when the stage has inputs"
    facts = [f"Kept: {kept if builtin.cacheable else 'no'}."]
    if builtin.inputs:
        facts.append(f"Inputs: {_listed(builtin.inputs)}.")
    if builtin.outputs:
        facts.append(f"Outputs: {_listed(builtin.outputs)}.")
    if builtin.leaves:
        facts.append(f"Leaves for later stages: {_listed(builtin.leaves)}.")
    if builtin.tools:
        facts.append(f"Tools: {_listed(builtin.tools)}.")
    if builtin.env:
        facts.append(f"Variables: {_listed(builtin.env)}.")
    yield " ".join(facts) + "\n"
    rows = list(_options(builtin.options))
    if rows:
        yield "| Option | Type | Default | Meaning |\n| --- | --- | --- | --- |"
        yield from ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        yield ""


def _options(section: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    schema = section.model_json_schema(by_alias=True)
    needed = set(schema.get("required", ()))
    for name, item in schema.get("properties", {}).items():
        default = "required" if name in needed else _default(item.get("default"))
        yield f"`{name}`", _type(item, schema.get("$defs", {})), default, str(item.get("description", "")).strip()


def _type(item: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "enum" in item:
        return ", ".join(f"`{value}`" for value in item["enum"])
    if "const" in item:
        return f"`{item['const']}`"
    if "anyOf" in item:
        return " or ".join(_type(part, known) for part in item["anyOf"] if part.get("type") != "null")
    if "$ref" in item:
        name = item["$ref"].rpartition("/")[2]
        return _type(known[name], known) if name in known else name
    if item.get("type") == "array":
        return f"list of {_type(item.get('items', {}), known) or 'values'}"
    return {"object": "mapping", "string": "text", "integer": "whole number", "boolean": "true or false"}.get(
        str(item.get("type")), str(item.get("type", ""))
    )


def _default(value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return _listed(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _listed(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)
