from shipway.evals.dataset import parse_dataset
from shipway.services.proposals.deciding import Expectation, case_of, exported
from shipway.services.proposals.model import Proposal, Status, proposal_id

PROPOSAL = Proposal(
    id="prop_1",
    request_id="req_1",
    environment="local",
    route="ask",
    release="rel_1",
    is_candidate=True,
    question="Why?",
    answer="No.",
    reasons=("thumbs down",),
    at_s=1.0,
    found_at_s=2.0,
    groups=("staff",),
)


def test_a_proposal_survives_its_json_form_and_a_newer_writer():
    form = PROPOSAL.to_dict()

    assert Proposal.from_dict({**form, "groups": ["staff"], "reasons": ["thumbs down"], "new": 1}) == PROPOSAL
    assert form["status"] == "proposed"


def test_a_row_of_an_older_writer_has_defaults():
    form = PROPOSAL.to_dict()
    for name in ("note", "duplicate_of", "decided_by", "cluster"):
        del form[name]

    assert Proposal.from_dict(form).status is Status.PROPOSED


def test_a_request_has_one_proposal_in_an_environment():
    assert proposal_id("local", "req_1") == proposal_id("local", "req_1")
    assert len({proposal_id("local", "req_1"), proposal_id("production", "req_1"), proposal_id("local", "req_2")}) == 3


def test_exported_proposals_are_a_dataset():
    dataset = parse_dataset(exported([PROPOSAL]), "x.jsonl")

    (case,) = dataset.cases
    assert (case.question, case.groups, case.metadata["origin"]) == ("Why?", ("staff",), "req_1")


def test_an_expectation_alone_makes_a_case_judgeable():
    assert not Expectation(tags=("returns",), question="How?").says_something
    for wanted in (
        Expectation(reference="Yes."),
        Expectation(must_not_contain=("no",)),
        Expectation(unanswerable=True),
    ):
        assert wanted.says_something
    assert case_of(PROPOSAL, Expectation(reference="Yes.", question="How?")).question == "How?"
