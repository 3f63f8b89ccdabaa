"""JSON Schema for answers, through a compiled validator that never reads a file or opens a connection.

Assertions load this module when a dataset has a `json-schema` entry.
"""

import re
from typing import Any

import jsonschema_rs
import orjson

from shipway.core.errors import UsageError

_FOREIGN = re.compile(r"Resource '(.+)' is not present in a registry")


def compile_schema(schema: Any) -> jsonschema_rs.Validator:
    """Return the validator of a schema of any draft; without `$schema` it is 2020-12.

    Raises:
        UsageError: no schema, or one that refers to another document.
    """
    if not isinstance(schema, (dict, bool)):
        raise UsageError(f"a JSON Schema is an object, got {str(schema)[:60]!r}")
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        foreign = _FOREIGN.match(reason)
        if foreign:
            reason = f"it refers to {foreign[1]!r}, and schemas are not fetched; write what is there under $defs"
        raise UsageError(f"not a usable JSON Schema: {reason}") from error


def obeys(validator: jsonschema_rs.Validator, text: str) -> bool:
    """Tell whether a text is one JSON document that the schema accepts; NaN and Infinity are no JSON."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return validator.is_valid(value)


def _refuse(uri: str) -> Any:
    raise ValueError(uri)
