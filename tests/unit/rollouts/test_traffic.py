"""The rollout's routes in the snapshot, and nothing else of it."""

from dataclasses import replace

from shipway.core.snapshot import KeyEntry, RouteTraffic, Segment, Snapshot
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.model import Division
from shipway.rollouts.plan import Plan
from shipway.rollouts.traffic import divided, fingerprint, is_at, is_foreign, serves_candidate, without_candidate

KEY = KeyEntry("k", "00", "t", (), ())
ROUTES = (RouteTraffic("ask", "old", endpoints=(("old", "http://127.0.0.1:1"),)), RouteTraffic("other", "else"))
SNAPSHOT = Snapshot("production", version=3, epoch=2, routes=ROUTES, keys=(KEY,), config_digest="sha256:1")
ROW = new_rollout("ro", "production", ("ask",), releases=("old", "new"), plan=Plan(dead_man_s=33.0), now_s=0.0)
TENTH = Division("old", "new", 0.1)


def test_a_division_changes_the_rollouts_routes_and_keeps_all_else():
    made = divided(SNAPSHOT, ROW, TENTH, {"new": {"ask": "http://127.0.0.1:2"}})
    route = made.route("ask")
    assert (route.candidate, route.candidate_weight, route.salt) == ("new", 0.1, "ro")
    assert dict(route.endpoints) == {"old": "http://127.0.0.1:1", "new": "http://127.0.0.1:2"}
    assert (made.rollout, made.dead_man_s) == ("ro", 33.0)
    assert made.route("other") == SNAPSHOT.route("other")
    assert (made.keys, made.config_digest, made.version) == ((KEY,), "sha256:1", 3)
    assert is_at(made, ROW, TENTH)


def test_raising_the_weight_never_moves_a_conversation_back():
    tenth = divided(SNAPSHOT, ROW, TENTH, {}).route("ask")
    half = divided(SNAPSHOT, ROW, replace(TENTH, weight=0.5), {}).route("ask")
    names = [f"c{number}" for number in range(500)]
    moved = [name for name in names if tenth.assign(name)[1]]
    assert moved
    assert all(half.assign(name)[1] for name in moved)


def test_a_promoted_release_is_served_alone_under_its_own_address():
    both = divided(SNAPSHOT, ROW, TENTH, {"new": {"ask": "http://127.0.0.1:2"}})
    route = divided(both, ROW, Division("new"), {}).route("ask")
    assert (route.stable, route.candidate, route.endpoints) == ("new", None, (("new", "http://127.0.0.1:2"),))


def test_only_the_confirmed_the_intended_and_the_allowed_traffic_are_ours():
    row = replace(ROW, intent=TENTH)
    assert not is_foreign(SNAPSHOT, row)
    assert not is_foreign(divided(SNAPSHOT, row, TENTH, {}), row)
    strange = divided(SNAPSHOT, row, replace(TENTH, weight=0.2), {})
    assert is_foreign(strange, row)
    assert not is_foreign(strange, replace(row, overwrite="ask: old, new at 0.2; rollout ro"))


def test_withdrawing_undoes_a_promotion_and_leaves_what_others_put_there():
    promoted = divided(SNAPSHOT, ROW, Division("new"), {})
    assert serves_candidate(promoted, ROW)
    withdrawn = without_candidate(promoted, ROW, {})
    assert withdrawn.route("ask").stable == "old"
    assert not serves_candidate(withdrawn, ROW)
    hotfix = replace(SNAPSHOT, rollout="ro_2", routes=(RouteTraffic("ask", "hotfix", "third", 0.3),))
    assert without_candidate(hotfix, ROW, {}) == hotfix


def test_segments_and_parking_are_part_of_what_is_in_force():
    beta = Segment(tenants=("beta",))
    flagged = replace(ROW, plan=Plan(strategy="flag", segments=(beta,)))
    half = Division("old", "new", 0.5)
    at = divided(SNAPSHOT, flagged, half, {})
    assert is_at(at, flagged, half)
    assert "for tenants beta" in fingerprint(at, flagged)
    widened = replace(at, routes=tuple(replace(route, segments=()) for route in at.routes))
    assert not is_at(widened, flagged, half)
    parked = divided(SNAPSHOT, flagged, Division("old", parked=True), {})
    assert "parked" in fingerprint(parked, flagged)
    assert not is_at(parked, flagged, Division("old"))
