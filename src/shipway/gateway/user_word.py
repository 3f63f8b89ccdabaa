"""The endpoints by which users speak about answers: feedback, and forgetting a conversation. `app` serves them."""

from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission
from shipway.gateway.exchange import Exchange
from shipway.gateway.feedback import FeedbackDesk
from shipway.gateway.memory import ConversationStore, Owner
from shipway.gateway.model import GatewaySettings
from shipway.gateway.replies import RefusedError, json_reply
from shipway.gateway.validate import json_object, text_field

FEEDBACK = "/v1/feedback"
FORGET = "/v1/conversations/forget"
_CREATED = 201
_OK = 200
_LONGEST = 200


class UserWord:
    """Both endpoints; each needs a key that may use models, and counts against its rate."""

    def __init__(
        self,
        admission: Admission,
        settings: GatewaySettings,
        *,
        feedback: FeedbackDesk | None,
        memory: ConversationStore | None,
    ) -> None:
        self._admission = admission
        self._settings = settings
        self._feedback = feedback
        self._memory = memory

    async def feedback(self, exchange: Exchange, account: Account) -> None:
        """Take feedback on an answer."""
        caller = self._admission.invoker(exchange, account)
        if self._feedback is None:
            raise RefusedError(404, "this gateway takes no feedback", code="unknown_path")
        body = json_object(exchange.headers, await exchange.read_body(self._settings.max_body_bytes))
        taken = await self._feedback.take(body, tenant=caller.key.tenant, key_id=caller.key.key_id)
        value = {"object": "feedback", "id": taken.id, "request_id": taken.request_id, "repeated": taken.repeated}
        reply = json_reply(value, status=_OK if taken.repeated else _CREATED)
        exchange.reply(reply.status, reply.headers, reply.body)

    async def forget(self, exchange: Exchange, account: Account) -> None:
        """Drop what is remembered of one of the caller's conversations."""
        caller = self._admission.invoker(exchange, account)
        if self._memory is None:
            raise RefusedError(404, "no route of this gateway remembers conversations", code="unknown_path")
        body = json_object(exchange.headers, await exchange.read_body(self._settings.max_body_bytes))
        conversation = text_field(body, "conversation_id")[:_LONGEST]
        forgotten = await self._memory.forget(Owner(caller.key.tenant, conversation))
        reply = json_reply({"object": "conversation", "id": conversation, "forgotten": forgotten})
        exchange.reply(_OK, reply.headers, reply.body)
