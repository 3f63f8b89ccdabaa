"""promptfoo's tests: a configuration, a list of tests as YAML, JSON or JSON lines, or a CSV file of variables.

The variable `question` (or `query`, `input` and the like) is what is asked; all variables stay in `variables`. A
variable with a list of values makes a test for every value, as promptfoo does. Source: promptfoo 0.123, "Test cases".
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from shipway.config.yaml_words import in_words
from shipway.core.errors import UsageError
from shipway.core.nesting import TOO_DEEP, too_deep
from shipway.evals.imports.imported import Imported, Neighbours
from shipway.evals.imports.items import listed
from shipway.evals.imports.promptfoo_assertions import UntranslatableError, from_cell, translated
from shipway.evals.imports.promptfoo_cells import test_from_cells
from shipway.evals.imports.promptfoo_questions import is_whole, question_of
from shipway.evals.rows import LineProblem, Row, csv_records, json_items, yaml_root

_TESTS = frozenset({"vars", "assert", "description", "metadata", "threshold"})
_READ = frozenset({"tests", "defaultTest", "scenarios", "assertionTemplates", "prompts", "description", "$schema"})
_MOST_OF_ONE = 1000
_CSV_KNOWN = ("question", "query", "input", "prompt", "__expected", "__expected1", "__description", "__metric")


@dataclass(frozen=True, slots=True)
class _Test:
    """One test, the line of the imported file that it comes from and where it stands."""

    line: int
    place: str
    value: Mapping[str, Any]


@dataclass(slots=True)
class _Suite:
    """What a configuration says beside its tests."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    templates: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[Any, ...] = ()


def read(text: str, file: str, neighbours: Neighbours) -> Imported:
    """Return the rows of a promptfoo file."""
    return _Reading(file, neighbours).read(text)


class _Reading:
    def __init__(self, file: str, neighbours: Neighbours) -> None:
        self._file = file
        self._neighbours = neighbours
        self._suite = _Suite()
        self._tests: list[_Test] = []
        self._problems: list[LineProblem] = []
        self._dropped: list[str] = []
        self._is_prompt_left = False

    def read(self, text: str) -> Imported:
        suffix = PurePath(self._file).suffix.lower()
        if suffix in {".csv", ".jsonl"}:
            self._take_list(text, self._file, None)
        else:
            # YAML reads JSON with the lines of every value, but for tabs, which no JSON text holds inside a string.
            self._take_document(text.replace("\t", "  ") if suffix == ".json" else text)
        rows: list[Row] = []
        for number, test in enumerate(self._tests, start=1):
            rows += self._rows(test, number)
        if self._is_prompt_left:
            self._dropped.append(
                f"{self._file}: prompts: the words around the question are not in the cases; put them into a prompt"
                " file of the project"
            )
        return Imported(rows, self._problems, self._dropped)

    def _take_document(self, text: str) -> None:
        root, problems = yaml_root(text)
        self._problems += problems
        if isinstance(root, yaml.SequenceNode):
            self._take_nodes(root)
        elif isinstance(root, yaml.MappingNode):
            self._take_config(root)
        elif root is not None:
            self._problems.append((1, "", "expected a promptfoo configuration or a list of tests"))

    def _take_config(self, root: yaml.MappingNode) -> None:
        nodes = {str(key.value): (key.start_mark.line + 1, value) for key, value in root.value}
        left = sorted(set(nodes) - _READ)
        if left:
            self._dropped.append(f"{self._file}: {', '.join(left)}: belong to the target and the run, not to the cases")
        for name, attribute in (("defaultTest", "defaults"), ("assertionTemplates", "templates")):
            if name in nodes:
                value = self._file_or_value(*nodes[name])
                setattr(self._suite, attribute, value if isinstance(value, Mapping) else {})
        if "prompts" in nodes:
            prompts = self._value(*nodes["prompts"])
            self._suite.prompts = tuple(prompts) if isinstance(prompts, list) else (prompts,)
        line, tests = nodes.get("tests", (1, None))
        if isinstance(tests, yaml.SequenceNode):
            self._take_nodes(tests)
        elif isinstance(tests, yaml.ScalarNode):
            self._take_file(str(tests.value), line)
        if "scenarios" in nodes:
            self._take_scenarios(*nodes["scenarios"])

    def _take_nodes(self, items: yaml.SequenceNode) -> None:
        for node in items.value:
            line = node.start_mark.line + 1
            if isinstance(node, yaml.ScalarNode):
                self._take_file(str(node.value), line)
            else:
                self._take(line, f"{self._file}:{line}", self._value(line, node))

    def _take_scenarios(self, line: int, node: yaml.Node) -> None:
        scenarios = self._value(line, node)
        for scenario in scenarios if isinstance(scenarios, list) else []:
            parts = scenario if isinstance(scenario, Mapping) else {}
            for config, test in itertools.product(
                listed(parts.get("config")) or [{}], listed(parts.get("tests")) or [{}]
            ):
                if isinstance(config, Mapping) and isinstance(test, Mapping):
                    self._take(line, f"{self._file}:{line}", _merged(config, test))
                else:
                    self._problems.append((line, "scenarios", "config and tests are lists of objects"))

    def _take_file(self, name: str, line: int) -> None:
        try:
            shown, text = self._neighbours(name.removeprefix("file://"))
        except UsageError as error:
            self._problems.append((line, "tests", error.message))
            return
        self._take_list(text, shown, line)

    def _take_list(self, text: str, shown: str, referred: int | None) -> None:
        """Take the tests of a file; problems are told at the line that refers to it, when another one does."""
        items: list[tuple[int, Any]] = []
        if PurePath(shown).suffix.lower() == ".csv":
            records, problems = csv_records(text, known=_CSV_KNOWN)
            items = [(line, test_from_cells(cells, from_cell)) for line, cells in records]
        elif PurePath(shown).suffix.lower() in {".json", ".jsonl"}:
            items, problems = json_items(text)
        else:
            root, problems = yaml_root(text)
            nodes = root.value if isinstance(root, yaml.SequenceNode) else []
            items = [(node.start_mark.line + 1, self._value(referred or 1, node)) for node in nodes]
        for line, name, reason in problems:
            self._problems.append(
                (line, name, reason) if referred is None else (referred, name, f"{shown}:{line}: {reason}")
            )
        for line, value in items:
            self._take(referred or line, f"{shown}:{line}", value)

    def _take(self, line: int, place: str, value: Any) -> None:
        if isinstance(value, Mapping):
            self._tests.append(_Test(line, place, value))
        elif value is not None:
            self._problems.append((line, "tests", f"not an object but {type(value).__name__}; write a test"))

    def _file_or_value(self, line: int, node: yaml.Node) -> Any:
        value = self._value(line, node)
        return self._named_file(value, line) if isinstance(value, str) and value.startswith("file://") else value

    def _named_file(self, value: str, line: int) -> Any:
        """Return what a `file://` text stands for: the value of a YAML or JSON file, or the text itself."""
        try:
            shown, text = self._neighbours(value.removeprefix("file://"))
        except UsageError as error:
            self._problems.append((line, "", error.message))
            return None
        if PurePath(shown).suffix.lower() not in {".yaml", ".yml", ".json"}:
            return text.strip()
        root, problems = yaml_root(text)
        self._problems += [(line, "", f"{shown}:{at}: {reason}") for at, _, reason in problems]
        return None if root is None else self._value(line, root)

    def _value(self, line: int, node: yaml.Node) -> Any:
        try:
            value = yaml.constructor.SafeConstructor().construct_document(node)
        except yaml.MarkedYAMLError as error:
            self._problems.append((line, "", f"not YAML: {in_words(error)}"))
            return None
        if too_deep(value):
            self._problems.append((line, "", TOO_DEEP))
            return None
        return value

    def _rows(self, test: _Test, number: int) -> Iterator[Row]:
        whole = _merged(self._suite.defaults, test.value)
        self._dropped += [
            f"{test.place}: {name}: belongs to the run, not to the case"
            for name in sorted(set(test.value) - _TESTS)
            if test.value[name]
        ]
        variables = self._variables(whole.get("vars"), test.line)
        name = whole["metadata"].get("id") or f"promptfoo-{number:04d}"
        versions = _versions(variables)
        if len(versions) > _MOST_OF_ONE:
            reason = f"lists of values that make {len(versions)} cases of one test; at most {_MOST_OF_ONE}"
            self._problems.append((test.line, "vars", reason))
            versions = []
        for index, version in enumerate(versions, start=1):
            case_id = f"{name}-{index}" if len(versions) > 1 else str(name)
            yield Row(test.line, self._row(test, whole, version, case_id))

    def _row(self, test: _Test, whole: Mapping[str, Any], variables: dict[str, Any], case_id: str) -> dict[str, Any]:
        row: dict[str, Any] = {"id": case_id}
        try:
            row["question"] = question_of(variables, self._suite.prompts)
        except ValueError as error:
            own = test.place == f"{self._file}:{test.line}"
            self._problems.append((test.line, "vars", str(error) if own else f"{test.place}: {error}"))
            row["question"] = "?"
        prompts = self._suite.prompts
        self._is_prompt_left |= bool(prompts) and not is_whole(row["question"], variables, prompts)
        context = variables.get("context")
        if isinstance(context, str) and context.strip():
            row["context"] = [context]
        if variables:
            row["variables"] = variables
        asserted = [*self._asserted(test, whole, variables)]
        if asserted:
            row["assert"] = asserted
        described = {"description": whole["description"]} if whole.get("description") else {}
        row["metadata"] = {**whole["metadata"], **described, "origin": test.place}
        return row

    def _asserted(
        self, test: _Test, whole: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        entries = whole["assert"]
        if whole.get("threshold") is not None and entries:
            entries = [{"type": "assert-set", "assert": entries, "threshold": whole["threshold"]}]
        for entry in entries:
            yield from self._translated(test, entry, variables)

    def _translated(self, test: _Test, entry: Any, variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        reference = entry.get("$ref") if isinstance(entry, Mapping) else None
        if isinstance(reference, str):
            template = self._suite.templates.get(reference.rpartition("/")[2], {})
            entry = {**(template if isinstance(template, Mapping) else {}), **entry}
        kind = entry.get("type") if isinstance(entry, Mapping) else "?"
        try:
            body, note = translated(entry, variables)
        except UntranslatableError as error:
            self._dropped.append(f"{test.place}: assert {kind}: {error}")
            if kind == "assert-set":
                # The parts are worth having where the set is not: then all of them must hold.
                for part in listed(entry.get("assert")):
                    yield from self._translated(test, part, variables)
            return
        if note:
            self._dropped.append(f"{test.place}: assert {kind}: {note}")
        yield body

    def _variables(self, value: Any, line: int) -> dict[str, Any]:
        if isinstance(value, str) and value.startswith("file://"):
            value = self._named_file(value, line)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._problems.append((line, "vars", f"expected an object, got {type(value).__name__}"))
            return {}
        return {
            str(name): self._named_file(item, line) if isinstance(item, str) and item.startswith("file://") else item
            for name, item in value.items()
        }


def _merged(before: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
    """Return a test with what it inherits: variables and metadata by name, assertions one after the other."""
    merged: dict[str, Any] = {**before, **test}
    for name in ("vars", "metadata"):
        first, second = before.get(name), test.get(name)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            merged[name] = {**first, **second}
        else:
            merged[name] = second or first or {}
    if not isinstance(merged["metadata"], Mapping):
        merged["metadata"] = {}
    merged["assert"] = [*listed(before.get("assert")), *listed(test.get("assert"))]
    return merged


def _versions(variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the values of variables that are lists; one over the limit when there are more."""
    lists = {name: value for name, value in variables.items() if isinstance(value, list) and value}
    combinations = itertools.islice(itertools.product(*lists.values()), _MOST_OF_ONE + 1)
    return [{**variables, **dict(zip(lists, values, strict=True))} for values in combinations]
