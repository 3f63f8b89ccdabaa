"""What people said of a release, as evidence: every aspect needs enough of them, and one who objects fails it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One person's review of one release."""

    release: str
    reviewer: str
    aspects: Mapping[str, bool]
    at: str = ""
    note: str = ""
    location: str = ""


def read_reviews(rows: Any, file: str) -> list[Reviewed]:
    """Return the reviews of a file.

    Raises:
        UsageError: an entry is none, with its number.
    """
    if not isinstance(rows, list):
        raise UsageError(f"{file}: reviews is not a list")
    return [_review(row, f"{file}: review {number}", file) for number, row in enumerate(rows, 1)]


def review_findings(
    reviews: Sequence[Reviewed], release: str, aspects: Sequence[str], reviewers: int
) -> Iterator[Finding]:
    """Yield a finding for each aspect: FAIL where somebody objects, NO_DATA where too few have looked."""
    latest: dict[str, Reviewed] = {}
    for review in reviews:
        if review.release == release:
            latest[review.reviewer] = review
    for aspect in aspects:
        said = {name: review for name, review in latest.items() if aspect in review.aspects}
        against = [review for review in said.values() if not review.aspects[aspect]]
        rule = f"review/{aspect}"
        if against:
            objections = ((review.reviewer, f": {review.note}" if review.note else "") for review in against)
            message = "; ".join(f"{reviewer} objects{note}" for reviewer, note in objections)
            yield Finding("review", aspect, Verdict.FAIL, message=message, location=against[0].location, rule=rule)
        elif len(said) < reviewers:
            message = f"NOT CHECKED: {len(said)} of {reviewers} people have looked at it in {release}"
            yield Finding("review", aspect, Verdict.NO_DATA, message=message, rule=rule)
        else:
            yield Finding("review", aspect, Verdict.PASS, rule=rule, details={"reviewers": sorted(said)})


def _review(row: Any, where: str, file: str) -> Reviewed:
    if not isinstance(row, dict):
        raise UsageError(f"{where} is not a mapping with release, reviewer and aspects")
    unknown = sorted(map(str, set(row) - {"release", "reviewer", "at", "aspects", "note"}))
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}", hint="release, reviewer, at, aspects, note")
    for name in ("release", "reviewer"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise UsageError(f"{where}: {name} is missing")
    aspects = row.get("aspects")
    if not isinstance(aspects, dict) or not all(isinstance(value, bool) for value in aspects.values()):
        raise UsageError(f"{where}: aspects is not a mapping of names to true or false")
    named = {str(name): value for name, value in aspects.items()}
    return Reviewed(row["release"], row["reviewer"], named, str(row.get("at", "")), str(row.get("note", "")), file)
