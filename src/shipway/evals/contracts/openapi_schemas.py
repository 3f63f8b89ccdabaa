"""Schemas of OpenAPI documents: as JSON Schema 2020-12 that stands alone, and a small value that obeys one.

`openapi` calls this for requests and replies. What cannot be translated or made up is named, never skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shipway.evals.contracts.source import Path, Source

Direction = Literal["request", "reply"]

_REFERENCES_AT_MOST = 32
_DEEPEST_VALUE = 12
_NOT_JSON_SCHEMA = frozenset(
    {"example", "examples", "xml", "externalDocs", "discriminator", "deprecated", "nullable", "readOnly", "writeOnly"}
    | {"title", "description", "default", "$comment", "$defs", "$ref"}
)
_ONE = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_FOREIGN = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$schema", "$vocabulary")
_FORMATS: Mapping[str, str] = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "a@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "url": "https://example.org/",
    "uri-reference": "/a",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "byte": "YQ==",
}
_KINDS = (
    ("object", ("properties", "required", "additionalProperties", "minProperties")),
    ("array", ("items", "minItems", "prefixItems")),
    ("string", ("minLength", "maxLength", "pattern", "format")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


class UnsupportedError(Exception):
    """A part of a document that nothing is sent for; an answer between the readers, never a user's error."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a document and where it stands."""

    value: Any
    path: Path

    def at(self, *keys: str | int) -> "Node":
        """Return what is below; the keys must be there."""
        value = self.value
        for key in keys:
            value = value[key]
        return Node(value, (*self.path, *keys))


@dataclass(frozen=True, slots=True)
class Document:
    """An OpenAPI document; `is_3_0` says that its schemas are not yet JSON Schema."""

    source: Source
    is_3_0: bool

    def resolved(self, node: Node) -> Node:
        """Return what a node refers to, the node itself when it is no reference.

        Raises:
            UnsupportedError: another file, nothing there, or a reference to itself.
        """
        for _ in range(_REFERENCES_AT_MOST):
            if not isinstance(node.value, dict) or "$ref" not in node.value:
                return node
            node = self.target(node.value["$ref"], node.path)
        raise UnsupportedError("the reference leads back to itself", node.path)

    def target(self, reference: Any, path: Path) -> Node:
        """Return what a reference names.

        Raises:
            UnsupportedError: another file, or nothing there.
        """
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise UnsupportedError(f"$ref {reference!r} leads out of the file; write what is there into it", path)
        node = Node(self.source.value, ())
        for raw in reference[2:].split("/"):
            key: str | int = raw.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
            if isinstance(node.value, list) and str(key).isdigit():
                key = int(key)
            try:
                node = node.at(key)
            except (KeyError, IndexError, TypeError):
                raise UnsupportedError(f"$ref {reference!r}: nothing stands there", path) from None
        return node


class SchemaTranslator:
    """Makes one schema that stands alone: what it refers to is below its `$defs`."""

    def __init__(self, document: Document, direction: Direction) -> None:
        self._document = document
        self._hidden = "readOnly" if direction == "request" else "writeOnly"
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}

    def whole(self, node: Node) -> Any:
        """Return the schema of a node.

        Raises:
            UnsupportedError: a part of it cannot be translated.
        """
        body = self._translated(node)
        return {**body, "$defs": self._definitions} if self._definitions else body

    def _translated(self, node: Node) -> Any:
        schema = node.value
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise UnsupportedError(f"not a schema but {type(schema).__name__}", node.path)
        for key in _FOREIGN:
            if key in schema:
                raise UnsupportedError(f"{key} in a schema is not understood; leave it out", (*node.path, key))
        if "$ref" in schema and self._document.is_3_0:
            # OpenAPI 3.0: what stands beside a reference is ignored.
            return self._reference(node)
        body = {key: self._part(key, node) for key in schema if key not in _NOT_JSON_SCHEMA and key[:2] != "x-"}
        if "$ref" in schema:
            body |= self._reference(node)
        self._free_hidden(body, node)
        return _of_3_0(schema, body) if self._document.is_3_0 else body

    def _part(self, key: str, node: Node) -> Any:
        below = node.at(key)
        if key in _ONE:
            return self._translated(below)
        if key in _MANY and isinstance(below.value, list):
            return [self._translated(below.at(index)) for index in range(len(below.value))]
        if key in _NAMED and isinstance(below.value, dict):
            return {name: self._translated(below.at(name)) for name in below.value}
        return below.value

    def _reference(self, node: Node) -> dict[str, Any]:
        reference = node.value["$ref"]
        name = self._names.get(str(reference))
        if name is None:
            target = self._document.target(reference, node.path)
            name = self._names[reference] = f"d{len(self._names)}"
            # Known before it is translated, so that a schema may hold itself.
            self._definitions[name] = self._translated(target)
        return {"$ref": f"#/$defs/{name}"}

    def _free_hidden(self, body: dict[str, Any], node: Node) -> None:
        """Demand nothing that this direction does not carry."""
        required, properties = body.get("required"), node.value.get("properties")
        if not isinstance(required, list) or not isinstance(properties, dict):
            return
        hidden = {name for name in properties if self._is_hidden(node.at("properties", name))}
        body["required"] = [name for name in required if name not in hidden]

    def _is_hidden(self, node: Node) -> bool:
        found = self._document.resolved(node).value
        return isinstance(found, dict) and found.get(self._hidden) is True


def _of_3_0(schema: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return what the words that OpenAPI 3.0 has for itself mean in JSON Schema."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(body.get(exclusive), bool) and body.pop(exclusive) and limit in body:
            body[exclusive] = body.pop(limit)
    if schema.get("nullable") is not True:
        return body
    if isinstance(body.get("type"), str) and not _MANY & set(body):
        body["type"] = [body["type"], "null"]
        if "enum" in body and None not in body["enum"]:
            body["enum"] = [*body["enum"], None]
        return body
    return {"anyOf": [body, {"type": "null"}]}


@dataclass(slots=True)
class ValueMaker:
    """Makes a small value that should obey a schema; `guessed` tells whether anything is no example of the author's."""

    document: Document
    guessed: bool = False

    def value(self, node: Node, depth: int = 0) -> Any:
        """Return a value; the caller checks it.

        Raises:
            UnsupportedError: none can be made.
        """
        if depth > _DEEPEST_VALUE:
            raise UnsupportedError("the schema needs itself; give an example", node.path)
        node = self._merged(node, depth)
        schema = node.value
        if not isinstance(schema, dict):
            self.guessed = True
            return "a"
        given = _given(schema)
        if given is not _NOTHING:
            return given
        for key in ("oneOf", "anyOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                return self._first(node, key, depth)
        self.guessed = True
        kind = _kind(schema)
        if kind == "object":
            return self._object(node, depth)
        if kind == "array":
            return self._array(node, depth)
        return _scalar(kind, schema)

    def _merged(self, node: Node, depth: int) -> Node:
        """Return a node with what it refers to and what stands in its `allOf` in one schema."""
        node = self.document.resolved(node)
        if not isinstance(node.value, dict) or "allOf" not in node.value:
            return node
        if depth > _DEEPEST_VALUE:
            raise UnsupportedError("the schema needs itself; give an example", node.path)
        merged = {key: value for key, value in node.value.items() if key != "allOf"}
        for index in range(len(node.value["allOf"])):
            part = self._merged(node.at("allOf", index), depth + 1)
            if isinstance(part.value, dict):
                merged = _joined(merged, part.value)
        return Node(merged, node.path)

    def _first(self, node: Node, key: str, depth: int) -> Any:
        base = {name: value for name, value in node.value.items() if name != key}
        reason = UnsupportedError(f"no value can be made for any alternative of {key}; give an example", node.path)
        for index in range(len(node.value[key])):
            try:
                part = self._merged(node.at(key, index), depth + 1).value
                if isinstance(part, dict) and part.get("type") == "null":
                    continue
                joined = _joined(base, part) if isinstance(part, dict) else base
                return self.value(Node(joined, node.path), depth + 1)
            except UnsupportedError as error:
                reason = error
        raise reason

    def _object(self, node: Node, depth: int) -> dict[str, Any]:
        schema = node.value
        properties = schema.get("properties") or {}
        wanted = [name for name in schema.get("required") or [] if not self._is_read_only(properties.get(name))]
        spare = [name for name in properties if name not in wanted and not self._is_read_only(properties[name])]
        wanted += spare[: max(0, int(schema.get("minProperties", 0)) - len(wanted))]
        rest = schema.get("additionalProperties")
        made: dict[str, Any] = {}
        for name in wanted:
            below = properties.get(name, rest if isinstance(rest, dict) else {})
            made[name] = self.value(Node(below, (*node.path, "properties", name)), depth + 1)
        return made

    def _is_read_only(self, schema: Any) -> bool:
        found = self.document.resolved(Node(schema, ())).value
        return isinstance(found, dict) and found.get("readOnly") is True

    def _array(self, node: Node, depth: int) -> list[Any]:
        first = node.value.get("prefixItems") or []
        count = max(int(node.value.get("minItems", 0)), len(first))
        items = node.value.get("items", {})
        return [
            self.value(Node(first[index] if index < len(first) else items, (*node.path, "items")), depth + 1)
            for index in range(min(count, 100))
        ]


_NOTHING = object()


def _given(schema: Mapping[str, Any]) -> Any:
    """Return what the author of a schema gives as a value of it."""
    if "example" in schema:
        return schema["example"]
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return examples[0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    enum = schema.get("enum")
    return enum[0] if isinstance(enum, list) and enum else _NOTHING


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**first, **second}
    for key in ("properties", "required"):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            joined[key] = {**one, **other}
        elif isinstance(one, list) and isinstance(other, list):
            joined[key] = [*one, *(name for name in other if name not in one)]
    return joined


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    return next((name for name, keys in _KINDS if any(key in schema for key in keys)), "string")


def _scalar(kind: str, schema: Mapping[str, Any]) -> Any:
    if kind in {"integer", "number"}:
        return _number(kind, schema)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = _FORMATS.get(str(schema.get("format")), "a")
    return text.ljust(int(schema.get("minLength", 0)), "a")


def _number(kind: str, schema: Mapping[str, Any]) -> float:
    low: Any = schema.get("minimum", 0)
    high: Any = schema.get("maximum")
    above: Any = schema.get("exclusiveMinimum")
    below: Any = schema.get("exclusiveMaximum")
    step = schema.get("multipleOf", 1 if kind == "integer" else 0)
    value = low
    if above is True:
        value = low + 1
    elif _is_number(above) and value <= above:
        value = above + 1
    if _is_number(high) and value > high:
        value = high
    if _is_number(below) and value >= below:
        value = below - 1 if kind == "integer" else below - abs(below) / 2 - 0.5
    if step:
        value = -(-value // step) * step
    return int(value) if kind == "integer" else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
