"""What the switches in force mean for a route; compiled once for each snapshot, asked for each request.

Without a switch in force a request pays one comparison. An expired switch stops by itself: the board knows when the
next one ends and reads itself anew then, without a write anywhere.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shipway.core.switches import EVERYTHING, Switch, SwitchKind

_FOREVER = math.inf


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds for one route now; None where nothing does.

    `reason` tells callers why a route is off, `back_at_s` (Unix time) when it comes back by itself.
    """

    killed: bool = False
    reason: str = ""
    back_at_s: float | None = None
    lock: str | None = None
    max_new: int | None = None
    batch_window_ms: int | None = None
    drain_tokens: int | None = None
    killed_models: frozenset[str] = frozenset()
    killed_tools: frozenset[str] = frozenset()
    agents_killed: bool = False

    @property
    def touches_tools(self) -> bool:
        """Return whether a request's tools must be looked at."""
        return self.agents_killed or bool(self.killed_tools)


class SwitchBoard:
    """The switches of one snapshot."""

    def __init__(self, switches: Iterable[Switch]) -> None:
        self._switches = tuple(switches)
        self._on: tuple[Switch, ...] = ()
        self._orders: dict[str, Orders] = {}
        self._changes_at_s = -math.inf
        self._now_s = 0.0

    def orders(self, route: str, now_s: float) -> Orders | None:
        """Return what holds for a route at a Unix time, None when nothing does."""
        if not self._switches:
            return None
        if now_s >= self._changes_at_s or now_s < self._now_s:
            self._read(now_s)
        if not self._on:
            return None
        found = self._orders.get(route)
        if found is None:
            found = self._orders[route] = _orders(route, self._on)
        return found

    def _read(self, now_s: float) -> None:
        self._now_s = now_s
        self._on = tuple(switch for switch in self._switches if switch.is_on(now_s))
        self._orders = {}
        ends = (switch.expires_at_s for switch in self._on if switch.expires_at_s is not None)
        self._changes_at_s = min(ends, default=_FOREVER)


def _orders(route: str, switches: tuple[Switch, ...]) -> Orders:
    def named(kind: SwitchKind) -> list[Switch]:
        return [switch for switch in switches if switch.kind is kind]

    def here(kind: SwitchKind) -> list[Switch]:
        return [switch for switch in named(kind) if switch.target in {route, EVERYTHING}]

    def least(kind: SwitchKind) -> int | None:
        return min((int(switch.value) for switch in here(kind)), default=None)

    kills = here(SwitchKind.KILL_ROUTE)
    locks = sorted(here(SwitchKind.LOCK_ROUTE), key=lambda switch: switch.target == EVERYTHING)
    ends = [switch.expires_at_s for switch in kills if switch.expires_at_s is not None]
    return Orders(
        killed=bool(kills),
        reason=next((switch.reason for switch in kills if switch.reason), ""),
        back_at_s=max(ends) if kills and len(ends) == len(kills) else None,
        lock=str(locks[0].value) if locks else None,
        max_new=least(SwitchKind.MAX_NEW),
        batch_window_ms=least(SwitchKind.BATCH_WINDOW),
        drain_tokens=least(SwitchKind.DRAIN_LONG),
        killed_models=frozenset(switch.target for switch in named(SwitchKind.KILL_MODEL)),
        killed_tools=frozenset(switch.target for switch in named(SwitchKind.KILL_TOOL)),
        agents_killed=bool(named(SwitchKind.KILL_AGENTS)),
    )


def without_tools(body: Mapping[str, Any], orders: Orders) -> tuple[dict[str, Any], str | None]:
    """Return a chat body without the tools that are switched off, and the name of one that the body forces, if any.

    `tools` is OpenAI's present form, `functions` its old one.
    """
    forced = _forced(body)
    changed = dict(body)
    _strip(changed, "tools", "tool_choice", orders)
    _strip(changed, "functions", "function_call", orders)
    if changed.get("tool_choice") == "required" and "tools" not in changed:
        return changed, "required"
    return changed, forced if forced is not None and _is_killed(forced, orders) else None


def _strip(body: dict[str, Any], tools: str, choice: str, orders: Orders) -> None:
    offered = body.get(tools)
    if not isinstance(offered, list):
        return
    kept = [tool for tool in offered if not _is_killed(_tool_name(tool), orders)]
    if kept:
        body[tools] = kept
        return
    del body[tools]
    if body.get(choice) != "required":
        body.pop(choice, None)
    body.pop("parallel_tool_calls", None)


def _is_killed(name: str, orders: Orders) -> bool:
    return orders.agents_killed or name in orders.killed_tools


def _tool_name(tool: Any) -> str:
    if not isinstance(tool, Mapping):
        return ""
    inner = tool.get("function")
    # An engine's own tool (`web_search`) has no name but its type.
    found = inner.get("name") if isinstance(inner, Mapping) else tool.get("name") or tool.get("type")
    return found if isinstance(found, str) else ""


def _forced(body: Mapping[str, Any]) -> str | None:
    for name in ("tool_choice", "function_call"):
        choice = body.get(name)
        if isinstance(choice, Mapping):
            return _tool_name(choice)
    return None
