import pytest

from shipway.core.clock import ManualClock
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic
from shipway.gateway.accounting import Account
from shipway.gateway.model import GatewaySettings, ModelPrice, Usage
from shipway.gateway.replies import RefusedError


class Sink:
    def __init__(self) -> None:
        self.records: list[ServedRequest] = []

    def append(self, record: ServedRequest) -> None:
        self.records.append(record)

    async def wait_for_room(self) -> None:
        return


TRAFFIC = RouteTraffic("r", "rel_a", candidate="rel_b", candidate_weight=0.2)


def account(**settings) -> Account:
    return Account.opened("req_1", ManualClock(), GatewaySettings(**settings))


def test_each_part_of_the_partition_has_its_price():
    made = account(prices={"m": ModelPrice(input_usd=1.0, cache_read_usd=0.1, output_usd=4.0)})
    made.model, made.usage = "m", Usage(uncached=1_000_000, cache_read=1_000_000, output=500_000)
    made.assign(TRAFFIC, "rel_b", pinned=False)
    sink = Sink()
    made.commit(200, sink)
    assert sink.records[0].cost_usd == pytest.approx(1.0 + 0.1 + 2.0)
    assert (sink.records[0].is_candidate, sink.records[0].candidate_weight) == (True, 0.2)


def test_a_record_is_written_once_and_only_with_a_release():
    made, sink = account(), Sink()
    made.commit(401, sink)
    assert sink.records == []
    assert made.record is not None
    other = account()
    other.assign(TRAFFIC, "rel_a", pinned=False)
    other.commit(200, sink)
    other.commit(500, sink)
    assert [record.status for record in sink.records] == [200]


@pytest.mark.parametrize(
    ("status", "code", "events"),
    [
        (504, "", ("timeout",)),
        (502, "", ("error",)),
        (400, "", ()),
        (429, "", ()),
        (503, "overloaded", ()),
        (429, "engine_cooling", ("error",)),
    ],
)
def test_only_what_the_release_may_be_blamed_for_becomes_an_event(status, code, events):
    made = account()
    made.blame(RefusedError(status, "x", code=code))
    assert tuple(made.events) == events


def test_equal_questions_have_equal_hashes_under_one_key_and_other_hashes_under_another():
    one, two, other = account(question_hash_key=b"a"), account(question_hash_key=b"a"), account(question_hash_key=b"b")
    for made, text in ((one, "Why?"), (two, " Why? "), (other, "Why?")):
        made.ask(text)
    assert one.question_hash == two.question_hash != other.question_hash
    silent = account()
    silent.ask("Why?")
    assert silent.question_hash == ""
