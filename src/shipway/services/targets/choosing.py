"""From what a user writes to what is evaluated: `--target` of `eval run`, or `evals.target` of the project file.

The runner's service opens a target here, asks it through `evals.ports.Target`, and leaves the context when it is done:

    async with choose_target(app, "python:bot:answer", parts) as target:
        output = await target.ask(case, repeat=0)
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from shipway.config.secrets import resolve_secret
from shipway.config.sections.eval_targets import TargetEntry
from shipway.config.sections.models import Price
from shipway.config.sections.secrets import SecretRef
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ulid
from shipway.evals.ports import JsonCaller, Target
from shipway.evals.suggestions import did_you_mean
from shipway.gateway.engines import EngineKind, address_of
from shipway.gateway.model import ModelPrice
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.running import require_endpoints
from shipway.services.runtimes import Engine, openai_decoding
from shipway.services.targets.gateway_route import GatewayRoute, Serving, opened_route
from shipway.services.targets.http_template import http_template_target
from shipway.services.targets.openai_endpoint import OpenAiEndpoint
from shipway.services.targets.python_function import opened_function
from shipway.services.targets.recorded_log import RecordedLog, opened_log

TARGET_KEY = "SHIPWAY_TARGET_KEY"
"""The environment variable with the key of a target that `--target` names by address or route."""
_PREFIXES = {"python": "python", "log": "log", "route": "environment_route"}
_RELEASE = "rel_"
_SCHEMES = ("http", "https")
_FORMS = "a target is NAME (an alias of models; {}), URL#MODEL, python:module:function, log:FILE or route:NAME"


class Engines(Protocol):
    """Where models are served; `services.runtimes.RuntimeFactory` is one."""

    def engine(self, alias: str, model: Mapping[str, str]) -> Engine:
        """Return where a model alias is served in this environment.

        Raises:
            UnavailableError: its engine is not running.
        """
        ...


@dataclass(frozen=True, slots=True)
class TargetParts:
    """What targets are made of; the composition root has it. `timeout_s` is that of one request."""

    caller: JsonCaller
    engines: Engines
    environ: Mapping[str, str]
    timeout_s: float


def read_target(app: Application, text: str, environ: Mapping[str, str]) -> TargetEntry:
    """Return what `NAME | URL#MODEL | python:module:function | log:FILE | route:NAME` stands for.

    NAME is an alias of `models`, URL ends where `/chat/completions` begins. The key of a URL or route is read from the
    environment variable `SHIPWAY_TARGET_KEY`; a URL is asked without one when it is not set.

    Raises:
        UsageError: it is none of these, or names what the project does not have.
    """
    prefix, colon, rest = text.partition(":")
    if "://" in text and prefix not in _PREFIXES:
        if prefix.lower() not in _SCHEMES:
            hint = f"an address begins with http:// or https://; {_FORMS.format(_known(app, text))}"
            raise UsageError(f"target {text!r}: nothing is asked over {prefix!r}", hint=hint)
        url, _, model = text.partition("#")
        if not model:
            raise UsageError(f"target {text!r} does not say which model", hint=f"write {url}#MODEL")
        # Not for an address in the project file: whoever may change that would get the key sent where he likes.
        key = {"api_key": {"env": TARGET_KEY}} if environ.get(TARGET_KEY) else {}
        return _entry(text, {"endpoint": url, "model": model, **key})
    if colon and prefix in _PREFIXES:
        body: dict[str, object] = {_PREFIXES[prefix]: rest}
        if prefix == "route":
            # Which variable it is; whether it is set is seen when the target is opened.
            body["api_key"] = {"env": TARGET_KEY}
        return _entry(text, body)
    if text in app.project.models:
        return _entry(text, {"endpoint": text})
    hint = _FORMS.format(_known(app, text))
    if text.startswith(_RELEASE):
        hint = "a release is named without --target: `shipway eval run REL`"
    raise NotFoundError(f"no target {text!r}", hint=hint)


@asynccontextmanager
async def choose_target(app: Application, chosen: str | TargetEntry, parts: TargetParts) -> AsyncIterator[Target]:
    """Open what `--target` (a text, see `read_target`) or `evals.target` (an entry) names; close it on leaving.

    A release is none of these: `services.evaluation_targets` opens it. Connections belong to `parts.caller`. Nothing is
    asked before `ask`, but for a route's gateway, which says what it serves. Relative paths and modules count from
    `app.loaded.root`. `target.digest` is fixed from here on and never holds a secret.

    Raises:
        UsageError: the text is no target; the function or the file is not what it should be (`DatasetError` with its
            lines, for a log); an address that is none.
        ConfigError: a secret is not there.
        NotFoundError: no such alias or route; nothing runs here.
        UnavailableError: the engine or the gateway is not there.
    """
    entry = read_target(app, chosen, parts.environ) if isinstance(chosen, str) else chosen
    match entry.kind:
        case "endpoint":
            yield _endpoint(app, entry, parts)
        case "environment_route":
            yield await opened_route(_route(app, entry, parts))
        case "http" if entry.http is not None:
            yield http_template_target(
                entry.http, parts.caller, lambda ref: _secret(app, parts, ref), timeout_s=parts.timeout_s
            )
        case "python":
            async with opened_function(entry.python or "", app.loaded.root) as function:
                yield function
        case _:
            log = entry.log or ""
            async with opened_log(app.loaded.root / log, log) as recorded:
                yield recorded


async def unknown_cases(app: Application, target: Target, dataset: str = "") -> str:
    """Return what to say of recorded answers to cases that a dataset does not have; nothing for any other target.

    Raises:
        DatasetError: the dataset cannot be read, or everything that is wrong with it.
    """
    if not isinstance(target, RecordedLog):
        return ""
    return target.beside([case.id for case in (await load_project_dataset(app.loaded, dataset)).cases])


def _endpoint(app: Application, entry: TargetEntry, parts: TargetParts) -> OpenAiEndpoint:
    named = entry.endpoint or ""
    if "://" in named:
        return _by_address(app, entry, parts)
    model = app.project.models.get(named)
    if model is None:
        raise NotFoundError(f"the project has no model {named!r}", hint=_known(app, named))
    engine = parts.engines.engine(named, {"engine": model.engine, "model": model.model})
    key = engine.api_key
    bearer = engine.key_header == "authorization"
    headers = ((engine.key_header, f"Bearer {key}" if bearer else key),) if key else ()
    return OpenAiEndpoint(
        name=named,
        url=f"{engine.base_url.rstrip('/')}/chat/completions{engine.url_query}",
        fields={
            "model": engine.model,
            "max_tokens": entry.max_tokens or model.max_out,
            **openai_decoding(app.project.decoding.model_dump(), embedded=engine.embedded),
        },
        caller=parts.caller,
        timeout_s=parts.timeout_s,
        key_headers=headers,
        price=_price(model.price),
        measure_ttft=entry.measure_ttft,
    )


def _by_address(app: Application, entry: TargetEntry, parts: TargetParts) -> OpenAiEndpoint:
    key = _secret(app, parts, entry.api_key) if entry.api_key else None
    found = address_of(EngineKind.OPENAI, entry.endpoint or "", entry.model or "", api_key=key)
    fields = {"model": entry.model, **openai_decoding(app.project.decoding.model_dump(), embedded=False)}
    if entry.max_tokens is not None:
        fields["max_tokens"] = entry.max_tokens
    return OpenAiEndpoint(
        name=f"{found.base}#{entry.model}",
        url=found.url("chat/completions"),
        fields=fields,
        caller=parts.caller,
        timeout_s=parts.timeout_s,
        key_headers=found.key,
        price=_price(entry.price),
        measure_ttft=entry.measure_ttft,
    )


def _route(app: Application, entry: TargetEntry, parts: TargetParts) -> GatewayRoute:
    route = entry.environment_route or ""
    key = _secret(app, parts, entry.api_key) if entry.api_key else ""
    gateway = (entry.gateway or require_endpoints(app.workspace).gateway).rstrip("/")
    return GatewayRoute(
        name=f"route:{route}",
        route=route,
        gateway=gateway,
        serving=Serving(""),
        caller=parts.caller,
        timeout_s=parts.timeout_s,
        run=f"eval-{ulid(app.clock.now_s()).lower()}",
        fields={} if entry.max_tokens is None else {"max_tokens": entry.max_tokens},
        key=key,
        measure_ttft=entry.measure_ttft,
    )


def _secret(app: Application, parts: TargetParts, reference: SecretRef) -> str:
    return resolve_secret(reference, root=app.loaded.root, environ=parts.environ)


def _price(price: Price | None) -> ModelPrice | None:
    """Return a price, None where nobody gave one: a model without a price has no cost, not the cost 0."""
    if price is None or price == Price():
        return None
    return ModelPrice(price.input, price.cache_read, price.output, price.cache_write)


def _known(app: Application, name: str) -> str:
    return did_you_mean(name, app.project.models) if app.project.models else "there are none"


def _entry(text: str, body: Mapping[str, object]) -> TargetEntry:
    try:
        return TargetEntry.model_validate(body)
    except ValidationError as error:
        said = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors(include_input=False))
        raise UsageError(f"target {text!r}: {said}", hint="see `shipway eval run --help`") from error
