"""The endpoints that call no model: health, metrics, version, models, and what is none; `app` routes to them."""

import asyncio

from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission
from shipway.gateway.auth import OPERATE
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import RecordSink
from shipway.gateway.replies import RefusedError, Reply
from shipway.gateway.status import StatusPages

MODELS = "/v1/models"


class Pages:
    """One worker's."""

    def __init__(
        self, admission: Admission, status: StatusPages, records: RecordSink, settings: GatewaySettings
    ) -> None:
        self._admission = admission
        self._status = status
        self._records = records
        self._settings = settings

    async def health(self, exchange: Exchange, _account: Account) -> None:
        """Say that the process lives."""
        _send(exchange, self._status.health())

    async def ready(self, exchange: Exchange, _account: Account) -> None:
        """Say whether requests are served well."""
        _send(exchange, await self._status.ready(has_room=self._records.has_room))

    async def metrics(self, exchange: Exchange, account: Account) -> None:
        """Give the metrics in Prometheus' text form."""
        if not self._settings.metrics_public:
            self._admission.caller(exchange, account).require(OPERATE)
        # Rendering takes milliseconds when there are many releases; streams must not wait for it.
        _send(exchange, await asyncio.to_thread(self._status.metrics))

    async def version(self, exchange: Exchange, account: Account) -> None:
        """Say what is served."""
        self._admission.caller(exchange, account).require(OPERATE)
        _send(exchange, self._status.version())

    async def models(self, exchange: Exchange, account: Account) -> None:
        """List the routes that the key may use."""
        caller = self._admission.caller(exchange, account)
        _send(exchange, self._status.models(self._admission.state(), caller))

    async def model(self, exchange: Exchange, account: Account) -> None:
        """Describe one of them."""
        caller = self._admission.caller(exchange, account)
        name = exchange.path.removeprefix(f"{MODELS}/")
        _send(exchange, self._status.model(self._admission.state(), caller, name))

    async def unknown(self, exchange: Exchange, account: Account) -> None:
        """Refuse a path at which nothing is."""
        self._admission.caller(exchange, account)
        raise RefusedError(404, f"nothing is served at {exchange.path[:100]!r}", code="unknown_path")

    async def wrong_method(self, exchange: Exchange, account: Account, *, allowed: str) -> None:
        """Refuse a method that a path does not have."""
        self._admission.caller(exchange, account)
        exchange.stamp.append(("allow", allowed))
        raise RefusedError(405, f"use {allowed} here, not {exchange.method}", code="method_not_allowed")


def _send(exchange: Exchange, reply: Reply) -> None:
    exchange.reply(reply.status, reply.headers, reply.body)
