"""Whether `quality` names what the project has; `project` calls this."""

from collections.abc import Iterator, Mapping

from shipway.config.sections.judges import JudgeEntry
from shipway.config.sections.quality import Quality
from shipway.config.sections.routes import Route

EMBEDDED = "embedded"
_SAMPLED = ("chat", "rag")
Problem = tuple[tuple[str | int, ...], str]


def quality_problems(
    quality: Quality, routes: Mapping[str, Route], judges: Mapping[str, JudgeEntry], *, asked: str | None
) -> Iterator[Problem]:
    """Yield what is wrong, each with its place; `asked` is the route of `evals`."""
    for index, name in enumerate(quality.routes):
        yield from _route_problems(("quality", "routes", index), name, routes)
    if quality.judge != EMBEDDED and quality.judge not in judges:
        known = f"it has {', '.join(sorted(judges))}" if judges else "it is empty"
        yield ("quality", "judge"), f"{quality.judge!r} is not in judges ({known}) and not {EMBEDDED!r}"
    if quality.goldens is None:
        return
    named = quality.goldens.route
    if named is not None:
        yield from _route_problems(("quality", "goldens", "route"), named, routes)
    elif asked is None and sum(route.kind in _SAMPLED for route in routes.values()) != 1:
        yield ("quality", "goldens", "route"), "name the route that is asked: the app has more than one, or none"


def _route_problems(path: tuple[str | int, ...], name: str, routes: Mapping[str, Route]) -> Iterator[Problem]:
    if name not in routes:
        yield path, f"{name!r} is not in routes (it has {', '.join(sorted(routes))})"
    elif routes[name].kind not in _SAMPLED:
        yield path, f"{name!r} is of kind {routes[name].kind}; quality is for chat or rag"
