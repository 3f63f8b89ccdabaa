"""The cases of the HTML report: both answers side by side, what differs between them, and buttons that filter."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import import_module

from shipway.evals.model import Case, CaseResult, Output
from shipway.evals.report import expectation
from shipway.evals.report_source import ReportSource
from shipway.evals.report_style import TAG_FILTERS
from shipway.evals.report_tables import Scored, ShownCase, Sign, shown_cases
from shipway.evals.report_text import cut, one_line, visible

MOST_CASES = 500
ANSWER_CHARS = 12_000
"""Longer answers are cut: 500 cases with two of 10 MB would be a file that no browser opens."""
_LINE_CHARS = 600
_ID_CHARS = 200
_SIGN_WORDS: Mapping[Sign, str] = {
    "worse": "worse",
    "better": "better",
    "failed": "not at its best",
    "error": "not scored",
}


def cases_html(source: ReportSource, tables: Scored) -> Iterator[str]:
    """Yield the cases, the most worsened first, with their filters."""
    judged = [case for case in source.run.dataset.cases if case.split != "calibration"]
    shown = shown_cases(source, tables, MOST_CASES)
    tags = _filter_tags(shown)
    yield f"<section><h2>Cases</h2>\n<p>{_count(len(shown), len(judged), compared=tables.baseline is not None)}</p>\n"
    yield from _filters(shown, tags)
    several = source.run.repeats > 1
    for item in shown:
        yield from _case(item, tables, tags, several=several)
    yield "</section>\n"


def _count(shown: int, judged: int, *, compared: bool) -> str:
    order = "The most worsened come first, then" if compared else "First come"
    words = f"{order} those that could not be scored, then those that are not at their best."
    if shown < judged:
        return f"The first {shown} of {judged} cases; the JSON report has all. {words}"
    return f"All {judged} cases. {words}"


def _filter_tags(shown: Sequence[ShownCase]) -> list[str]:
    counts: dict[str, int] = {}
    for item in shown:
        for tag in item.case.tags:
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts, key=lambda tag: (-counts[tag], tag))[:TAG_FILTERS]


def _filters(shown: Sequence[ShownCase], tags: Sequence[str]) -> Iterator[str]:
    counts = {sign: sum(sign in item.signs for item in shown) for sign in _SIGN_WORDS}
    buttons = [("sign-all", f"all {len(shown)}")]
    buttons += [(f"sign-{sign}", f"{_SIGN_WORDS[sign]} {count}") for sign, count in counts.items() if count]
    yield _buttons("Show", "sign", buttons)
    if tags:
        named = [(f"tag-{index}", _line(tag, 60)) for index, tag in enumerate(tags)]
        yield _buttons("Tag", "tag", [("tag-all", "any tag"), *named])


def _buttons(legend: str, group: str, buttons: Sequence[tuple[str, str]]) -> str:
    labels = "".join(
        f'<label><input type="radio" name="{group}" id="{name}"{"" if index else " checked"}>{words}</label>'
        for index, (name, words) in enumerate(buttons)
    )
    return f'<fieldset class="filters"><legend>{legend}</legend>{labels}</fieldset>\n'


def _case(item: ShownCase, tables: Scored, tags: Sequence[str], *, several: bool) -> Iterator[str]:
    case = item.case
    classes = [f"is-{sign}" for sign in _SIGN_WORDS if sign in item.signs]
    classes += [f"tag-{index}" for index, tag in enumerate(tags) if tag in case.tags]
    signs = "".join(
        f'<span class="sign s-{sign}">{_SIGN_WORDS[sign]}: {_line(", ".join(item.signs[sign]), 80)}</span>'
        for sign in _SIGN_WORDS
        if sign in item.signs and (sign != "failed" or "worse" not in item.signs)
    )
    yield f'<details class="case {" ".join(classes)}"><summary><code>{_line(case.id, _ID_CHARS)}</code>'
    yield f'<span class="q">{_line(case.question, 160)}</span>{signs}</summary>\n<div class="body">'
    yield _facts(case)
    yield _scores(item, tables)
    yield from _sides(item, compared=tables.baseline is not None, several=several)
    yield "</div></details>\n"


def _facts(case: Case) -> str:
    facts = [
        ("question", _line(case.question, _LINE_CHARS * 4)),
        ("expected", _line(expectation(case), _LINE_CHARS * 4)),
    ]
    if case.reference and expectation(case) != case.reference:
        facts.append(("reference", _line(case.reference, _LINE_CHARS * 4)))
    tags = " ".join(f'<span class="tag">{_line(tag, 60)}</span>' for tag in case.tags)
    facts += [("tags", tags)] if tags else []
    facts += [("tenant", _line(case.tenant, _ID_CHARS))] if case.tenant else []
    facts.append(("cluster", _line(case.cluster_name, _ID_CHARS)))
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts) + "</dl>"


def _scores(item: ShownCase, tables: Scored) -> str:
    cells = []
    for name in tables.metrics:
        now, before = item.means[name]
        if now is None and before is None:
            continue
        was = "" if before is None or before == now else f"{_number(before)} → "
        cells.append(f"<span>{_line(name, 60)} <strong>{was}{_number(now)}</strong></span>")
    return f'<p class="small soft">{" · ".join(cells)}</p>' if cells else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004 - milliseconds


def _sides(item: ShownCase, *, compared: bool, several: bool) -> Iterator[str]:
    now, before = item.candidate, item.baseline
    repeat = f", repeat {item.repeat + 1}" if several else ""
    texts = (_answer(before.output) if before and compared else None, _answer(now.output) if now else None)
    marked = _marked(*texts)
    yield f'<div class="sides{"" if compared else " single"}">'
    if compared:
        yield _side(f"baseline{repeat}", before, texts[0], marked[0])
    yield _side(f"candidate{repeat}", now, texts[1], marked[1])
    yield "</div>"


def _answer(output: Output) -> tuple[str, int]:
    shown, left = cut(output.answer, ANSWER_CHARS)
    return visible(shown), left


def _marked(before: tuple[str, int] | None, after: tuple[str, int] | None) -> tuple[str, str]:
    """Return both answers as HTML, with what only one of them has marked."""
    if before is None or after is None or before[0] == after[0]:
        return escape(before[0]) if before else "", escape(after[0]) if after else ""
    parts = import_module("shipway.evals.report_diff").word_diff(before[0], after[0])
    sides = []
    for kind, element in (("gone", "del"), ("new", "ins")):
        own = [(found, escape(words)) for found, words in parts if found in {"same", kind}]
        sides.append("".join(f"<{element}>{words}</{element}>" if found == kind else words for found, words in own))
    return sides[0], sides[1]


def _side(heading: str, result: CaseResult | None, answer: tuple[str, int] | None, marked: str) -> str:
    if result is None or answer is None:
        return f'<div class="side"><h3>{heading}</h3><p class="soft">no answer of this repeat</p></div>'
    output = result.output
    parts = [f'<div class="side"><h3>{heading}</h3>']
    if output.error is not None:
        parts.append(f'<p class="failure">no answer: {_line(output.error, _LINE_CHARS)}</p>')
    else:
        parts.append(f'<div class="text" dir="auto">{marked}</div>')
    if answer[1]:
        parts.append(f'<p class="soft small">{answer[1]:,} more characters are left out; the JSON report has them</p>')
    if output.model_text is not None and output.model_text.strip() != output.answer.strip():
        words, left = cut(output.model_text, ANSWER_CHARS)
        rest = f"\n… {left:,} more characters" if left else ""
        parts.append(
            '<details><summary class="small">what the model wrote before it was repaired</summary>'
            f'<div class="text" dir="auto">{escape(visible(words))}{rest}</div></details>'
        )
    parts += [f'<p class="soft small">{name}: {words}</p>' for name, words in _notes(result)]
    return "".join(parts) + "</div>"


def _notes(result: CaseResult) -> list[tuple[str, str]]:
    output = result.output
    notes = []
    if output.citations:
        notes.append(("cites", _line(", ".join(output.citations), _LINE_CHARS)))
    if output.tool_calls:
        calls = ", ".join(f"{call.name}({dict(call.arguments)})" for call in output.tool_calls)
        notes.append(("tools", _line(calls, _LINE_CHARS)))
    if output.latency_ms is not None:
        notes.append(("took", f"{output.latency_ms:,.0f} ms" + (", from the cache" if output.cached else "")))
    notes += [(f"{_line(name, 60)} not scored", _line(why, _LINE_CHARS)) for name, why in result.errors.items()]
    return notes


def _line(value: str, most: int) -> str:
    return escape(one_line(value, most))
