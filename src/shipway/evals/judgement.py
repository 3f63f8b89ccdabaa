"""What judges are asked and what they say. Judges build these values, metrics and calibration read them."""

from dataclasses import dataclass
from typing import Literal

from shipway.core.ids import Digest
from shipway.evals.model import Case, Output

Task = Literal["faithfulness", "relevance", "completeness", "citation", "rubric", "abstention"]
CLAIM_TASKS: frozenset[Task] = frozenset({"faithfulness", "completeness", "citation"})
"""Tasks that are judged statement by statement; their score is counted by us, not by the judge."""
PASSES_FROM = 0.5
"""The score from which an opinion is a yes."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One answer and the question that is asked about it. `rubric` says what a right answer shows, for that task."""

    task: Task
    case: Case
    output: Output
    rubric: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of an answer.

    `supported` is None when the judge could not tell: that claim is left out of numerator and denominator and counted
    in `Judgement.undecided`.
    """

    text: str
    supported: bool | None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A valid opinion.

    `score` lies in [0, 1]; None means that there is nothing to judge, never an error. `votes` has one score for each
    repeat and order, `agreement` is the share of them on the majority's side of 0.5.
    """

    task: Task
    score: float | None
    reason: str = ""
    claims: tuple[Claim, ...] = ()
    undecided: int = 0
    votes: tuple[float, ...] = ()
    agreement: float = 1.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """Who judged.

    `digest` covers kind, model, prompt templates, reply schema, decoding, repeats, swap and the version of the code.
    """

    name: str
    digest: Digest


def claims_judgement(task: Task, claims: tuple[Claim, ...], reason: str = "") -> Judgement:
    """Return the judgement of statements: supported / decided, None when none was decided."""
    decided = [claim.supported for claim in claims if claim.supported is not None]
    score = sum(decided) / len(decided) if decided else None
    return Judgement(task, score, reason, claims, undecided=len(claims) - len(decided))
