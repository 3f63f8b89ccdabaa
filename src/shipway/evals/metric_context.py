"""What metrics and assertions need beside case and output; the evaluation service builds one a run or an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shipway.core.personal_data import RegexPii
from shipway.evals.assertion_types import Assertion
from shipway.evals.judgement import Judgement, Task
from shipway.evals.model import Case, Output
from shipway.evals.ports import PiiFinder

Function = Callable[[Case, Output], object]
"""A user's function: a truth value, or a number of which 0.5 and more holds."""


@dataclass(frozen=True, slots=True)
class DocumentAccess:
    """Who may see a document: members of any of its groups, in its tenant. Without groups: nobody."""

    tenant: str
    groups: frozenset[str]

    def allows(self, case: Case) -> bool:
        """Tell whether the asker of a case may see the document."""
        return self.tenant == case.tenant and not self.groups.isdisjoint(case.groups)


@dataclass(frozen=True, slots=True)
class MetricContext:
    """What is known of a run, and of one answer of it.

    Of a run: `access` is the corpus's table of documents, None when there is none; `functions` and `assertions` (by
    case id) come from `assertions.load_assertions`. Of an answer: what judges said and why they did not, by task, and
    how similar its meaning is to the texts of its `similar` assertions.
    """

    access: Mapping[str, DocumentAccess] | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
    assertions: Mapping[str, tuple[Assertion, ...]] = field(default_factory=dict)
    pii: PiiFinder = field(default_factory=RegexPii)
    judgements: Mapping[Task, Judgement] = field(default_factory=dict)
    missing_judgements: Mapping[Task, str] = field(default_factory=dict)
    similarities: Mapping[str, float] = field(default_factory=dict)
    held: dict[int, bool] | None = None
    """What was found of one answer, by the identity of the parsed assertion: `scoring` gives each answer its own."""
