"""A `rag.answer.Generator` over any OpenAI-compatible endpoint; wiring builds one per engine, releases share it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from shipway.config.credentials import repeatable
from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError
from shipway.rag.answer import Generation
from shipway.rag.compose import Message
from shipway.telemetry.tracing import TRACE_HEADERS

_ERROR_STATUS = 400
_SHOWN_CHARS = 200
_CONNECTIONS = 32


class OpenAiGenerator:
    """Asks `<base_url>/chat/completions`; connections are kept and reused. Cancelling a call closes its connection."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        extra: Mapping[str, Any] | None = None,
        key_header: str = "authorization",
    ) -> None:
        self._extra = dict(extra or {})
        base, mark, query = base_url.partition("?")
        self._url = base.rstrip("/") + "/chat/completions" + mark + query
        self._key_header = key_header
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> Generation:
        """Return the reply to a chat.

        Raises:
            DeadlineError: no whole reply within `timeout_s`.
            UpstreamError: the endpoint answers with an error, or with something that is no chat completion.
            UnavailableError: it cannot be reached, or the connection breaks.
        """
        body: dict[str, Any] = {
            **self._extra,
            "model": self._model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if seed is not None:
            body["seed"] = seed
        if stop:
            body["stop"] = list(stop)
        return _generation(self._url, await self._post(body))

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: dict[str, Any]) -> Any:
        session = self._opened()
        posting = session.post(self._url, json=body, headers=dict(TRACE_HEADERS.get()))
        try:
            async with asyncio.timeout(self._timeout_s), posting as response:
                if response.status >= _ERROR_STATUS:
                    raise await _refusal(self._url, response)
                return await response.json(content_type=None)
        except TimeoutError as error:
            raise DeadlineError(
                f"{self._url}: no reply within {self._timeout_s:g} s",
                hint="the engine is overloaded, or max_tokens is too high for it",
            ) from error
        except aiohttp.ClientError as error:
            raise UnavailableError(
                f"{self._url}: {error}", hint="is the engine running? see `shipway status`"
            ) from error
        except ValueError as error:
            raise UpstreamError(f"{self._url}: the reply is not JSON ({error})", status=200) from error

    def _opened(self) -> aiohttp.ClientSession:
        # Made at the first call, because a session belongs to the event loop that is running then.
        if self._session is None:
            headers = {}
            if self._api_key:
                bearer = self._key_header == "authorization"
                headers[self._key_header] = f"Bearer {self._api_key}" if bearer else self._api_key
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session


async def _refusal(url: str, response: aiohttp.ClientResponse) -> UpstreamError:
    try:
        body = await response.json(content_type=None)
        said = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError, aiohttp.ClientError):
        said = response.reason or ""
    return UpstreamError(
        f"{url} answers {response.status}: {repeatable(said)[:_SHOWN_CHARS]}",
        status=response.status,
        retry_after=response.headers.get("Retry-After"),
    )


def _generation(url: str, reply: Any) -> Generation:
    try:
        choice = reply["choices"][0]
        usage = reply.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return Generation(
            text=_content(url, choice["message"]).strip(),
            tokens_in=int(usage.get("prompt_tokens", 0)),
            tokens_cached=int(details.get("cached_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens", 0)),
            finish_reason=choice.get("finish_reason") or "stop",
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UpstreamError(f"{url}: the reply is no chat completion (lacks {error})", status=200) from error


def _content(url: str, message: Mapping[str, Any]) -> str:
    """Return the text of a message; null is one only beside a refusal or a call of a tool."""
    content = message["content"]
    if content is None and not message.get("tool_calls") and not message.get("refusal"):
        raise UpstreamError(f"{url}: the reply has no answer: its message.content is null", status=200)
    return content or ""
