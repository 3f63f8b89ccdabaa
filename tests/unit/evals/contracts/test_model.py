"""Contracts as people write them in YAML."""

import pytest

from shipway.core.errors import UsageError
from shipway.evals.contracts.model import ApiReply, ApiRequest, Contract, FromEnvironment, parse_contracts
from shipway.evals.contracts.source import read_source

WHOLE = """\
- name: sorts a message
  request:
    method: post
    path: /classify
    headers: { Authorization: { env: KEY, prefix: "Bearer " }, X-Trace: "7" }
    json: { text: "Where is it?" }
  expect:
    status: [200, 201]
    schema: { type: object, required: [label] }
    headers: { X-Release: }
    max_ms: 500
    contains: label
"""

REFUSED = "api.yaml:3: expect.schema: not a usable JSON Schema:"
UNDER_DEFS = "write what is there under $defs"


def parsed(text, schemas=None):
    def read(name):
        if schemas is None or name not in schemas:
            raise UsageError(f"{name}: cannot be read: No such file or directory")
        return schemas[name]

    return parse_contracts(read_source(text.encode(), "api.yaml"), read)


def refusal(text, **options):
    with pytest.raises(UsageError) as refused:
        parsed(text, **options)
    return str(refused.value).splitlines()


def one(request="{path: /x}", expect="{}"):
    return f"- name: a\n  request: {request}\n  expect: {expect}\n"


def test_a_contract_is_read_whole():
    (contract,) = parsed(WHOLE)
    assert contract.name == "sorts a message"
    assert contract.location == "api.yaml:1"
    assert contract.request.method == "POST"
    assert contract.request.body == {"text": "Where is it?"}
    assert contract.request.headers == {
        "authorization": FromEnvironment("KEY", "Bearer ", "api.yaml:5"),
        "x-trace": "7",
    }
    assert [reply.status for reply in contract.replies] == ["200", "201"]
    assert contract.replies[0].content_types == ("application/json",)
    assert contract.replies[0].headers == {"x-release": None}
    assert (contract.max_ms, contract.contains) == (500.0, ("label",))


def test_without_a_body_it_is_a_get_that_expects_200_and_nothing_more():
    (contract,) = parsed(one())
    assert contract.request == ApiRequest("GET", "/x")
    assert contract.replies == (ApiReply("200"),)


def test_a_body_of_null_is_a_body():
    (contract,) = parsed(one("{path: /x, json: null}"))
    assert (contract.request.method, contract.request.has_body, contract.request.body) == ("POST", True, None)


def test_a_schema_may_stand_in_a_file():
    (contract,) = parsed(one(expect="{schema_file: label.json}"), schemas={"label.json": {"type": "string"}})
    assert contract.replies[0].schema == {"type": "string"}


def test_a_header_of_nothing_is_not_sent_and_text_says_that_it_is_no_secret():
    (contract,) = parsed(one("{path: /x, headers: {Authorization: , X-Api-Key: {text: wrong}}}"))
    assert contract.request.headers == {"authorization": None, "x-api-key": "wrong"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1", "api.yaml:1: expected a list of contracts: `- name: …`, with request and expect below"),
        ("[]", "api.yaml:1: expected a list of contracts: `- name: …`, with request and expect below"),
        ("- 5", "api.yaml:1: expected a mapping with expect, name, request; got one value"),
        ("- name: a", "api.yaml:1: request: expected a mapping with headers, json, method, path; got nothing"),
        ("- request: {path: /x}", "api.yaml:1: name: a text is needed, got None"),
        (
            one("{path: x}"),
            "api.yaml:2: request.path: begins with one /, such as /v1/models; got 'x' (the address is --url)",
        ),
        (
            one('{path: "/a b"}'),
            "api.yaml:2: request.path: '/a b' has a character that no request line may hold; write it as %XX",
        ),
        (one("{path: /x, methodd: GET}"), "api.yaml:2: request.methodd: unknown key; did you mean 'method'?"),
        (
            one("{path: /x, method: FETCH}"),
            "api.yaml:2: request.method: 'FETCH' is not sent; known: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        (one("{path: /x, method: GET, json: 1}"), "api.yaml:2: request.json: GET carries no body; write method: POST"),
        (
            one("{path: /x, headers: {Host: a}}"),
            "api.yaml:2: request.headers.Host: is written by the client; leave it out",
        ),
        (one("{path: /x, headers: {'a b': c}}"), "api.yaml:2: request.headers.a b: is no name of a header"),
        (
            one('{path: /x, headers: {X-A: "a\\nb: c"}}'),
            "api.yaml:2: request.headers.X-A: 'a\\nb: c' has a character that no header may hold",
        ),
        (one("{path: /x, headers: [a]}"), "api.yaml:2: request.headers: a mapping from name to value, got a list"),
        (one(expect="{status: 42}"), "api.yaml:3: expect.status: a status from 100 to 599, or a list of them; got 42"),
        (
            one(expect="{status: ok}"),
            "api.yaml:3: expect.status: a status from 100 to 599, or a list of them; got 'ok'",
        ),
        (one(expect="{max_ms: 0}"), "api.yaml:3: expect.max_ms: milliseconds above 0, got 0"),
        (one(expect="{max_ms: .nan}"), "api.yaml:3: expect.max_ms: milliseconds above 0, got nan"),
        (one(expect="{contains: [1]}"), "api.yaml:3: expect.contains: a text or a list of texts, got 1"),
        (one(expect="{schema: 5}"), "api.yaml:3: expect.schema: a JSON Schema is an object, got '5'"),
        (
            one(expect="{schema: {$ref: 'https://example.org/s'}}"),
            f"{REFUSED} it refers to 'https://example.org/s', and schemas are not fetched; {UNDER_DEFS}",
        ),
        (
            one(expect="{schema: {}, schema_file: a}"),
            "api.yaml:3: expect.schema_file: schema and schema_file are given; keep one",
        ),
        (
            one(expect="{schema_file: gone.json}"),
            "api.yaml:3: expect.schema_file: gone.json: cannot be read: No such file or directory",
        ),
        (
            one("{path: /x, method: HEAD}", "{schema: {}}"),
            "api.yaml:3: expect: a reply to HEAD has no body, so no schema can hold for it",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_field(text, line):
    assert refusal(text) == [line]


def test_everything_that_is_wrong_is_told_at_once():
    assert len(refusal(one("{path: x}") + one(expect="{status: 42, max_ms: -1}"))) == 3


def test_two_contracts_of_one_name_are_refused():
    assert refusal(one() + one()) == ["api.yaml:4: name: 'a' is already the name of api.yaml:1"]


@pytest.mark.parametrize(
    "headers",
    [
        "{Authorization: 'Bearer abc'}",
        "{Cookie: 'session=1'}",
        "{X-Api-Key: abc}",
        "{X-Auth-Token: abc}",
        "{X-Any: sk-abcdefghijklmnopqrstuvwx}",
        "{Authorization: {text: 'Bearer sk-abcdefghijklmnopqrstuvwx'}}",
    ],
)
def test_a_secret_in_clear_text_is_refused_and_not_repeated(headers):
    said = "\n".join(refusal(one(f"{{path: /x, headers: {headers}}}")))
    assert "clear text" in said
    assert "abc" not in said
    assert "session=1" not in said


def test_a_reference_to_a_secret_that_is_none_is_refused():
    (line,) = refusal(one("{path: /x, headers: {Authorization: {env: 'a b'}}}"))
    assert (
        line
        == "api.yaml:2: request.headers.Authorization: write {env: NAME}, {env: NAME, prefix: 'Bearer '} or {text: …}"
    )


def test_the_narrowest_status_counts_and_default_takes_no_server_error():
    replies = (ApiReply("default"), ApiReply("2XX"), ApiReply("201"))
    contract = Contract("a", ApiRequest("GET", "/"), replies)
    assert [contract.reply_for(status) for status in (201, 200, 404, 500)] == [
        replies[2],
        replies[1],
        replies[0],
        None,
    ]


def test_mistakes_of_what_is_expected_are_told_beside_those_of_the_request():
    assert refusal(one("{path: x}", "{status: 99, max_ms: -1}")) == [
        "api.yaml:2: request.path: begins with one /, such as /v1/models; got 'x' (the address is --url)",
        "api.yaml:3: expect.status: a status from 100 to 599, or a list of them; got 99",
        "api.yaml:3: expect.max_ms: milliseconds above 0, got -1",
    ]
