import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.ids import ReleaseId
from shipway.core.snapshot import Snapshot
from shipway.core.switches import Switch, SwitchKind
from shipway.gateway.flags import FlagSet
from shipway.gateway.route_plan import LOCK, RoutePlan
from shipway.gateway.routing import Choice
from shipway.gateway.serving import LoadedRelease, Serving
from shipway.gateway.switchboard import Orders, SwitchBoard, without_tools

NOW_S = 1000.0


def board(*switches: Switch) -> SwitchBoard:
    return SwitchBoard(switches)


def test_without_a_switch_nothing_is_ordered():
    assert board().orders("chat", NOW_S) is None


def test_a_switch_stops_by_itself_at_its_expiry():
    found = board(Switch(SwitchKind.KILL_ROUTE, "chat", expires_at_s=NOW_S + 10))
    assert found.orders("chat", NOW_S + 9.9).killed
    assert found.orders("chat", NOW_S + 10) is None


def test_a_clock_that_is_set_back_brings_a_switch_back():
    found = board(Switch(SwitchKind.KILL_ROUTE, "chat", expires_at_s=NOW_S))
    assert found.orders("chat", NOW_S + 5) is None
    assert found.orders("chat", NOW_S - 5).killed


def test_the_strictest_of_several_knobs_holds_and_other_routes_are_untouched():
    found = board(
        Switch(SwitchKind.MAX_NEW, "*", 100),
        Switch(SwitchKind.MAX_NEW, "chat", 50),
        Switch(SwitchKind.DRAIN_LONG, "rag", 900),
        Switch(SwitchKind.BATCH_WINDOW, "chat", 5),
    )
    chat, rag = found.orders("chat", NOW_S), found.orders("rag", NOW_S)
    assert (chat.max_new, chat.drain_tokens, chat.batch_window_ms) == (50, None, 5)
    assert (rag.max_new, rag.drain_tokens, rag.batch_window_ms) == (100, 900, None)


def test_a_routes_own_lock_wins_over_one_for_all():
    found = board(Switch(SwitchKind.LOCK_ROUTE, "*", "small"), Switch(SwitchKind.LOCK_ROUTE, "chat", "large"))
    assert (found.orders("chat", NOW_S).lock, found.orders("rag", NOW_S).lock) == ("large", "small")


def test_a_killed_route_is_back_when_the_last_of_its_switches_ends():
    ends = board(
        Switch(SwitchKind.KILL_ROUTE, "chat", expires_at_s=NOW_S + 10),
        Switch(SwitchKind.KILL_ROUTE, "*", expires_at_s=NOW_S + 20, reason="maintenance"),
    )
    orders = ends.orders("chat", NOW_S)
    assert (orders.back_at_s, orders.reason) == (NOW_S + 20, "maintenance")
    never = board(Switch(SwitchKind.KILL_ROUTE, "chat"), Switch(SwitchKind.KILL_ROUTE, "*", expires_at_s=NOW_S + 20))
    assert never.orders("chat", NOW_S).back_at_s is None


@given(st.lists(st.tuples(st.sampled_from(["chat", "*"]), st.floats(0, 100)), max_size=10), st.floats(0, 120))
def test_a_board_agrees_with_asking_every_switch(switches, at_s):
    made = [Switch(SwitchKind.KILL_ROUTE, target, expires_at_s=ends) for target, ends in switches]
    orders = SwitchBoard(made).orders("chat", at_s)
    assert bool(orders and orders.killed) is any(switch.is_on(at_s) for switch in made)


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("pay", "look")]


@pytest.mark.parametrize(
    ("body", "orders", "left", "forced"),
    [
        ({"tools": TOOLS}, Orders(killed_tools=frozenset({"pay"})), {"tools": TOOLS[1:]}, None),
        ({"tools": TOOLS, "tool_choice": "auto"}, Orders(agents_killed=True), {}, None),
        (
            {"tools": TOOLS, "tool_choice": "required"},
            Orders(agents_killed=True),
            {"tool_choice": "required"},
            "required",
        ),
        ({"functions": [{"name": "pay"}]}, Orders(killed_tools=frozenset({"pay"})), {}, None),
        ({"tools": TOOLS[:1], "parallel_tool_calls": True}, Orders(killed_tools=frozenset({"pay"})), {}, None),
        ({"tools": [{"type": "web_search"}]}, Orders(killed_tools=frozenset({"web_search"})), {}, None),
        ({"messages": []}, Orders(agents_killed=True), {"messages": []}, None),
    ],
)
def test_tools_that_are_switched_off_are_taken_out(body, orders, left, forced):
    assert without_tools(body, orders) == (left, forced)


def test_a_lock_has_no_fallback_and_a_killed_model_is_left_out_of_a_chain():
    plan = RoutePlan("a", {"a": 1, "b": 2}, chains={"a": ("a", "b"), "b": ("b",)})
    assert plan.chain(Choice("a"), None) == ("a", "b")
    assert plan.chain(Choice("a"), Orders(killed_models=frozenset({"a"}))) == ("b",)
    assert plan.chain(Choice("a", rule=LOCK), None) == ("a",)
    assert plan.chain(Choice("elsewhere"), None) == ()


def test_a_snapshot_keeps_its_switches_and_flags_in_its_json_form():
    switch = Switch(SwitchKind.MAX_NEW, "chat", 5, expires_at_s=1.0, reason="r", actor="a", set_at_s=0.5)
    snapshot = Snapshot("test", switches=(switch,), flags={"flags": {}})
    assert Snapshot.from_dict(snapshot.to_dict()) == snapshot


def test_a_snapshot_of_an_older_version_has_neither():
    old = {name: value for name, value in Snapshot("test").to_dict().items() if name not in {"switches", "flags"}}
    assert Snapshot.from_dict(old) == Snapshot("test")


GOOD = {"flags": {"a": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}}}


def flags_after(*documents: dict[str, object]) -> tuple[FlagSet, list[str]]:
    notes: list[str] = []
    serving = Serving(lambda event, **_fields: notes.append(event))
    for version, document in enumerate(documents, start=1):
        serving.apply(Snapshot("test", version=version, flags=document), {}, silent=False)
    assert serving.current is not None
    return serving.current.flags, notes


def test_flags_that_this_worker_cannot_read_leave_the_old_ones_in_force_and_are_noted_once():
    bad = {"flags": {"a": {**GOOD["flags"]["a"], "targeting": {"newer_operator": []}}}}
    found, notes = flags_after(GOOD, bad, bad)
    assert found.value("a", {}, now_s=NOW_S) is True
    assert notes == ["flags_refused"]


@pytest.mark.anyio
async def test_a_release_is_gone_after_its_last_request_and_not_while_the_table_names_it():
    gone: list[str] = []
    serving = Serving(lambda _event, **_fields: None)
    serving.on_gone.append(gone.append)
    loaded = {ReleaseId(name): LoadedRelease(ReleaseId(name), Runtime()) for name in ("old", "new")}
    serving.apply(Snapshot("test", version=1), loaded, silent=False)
    loaded["old"].enter()
    serving.apply(Snapshot("test", version=2), {"new": loaded["new"]}, silent=False)
    serving.reequip({"new": LoadedRelease("new", Runtime())})
    await asyncio.sleep(0.01)
    assert gone == []
    loaded["old"].leave()
    await asyncio.sleep(0.01)
    assert gone == ["old"]


class Runtime:
    async def close(self) -> None:
        pass


def test_switches_are_obeyed_before_the_releases_of_their_snapshot_are_loaded():
    serving = Serving(lambda _event, **_fields: None)
    serving.apply(Snapshot("test", version=1), {}, silent=False)
    kill = Switch(SwitchKind.KILL_ROUTE, "chat")
    serving.switch(replace(Snapshot("test", version=2), switches=(kill,)))
    assert serving.current is not None
    assert serving.current.board is not None
    assert serving.current.board.orders("chat", NOW_S).killed
    assert serving.current.snapshot.version == 1
    serving.apply(serving.current.snapshot, {}, silent=True)
    assert serving.current.board is not None
