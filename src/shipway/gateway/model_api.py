"""The POST endpoints that call a model: OpenAI's three, `/generate` and `/rag_answer`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission, Admitted
from shipway.gateway.answer_route import AnswerDesk
from shipway.gateway.auth import INVOKE, Caller
from shipway.gateway.conversation import HEADER, identify
from shipway.gateway.exchange import Exchange
from shipway.gateway.flight import Flight
from shipway.gateway.model import AnswerResult, GatewaySettings
from shipway.gateway.ports import AnswerRoute, ChatRoute, RecordSink
from shipway.gateway.relay import ChatRelay, reply_text
from shipway.gateway.replies import RefusedError, json_reply
from shipway.gateway.routed import Dispatch
from shipway.gateway.sampling import AnswerSampler, ServeCall
from shipway.gateway.shadow_desk import ShadowDesk
from shipway.gateway.validate import Endpoint, ModelCall, json_object, model_call, text_field

_OK = 200
_SWITCHING = 101


@dataclass(frozen=True, slots=True)
class Beside:
    """What looks at requests beside those who wait for an answer; None for what nobody asked for."""

    shadow: ShadowDesk | None = None
    sampler: AnswerSampler | None = None


class ModelApi:
    """Reads a request, lets it in, and hands it to the route's own way of serving."""

    def __init__(
        self,
        admission: Admission,
        relay: ChatRelay,
        desk: AnswerDesk,
        records: RecordSink,
        settings: GatewaySettings,
        beside: Beside | None = None,
    ) -> None:
        self._admission = admission
        self.dispatch = Dispatch(relay, records, settings)
        self._desk = desk
        self._records = records
        self._settings = settings
        self._shadow = beside.shadow if beside else None
        self._sampler = beside.sampler if beside else None

    def inherit(self, before: "ModelApi") -> None:
        """Go on with what the one that this replaces knows of its engines."""
        self.dispatch.inherit(before.dispatch)

    async def openai(self, exchange: Exchange, account: Account, endpoint: Endpoint) -> None:
        """Serve one of the OpenAI endpoints."""
        caller = self._admission.invoker(exchange, account)
        call = model_call(endpoint, await self._body(exchange))
        with await self._admit(exchange, account, caller, call.route, call.body) as admitted:
            serve = self._sampled(self._serve, account, call)
            if self._shadow is None or admitted.traffic.shadow is None:
                await serve(exchange, account, call, admitted)
                return
            await self._shadow.beside(exchange, account, call, admitted, serve)

    async def resume(self, exchange: Exchange, account: Account, flight: Flight) -> None:
        """Serve a request that was begun on the short way."""
        with flight.admitted() as admitted:
            if flight.failure is not None:
                raise flight.failure
            try:
                if exchange.started:
                    await self.dispatch.go_on(exchange, account, flight.call, flight.arm.route)
                else:
                    await self.dispatch.chat(exchange, account, flight.call, admitted)
            finally:
                if account.begun is not None:
                    # Nobody has asked for its reply.
                    account.begun.connection.abort()

    async def _serve(self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted) -> None:
        match admitted.runtime:
            case ChatRoute():
                await self.dispatch.chat(exchange, account, call, admitted)
            case AnswerRoute() if call.endpoint is Endpoint.CHAT:
                await self.dispatch.answer(
                    exchange,
                    account,
                    call,
                    admitted,
                    lambda route: self._desk.serve(exchange, account, call, route, admitted.caller),
                )
            case AnswerRoute():
                message = f"the route {call.route!r} answers from documents; use /v1/chat/completions or /rag_answer"
                raise RefusedError(400, message, code="wrong_endpoint", param="model")
            case _:
                raise _service_route(call.route)

    async def socket(self, exchange: Exchange, account: Account) -> None:
        """Let a WebSocket open; each of its messages is a request of its own then."""
        self._admission.caller(exchange, account).require(INVOKE)
        if (exchange.headers.get("upgrade") or "").lower() != "websocket":
            exchange.stamp.append(("upgrade", "websocket"))
            raise RefusedError(426, "open a WebSocket here", code="upgrade_required")
        exchange.start(_SWITCHING, ())
        exchange.finish()

    async def generate(self, exchange: Exchange, account: Account) -> None:
        """Serve `/generate`: a route and a prompt in, plain JSON out."""
        caller = self._admission.invoker(exchange, account)
        call = _generation(await self._body(exchange))
        with await self._admit(exchange, account, caller, call.route, call.body) as admitted:
            await self._sampled(self._generate, account, call)(exchange, account, call, admitted)

    async def _generate(self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted) -> None:
        match admitted.runtime:
            case ChatRoute():
                _, reply = await self.dispatch.ask(exchange, account, call, admitted)
                answer: dict[str, Any] = {"text": reply_text(reply)}
            case AnswerRoute():
                result = await self._answered(exchange, account, call, admitted)
                answer = {"text": result.text, "citations": list(result.citations)}
            case _:
                raise _service_route(call.route)
        answer["usage"] = account.usage.to_openai()
        self._send(exchange, account, {**answer, "route": call.route})

    async def rag_answer(self, exchange: Exchange, account: Account) -> None:
        """Serve `/rag_answer`: a question in, a checked answer with its citations out."""
        caller = self._admission.invoker(exchange, account)
        body = await self._body(exchange)
        question = text_field(body, "question")
        route = text_field(body, "route") if body.get("route") is not None else self._only_answer_route(caller)
        with await self._admit(exchange, account, caller, route, body) as admitted:
            if not isinstance(admitted.runtime, AnswerRoute):
                message = f"the route {route!r} does not answer from documents; use /v1/chat/completions"
                raise RefusedError(400, message, code="wrong_endpoint", param="route")
            asked = {"messages": [{"role": "user", "content": question}]}
            call = ModelCall(Endpoint.CHAT, route, asked, stream=False, wants_usage=False, input_chars=len(question))
            await self._sampled(self._rag_answer, account, call)(exchange, account, call, admitted)

    async def _rag_answer(self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted) -> None:
        result = await self._answered(exchange, account, call, admitted)
        self._send(exchange, account, {"answer": result.text, "citations": list(result.citations)})

    def _sampled(self, serve: ServeCall, account: Account, call: ModelCall) -> ServeCall:
        """Return what serves a request, and keeps its answer when its conversation is sampled."""
        if self._sampler is None or not self._sampler.takes(call.route, call.endpoint, _conversation(account)):
            return serve
        return self._sampler.around(serve)

    async def _answered(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted
    ) -> AnswerResult:
        messages, caller = call.body["messages"], admitted.caller
        return await self.dispatch.answer(
            exchange, account, call, admitted, lambda route: self._desk.answered(account, route, messages, caller)
        )

    async def _body(self, exchange: Exchange) -> dict[str, Any]:
        limit = self._settings.max_body_bytes
        try:
            if exchange.whole:
                raw = await exchange.read_body(limit)
            else:
                async with asyncio.timeout(self._settings.deadline_s):
                    raw = await exchange.read_body(limit)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time", code="body_timeout") from None
        return json_object(exchange.headers, raw)

    async def _admit(
        self, exchange: Exchange, account: Account, caller: Caller, route: str, body: Mapping[str, Any]
    ) -> Admitted:
        account.asked = body
        conversation = identify(exchange.headers.get(HEADER), body, key_id=caller.key.key_id)
        return await self._admission.admit(exchange, account, caller, route, conversation)

    def _send(self, exchange: Exchange, account: Account, value: dict[str, Any]) -> None:
        reply = json_reply({**value, "release": account.release, "request_id": account.id})
        account.commit(_OK, self._records)
        exchange.reply(_OK, reply.headers, reply.body)

    def _only_answer_route(self, caller: Caller) -> str:
        state = self._admission.state()
        names = [
            traffic.route
            for traffic in state.served.routes
            if caller.may_use(traffic.route)
            and isinstance(state.releases[traffic.stable].runtime.routes.get(traffic.route), AnswerRoute)
        ]
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise RefusedError(400, f"name the route; those that answer from documents: {known}", param="route")
        return names[0]


def _generation(body: dict[str, Any]) -> ModelCall:
    """Return `/generate`'s body as the chat request that it stands for."""
    if body.get("stream"):
        raise RefusedError(400, "/generate does not stream; use /v1/chat/completions", param="stream")
    messages = body.get("messages")
    if messages is None:
        messages = [{"role": "user", "content": text_field(body, "prompt")}]
    rest = {name: value for name, value in body.items() if name not in {"route", "prompt", "stream", "stream_options"}}
    return model_call(Endpoint.CHAT, {**rest, "model": text_field(body, "route"), "messages": messages})


def _conversation(account: Account) -> str:
    return account.conversation.id if account.conversation is not None else account.id


def _service_route(route: str) -> RefusedError:
    return RefusedError(
        400, f"the route {route!r} is a service; call /svc/{route}/...", code="wrong_endpoint", param="model"
    )
