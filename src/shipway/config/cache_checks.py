"""Whether `cache` and `memory` name what the project has; `project` calls this."""

from collections.abc import Iterator, Mapping

from shipway.config.sections.cache import Cache, Memory
from shipway.config.sections.routes import Route

Problem = tuple[tuple[str | int, ...], str]


def cache_problems(
    cache: Cache, memory: Memory, routes: Mapping[str, Route], *, has_corpus: bool, has_redis: bool
) -> Iterator[Problem]:
    """Yield what is wrong, each with its place."""
    yield from _route_problems("cache", cache.routes, routes, kinds=("chat", "rag"))
    yield from _route_problems("memory", memory.routes, routes, kinds=("chat",))
    for section, chosen in (("cache", cache), ("memory", memory)):
        if chosen.store == "redis" and not has_redis:
            yield (section, "store"), "store redis needs a section redis with its url"
    if cache.embedding is None and not has_corpus:
        for name, route in cache.routes.items():
            if route.semantic:
                yield ("cache", "routes", name, "semantic"), "name the model that compares questions: cache.embedding"


def _route_problems(
    section: str, named: Mapping[str, object], routes: Mapping[str, Route], *, kinds: tuple[str, ...]
) -> Iterator[Problem]:
    for name in named:
        if name not in routes:
            yield (section, "routes", name), f"{name!r} is not in routes (it has {', '.join(sorted(routes))})"
        elif routes[name].kind not in kinds:
            wanted = " or ".join(kinds)
            yield (section, "routes", name), f"{name!r} is of kind {routes[name].kind}; {section} is for {wanted}"
