"""A proposed case, its states and where it is stored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from shipway.evals.model import Case

KIND = "case_proposal"
_ID_BYTES = 6


class Status(StrEnum):
    """What became of a proposal."""

    PROPOSED = "proposed"
    DUPLICATE = "duplicate"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A request that went wrong, with its masked texts; `correction` is what the user said would be right.

    `duplicate_of` is a case of the dataset or another proposal that asks nearly the same. `case_id` and `dataset` are
    where an accepted one was written, `decided_by` who decided, `note` why.
    """

    id: str
    request_id: str
    environment: str
    route: str
    release: str
    is_candidate: bool
    question: str
    answer: str
    reasons: tuple[str, ...]
    at_s: float
    found_at_s: float
    tenant: str = ""
    groups: tuple[str, ...] = ()
    cluster: str = ""
    correction: str = ""
    status: Status = Status.PROPOSED
    duplicate_of: str = ""
    decided_by: str = ""
    decided_at_s: float = 0.0
    note: str = ""
    case_id: str = ""
    dataset: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Proposal":
        """Return the proposal of a JSON form; unknown keys of a newer writer are dropped."""
        values = {name: data[name] for name in _FIELDS if name in data}
        values |= {name: tuple(values[name]) for name in ("reasons", "groups") if name in values}
        return cls(**{**values, "status": Status(values["status"])})

    def case(self) -> Case:
        """Return the question as a case without any expectation, to compare it with others."""
        return Case(id=self.id, question=self.question, tenant=self.tenant, groups=self.groups)


def proposal_id(environment: str, request_id: str) -> str:
    """Return the id of a request's proposal: a request is proposed once, however often it is found."""
    return "prop_" + blake2b(f"{environment}\x00{request_id}".encode(), digest_size=_ID_BYTES).hexdigest()


_FIELDS = tuple(item.name for item in fields(Proposal))
