"""Cases whose question or right answer stands in a prompt or a document already; `data_checks` calls this.

A right answer in the documents is the point of retrieval and no leak; a question that stands there word for word makes
retrieval look better than it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shipway.evals.data_words import grams, words
from shipway.evals.model import Case

Part = Literal["question", "reference"]

_RUN = 5
_FEWEST_WORDS = 4
"""Two or three words ("45 days") stand in many texts without having leaked."""


@dataclass(frozen=True, slots=True)
class CheckSources:
    """What cases may have leaked into: texts by the name under which a user knows them."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    few_shots: Mapping[str, Sequence[str]] = field(default_factory=dict)
    documents: Iterable[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """A part of a case, where it stands and which share of its runs of five words stands there."""

    case: Case
    part: Part
    source: str
    share: float


class CaseRuns:
    """The runs of words of all cases, to look for in any number of texts one after the other."""

    def __init__(self, cases: Iterable[Case], parts: Sequence[Part]) -> None:
        self._texts: list[tuple[Case, Part, int]] = []
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for case in cases:
            for part in parts:
                text = words(case.question if part == "question" else case.reference or "")
                if len(text) >= _FEWEST_WORDS:
                    runs = grams(text, _RUN)
                    for run in runs:
                        self._holders[run].append(len(self._texts))
                    self._texts.append((case, part, len(runs)))

    def leaks(self, source: str, text: str, threshold: float) -> Iterator[Leak]:
        """Return the parts of which at least this share stands in a text."""
        seen: dict[int, int] = defaultdict(int)
        spoken = words(text)
        # A text of four words has one run of four.
        for run in grams(spoken, _RUN) | grams(spoken, _FEWEST_WORDS):
            for place in self._holders.get(run, ()):
                seen[place] += 1
        for place, count in sorted(seen.items()):
            case, part, runs = self._texts[place]
            if count / runs >= threshold:
                yield Leak(case, part, source, count / runs)
