"""The values of an evaluation: what is asked, what came back, how it scored.

Services build them, `metrics` and `gates` read them, `report` renders them. Nothing here does I/O.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import nextafter
from typing import Any, Literal

from shipway.core.canonical import canonical_json
from shipway.core.errors import UsageError
from shipway.core.ids import Digest

Split = Literal["calibration", "test"]
Term = str | tuple[str, ...]
"""A text that must occur, or several of which one must."""

# Not part of a case that does not use them, so that datasets that were judged before these came keep their digests.
_ONLY_WHEN_SET = frozenset({"context", "messages", "variables", "metadata"})


@dataclass(frozen=True, slots=True)
class Case:
    """One question and what a right answer to it looks like.

    `assertions` are the entries of the dataset's `assert` list. Cases of split `calibration` tune thresholds and are
    never judged by a gate.
    """

    id: str
    question: str
    tenant: str = ""
    groups: tuple[str, ...] = ()
    expected_sources: tuple[str, ...] = ()
    must_contain: tuple[Term, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    reference: str | None = None
    unanswerable: bool = False
    tags: tuple[str, ...] = ()
    cluster: str = ""
    split: Split = "test"
    assertions: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    context: tuple[str, ...] = ()
    """Passages given with the case; judges use them where the target reports none."""
    messages: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    """Turns before the question, as OpenAI messages."""
    variables: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """For HTTP templates and imported prompts: `{name}`."""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Carried along, never judged; imports keep the foreign id in `origin`."""

    @property
    def cluster_name(self) -> str:
        """What the case shares with others: its cluster, else its first source in name order, else only itself."""
        return self.cluster or min(self.expected_sources, default="") or self.id

    def to_dict(self) -> dict[str, Any]:
        """Return the dataset's JSON form; the fields of `_ONLY_WHEN_SET` are present when they are set."""
        body = asdict(self)
        body["assert"] = list(body.pop("assertions"))
        return {name: value for name, value in body.items() if value or name not in _ONLY_WHEN_SET}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Cases under a name; two datasets with equal cases are the same whatever their file, format or order."""

    name: str
    cases: tuple[Case, ...]
    _known: list[Digest] = field(default_factory=list, init=False, repr=False, compare=False, hash=False)

    @property
    def digest(self) -> Digest:
        """The digest of the parsed cases, sorted by id; the name is not part of it."""
        if not self._known:
            self._known.append(_digest_of(sorted(self.cases, key=lambda case: case.id)))
        return self._known[0]

    def only(self, split: Split) -> "Dataset":
        """Return the dataset of one split, which has a digest of its own."""
        return Dataset(self.name, tuple(case for case in self.cases if case.split == split))

    def part(self, tags: Collection[str], share: float) -> "Dataset":
        """Return the cases that have one of the tags, all without tags, and of those a share.

        The share, in (0, 1], is of clusters, drawn by their names alone: the same ones each time, and those of a
        smaller share are among those of a larger one. At least one stays.
        """
        cases = [case for case in self.cases if not tags or not set(tags).isdisjoint(case.tags)]
        drawn = {case.cluster or case.id: 0.0 for case in cases}
        for name in drawn:
            drawn[name] = int.from_bytes(sha256(name.encode()).digest()[:6]) / 2.0**48
        limit = max(share, nextafter(min(drawn.values(), default=0.0), 1.0))
        return Dataset(self.name, tuple(case for case in cases if drawn[case.cluster or case.id] < limit))


def _digest_of(cases: Iterable[Case]) -> Digest:
    """Return `digest_json` of the cases' JSON forms, of which one is in memory at a time."""
    hashed = sha256(b"[")
    for place, case in enumerate(cases):
        hashed.update((b"," if place else b"") + canonical_json(case.to_dict()))
    hashed.update(b"]")
    return Digest(f"sha256:{hashed.hexdigest()}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the target called, in order."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Output:
    """What a target returned for one case, or why it returned nothing.

    `model_text` is what the model wrote before any repair, None when nothing was generated. `citations` and
    `retrieved` are document ids, best first. `events` are those of `core.record`. None for latency or cost means that
    nobody measured it. `error` set means that there is no answer to judge.
    """

    answer: str = ""
    model_text: str | None = None
    citations: tuple[str, ...] = ()
    retrieved: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    latency_ms: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None
    error: str | None = None
    passages: tuple[str, ...] = ()
    """Texts handed to the model, parallel to nothing; what faithfulness is judged against."""
    tool_calls: tuple[ToolCall, ...] = ()
    ttft_ms: float | None = None
    """Time to the first token; None when nobody measured it."""
    cached: bool = False
    """True: answered by the response cache; latency and cost are those of the first time and never judged."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a target: a case, the repeat (from 0), what came back, and how often it was asked again for it."""

    case_id: str
    repeat: int
    output: Output
    retries: int = 0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The scores of one attempt.

    `scores` holds None where a metric does not apply. A metric that applies but could not be computed is in `errors`
    with the reason and not in `scores`.
    """

    case_id: str
    repeat: int
    scores: Mapping[str, float | None] = field(hash=False)
    errors: Mapping[str, str] = field(default_factory=dict, hash=False)
    output: Output = field(default_factory=Output)


@dataclass(frozen=True, slots=True)
class Binding:
    """What scores depend on beside the release; runs with different bindings measure different things.

    `judge` is the digest of the judge's identity and its anchor set; `baseline.NO_JUDGE` without one.
    """

    dataset: Digest
    corpus: Digest
    judge: Digest
    metrics: Digest


@dataclass(frozen=True, slots=True)
class RunReport:
    """All results of one target over one dataset.

    `results` may be read from disk as they are looked at. `provenance` is shown and not compared: seed, hardware,
    versions of engine and packages.

    Raises:
        UsageError: `repeats` below 1, or the binding names another dataset.
    """

    target: str
    target_digest: str
    dataset: Dataset
    repeats: int
    results: Sequence[CaseResult] = field(hash=False)
    binding: Binding
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse a run that does not describe its own dataset."""
        if self.repeats < 1:
            raise UsageError(f"run of {self.target!r}: repeats must be at least 1, got {self.repeats}")
        if self.binding.dataset != self.dataset.digest:
            raise UsageError(
                f"run of {self.target!r}: bound to dataset {self.binding.dataset}, but its cases have digest "
                f"{self.dataset.digest}",
                hint="Build the binding from the dataset that was run.",
            )
