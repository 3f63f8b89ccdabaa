from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.memory.store import MemoryStore
from shipway.core.record import ServedRequest
from shipway.gateway.feedback import KIND, FeedbackDesk, feedback_of
from shipway.gateway.replies import RefusedError

pytestmark = pytest.mark.anyio


class Clock:
    def now_s(self) -> float:
        return 1000.0

    def monotonic_s(self) -> float:
        return 0.0


def served(record_id: str, tenant: str = "acme") -> ServedRequest:
    fields: dict[str, Any] = {
        "at_s": 1.0, "environment": "test", "route": "chat", "release": "rel_a", "is_candidate": False,
        "candidate_weight": 0.0, "rollout": None, "snapshot_version": 1, "conversation": "c",
        "conversation_source": "header", "key_id": "key_1", "status": 200, "latency_ms": 1.0,
    }  # fmt: skip
    return ServedRequest(id=record_id, tenant=tenant, **fields)


class Sleeps:
    def __init__(self) -> None:
        self.waited: list[float] = []
        self.then: Any = None

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self.then is not None:
            await self.then()


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
async def state() -> MemoryStore:
    made = MemoryStore()
    await made.records.append([served("req_1"), served("req_2", tenant="other")])
    return made


@pytest.fixture
def desk(state: MemoryStore, sleeps: Sleeps) -> FeedbackDesk:
    return FeedbackDesk(state.records, state.documents, Clock(), observations=state.observations, sleep=sleeps)


async def take(desk: FeedbackDesk, tenant: str = "acme", **body: Any) -> Any:
    return await desk.take({"request_id": "req_1", **body}, tenant=tenant, key_id="key_1")


async def test_another_tenants_request_looks_like_none_at_all(desk, state):
    with pytest.raises(RefusedError) as others:
        await take(desk, request_id="req_2", thumbs="up")
    with pytest.raises(RefusedError) as nobodys:
        await take(desk, request_id="req_x", thumbs="up")

    assert others.value.status == nobodys.value.status == 404
    assert others.value.message.replace("req_2", "") == nobodys.value.message.replace("req_x", "")
    assert await state.documents.list(KIND) == []


async def test_a_caller_without_a_tenant_owns_nothing(desk, state):
    await state.records.append([served("req_3", tenant="")])
    with pytest.raises(RefusedError, match="no request"):
        await take(desk, tenant="", request_id="req_3", thumbs="up")


async def test_feedback_is_stored_with_the_release_that_answered(desk, state):
    received = await take(desk, thumbs="down", rating=2, labels=["wrong price", "wrong price"])
    [(key, body, _)] = await state.documents.list(KIND, prefix="req_1/")

    assert key == f"req_1/{received.id}"
    assert body["release"] == "rel_a"
    assert (body["thumbs"], body["rating"], body["labels"]) == ("down", 2, ["wrong price"])
    assert body["source"] == "user"


async def test_comments_are_masked_before_they_are_stored(desk, state):
    await take(desk, comment="write to ann@example.org", correction="card 4111 1111 1111 1111")
    [(_, body, _)] = await state.documents.list(KIND)

    assert "ann@" not in body["comment"]
    assert "4111" not in body["correction"]


async def test_the_same_feedback_twice_is_stored_once(desk, state):
    first = await take(desk, id="f1", comment="bad: ann@example.org")
    second = await take(desk, id="f1", comment="bad: ann@example.org")

    assert (first.repeated, second.repeated) == (False, True)
    assert first.id == second.id == "f1"
    assert len(await state.documents.list(KIND)) == 1


async def test_an_id_that_carried_something_else_is_refused(desk):
    await take(desk, id="f1", thumbs="up")
    with pytest.raises(RefusedError) as caught:
        await take(desk, id="f1", thumbs="down")
    assert caught.value.status == 409


async def test_the_id_of_a_completion_names_its_request(desk):
    assert (await take(desk, request_id="chatcmpl-req_1", thumbs="up")).request_id == "req_1"


async def test_a_record_that_is_still_on_its_way_is_waited_for(desk, state, sleeps):
    async def arrive() -> None:
        await state.records.append([served("req_9")])

    sleeps.then = arrive
    assert (await take(desk, request_id="req_9", thumbs="up")).request_id == "req_9"
    assert len(sleeps.waited) == 1


async def test_one_request_takes_a_bounded_number_but_a_repetition_is_always_answered(desk):
    for number in range(50):
        await take(desk, id=f"f{number}", thumbs="up")
    with pytest.raises(RefusedError, match="50 feedbacks"):
        await take(desk, id="f50", thumbs="up")
    assert (await take(desk, id="f7", thumbs="up")).repeated


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"thumbs": "up"}, "request_id"),
        ({"request_id": "a/b", "thumbs": "up"}, "request_id"),
        ({"request_id": "r", "thumbs": "sideways"}, "thumbs"),
        ({"request_id": "r", "rating": 0}, "rating"),
        ({"request_id": "r", "rating": 6}, "rating"),
        ({"request_id": "r", "rating": True}, "rating"),
        ({"request_id": "r", "rating": 4.5}, "rating"),
        ({"request_id": "r", "comment": " "}, "comment"),
        ({"request_id": "r", "comment": "x" * 4001}, "comment"),
        ({"request_id": "r", "comment": "a\x00b"}, "comment"),
        ({"request_id": "r", "correction": "x" * 16001}, "correction"),
        ({"request_id": "r", "labels": "x"}, "labels"),
        ({"request_id": "r", "labels": ["x"] * 21}, "labels"),
        ({"request_id": "r", "labels": ["x" * 65]}, "labels"),
        ({"request_id": "r", "thumbs": "up", "id": ""}, "id"),
        ({"request_id": "r", "thumbs": "up", "score": 1}, "score"),
        ({"request_id": "r"}, None),
    ],
)
def test_feedback_that_is_wrong_names_the_field(body, param):
    with pytest.raises(RefusedError) as caught:
        feedback_of(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@given(
    st.dictionaries(
        st.sampled_from(["request_id", "id", "thumbs", "rating", "comment", "labels"]),
        st.none() | st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=3)) | st.booleans(),
    )
)
def test_any_body_is_taken_or_refused_in_our_words(body):
    refused: RefusedError | None = None
    try:
        feedback_of(body)
    except RefusedError as error:
        refused = error
    assert refused is None or refused.status == 400


@pytest.mark.parametrize(
    ("given_", "verdict"),
    [
        ({"thumbs": "up", "rating": 1}, "up"),
        ({"thumbs": "down"}, "down"),
        ({"rating": 5}, "up"),
        ({"rating": 2}, "down"),
        ({"rating": 3}, "neutral"),
    ],
)
async def test_each_new_feedback_is_counted_once_by_what_it_says(state, given_, verdict):
    counted: list[tuple[str, str, str]] = []
    desk = FeedbackDesk(state.records, state.documents, Clock(), count=lambda *rating: counted.append(rating))
    for _ in range(2):
        await take(desk, id="f1", **given_)

    assert counted == [("chat", "rel_a", verdict)]


async def observed(state: MemoryStore) -> list[Any]:
    return [stored.observation for stored in await state.observations.after(0, environment="test")]


@pytest.mark.parametrize(
    ("given", "value"),
    [({"thumbs": "up"}, 1.0), ({"thumbs": "down", "rating": 5}, 0.0), ({"rating": 4}, 1.0), ({"rating": 1}, 0.0)],
)
async def test_feedback_that_rates_is_observed_with_the_arm_of_the_request(desk, state, given, value):
    await take(desk, **given)
    [item] = await observed(state)
    assert (item.kind, item.value, item.record_id, item.release) == ("thumbs", value, "req_1", "rel_a")


@pytest.mark.parametrize("given", [{"comment": "meh"}, {"rating": 3}, {"labels": ["price"]}])
async def test_feedback_that_rates_nothing_is_no_observation(desk, state, given):
    await take(desk, **given)
    assert await observed(state) == []


async def test_no_word_of_a_user_is_in_an_observation(desk, state):
    words = {"comment": "Mellow comment", "correction": "Right words", "labels": ["Labelled"], "id": "5551234567"}
    await take(desk, thumbs="down", **words)
    [item] = await observed(state)
    said = str(item.to_dict())
    assert not [word for word in ("Mellow", "Right", "Labelled", "5551234567") if word in said]


async def test_feedback_sent_again_after_a_crash_between_the_two_writes_is_observed_once(desk, state, sleeps):
    silent = FeedbackDesk(state.records, state.documents, Clock(), sleep=sleeps)
    await take(silent, id="f1", thumbs="down")
    assert await observed(state) == []

    await take(desk, id="f1", thumbs="down")
    await take(desk, id="f1", thumbs="down")
    assert len(await observed(state)) == 1
