"""How uncertain a model was of its answer, from 0 to 1; `routing.escalate` compares with it.

With token probabilities it is 1 - exp(mean log probability): one minus the geometric mean probability of the tokens
that were chosen, which is the mean token surprisal brought into [0, 1). Where the engine names the runners-up as well,
the mean margin between the first and the second counts as much. Without probabilities only what can be seen counts: an
empty answer or a refusal is 1, anything else 0.

Source: sequence likelihood normalised by length (Malinin & Gales, "Uncertainty Estimation in Autoregressive Structured
Prediction", 2002.07650).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_RUNNERS_UP = 2
_LONGEST_REFUSAL = 400
_REFUSALS = (
    "i don't know",
    "i do not know",
    "i'm not sure",
    "i am not sure",
    "i cannot",
    "i can't",
    "i'm sorry, but",
    "i am unable",
    "as an ai",
    "ich weiß nicht",
    "ich kann nicht",
)


def uncertainty(reply: Mapping[str, Any]) -> float:
    """Return the estimate for a chat completion of the OpenAI API."""
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return 1.0
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    if message.get("tool_calls"):
        # A call is no text: its emptiness says nothing.
        return _by_tokens(choice) or 0.0
    content = message.get("content")
    text = content.strip().lower() if isinstance(content, str) else ""
    if not text or message.get("refusal"):
        return 1.0
    if len(text) <= _LONGEST_REFUSAL and text.replace("\u2019", "'").startswith(_REFUSALS):
        return 1.0
    found = _by_tokens(choice)
    return 0.0 if found is None else found


def _by_tokens(choice: Mapping[str, Any]) -> float | None:
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list):
        return None
    known = [item for item in tokens if isinstance(item, dict) and _is_logprob(item.get("logprob"))]
    if not known:
        return None
    surprisal = 1.0 - math.exp(math.fsum(item["logprob"] for item in known) / len(known))
    margins = [margin for item in known if (margin := _margin(item.get("top_logprobs"))) is not None]
    if not margins:
        return surprisal
    return (surprisal + 1.0 - math.fsum(margins) / len(margins)) / 2


def _margin(top: Any) -> float | None:
    if not isinstance(top, Sequence) or isinstance(top, str) or len(top) < _RUNNERS_UP:
        return None
    found: list[Any] = [item.get("logprob") for item in top if isinstance(item, dict)]
    ranked = sorted((math.exp(value) for value in found if _is_logprob(value)), reverse=True)
    return ranked[0] - ranked[1] if len(ranked) >= _RUNNERS_UP else None


def _is_logprob(value: Any) -> bool:
    # A few engines give rounding errors above 0, and -9999 for "never".
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value) and value <= 1e-3  # noqa: PLR2004
