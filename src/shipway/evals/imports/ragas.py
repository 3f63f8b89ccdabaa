"""RAGAS's evaluation sets: one sample a row, of one turn or of several.

Both the names of today (`user_input`, `retrieved_contexts`, `reference`) and those before 0.2 (`question`, `contexts`,
`ground_truth`) are read. Source: `ragas.dataset_schema.SingleTurnSample` and `MultiTurnSample` of RAGAS 0.4.
"""

from collections.abc import Mapping
from typing import Any

from shipway.evals.imports.imported import Imported, Neighbours
from shipway.evals.imports.items import Columns, imported_rows, listed

_QUESTION = ("user_input", "question")
_CONTEXT = ("retrieved_contexts", "contexts", "reference_contexts")
_REFERENCE = ("reference", "ground_truth", "ground_truths", "ground_truth_answer")
_SOURCES = ("reference_context_ids",)
_ROLES: Mapping[str, str] = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}
_KEPT = ("response", "persona_name", "query_style", "query_length", "reference_topics", "reference_contexts")
_LISTS = ("retrieved_contexts", "contexts", "reference_contexts", "ground_truths", "reference_context_ids")
_KNOWN = frozenset({*_QUESTION, *_CONTEXT, *_REFERENCE, *_SOURCES, *_KEPT, "id", "answer", "synthesizer_name"})
_PYTHON = frozenset({*_LISTS, *_QUESTION})
"""Fields whose cells in a CSV file are written as Python values."""


def read(text: str, file: str, _neighbours: Neighbours) -> Imported:
    """Return the rows of a `.jsonl`, `.json` or `.csv` file."""
    return imported_rows(text, file, Columns(_KNOWN, _PYTHON), _values)


def _values(sample: dict[str, Any], place: str, number: int, dropped: list[str]) -> dict[str, Any]:
    name = sample.get("id")
    values: dict[str, Any] = {"id": str(name) if name not in (None, "") else f"ragas-{number:04d}"}
    asked = _first(sample, _QUESTION)
    if isinstance(asked, list):
        values |= _turns(asked, place, dropped)
    elif asked is not None:
        values["question"] = asked
    context, reference = _first(sample, _CONTEXT), _first(sample, _REFERENCE)
    if context:
        values["context"] = [passage for passage in context if passage] if isinstance(context, list) else [context]
    if reference:
        values["reference"] = reference[0] if isinstance(reference, list) else reference
    sources = _first(sample, _SOURCES)
    if sources:
        values["expected_sources"] = [str(item) for item in listed(sources)]
    if sample.get("synthesizer_name"):
        values["tags"] = [sample["synthesizer_name"]]
    # `answer` was the recorded response before 0.2.
    response = sample.get("response") or sample.get("answer")
    kept = {key: sample[key] for key in _KEPT if sample.get(key) not in (None, "", [])}
    values["metadata"] = kept | ({"response": response} if response else {}) | {"origin": place}
    left = sorted(key for key, value in sample.items() if key not in _KNOWN and value not in (None, "", [], {}))
    dropped += [f"{place}: {key}: has no counterpart; left out" for key in left]
    if response:
        dropped.append(f"{place}: response: a recorded answer is kept in metadata and not judged")
    return values


def _turns(asked: list[Any], place: str, dropped: list[str]) -> dict[str, Any]:
    """Return the last human turn as the question and what stands before it as messages."""
    turns = [turn for turn in asked if isinstance(turn, Mapping)]
    last = max((index for index, turn in enumerate(turns) if turn.get("type") == "human"), default=None)
    if last is None:
        raise ValueError("user_input: no turn of type human, so nobody asks anything")
    if last + 1 < len(turns):
        dropped.append(f"{place}: user_input: {len(turns) - last - 1} turns after the last question are left out")
    before = [{"role": _role(turn), "content": turn.get("content", "")} for turn in turns[:last]]
    return {"question": turns[last].get("content")} | ({"messages": before} if before else {})


def _role(turn: Mapping[str, Any]) -> str:
    kind = str(turn.get("type"))
    if kind not in _ROLES:
        raise ValueError(f"user_input: a turn of type {kind!r}; known: {', '.join(_ROLES)}")
    return _ROLES[kind]


def _first(sample: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((sample[name] for name in names if sample.get(name) not in (None, "", [])), None)
