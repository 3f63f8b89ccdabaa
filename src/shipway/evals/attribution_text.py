"""Attributions in words; commands and reports print these lines."""

import math
from collections.abc import Sequence

from shipway.core.counting import counted
from shipway.core.verdicts import Verdict
from shipway.evals.attribution_result import Attribution, PartEffect, Swap
from shipway.stats.paired import n_needed
from shipway.stats.proportions import MAX_CASES

_SHOWN_KEYS = 3
_SAID = {
    "only part": "{names} is the culprit: nothing else changed",
    "interaction": "interaction of {names}: none of them alone makes half of the drop in {baseline}, together they make"
    " it; change one of them back, or fit them to one another",
    "either": "{names} each lower it alone, and taking back one of them is not enough",
}


def attribution_lines(found: Attribution, baseline: str, candidate: str) -> list[str]:
    """Return what an attribution found: the drop, what explains it, and what could not be tried."""
    lines = [_drop(found, baseline, candidate)]
    if found.whole.verdict is Verdict.ERROR:
        return [*lines, "nothing can be attributed before both releases can be measured"]
    if found.kind == "no drop":
        if _leans_down(found.whole):
            return [*lines, "so nothing can be attributed yet: more cases or repeats would tell whether it is chance"]
        return [*lines, "so there is nothing to attribute; the gate's drop was luck, or needs more cases or repeats"]
    lines.append(_explanation(found, baseline, candidate))
    lines += [line for part in found.parts if part.part in found.explained_by for line in _what_changed(part)]
    if found.kind == "undecided":
        lines += _advice(found)
    return lines + _errors(found)


def attribution_table(found: Attribution) -> list[dict[str, str]]:
    """Return one row a part: what it does alone in the baseline, and what taking it back gives."""
    return [
        {
            "part": part.part,
            "alone in the baseline": _cell(part.alone, found.bounded),
            "taken back": _cell(part.removed, found.bounded, sign=-1),
            "changed": _keys(part),
        }
        for part in found.parts
    ]


def _drop(found: Attribution, baseline: str, candidate: str) -> str:
    name = found.metric + (f" [{', '.join(found.tags)}]" if found.tags else "")
    whole = found.whole
    if whole.verdict is Verdict.ERROR:
        return f"{name}: {candidate} against {baseline} could not be measured: {whole.message}"
    on = f"{counted(whole.n, 'case')} in {counted(whole.n_clusters, 'cluster')}"
    change = f"{_signed(whole.difference, bounded=found.bounded)}{_between(whole, bounded=found.bounded)}"
    if whole.verdict is Verdict.FAIL:
        return f"{name}: {candidate} is worse than {baseline} on {on}: {change}"
    if _leans_down(whole):
        unsure = f"is worse than {baseline}, which {on} cannot tell from chance"
        return f"{name}: asked again, {candidate} {unsure}: {change}"
    return f"{name}: asked again, {candidate} shows no drop against {baseline} on {on}: {change}"


def _leans_down(whole: Swap) -> bool:
    """Return whether the candidate did worse, though not surely."""
    return whole.difference is not None and whole.difference < 0


def _explanation(found: Attribution, baseline: str, candidate: str) -> str:
    names = [f"the {name}" for name in found.explained_by]
    parts = [part for part in found.parts if part.part in found.explained_by]
    if found.kind in {"culprit", "partial"}:
        made = "is the culprit" if found.kind == "culprit" else "makes a part of it, less than half"
        return f"{names[0]} {made}: {_both_ways(parts[0], found, baseline, candidate)}"
    if found.kind == "several":
        each = "; ".join(f"{part.part}: {_both_ways(part, found, baseline, candidate)}" for part in parts)
        return f"{_listed(names)} each lower it: {each}"
    if found.kind == "undecided":
        return f"undecided: {_known(parts, found, baseline, candidate)}"
    return _SAID[found.kind].format(names=_listed(names), baseline=baseline)


def _both_ways(part: PartEffect, found: Attribution, baseline: str, candidate: str) -> str:
    alone = _signed(part.alone.difference, bounded=found.bounded)
    back = _signed(-(part.removed.difference or 0.0), bounded=found.bounded)
    return f"{baseline} with the new {part.part} alone: {alone}; {candidate} with the old {part.part}: {back}"


def _known(parts: Sequence[PartEffect], found: Attribution, baseline: str, candidate: str) -> str:
    if not parts:
        return "no swap of a single part shows a drop, and none rules one out"
    said = []
    for part in parts:
        if part.alone.verdict is Verdict.FAIL:
            change = _signed(part.alone.difference, bounded=found.bounded)
            other = _open(part.removed, "whether taking it back helps")
            said.append(f"the new {part.part} alone in {baseline}: {change}, but {other}")
        else:
            change = _signed(-(part.removed.difference or 0.0), bounded=found.bounded)
            other = _open(part.alone, "whether it does harm alone")
            said.append(f"{candidate} with the old {part.part}: {change}, but {other}")
    return "; ".join(said)


def _open(swap: Swap, question: str) -> str:
    if swap.verdict is Verdict.ERROR:
        return f"{question} could not be tried"
    return f"{question} is not shown" if swap.verdict is Verdict.INCONCLUSIVE else f"{question} is ruled out"


def _what_changed(part: PartEffect) -> list[str]:
    return [f"changed in the {part.part}: {_keys(part)}"]


def _errors(found: Attribution) -> list[str]:
    lines = []
    for part in found.parts:
        for swap, what in (
            (part.alone, f"the baseline with the new {part.part}"),
            (part.removed, f"the candidate with the old {part.part}"),
        ):
            if swap.verdict is Verdict.ERROR:
                lines.append(f"ERROR: {what} could not be tried: {swap.message}")
    return lines


def _advice(found: Attribution) -> list[str]:
    """Say how many cases show a part that makes half of the drop, four times in five, by the widest of the swaps."""
    swaps = [swap for part in found.parts for swap in (part.alone, part.removed)]
    errors = [swap.standard_error for swap in swaps if swap.standard_error is not None]
    half = abs(found.whole.difference or 0.0) / 2
    if not errors or half == 0.0:
        return []
    needed = n_needed(max(errors), found.whole.n, half, found.alpha / found.n_tests)
    if needed is None or needed <= found.whole.n or needed > MAX_CASES:
        return ["more repeats may decide: --repeats N"]
    return [f"about {needed} cases would show a part that makes half of the drop; more repeats may do: --repeats N"]


def _cell(swap: Swap, bounded: bool, *, sign: int = 1) -> str:  # noqa: FBT001 - the second of two plain values
    if swap.difference is None:
        return swap.verdict.value if swap.verdict is Verdict.ERROR else "-"
    said = {Verdict.FAIL: "shown", Verdict.PASS: "not half of it"}.get(swap.verdict, "undecided")
    return f"{_signed(sign * swap.difference, bounded=bounded)}{_between(swap, bounded=bounded, sign=sign)}: {said}"


def _keys(part: PartEffect) -> str:
    more = len(part.changed) - _SHOWN_KEYS
    return ", ".join(part.changed[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _signed(value: float | None, *, bounded: bool) -> str:
    if value is None:
        return "-"
    # Taking back what changes nothing is +0 and not -0.
    return f"{value * 100 + 0.0:+.1f} points" if bounded else f"{value + 0.0:+.4g}"


def _between(swap: Swap, *, bounded: bool, sign: int = 1) -> str:
    if swap.interval is None or not all(math.isfinite(end) for end in swap.interval):
        return ""
    low, high = sorted(sign * end for end in swap.interval)
    scale, form = (100, "+.1f") if bounded else (1, "+.4g")
    return f" ({low * scale + 0.0:{form}} to {high * scale + 0.0:{form}})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
