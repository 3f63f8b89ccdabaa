"""Contracts out of an OpenAPI 3.0 or 3.1 document: one for each operation and each example of its request.

What is asked comes from the document's examples, else from small values that obey its schemas. A request made of
examples must be answered as success is documented; a guessed one in any documented way. Operations that cannot be asked
are named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from shipway.core.errors import UsageError
from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.check import SUITE, pointer
from shipway.evals.contracts.model import JSON_TYPE, METHODS, ApiReply, ApiRequest, Contract, FromEnvironment, compiled
from shipway.evals.contracts.openapi_schemas import (
    Direction,
    Document,
    Node,
    SchemaTranslator,
    UnsupportedError,
    ValueMaker,
)
from shipway.evals.contracts.source import Source
from shipway.evals.suggestions import did_you_mean

SAFE_METHODS = ("GET", "HEAD", "POST")
"""What is sent when nobody says otherwise: the others change or delete what is there."""

_ITEM_METHODS = tuple(method.lower() for method in (*METHODS, "TRACE"))
_DIALECTS = ("https://spec.openapis.org/oas/3.1/dialect/base", "https://json-schema.org/draft/2020-12/schema")
_STATUS_LENGTH = 3
# What reading a part meets that is a list where a mapping should be, or the other way round.
_MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)
_SUCCESS = ("2", "3")


@dataclass(frozen=True, slots=True)
class OpenApiPlan:
    """Which operations are asked, and with which key; `skip` names those that are left out on purpose."""

    methods: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    key: FromEnvironment | None = None
    max_ms: float | None = None


@dataclass(frozen=True, slots=True)
class OpenApiContracts:
    """What a document promises; `findings`: what is wrong or cannot be asked; `notes`: what is not looked at."""

    contracts: tuple[Contract, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    document: Document
    plan: OpenApiPlan
    contracts: list[Contract] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def remark(self, text: str) -> None:
        self.notes[text] = None

    def found(self, name: str, verdict: Verdict, reason: str, node: Node, rule: str = "unsupported") -> None:
        place = self.document.source.place(node.path)
        metric = rule.replace("-", "_")
        self.findings.append(
            Finding(
                SUITE,
                name,
                verdict,
                metric=metric,
                message=reason,
                location=place,
                case_id=name,
                rule=f"{SUITE}/{rule}",
                details={"pointer": pointer(node.path)},
            )
        )


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: str
    node: Node
    shared: Node | None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def read_openapi(source: Source, plan: OpenApiPlan) -> OpenApiContracts:
    """Return the contracts of a document.

    Raises:
        UsageError: not an OpenAPI document of version 3.0 or 3.1, or `skip` names an operation that is not there.
    """
    reading = _Reading(_document(source), plan)
    operations = list(_operations(reading))
    known = {operation.name for operation in operations}
    known |= {str(operation.node.value.get("operationId")) for operation in operations}
    for name in plan.skip:
        if name not in known:
            raise UsageError(f"{source.file}: no operation {name!r}; {did_you_mean(name, known)}")
    for operation in operations:
        if {operation.name, operation.node.value.get("operationId")} & set(plan.skip):
            reading.remark(f"{operation.name}: left out, as asked")
            continue
        try:
            _read_operation(reading, operation)
        except UnsupportedError as error:
            reading.found(operation.name, Verdict.NO_DATA, error.reason, Node(None, error.path or operation.node.path))
        except _MALFORMED as error:
            reason = f"not written as OpenAPI has it ({type(error).__name__}: {error})"
            reading.found(operation.name, Verdict.NO_DATA, reason, operation.node)
    if not operations:
        raise UsageError(f"{source.place(('paths',))}: the document has no operation")
    return OpenApiContracts(tuple(reading.contracts), tuple(reading.findings), tuple(reading.notes))


def _document(source: Source) -> Document:
    root = source.value
    if isinstance(root, dict) and "swagger" in root:
        raise UsageError(f"{source.file}: OpenAPI {root['swagger']} is not read; convert it to 3.0 or 3.1")
    version = str(root.get("openapi", "")) if isinstance(root, dict) else ""
    if not version.startswith(("3.0", "3.1")):
        place = source.place(("openapi",))
        raise UsageError(f"{place}: not an OpenAPI 3.0 or 3.1 document (openapi: {version or 'missing'!r})")
    dialect = root.get("jsonSchemaDialect")
    if dialect is not None and dialect not in _DIALECTS:
        raise UsageError(f"{source.place(('jsonSchemaDialect',))}: schemas of {dialect!r} are not read")
    if not isinstance(root.get("paths", {}), dict):
        raise UsageError(f"{source.place(('paths',))}: expected a mapping from path to operations")
    return Document(source, version.startswith("3.0"))


def _operations(reading: _Reading) -> Iterator[_Operation]:
    root = Node(reading.document.source.value, ())
    if root.value.get("webhooks"):
        reading.remark("webhooks are not asked: they are requests of the service")
    for path in root.value.get("paths", {}):
        item = root.at("paths", path)
        if path.startswith("x-"):
            continue
        try:
            item = reading.document.resolved(item)
        except UnsupportedError as error:
            reading.found(path, Verdict.NO_DATA, error.reason, item)
            continue
        if not isinstance(item.value, dict):
            raise UsageError(f"{reading.document.source.place(item.path)}: expected a mapping from method to operation")
        shared = item.at("parameters") if "parameters" in item.value else None
        for method in _ITEM_METHODS:
            if isinstance(item.value.get(method), dict):
                yield _Operation(method.upper(), path, item.at(method), shared)


def _read_operation(reading: _Reading, operation: _Operation) -> None:
    plan, body = reading.plan, operation.node.value
    allowed = plan.methods or SAFE_METHODS
    if operation.method not in allowed:
        if plan.methods:
            reading.remark(f"{operation.name}: left out, as asked")
            return
        hint = f"not sent, because {operation.method} may change what is there; --method {operation.method} sends it"
        raise UnsupportedError(hint, operation.node.path)
    if body.get("callbacks"):
        reading.remark(f"{operation.name}: callbacks are not asked: they are requests of the service")
    maker = ValueMaker(reading.document)
    path, headers = _parameters(reading, operation, maker)
    headers |= _security(reading, operation)
    responses = _responses(reading, operation)
    for label, has_body, content, guessed in _bodies(reading, operation):
        name = f"{operation.name} ({label})" if label else operation.name
        sent = dict(headers)
        accept = sorted({kind for reply in responses for kind in reply.content_types})
        sent.setdefault("accept", ", ".join(accept) or "*/*")
        request = ApiRequest(operation.method, path, sent, content, has_body)
        replies = _expected(responses, guessed=guessed or maker.guessed)
        place = reading.document.source.place(operation.node.path)
        reading.contracts.append(Contract(name, request, replies, (), plan.max_ms, place))


def _expected(responses: list[ApiReply], *, guessed: bool) -> tuple[ApiReply, ...]:
    """Return the replies that are right: any documented one to a guess, else what is documented as success."""
    if guessed:
        return tuple(responses)
    success = [reply for reply in responses if reply.status.startswith(_SUCCESS)]
    return tuple(success or responses)


def _parameters(reading: _Reading, operation: _Operation, maker: ValueMaker) -> tuple[str, dict[str, Any]]:
    path, query, headers = operation.path, list[str](), dict[str, Any]()
    for (where, name), node in _declared(reading, operation).items():
        if not _is_sent(node.value, where):
            continue
        value = _parameter_value(reading, node, maker)
        if where == "path":
            path = path.replace("{" + name + "}", quote(_text(value, node), safe=""))
        elif where == "query":
            query += _pairs(name, value, node)
        elif where != "header":
            raise UnsupportedError(f"the parameter {name!r} stands in {where}, which is not sent", node.path)
        elif name.lower() not in {"accept", "content-type", "authorization"}:
            headers[name.lower()] = _text(value, node)
    if "{" in path:
        raise UnsupportedError(f"{path}: a part of the path has no parameter of its name", operation.node.path)
    return path + ("?" + "&".join(query) if query else ""), headers


def _declared(reading: _Reading, operation: _Operation) -> dict[tuple[str, str], Node]:
    """Return the parameters by place and name; the operation's own stand before those of its path."""
    groups = [operation.shared] if operation.shared is not None else []
    if "parameters" in operation.node.value:
        groups.append(operation.node.at("parameters"))
    nodes = [reading.document.resolved(group.at(index)) for group in groups for index in range(len(group.value))]
    return {(str(node.value.get("in")), str(node.value.get("name"))): node for node in nodes}


def _is_sent(parameter: Mapping[str, Any], where: str) -> bool:
    return where == "path" or parameter.get("required") is True or "example" in parameter or "examples" in parameter


def _parameter_value(reading: _Reading, node: Node, maker: ValueMaker) -> Any:
    parameter = node.value
    name = parameter.get("name")
    if "content" in parameter or parameter.get("style", "form") not in {"form", "simple"}:
        raise UnsupportedError(f"the parameter {name!r} is written in a style that is not sent", node.path)
    if "example" in parameter:
        return parameter["example"]
    named = next(_named_examples(reading, node), None)
    if named is not None:
        return named[1]
    schema = Node(parameter.get("schema", {}), (*node.path, "schema"))
    value = maker.value(schema)
    _check_value(reading, schema, value, f"the parameter {name!r}")
    return value


def _pairs(name: str, value: Any, node: Node) -> list[str]:
    if isinstance(value, list) and node.value.get("explode", True):
        return [f"{quote(name, safe='')}={quote(_text(item, node), safe='')}" for item in value]
    return [f"{quote(name, safe='')}={quote(_text(value, node), safe=',')}"]


def _text(value: Any, node: Node) -> str:
    if isinstance(value, list):
        return ",".join(_text(item, node) for item in value)
    if isinstance(value, dict):
        raise UnsupportedError(f"the parameter {node.value.get('name')!r} is an object, which is not sent", node.path)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bodies(reading: _Reading, operation: _Operation) -> Iterator[tuple[str, bool, Any, bool]]:
    """Yield label, whether there is a body, the body and whether it is guessed."""
    if "requestBody" not in operation.node.value:
        yield "", False, None, False
        return
    body = reading.document.resolved(operation.node.at("requestBody"))
    content = body.value.get("content") or {}
    kind = next((kind for kind in content if _is_json(kind)), None)
    if kind is None:
        kinds = ", ".join(content) or "nothing"
        raise UnsupportedError(f"the request's body is {kinds}; only JSON is sent", body.path)
    media = body.at("content", kind)
    schema = Node(media.value.get("schema", {}), (*media.path, "schema"))
    given = list(_named_examples(reading, media))
    if "example" in media.value:
        given.insert(0, ("", media.value["example"]))
    for label, value in given:
        problem = _first_error(reading, schema, value)
        if problem:
            name = f"{operation.name} ({label})" if label else operation.name
            reading.found(name, Verdict.FAIL, f"the example breaks its own schema: {problem}", media, "example")
        else:
            yield label if len(given) > 1 else "", True, value, False
    if given:
        return
    maker = ValueMaker(reading.document)
    value = maker.value(schema)
    _check_value(reading, schema, value, "the request's body")
    yield "", True, value, maker.guessed


def _named_examples(reading: _Reading, node: Node) -> Iterator[tuple[str, Any]]:
    examples = node.value.get("examples")
    if not isinstance(examples, dict):
        return
    for name in examples:
        example = reading.document.resolved(node.at("examples", name))
        if isinstance(example.value, dict) and "value" in example.value:
            yield name, example.value["value"]
        else:
            reading.remark(
                f"{reading.document.source.place(node.path)}: the example {name!r} has no value in this file"
            )


def _check_value(reading: _Reading, schema: Node, value: Any, what: str) -> None:
    problem = _first_error(reading, schema, value)
    if problem:
        raise UnsupportedError(f"no value could be made for {what} ({problem}); give an example", schema.path)


def _first_error(reading: _Reading, schema: Node, value: Any) -> str:
    for error in _validator(reading, schema, "request").iter_errors(value):
        return f"{pointer(error.instance_path) or '/'}: {error.message[:200]}"
    return ""


def _validator(reading: _Reading, node: Node, direction: Direction) -> Any:
    return _compiled(SchemaTranslator(reading.document, direction).whole(node), node)


def _compiled(schema: Any, node: Node) -> Any:
    try:
        return compiled(schema)
    except UsageError as error:
        raise UnsupportedError(error.message, node.path) from error


def _responses(reading: _Reading, operation: _Operation) -> list[ApiReply]:
    responses = operation.node.value.get("responses")
    if not isinstance(responses, dict) or not responses:
        raise UnsupportedError("no response is documented", operation.node.path)
    replies = []
    for status in responses:
        if status.startswith("x-"):
            continue
        node = reading.document.resolved(operation.node.at("responses", status))
        if status != "default" and len(status) != _STATUS_LENGTH:
            raise UnsupportedError(f"{status!r} is no status; write 200, 2XX or default", node.path)
        replies.append(_reply(reading, operation, status.upper() if status != "default" else status, node))
    return replies


def _reply(reading: _Reading, operation: _Operation, status: str, node: Node) -> ApiReply:
    headers: dict[str, str | None] = {}
    for name in node.value.get("headers") or {}:
        header = reading.document.resolved(node.at("headers", name)).value
        if isinstance(header, dict) and header.get("required") is True:
            headers[name.lower()] = None
        if isinstance(header, dict) and "schema" in header:
            reading.remark("schemas of replies' headers are not looked at")
    if node.value.get("links"):
        reading.remark("links are not followed")
    content = node.value.get("content") or {}
    if operation.method == "HEAD" or not content:
        return ApiReply(status, (), headers)
    kind = next((kind for kind in content if _is_json(kind)), None)
    if kind is None:
        reading.remark(f"{operation.name}: of a reply {status} ({', '.join(content)}) the body is not looked at")
        return ApiReply(status, tuple(content), headers)
    media = node.at("content", kind)
    if "schema" not in media.value:
        return ApiReply(status, (kind,), headers)
    schema = SchemaTranslator(reading.document, "reply").whole(media.at("schema"))
    _compiled(schema, media.at("schema"))
    return ApiReply(status, (kind,), headers, schema, has_schema=True)


def _is_json(kind: str) -> bool:
    media = kind.partition(";")[0].strip().lower()
    return media in {JSON_TYPE, "*/*", "application/*"} or media.endswith("+json")


def _security(reading: _Reading, operation: _Operation) -> dict[str, Any]:
    """Return the headers that let a request in; the first way that a key serves is taken."""
    root = reading.document.source.value
    ways = operation.node.value.get("security", root.get("security"))
    if not ways or not isinstance(ways, list):
        return {}
    schemes = Node(root, ())
    reasons = []
    for way in ways:
        try:
            headers: dict[str, Any] = {}
            for name in way:
                headers |= _scheme(reading, schemes, name, operation)
        except UnsupportedError as error:
            reasons.append(error.reason)
        else:
            return headers
    raise UnsupportedError("; ".join(dict.fromkeys(reasons)), operation.node.path)


def _scheme(reading: _Reading, root: Node, name: str, operation: _Operation) -> dict[str, Any]:
    try:
        scheme = reading.document.resolved(root.at("components", "securitySchemes", name)).value
    except (KeyError, TypeError):
        raise UnsupportedError(f"the security scheme {name!r} is not there", operation.node.path) from None
    kind, key = scheme.get("type"), reading.plan.key
    is_bearer = kind in {"oauth2", "openIdConnect"} or str(scheme.get("scheme", "")).lower() == "bearer"
    is_header = kind == "apiKey" and scheme.get("in") == "header"
    if not is_bearer and not is_header:
        raise UnsupportedError(f"the security scheme {name!r} ({kind}) is not supported", operation.node.path)
    if key is None:
        raise UnsupportedError(f"needs the security scheme {name!r}; name its variable: --key-env", operation.node.path)
    if is_bearer:
        return {"authorization": FromEnvironment(key.env, "Bearer ", key.place)}
    return {str(scheme["name"]).lower(): FromEnvironment(key.env, "", key.place)}
