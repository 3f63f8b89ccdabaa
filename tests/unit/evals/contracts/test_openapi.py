"""Contracts out of OpenAPI documents."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.check import check_reply
from shipway.evals.contracts.model import FromEnvironment
from shipway.evals.contracts.openapi import OpenApiPlan, read_openapi
from shipway.evals.contracts.source import read_source
from shipway.evals.ports import HttpReply

OK = {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "object"}}}}}


def document(paths, version="3.1.0", **more):
    return {"openapi": version, "info": {"title": "t", "version": "1"}, "paths": paths, **more}


def read(value, **plan):
    text = value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False)
    return read_openapi(read_source(text.encode(), "api.yaml"), OpenApiPlan(**plan))


def body_of(schema, version="3.1.0", **media):
    """Return what is posted to an operation whose body has a schema; None when nothing is."""
    content = {"application/json": {"schema": schema, **media}}
    found = read(document({"/x": {"post": {"requestBody": {"content": content}, "responses": OK}}}, version))
    return [contract.request.body for contract in found.contracts], [item.message for item in found.findings]


def reply_verdict(schema, value, version="3.1.0", **more):
    """Return what a reply is said to be, and the messages."""
    responses = {"200": {"content": {"application/json": {"schema": schema}}}}
    found = read(document({"/x": {"get": {"responses": responses}}}, version, **more))
    (contract,) = found.contracts
    import orjson

    reply = HttpReply(200, {"content-type": "application/json"}, orjson.dumps(value), 1.0, 1.0)
    findings = {finding.metric: finding for finding in check_reply(contract, reply)}
    return findings["schema"].verdict, findings["schema"].message


def test_an_operation_becomes_a_contract_with_its_place():
    found = read(document({"/health": {"get": {"responses": OK}}}))
    (contract,) = found.contracts
    assert contract.name == "GET /health"
    assert contract.location == "api.yaml:7"
    assert contract.request.headers == {"accept": "application/json"}
    assert contract.statuses == "200"
    assert found.findings == ()


def test_each_example_of_a_body_is_a_contract_and_must_succeed():
    media = {"examples": {"order": {"value": {"text": "a"}}, "refund": {"$ref": "#/components/examples/r"}}}
    post = {"requestBody": {"content": {"application/json": media}}, "responses": {**OK, "400": {}}}
    found = read(document({"/x": {"post": post}}, components={"examples": {"r": {"value": {"text": "b"}}}}))
    assert [(item.name, item.request.body) for item in found.contracts] == [
        ("POST /x (order)", {"text": "a"}),
        ("POST /x (refund)", {"text": "b"}),
    ]
    assert {item.statuses for item in found.contracts} == {"200"}


def test_a_guessed_request_may_be_answered_in_any_documented_way():
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    post = {
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": {**OK, "404": {}, "default": {}},
    }
    (contract,) = read(document({"/x": {"post": post}})).contracts
    assert contract.request.body == {"text": "a"}
    assert contract.statuses == "200 or 404 or default"
    assert contract.reply_for(500) is None


def test_an_example_that_breaks_its_own_schema_is_a_fail_and_is_not_sent():
    sent, said = body_of({"type": "object", "required": ["text"]}, example={"txt": "a"})
    assert sent == []
    assert said == ['the example breaks its own schema: /: "text" is a required property']


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 3}, "aaa"),
        ({"type": "string", "format": "date"}, "2025-01-31"),
        ({"type": "string", "pattern": "^[0-9]+$", "examples": ["42"]}, "42"),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMaximum": 0}, -0.5),
        ({"type": "boolean"}, True),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "null"}, None),
        ({"const": 5}, 5),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 3}, ["a", 0, "a"]),
        ({"type": "object", "properties": {"a": {"default": 1}, "b": {}}, "required": ["a"]}, {"a": 1}),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1}, {"a": "a"}),
        (
            {"type": "object", "properties": {"id": {"readOnly": True}, "n": {"const": 1}}, "required": ["id", "n"]},
            {"n": 1},
        ),
        ({"oneOf": [{"type": "string", "pattern": "^x"}, {"type": "integer"}]}, "a"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 0),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"const": 2}}, "required": ["b"]},
                ]
            },
            {"a": 1, "b": 2},
        ),
        (True, "a"),
    ],
)
def test_a_small_value_obeys_its_schema_or_is_not_sent(schema, value):
    sent, said = body_of(schema)
    if schema == {"oneOf": [{"type": "string", "pattern": "^x"}, {"type": "integer"}]}:
        # The first alternative gives a value that its pattern refuses: named, not sent.
        assert sent == []
        assert "no value could be made for the request's body" in said[0]
    else:
        assert (sent, said) == ([value], [])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "pattern": "^[A-Z]{3}-[0-9]$"}, "no value could be made for the request's body"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True}, "no value could be made"),
        ({"$ref": "other.yaml#/X"}, "$ref 'other.yaml#/X' leads out of the file; write what is there into it"),
        ({"$ref": "https://example.org/x"}, "leads out of the file"),
        ({"$ref": "#/components/schemas/Gone"}, "nothing stands there"),
        ({"$ref": "#/components/schemas/Self"}, "leads back to itself"),
        ({"$ref": "#/components/schemas/Tree"}, "the schema needs itself; give an example"),
        ({"$dynamicRef": "#a"}, "$dynamicRef in a schema is not understood"),
        ({"type": "string", "pattern": "["}, "not a usable JSON Schema"),
        (5, "not a schema but int"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(schema, said):
    schemas = {
        "Self": {"$ref": "#/components/schemas/Self"},
        "Tree": {"type": "object", "properties": {"t": {"$ref": "#/components/schemas/Tree"}}, "required": ["t"]},
    }
    post = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": OK}
    found = read(document({"/x": {"post": post}}, components={"schemas": schemas}))
    assert found.contracts == ()
    (finding,) = found.findings
    assert finding.verdict is Verdict.NO_DATA
    assert finding.rule == "contract/unsupported"
    assert said in finding.message
    assert finding.location.startswith("api.yaml:")


@pytest.mark.parametrize(
    ("schema", "value", "verdict"),
    [
        ({"type": "string", "nullable": True}, None, Verdict.PASS),
        ({"type": "string"}, None, Verdict.FAIL),
        ({"type": "string", "enum": ["a"], "nullable": True}, None, Verdict.PASS),
        ({"allOf": [{"$ref": "#/components/schemas/S"}], "nullable": True}, None, Verdict.PASS),
        ({"allOf": [{"$ref": "#/components/schemas/S"}], "nullable": True}, 5, Verdict.FAIL),
        # 3.0: what stands beside a reference is ignored.
        ({"$ref": "#/components/schemas/S", "nullable": True}, None, Verdict.FAIL),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, Verdict.FAIL),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": False}, 1, Verdict.PASS),
        ({"type": "object", "required": ["p"], "properties": {"p": {"writeOnly": True}}}, {}, Verdict.PASS),
        ({"type": "object", "required": ["p"], "properties": {"p": {"readOnly": True}}}, {}, Verdict.FAIL),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 5, Verdict.FAIL),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 5, Verdict.PASS),
        (
            {"type": "object", "properties": {"example": {"type": "string"}}, "required": ["example"]},
            {"example": 5},
            Verdict.FAIL,
        ),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}, [{"t": {"t": {}}}], Verdict.PASS),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}, [{"t": {"t": 5}}], Verdict.FAIL),
    ],
)
def test_schemas_of_3_0_mean_what_openapi_says(schema, value, verdict):
    schemas = {
        "S": {"type": "string"},
        "Tree": {"type": "object", "properties": {"t": {"$ref": "#/components/schemas/Tree"}}},
    }
    assert reply_verdict(schema, value, "3.0.3", components={"schemas": schemas})[0] is verdict


def test_in_3_1_what_stands_beside_a_reference_holds_too():
    schema = {"$ref": "#/components/schemas/S", "maxLength": 1}
    more = {"components": {"schemas": {"S": {"type": "string"}}}}
    assert reply_verdict(schema, "ab", **more)[0] is Verdict.FAIL
    assert reply_verdict(schema, "a", **more)[0] is Verdict.PASS


def test_parameters_come_from_examples_else_from_schemas():
    parameters = [
        {"in": "path", "name": "id", "required": True, "schema": {"type": "string", "example": "a b"}},
        {
            "in": "query",
            "name": "tag",
            "required": True,
            "schema": {"type": "array", "items": {"enum": ["x"]}, "minItems": 2},
        },
        {"in": "query", "name": "limit", "example": 5},
        {"in": "query", "name": "unused", "schema": {"type": "string"}},
        {"in": "header", "name": "X-Kind", "required": True, "schema": {"type": "boolean"}},
    ]
    item = {"parameters": parameters[:1], "get": {"parameters": parameters[1:], "responses": OK}}
    (contract,) = read(document({"/x/{id}": item})).contracts
    assert contract.request.path == "/x/a%20b?tag=x&tag=x&limit=5"
    assert contract.request.headers["x-kind"] == "true"


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"in": "cookie", "name": "s", "required": True, "example": "x"}, "'s' stands in cookie, which is not sent"),
        ({"in": "query", "name": "f", "required": True, "style": "deepObject"}, "written in a style that is not sent"),
        (
            {"in": "query", "name": "f", "required": True, "schema": {"type": "object"}},
            "is an object, which is not sent",
        ),
        ({"in": "path", "name": "other", "required": True, "example": "x"}, "has no parameter of its name"),
    ],
)
def test_a_parameter_that_is_not_sent_is_named(parameter, said):
    found = read(document({"/x/{id}": {"get": {"parameters": [parameter], "responses": OK}}}))
    assert found.contracts == ()
    assert said in found.findings[0].message


def test_what_changes_the_service_is_sent_only_when_asked_for():
    value = document({"/x": {"delete": {"responses": {"204": {}}}, "get": {"responses": OK}}})
    found = read(value)
    assert [item.name for item in found.contracts] == ["GET /x"]
    assert found.findings[0].message.endswith("--method DELETE sends it")
    chosen = read(value, methods=("DELETE",))
    assert [item.name for item in chosen.contracts] == ["DELETE /x"]
    assert (chosen.findings, chosen.notes) == ((), ("GET /x: left out, as asked",))


def test_a_body_that_is_no_json_is_named_and_can_be_left_out():
    upload = {"operationId": "upload", "requestBody": {"content": {"multipart/form-data": {}}}, "responses": OK}
    value = document({"/files": {"post": upload}, "/x": {"get": {"responses": OK}}})
    assert read(value).findings[0].message == "the request's body is multipart/form-data; only JSON is sent"
    for name in ("upload", "POST /files"):
        found = read(value, skip=(name,))
        assert (found.findings, found.notes) == ((), ("POST /files: left out, as asked",))
    with pytest.raises(UsageError, match="no operation 'uploadd'; did you mean 'upload'"):
        read(value, skip=("uploadd",))


def test_a_key_goes_where_the_security_scheme_says():
    schemes = {
        "b": {"type": "http", "scheme": "bearer"},
        "k": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "c": {"type": "apiKey", "in": "cookie", "name": "c"},
    }

    def headers(security, **plan):
        value = document(
            {"/x": {"get": {"responses": OK, "security": security}}}, components={"securitySchemes": schemes}
        )
        return read(value, **plan)

    key = FromEnvironment("KEY")
    assert headers([{"b": []}], key=key).contracts[0].request.headers["authorization"] == FromEnvironment(
        "KEY", "Bearer "
    )
    assert headers([{"c": []}, {"k": []}], key=key).contracts[0].request.headers["x-key"] == FromEnvironment("KEY")
    assert "authorization" not in headers([{}]).contracts[0].request.headers
    assert headers([{"b": []}]).findings[0].message == "needs the security scheme 'b'; name its variable: --key-env"
    assert headers([{"c": []}], key=key).findings[0].message == "the security scheme 'c' (apiKey) is not supported"
    assert headers([{"gone": []}], key=key).findings[0].message == "the security scheme 'gone' is not there"


def test_parts_that_are_not_looked_at_are_noted():
    responses = {
        "200": {"headers": {"X-A": {"required": True, "schema": {}}}, "links": {"l": {}}, "content": {"text/csv": {}}}
    }
    get = {"responses": responses, "callbacks": {"c": {}}}
    found = read(document({"/x": {"get": get}}, webhooks={"w": {}}))
    assert found.notes == (
        "webhooks are not asked: they are requests of the service",
        "GET /x: callbacks are not asked: they are requests of the service",
        "schemas of replies' headers are not looked at",
        "links are not followed",
        "GET /x: of a reply 200 (text/csv) the body is not looked at",
    )
    assert found.contracts[0].replies[0].headers == {"x-a": None}
    assert found.contracts[0].replies[0].content_types == ("text/csv",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"swagger": "2.0"}, "api.yaml: OpenAPI 2.0 is not read; convert it to 3.0 or 3.1"),
        ({"info": {}}, "not an OpenAPI 3.0 or 3.1 document (openapi: 'missing')"),
        (document({}, "4.0.0"), "api.yaml:1: not an OpenAPI 3.0 or 3.1 document (openapi: '4.0.0')"),
        ([1], "not an OpenAPI 3.0 or 3.1 document"),
        (document({}), "api.yaml:5: the document has no operation"),
        (document([]), "api.yaml:5: expected a mapping from path to operations"),
        (
            document({}, jsonSchemaDialect="http://json-schema.org/draft-04/schema#"),
            "schemas of 'http://json-schema.org/draft-04/schema#' are not read",
        ),
    ],
)
def test_another_document_is_refused(value, said):
    with pytest.raises(UsageError) as refused:
        read(value)
    assert said in str(refused.value)


RICH: dict[str, Any] = document(
    {
        "/x/{id}": {
            "parameters": [{"in": "path", "name": "id", "required": True, "schema": {"type": "integer", "minimum": 1}}],
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/T"}}}},
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/T"}}}}},
                "security": [{"b": []}],
            },
        }
    },
    components={
        "schemas": {
            "T": {
                "type": "object",
                "properties": {"n": {"allOf": [{"type": "integer"}, {"minimum": 2}]}},
                "required": ["n"],
            }
        },
        "securitySchemes": {"b": {"type": "http", "scheme": "bearer"}},
    },
)


def _paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@given(
    st.sampled_from([path for path in _paths(RICH) if path]),
    st.sampled_from([None, 5, "x", [], {}, [1], {"$ref": 5}, True]),
)
def test_a_document_that_is_broken_anywhere_is_refused_or_named_and_never_silent(path, wrong):
    broken = copy.deepcopy(RICH)
    holder = broken
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = wrong
    try:
        found = read(broken, key=FromEnvironment("KEY"))
    except UsageError:
        return
    assert found.contracts or found.findings
