"""What a client sees: the official `openai` package against the gateway."""

from dataclasses import dataclass
from typing import Any

import typer
from openai import OpenAI

_REFUSAL_BEGINS = "I don't know"


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as the client got it."""

    text: str
    citations: tuple[dict[str, Any], ...]

    @property
    def refused(self) -> bool:
        """Whether the assistant said that it does not know."""
        return self.text.startswith(_REFUSAL_BEGINS)


def ask(client: OpenAI, question: str) -> Seen:
    """Ask once and print question, answer and citations."""
    reply = client.chat.completions.create(model="helpdesk", messages=[{"role": "user", "content": question}])
    citations = tuple((reply.model_extra or {}).get("citations") or ())
    seen = Seen(reply.choices[0].message.content or "", citations)
    _show(question, seen)
    return seen


def ask_streamed(client: OpenAI, question: str) -> tuple[Seen, int]:
    """Ask and read the answer as a stream; also return how many pieces it came in."""
    pieces: list[str] = []
    citations: tuple[dict[str, Any], ...] = ()
    stream = client.chat.completions.create(
        model="helpdesk", messages=[{"role": "user", "content": question}], stream=True
    )
    for chunk in stream:
        citations = tuple((chunk.model_extra or {}).get("citations") or citations)
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    seen = Seen("".join(pieces), citations)
    _show(f"(streamed) {question}", seen)
    return seen, len(pieces)


def _show(question: str, seen: Seen) -> None:
    typer.echo(f"   Q  {question}\n   A  {seen.text}")
    for citation in seen.citations:
        typer.echo(f"      [{citation['index']}] {citation['document']}")
