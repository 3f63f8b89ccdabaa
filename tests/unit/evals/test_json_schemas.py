import pytest

from shipway.core.errors import UsageError
from shipway.evals.json_schemas import compile_schema, obeys


def test_a_schema_accepts_and_refuses_documents():
    schema = compile_schema({"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1})
    assert obeys(schema, '["red"]')
    assert not obeys(schema, '["blue"]')
    assert not obeys(schema, "[]")


@pytest.mark.parametrize("text", ["", "red", "[1,]", "NaN", "Infinity", '{"a": 1} {"a": 1}', '```json\n["red"]\n```'])
def test_what_is_no_json_document_obeys_no_schema(text):
    assert not obeys(compile_schema({}), text)


def test_the_draft_that_a_schema_names_decides():
    value = {"exclusiveMinimum": True, "minimum": 5}
    old = compile_schema({"$schema": "http://json-schema.org/draft-04/schema#", **value})
    assert not obeys(old, "5")
    assert obeys(old, "6")
    with pytest.raises(UsageError, match="not a usable JSON Schema"):
        compile_schema(value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/a.json", "file:///etc/passwd", "other.json"])
def test_no_other_document_is_read(uri):
    with pytest.raises(UsageError) as caught:
        compile_schema({"$ref": uri})
    assert caught.value.message == (
        f"not a usable JSON Schema: it refers to {uri!r}, and schemas are not fetched; write what is there under $defs"
    )


def test_a_schema_that_lies_beside_is_not_read_either(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match="schemas are not fetched"):
        compile_schema({"$ref": (tmp_path / "a.json").as_uri()})


def test_definitions_of_its_own_are_followed():
    schema = compile_schema({"$ref": "#/$defs/day", "$defs": {"day": {"type": "integer"}}})
    assert obeys(schema, "30")
    assert not obeys(schema, '"30"')
