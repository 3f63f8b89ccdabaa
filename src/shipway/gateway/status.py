"""What the gateway says about itself: health, readiness, metrics, version, models."""

from dataclasses import asdict
from typing import Any

from shipway import __version__
from shipway.core.clock import Clock
from shipway.core.snapshot import RouteTraffic
from shipway.gateway.admission import known_route, unknown_model
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.auth import Caller
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import HttpRoute, RequestMetrics
from shipway.gateway.replies import Reply, json_reply
from shipway.gateway.serving import Applied, Serving

_PROBE_TIMEOUT_S = 1.0
_PROBE_MEMORY_S = 1.0
_NOT_READY = 503
EXPOSITION = ("content-type", "text/plain; version=0.0.4; charset=utf-8")


class StatusPages:
    """The GET endpoints."""

    def __init__(
        self,
        serving: Serving,
        calls: EngineCalls,
        metrics: RequestMetrics,
        settings: GatewaySettings,
        clock: Clock,
    ) -> None:
        self._serving = serving
        self._calls = calls
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._probed: tuple[frozenset[str], float, list[str]] = (frozenset(), 0.0, [])

    @staticmethod
    def health() -> Reply:
        """Return that the process is alive; nothing else is asked."""
        return json_reply({"status": "ok"})

    async def ready(self, *, has_room: bool = True) -> Reply:
        """Return 200, or 503 with what is missing; names no host, engine or release.

        Without room for another record every request would wait, so somebody else should get them.
        """
        missing = ["draining"] if self._serving.draining else []
        if not has_room:
            missing.append("records wait for the store")
        if not self._serving.store_reachable:
            missing.append("store not reachable")
        state = self._serving.current
        if state is None or not state.served.routes:
            missing.append("nothing is deployed" if state or self._serving.unwritten else "no snapshot applied")
        else:
            missing += await self._silent_engines(state)
        if missing:
            return json_reply({"status": "not_ready", "missing": missing}, status=_NOT_READY)
        return json_reply({"status": "ready"})

    def metrics(self) -> Reply:
        """Return the Prometheus exposition."""
        return Reply(200, self._metrics.render(), (EXPOSITION,))

    def version(self) -> Reply:
        """Return what serves: releases with their parts, weights, snapshot."""
        state = self._serving.current
        value: dict[str, Any] = {
            "version": __version__,
            "worker": self._settings.worker,
            "deployment": dict(self._settings.deployment),
            "snapshot": None,
            "routes": {},
        }
        if state is not None:
            value["snapshot"] = {
                "environment": state.snapshot.environment,
                "version": state.snapshot.version,
                "epoch": state.snapshot.epoch,
                "rollout": state.snapshot.rollout,
                "config_digest": state.snapshot.config_digest,
                "dead_man_tripped": state.dead_man_tripped,
            }
            value["routes"] = {traffic.route: _described(traffic, state) for traffic in state.served.routes}
        return json_reply(value)

    def models(self, state: Applied, caller: Caller) -> Reply:
        """Return the routes that the key may use."""
        return json_reply(
            {
                "object": "list",
                "data": [_model(traffic) for traffic in state.served.routes if caller.may_use(traffic.route)],
            }
        )

    def model(self, state: Applied, caller: Caller, name: str) -> Reply:
        """Return one route; a route that the key may not use does not exist for it."""
        traffic = known_route(state, name)
        if not caller.may_use(name):
            raise unknown_model(name)
        return json_reply(_model(traffic))

    async def _silent_engines(self, state: Applied) -> list[str]:
        urls = _health_urls(state)
        before, at_s, known = self._probed
        now_s = self._clock.monotonic_s()
        # `/ready` is open to anybody: probes are remembered, so that it cannot be used to flood the engines.
        if before == urls and now_s - at_s < _PROBE_MEMORY_S:
            return known
        silent = [url for url in sorted(urls) if not await self._calls.healthy(url, timeout_s=_PROBE_TIMEOUT_S)]
        found = [f"{len(silent)} of {len(urls)} engines do not answer"] if silent else []
        self._probed = (urls, self._clock.monotonic_s(), found)
        return found


def _health_urls(state: Applied) -> frozenset[str]:
    """Return where the stable releases' engines are probed; a candidate must not make the worker unready."""
    urls = set()
    for traffic in state.served.routes:
        runtime = state.releases[traffic.stable].runtime.routes.get(traffic.route)
        endpoint = dict(traffic.endpoints).get(traffic.stable)
        if isinstance(runtime, HttpRoute):
            if runtime.health_path and endpoint:
                urls.add(endpoint.rstrip("/") + "/" + runtime.health_path.lstrip("/"))
        elif runtime is not None and runtime.health_url:
            urls.add(runtime.health_url)
    return frozenset(urls)


def _described(traffic: RouteTraffic, state: Applied) -> dict[str, Any]:
    def release(name: str | None) -> dict[str, Any] | None:
        loaded = next((found for key, found in state.releases.items() if key == name), None)
        return {"release": name, **loaded.runtime.describe()} if loaded else None

    return {
        "stable": release(traffic.stable),
        "candidate": release(traffic.candidate),
        "candidate_weight": traffic.candidate_weight,
        "segments": [asdict(segment) for segment in traffic.segments],
        "parked": traffic.parked,
    }


def _model(traffic: RouteTraffic) -> dict[str, Any]:
    return {
        "id": traffic.route,
        "object": "model",
        "created": 0,
        "owned_by": "shipway",
        "shipway": {"release": traffic.stable},
    }
