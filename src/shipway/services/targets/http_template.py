"""Any HTTP endpoint that takes a question and answers in JSON, by template; `choosing` makes one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from shipway.config.sections.eval_targets import HttpTemplate
from shipway.core.canonical import digest_json
from shipway.evals.model import Case, Output
from shipway.evals.ports import HttpCall, JsonCaller
from shipway.services.targets.answers import NoAnswerError, texts_of, tool_calls_of
from shipway.services.targets.json_path import JsonPath
from shipway.services.targets.replies import wrong_shape
from shipway.services.targets.service_replies import CostPaths, ServiceReply
from shipway.services.targets.templates import filled, filled_header, filled_url, values_of

Headers = tuple[tuple[str, str], ...]
_ACCEPT = ("accept", "application/json")
_CONTENT = ("content-type", "application/json")
_TEXT_LISTS = ("citations", "retrieved", "passages")


@dataclass(frozen=True, slots=True)
class Replied:
    """Where in a reply the parts of an output are."""

    answer: JsonPath
    lists: Mapping[str, JsonPath] = field(default_factory=dict)
    """`citations`, `retrieved`, `passages`, as far as the endpoint has them."""
    tool_calls: JsonPath | None = None
    costs: CostPaths = field(default_factory=CostPaths)

    @classmethod
    def of(cls, template: HttpTemplate) -> "Replied":
        """Return the places that a template names."""
        lists = {name: JsonPath(path) for name in _TEXT_LISTS if (path := getattr(template, name)) is not None}
        calls = JsonPath(template.tool_calls) if template.tool_calls else None
        return cls(JsonPath(template.answer), lists, calls, CostPaths.of(template.usage, template.cost_usd))

    def read(self, reply: ServiceReply) -> Mapping[str, Any]:
        """Return the fields of an output.

        Raises:
            NoAnswerError: a place is not there, or something else stands in it.
        """
        found: dict[str, Any] = {"answer": reply.answer(self.answer), **reply.measured(self.costs)}
        for name, path in self.lists.items():
            found[name] = texts_of(name, _flat(reply.read(path)))
        if self.tool_calls is not None:
            found["tool_calls"] = tool_calls_of(reply.read(self.tool_calls))
        return found


@dataclass(frozen=True, slots=True)
class HttpTemplateTarget:
    """An endpoint and how it is asked.

    `secret_headers` go with every request and are no part of the digest, as `timeout_s` is none.
    """

    name: str
    template: HttpTemplate
    replied: Replied
    caller: JsonCaller
    digest: str
    timeout_s: float
    secret_headers: Headers = field(default=(), repr=False)

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Put a case to the endpoint.

        Raises:
            NoAnswerError: the template names what the case does not have; nothing was sent.
            UnavailableError: nobody answers, or too late.
            UpstreamError: an error, or a reply without the answer.
        """
        values = values_of(case, repeat)
        template = self.template
        url = filled_url(template.url, values) if "{" in template.url else template.url
        plain = tuple(
            (name, filled_header(text, values)) for name, text in template.headers.items() if isinstance(text, str)
        )
        body = b"" if template.body is None else orjson.dumps(filled(template.body, values))
        headers = _with_defaults((*plain, *self.secret_headers), has_body=bool(body))
        reply = await self.caller.call(HttpCall(template.method, url, headers, body, self.timeout_s))
        told = ServiceReply.of(url, reply)
        try:
            return Output(**self.replied.read(told))
        except NoAnswerError as error:
            raise wrong_shape(url, str(error)) from error


def http_template_target(
    template: HttpTemplate, caller: JsonCaller, secret_of: Callable[[Any], str], *, timeout_s: float, name: str = ""
) -> HttpTemplateTarget:
    """Return the target of a template; `secret_of` gives the secret that a reference names.

    Raises:
        ConfigError: a secret is not there.
    """
    secrets = [(key, secret_of(ref)) for key, ref in template.headers.items() if not isinstance(ref, str)]
    if template.api_key is not None:
        secrets.append(("authorization", f"Bearer {secret_of(template.api_key)}"))
    return HttpTemplateTarget(
        name or f"http {template.url.partition('?')[0]}",
        template,
        Replied.of(template),
        caller,
        template_digest(template),
        timeout_s,
        tuple(secrets),
    )


def template_digest(template: HttpTemplate) -> str:
    """Return the digest of everything that decides the answers; of secrets only that they are sent."""
    body = template.model_dump(mode="json", exclude={"headers", "api_key", "usage", "cost_usd"})
    body["headers"] = {
        key.lower(): text if isinstance(text, str) else {"secret": True} for key, text in template.headers.items()
    }
    body["api_key"] = template.api_key is not None
    return digest_json({"kind": "http", **body})


def _with_defaults(headers: Sequence[tuple[str, str]], *, has_body: bool) -> Headers:
    given = {name.lower() for name, _ in headers}
    usual = (_ACCEPT, _CONTENT) if has_body else (_ACCEPT,)
    return (*headers, *(header for header in usual if header[0] not in given))


def _flat(value: Any) -> Any:
    """Return the items of lists in lists: `hits.*.documents` has a list for each hit."""
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return [inner for item in value for inner in (item if isinstance(item, list) else [item])]
    return value
