"""`evals.target`: what is evaluated in place of a release, exactly one of five kinds; `services.targets` opens it."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from shipway.config.sections.models import Price
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section
from shipway.core.nesting import TOO_DEEP, too_deep

Problem = tuple[tuple[str | int, ...], str]

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A place in a template that a case fills, such as `{question}`."""
WHOLE = "."
"""The path of the whole reply."""
EVERY = "*"
"""The part of a path that stands for every item of a list."""

_DOUBLE = re.compile(r"\{\{\s*[A-Za-z_]")
_SAME_FOR_EVERY_CASE = frozenset({"tenant", "repeat"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_HEADER = re.compile(
    r"(?:^|[-_])(?:authorization|api-?key|key|token|secret|password|credentials?|cookie)$", re.IGNORECASE
)
_SECRET_QUERY = re.compile(r"[?&](?:[a-z]+[_-])*(?:key|apikey|token|secret|password)=(?!\{)[^&]", re.IGNORECASE)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"})
_ADDRESS = re.compile(r"https?://[^/?#\s{}]+")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_PATH_WORDS = {"answer", "citations", "retrieved", "passages", "tool_calls", "usage", "cost_usd"}
_KINDS = ("endpoint", "environment_route", "http", "python", "log")
# What may stand beside each kind.
_BESIDE: Mapping[str, frozenset[str]] = {
    "endpoint": frozenset({"model", "api_key", "price", "max_tokens", "measure_ttft"}),
    "environment_route": frozenset({"api_key", "gateway", "max_tokens", "measure_ttft"}),
}
_OF_AN_ADDRESS = ("model", "api_key", "price")


def _header_kind(value: Any) -> str:
    return "secret" if isinstance(value, dict | SecretRef) else "text"


Header = Annotated[
    Annotated[str, Tag("text")] | Annotated[SecretRef, Tag("secret")],
    Discriminator(_header_kind),
]


class HttpTemplate(Section):
    """How a case is put to an HTTP endpoint: one request, one JSON reply.

    `{question}`, `{id}`, `{tenant}`, `{repeat}`, `{messages}`, `{context}`, `{variables}` and each of a case's
    variables by name are replaced. A text of the body that is nothing but `{name}` becomes the value itself, of
    whatever type.
    """

    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    """How it is asked; a GET has no body."""
    url: str
    """The address; after the host it may hold `{question}` and the like, which are percent-encoded."""
    headers: dict[str, Header] = Field(default_factory=dict)
    """More headers; what is secret is `{env: NAME}` or `{file: path}`."""
    api_key: SecretRef | None = None
    """Where the key is that is sent as `Authorization: Bearer`."""
    body: dict[str, Any] | list[Any] | None = None
    """The JSON body."""
    answer: str
    """Where the answer is in the reply, such as `choices.0.message.content`; `.` is the whole reply."""
    citations: str | None = None
    """Where the ids of the cited documents are, such as `sources.*.id`."""
    retrieved: str | None = None
    """Where the ids of all documents found are, best first."""
    passages: str | None = None
    """Where the texts are that the model was given."""
    tool_calls: str | None = None
    """Where the list of called tools is, in OpenAI's words or as `{name, arguments}`."""
    usage: str | None = None
    """Where the object with the tokens is; by default `usage`, as OpenAI writes it."""
    cost_usd: str | None = None
    """Where the cost in US dollars is; by default `cost_usd`, `usage.cost` or the header `x-cost-usd`."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return address(value)

    @field_validator("headers", mode="before")
    @classmethod
    def _may_be_sent(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        seen: set[str] = set()
        for name, text in value.items():
            _check_header(name, text)
            if str(name).lower() in seen:
                raise ValueError(f"header {name!r} stands here twice; header names do not tell case apart")
            seen.add(str(name).lower())
        return value

    @field_validator("body")
    @classmethod
    def _is_json(cls, value: Any) -> Any:
        if value is None:
            return value
        if too_deep(value):
            raise ValueError(TOO_DEEP)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"this is not JSON ({error}); put dates and the like in quotes") from error
        return value

    @field_validator(*sorted(_PATH_WORDS))
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None:
            path_parts(value)
        return value

    @model_validator(mode="after")
    def _asks_each_case(self) -> Self:
        if EVERY in path_parts(self.answer):
            raise ValueError("answer leads to one text; * stands for every item of a list")
        if self.method == "GET" and self.body is not None:
            raise ValueError("a GET has no body; put {question} into url, or use method: POST")
        if self.api_key is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give api_key or the header authorization, not both")
        texts = [self.url, *(text for text in self.headers.values() if isinstance(text, str)), *_texts(self.body)]
        if any(_DOUBLE.search(text) for text in texts):
            raise ValueError("write {question} with single braces, not {{question}}")
        if not {name for text in texts for name in PLACEHOLDER.findall(text)} - _SAME_FOR_EVERY_CASE:
            raise ValueError("{question} stands neither in body nor in url, so every case would be asked the same")
        return self


class TargetEntry(Section):
    """What is evaluated: exactly one of endpoint, environment_route, http, python, log."""

    endpoint: str | None = None
    """An OpenAI-compatible endpoint: an alias of `models`, or an address that ends where `/chat/completions` begins."""
    model: str | None = None
    """endpoint by address: the model's name there."""
    api_key: SecretRef | None = None
    """endpoint by address, environment_route: where the key is."""
    price: Price | None = None
    """endpoint by address: what tokens cost."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """endpoint, environment_route: the longest answer; by default `max_out` of the model or what the route has."""
    measure_ttft: bool = False
    """endpoint, environment_route: ask for a stream, so that the time to the first token is known."""
    environment_route: str | None = None
    """A route of a running environment, asked through its gateway."""
    gateway: str | None = None
    """environment_route: the gateway's address; by default the one that `shipway up` started here."""
    http: HttpTemplate | None = None
    """Any HTTP endpoint."""
    python: str | None = None
    """A function of the project, `package.module:function`; it takes a case and returns text, a dict or an Output."""
    log: str | None = None
    """Recorded answers, JSON lines or the folder of a run, relative to the project file."""

    @property
    def kind(self) -> str:
        """Return which of the five it is."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    @field_validator("gateway")
    @classmethod
    def _is_plain_address(cls, value: str | None) -> str | None:
        return value if value is None else plain_address(value)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"give exactly one of {', '.join(_KINDS)} ({found})")
        beside = _BESIDE.get(given[0], frozenset())
        for name in sorted(self.model_fields_set - {given[0]} - beside):
            if name not in _KINDS and getattr(self, name) not in {None, False}:
                owners = [kind for kind, names in _BESIDE.items() if name in names]
                raise ValueError(f"{name} belongs to {' or '.join(owners)}, not to {given[0]}")
        return self

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if self.endpoint is not None:
            self._check_endpoint(self.endpoint)
        if self.environment_route is not None and self.api_key is None:
            raise ValueError("environment_route needs api_key: a gateway answers nobody without a key")
        if self.python is not None and not _FUNCTION.fullmatch(self.python):
            raise ValueError(f"python {self.python!r} is not written as package.module:function")
        if self.log is not None and not self.log.strip():
            raise ValueError("log names no file")
        return self

    def _check_endpoint(self, endpoint: str) -> None:
        if "://" in endpoint:
            plain_address(endpoint)
            if self.model is None:
                raise ValueError("an endpoint by address needs model: the model's name there")
            return
        if not _ALIAS.fullmatch(endpoint):
            raise ValueError(
                f"endpoint {endpoint!r} is neither an alias of models nor an address like http://host:8000/v1"
            )
        for name in _OF_AN_ADDRESS:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} of endpoint {endpoint!r} stands in models.{endpoint}; remove it here")


def target_problems(
    path: tuple[str | int, ...], target: TargetEntry | None, models: Collection[str], routes: Collection[str]
) -> Iterator[Problem]:
    """Yield what a target names and the project does not have; `path` is the target's own."""
    if target is None:
        return
    if target.endpoint is not None and "://" not in target.endpoint and target.endpoint not in models:
        yield (*path, "endpoint"), f"{target.endpoint!r} is not in models ({_has(models)})"
    # Another environment's gateway may have routes that this file no longer has.
    named = target.environment_route if target.gateway is None else None
    if named is not None and named not in routes:
        yield (*path, "environment_route"), f"{named!r} is not in routes ({_has(routes)})"


def address(url: str) -> str:
    """Return an address whose placeholders stand after the host.

    Raises:
        ValueError: it is none.
    """
    if _SECRET_QUERY.search(url):
        # The value itself is not repeated: this message ends in terminals and CI logs.
        raise ValueError("the address holds a secret in clear text; send it as api_key or as a header")
    found = _ADDRESS.match(url)
    if found is None or url[found.end() : found.end() + 1] not in {"", "/", "?"}:
        raise ValueError(f"{_shown(url)} is not an address like http://host:8000/ask; the host is no placeholder")
    if "@" in found[0]:
        raise ValueError("the address holds a password; write it without, and the key under api_key")
    plain = PLACEHOLDER.sub("", url)
    if not plain.isascii() or any(sign <= " " or sign in "{}#\x7f" for sign in plain):
        raise ValueError(f"{_shown(url)} has signs that must be percent-encoded, or a part after #")
    try:
        parts = urlsplit(plain)
        if not parts.hostname or parts.port == 0:
            raise ValueError("no host, or port 0")  # noqa: TRY301 - one message for all
    except ValueError as error:
        raise ValueError(f"{_shown(url)} is not an address: {error}") from error
    return url


def plain_address(url: str) -> str:
    """Return an address without placeholders and query.

    Raises:
        ValueError: it is none.
    """
    if PLACEHOLDER.search(url) or "?" in url:
        raise ValueError(f"{_shown(url)} ends where /chat/completions begins: no query, no placeholder")
    return address(url)


def path_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path into JSON; none for the whole.

    Raises:
        ValueError: it is no path.
    """
    if path == WHOLE:
        return ()
    parts = tuple(path.split("."))
    if path.startswith("$") or "[" in path or "/" in path:
        like = re.sub(r"\[['\"]?([^\]'\"]*)['\"]?\]", r".\1", path.lstrip("$/")).replace("/", ".").strip(".")
        raise ValueError(f"path {_shown(path)} is written with dots and numbers; write {like}")
    if not all(part and part == part.strip() for part in parts):
        raise ValueError(f"path {_shown(path)} has an empty part; write names and numbers, such as choices.0.text")
    return parts


def _check_header(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if name.lower() in _OURS:
        raise ValueError(f"header {name!r} is set by Shipway; remove it")
    if not isinstance(value, str):
        return
    if _SECRET_HEADER.search(name):
        # The value itself is not repeated: this message ends in terminals and CI logs.
        raise ValueError(f"header {name!r} holds a secret in clear text; write {{env: NAME}} or {{file: path}}")
    if any(sign < " " or sign == "\x7f" for sign in value) or not value.isascii():
        raise ValueError(f"header {name!r} holds signs that a header cannot: write ASCII on one line")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _has(names: Collection[str]) -> str:
    return f"it has {', '.join(sorted(names))}" if names else "it is empty"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")  # noqa: PLR2004 - what fits on a line
