"""Any OpenAI-compatible endpoint, by an alias of `models` or by its address; `choosing` makes one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shipway.core.canonical import digest_json
from shipway.evals.model import Case, Output
from shipway.evals.ports import HttpCall, JsonCaller
from shipway.gateway.model import ModelPrice
from shipway.services.targets.completions import output_of_reply

_JSON = ("content-type", "application/json")


@dataclass(frozen=True, slots=True)
class OpenAiEndpoint:
    """A model behind `url`, which is the whole address up to `/chat/completions` and its query.

    `fields` are those of the request beside messages: model, max_tokens, decoding. `prefix` stands before the turns of
    a case. Of a `seed` the repeat's number is added. `key_headers`, `price` and `timeout_s` are no part of the digest.
    """

    name: str
    url: str
    fields: Mapping[str, Any]
    caller: JsonCaller
    timeout_s: float
    prefix: tuple[Mapping[str, Any], ...] = ()
    key_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    price: ModelPrice | None = None
    measure_ttft: bool = False

    @property
    def digest(self) -> str:
        """Return the digest of everything that decides the answers."""
        body = {"url": self.url, "fields": dict(self.fields), "prefix": [dict(message) for message in self.prefix]}
        return digest_json({"kind": "openai", **body})

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Put a case to the model.

        Raises:
            UnavailableError: nobody answers, or too late.
            UpstreamError: an error, or no chat completion.
        """
        headers = (_JSON, *self.key_headers)
        body = orjson.dumps(request_body(self.fields, self.prefix, case, repeat, stream=self.measure_ttft))
        reply = await self.caller.call(HttpCall("POST", self.url, headers, body, self.timeout_s))
        return output_of_reply(self.url, reply, self.price, stream=self.measure_ttft)


def request_body(
    fields: Mapping[str, Any], prefix: tuple[Mapping[str, Any], ...], case: Case, repeat: int, *, stream: bool
) -> dict[str, Any]:
    """Return the body of a request: the turns before the question, the question, and how it is answered."""
    body: dict[str, Any] = {
        **fields,
        "messages": [*prefix, *case.messages, {"role": "user", "content": case.question}],
    }
    if body.get("seed") is not None:
        body["seed"] += repeat
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body
