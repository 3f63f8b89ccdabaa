"""A route of a running environment, asked as its users ask it, with a key; `choosing` opens one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from shipway.core.canonical import digest_bytes, digest_json
from shipway.core.errors import NotFoundError
from shipway.evals.model import Case, Output
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller
from shipway.evals.suggestions import did_you_mean
from shipway.services.targets.completions import output_of_reply
from shipway.services.targets.openai_endpoint import request_body
from shipway.services.targets.replies import json_of, wrong_shape
from shipway.services.targets.templates import header_text

_JSON = ("content-type", "application/json")
_RELEASE, _CONVERSATION, _CACHE = "x-shipway-release", "x-shipway-conversation", "x-shipway-cache"
_HIT = "hit"
_LONGEST_CONVERSATION = 200
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves a route: its releases, and how they share its conversations."""

    stable: str
    candidate: str = ""
    candidate_weight: float = 0.0

    @property
    def releases(self) -> frozenset[str]:
        """Return the releases that may answer."""
        return frozenset(filter(None, (self.stable, self.candidate if self.candidate_weight else "")))


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """A route and the releases that served it when it was opened; an answer of another one is an error.

    Every case and repeat of a `run` is a conversation of its own, so that no route remembers an earlier run. The key
    decides which tenant asks.
    """

    name: str
    route: str
    gateway: str
    serving: Serving
    caller: JsonCaller
    timeout_s: float
    run: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default="", repr=False)
    measure_ttft: bool = False

    @property
    def digest(self) -> str:
        """Return the digest of route, gateway and the releases behind it."""
        body = {
            "gateway": self.gateway,
            "route": self.route,
            "fields": dict(self.fields),
            "stable": self.serving.stable,
            "candidate": self.serving.candidate if self.serving.candidate_weight else "",
            "candidate_weight": self.serving.candidate_weight,
        }
        return digest_json({"kind": "route", **body})

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Put a case to the route.

        Raises:
            UnavailableError: nobody answers, or too late.
            UpstreamError: an error, an answer from the cache, or one of a release that came meanwhile.
        """
        url = f"{self.gateway}/v1/chat/completions"
        conversation = header_text(f"{self.run}-{repeat}-{case.id}")
        if len(conversation) > _LONGEST_CONVERSATION:
            conversation = f"{self.run}-{repeat}-{digest_bytes(case.id.encode())}"
        headers = (_JSON, ("authorization", f"Bearer {self.key}"), (_CONVERSATION, conversation))
        body = orjson.dumps(
            request_body({"model": self.route, **self.fields}, (), case, repeat, stream=self.measure_ttft)
        )
        reply = await self.caller.call(HttpCall("POST", url, headers, body, self.timeout_s))
        output = output_of_reply(url, reply, None, stream=self.measure_ttft)
        release = reply.headers.get(_RELEASE, "")
        if release not in self.serving.releases:
            known = " and ".join(sorted(self.serving.releases))
            raise wrong_shape(
                url, f"release {release or '(none named)'} answered; when the evaluation began it was {known}"
            )
        if reply.headers.get(_CACHE) == _HIT:
            raise wrong_shape(
                url,
                f"route {self.route!r} answered from its cache, which proves nothing new; evaluate the release itself,"
                f" or switch the cache of this route off",
            )
        return output


async def opened_route(route: GatewayRoute) -> GatewayRoute:
    """Return a route with what serves it now, as its gateway says.

    A key without the role `operate` learns of the stable release alone; answers of a candidate are errors then.

    Raises:
        NotFoundError: the gateway has no such route for this key, or it is not deployed.
        UnavailableError: no gateway answers.
        UpstreamError: something else answers there, or it refuses the key.
    """
    url = f"{route.gateway}/version"
    reply = await _got(route, url)
    if reply.status == _FORBIDDEN:
        url = f"{route.gateway}/v1/models"
        reply = await _got(route, url)
    told = json_of(url, reply)
    try:
        routes = told["routes"] if "routes" in told else _listed(told)
        known = {name: _serving(found) for name, found in routes.items()}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise wrong_shape(url, "this is no gateway of Shipway: it tells of no routes") from None
    if route.route not in known:
        hint = did_you_mean(route.route, known) if known else "nothing is deployed there: `shipway deploy REL`"
        raise NotFoundError(f"the gateway at {route.gateway} serves no route {route.route!r} to this key", hint=hint)
    serving = known[route.route]
    if not serving.stable:
        raise NotFoundError(f"the gateway at {route.gateway} has no release of route {route.route!r} in force")
    return replace(route, serving=serving)


async def _got(route: GatewayRoute, url: str) -> HttpReply:
    headers = (("authorization", f"Bearer {route.key}"),)
    return await route.caller.call(HttpCall("GET", url, headers, b"", route.timeout_s))


def _listed(told: Any) -> dict[str, Any]:
    """Return the routes of a list of models, in the form of `/version`."""
    return {item["id"]: {"stable": item["shipway"]} for item in told["data"]}


def _serving(found: Mapping[str, Any]) -> Serving:
    stable, candidate = found["stable"] or {}, found.get("candidate") or {}
    weight = float(found.get("candidate_weight") or 0.0)
    return Serving(stable.get("release") or "", candidate.get("release") or "", weight)
