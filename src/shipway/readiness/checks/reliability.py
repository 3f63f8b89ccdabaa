"""REL: what happens when a part fails or load grows."""

from dataclasses import replace

from shipway.config.project import Project
from shipway.readiness.checks.monitoring import metric_names
from shipway.readiness.documents import manifests
from shipway.readiness.facts import Facts
from shipway.readiness.model import (
    Area,
    Check,
    Effort,
    Evidence,
    Outcome,
    Source,
    UndecidedError,
    failed,
    not_applicable,
    passed,
)
from shipway.readiness.own_services import as_far_as_seen, routes
from shipway.readiness.python_code import calls_in, own_modules

_LEAST_REPLICAS = 2
_DATABASES = (
    "psycopg",
    "psycopg2",
    "asyncpg",
    "sqlalchemy",
    "pymongo",
    "motor",
    "qdrant_client",
    "pinecone",
    "weaviate",
    "pymilvus",
    "redis",
    "chromadb",
    "mysql",
    "pymysql",
    "aiomysql",
)
_POOLS = (
    "create_engine",
    "create_async_engine",
    "create_pool",
    "ConnectionPool",
    "AsyncConnectionPool",
    "QdrantClient",
    "AsyncQdrantClient",
    "MongoClient",
    "AsyncIOMotorClient",
    "Redis",
    "from_url",
)
_SINGLE = (
    "psycopg.connect",
    "psycopg2.connect",
    "asyncpg.connect",
    "pymysql.connect",
    "psycopg.AsyncConnection.connect",
)


def autoscaling(facts: Facts) -> Outcome:
    """REL-1."""
    found = manifests(facts.the_repository())
    scalers = [item for item in found.found if item.data["kind"] == "HorizontalPodAutoscaler"]
    for item in scalers:
        spec = item.data.get("spec")
        least = spec.get("minReplicas", 1) if isinstance(spec, dict) else 1
        told = facts.line(item.path, item.line("spec", "minReplicas"), f"minReplicas {least}")
        if not isinstance(least, int) or least < _LEAST_REPLICAS:
            return failed("one replica is enough for the scaler, so one crash is an outage", "`minReplicas: 2`", told)
    if scalers:
        return passed(
            *(
                facts.line(item.path, item.line("spec", "minReplicas"), "HorizontalPodAutoscaler, minReplicas >= 2")
                for item in scalers
            )
        )
    why = (
        f"{found.unread[0]} is a template that is not read"
        if found.unread
        else "no HorizontalPodAutoscaler is committed"
    )
    raise UndecidedError(why, "commit one with `minReplicas: 2`, or attest how the platform scales")


def fallback(facts: Facts) -> Outcome:
    """REL-2: another engine, not another name for the same one."""
    project = facts.the_project()
    used = _used(project)
    seen, missing = [], []
    for alias in used:
        others = [name for name in project.routing.fallbacks.get(alias, ()) if name in project.models]
        real = [name for name in others if _address(project, name) != _address(project, alias)]
        if real:
            seen.append(facts.setting("routing", "fallbacks", alias, says=", ".join(others)))
        else:
            missing.append(alias)
    if missing:
        fix = f"`routing: {{ fallbacks: {{ {missing[0]}: [OTHER] }} }}` with an alias of `models` on another engine"
        return failed(
            f"nothing answers when {', '.join(missing)} does not",
            fix,
            *seen,
            *(facts.setting("models", name, "engine") for name in missing),
        )
    return as_far_as_seen(facts, passed(*seen, routes(facts)), "the fallback")


def _used(project: Project) -> list[str]:
    return sorted({route.model for route in project.routes.values() if route.model is not None})


def _address(project: Project, alias: str) -> tuple[str, str]:
    entry = project.models[alias]
    return entry.engine, entry.base_url or entry.model


def retries(facts: Facts) -> Outcome:
    """REL-3."""
    return as_far_as_seen(facts, _retries(facts), "what it asks again")


def _retries(facts: Facts) -> Outcome:
    setting = facts.setting("routing", "retries", "attempts")
    if facts.the_project().routing.retries.attempts < _LEAST_REPLICAS:
        fix = "`routing: { retries: { attempts: 3 } }`"
        return failed("a call that was turned away is not made again", fix, setting)
    return passed(setting, facts.setting("routing", "retries", "max_share"))


def breaker(facts: Facts) -> Outcome:
    """REL-4: the gateway shows the state of its breakers."""
    names, seen = metric_names(facts.the_service())
    if "shipway_breaker_state" not in names:
        fix = "let the gateway of `shipway serve` stand before the engines"
        return failed("the service shows no circuit breaker", fix, seen)
    shown = Evidence(seen.source, seen.where, "shows shipway_breaker_state")
    return as_far_as_seen(facts, passed(shown), "the circuit breakers")


def pooling(facts: Facts) -> Outcome:
    """REL-5."""
    modules = own_modules(facts.the_repository())
    calls = [call for call in calls_in(modules) if call.name.split(".")[0] in _DATABASES]
    for call in calls:
        pool = call.keywords.get("poolclass")
        if call.name in _SINGLE or (pool is not None and getattr(pool, "id", getattr(pool, "attr", "")) == "NullPool"):
            told = facts.line(call.path, call.line, call.name)
            return failed("a connection is made for each use", "use the library's pool", told)
    pools = [call for call in calls if call.name.rpartition(".")[2] in _POOLS]
    if pools:
        return passed(*(facts.line(call.path, call.line, call.name) for call in pools[:3]))
    if calls:
        raise UndecidedError(f"{calls[0].where} uses {calls[0].name}; whether it pools is not known", "attest it")
    redis = facts.the_project().redis
    if redis is not None:
        outcome = passed(facts.setting("redis", says="the gateway keeps a pool of connections"))
    else:
        code = Evidence(Source.REPOSITORY, f"{len(modules)} Python modules", "call no client of a database")
        outcome = not_applicable("neither settings nor code name a database", code, facts.setting("redis"))
    return as_far_as_seen(facts, outcome, "the databases")


def limits_and_retries(facts: Facts) -> Outcome:
    """REL-6."""
    outcome = _retries(facts)
    limited = replace(outcome, evidence=(facts.setting("rates", "per_key_min"), *outcome.evidence))
    return as_far_as_seen(facts, limited, "what it asks again")


def embeddings(facts: Facts) -> Outcome:
    """REL-7: documents are embedded by a job, never by a request."""
    if facts.the_project().corpus is None:
        return as_far_as_seen(facts, not_applicable("there is no corpus", facts.setting("corpus")), "the embedding")
    store, root = facts.the_store(), facts.setting("corpus", "root")
    if not store.corpus:
        raise UndecidedError("the corpus was never built here", "`shipway rag build`", (root,))
    built = Evidence(Source.STORE, "corpus current", f"{store.corpus[:19]} was built before it was asked")
    return as_far_as_seen(facts, passed(root, built), "the embedding")


def agents(facts: Facts) -> Outcome:
    """REL-8."""
    return as_far_as_seen(facts, not_applicable("no route runs an agent", routes(facts)), "how many agents")


def recovery(facts: Facts) -> Outcome:
    """REL-9: a plan for the loss of everything."""
    del facts
    raise UndecidedError(
        "that a backup was restored elsewhere cannot be seen",
        "`shipway db backup FILE`, restore it on another machine with `shipway db restore FILE`, and attest it",
    )


def by_complexity(facts: Facts) -> Outcome:
    """REL-10."""
    project = facts.the_project()
    if len(project.models) < _LEAST_REPLICAS:
        one = facts.setting("models", says=", ".join(project.models) or "none")
        outcome = not_applicable("there is one model at most, so nothing to choose", one)
        return as_far_as_seen(facts, outcome, "the choice of models")
    for index, rule in enumerate(project.routing.rules):
        if rule.to is not None and (rule.min_complexity is not None or rule.max_complexity is not None):
            return passed(facts.setting("routing", "rules", index, says=f"complexity decides for {rule.to}"))
    if project.routing.escalate:
        return passed(
            *(
                facts.setting("routing", "escalate", name, says=f"to {item.to}")
                for name, item in project.routing.escalate.items()
            )
        )
    return failed(
        "simple questions cost as much as hard ones",
        "`routing: { rules: [{ min_complexity: 0.6, to: LARGE }] }`",
        facts.setting("models", says=", ".join(project.models)),
    )


CHECKS = (
    Check(
        Area.RELIABILITY,
        1,
        "Replicas scale by load, two at least",
        "D 11",
        4,
        "needed when load and money are large enough to follow it",
        autoscaling,
        "how the platform scales, and its least number of replicas",
    ),
    Check(
        Area.RELIABILITY,
        2,
        "Another engine answers when one does not",
        "D 11",
        4,
        "failures handled gracefully is what the top of the ladder means",
        fallback,
        "what answers when the service's own model does not",
        effort=Effort.LINE,
    ),
    Check(
        Area.RELIABILITY,
        3,
        "Calls that were turned away are made again",
        "D 11",
        3,
        "one lost packet must not be an error for a user",
        retries,
        "which calls the service makes again, and how often",
        effort=Effort.LINE,
    ),
    Check(
        Area.RELIABILITY,
        4,
        "A circuit breaker before what may fail",
        "D 11",
        3,
        "retries against what is down make it worse",
        breaker,
        "which breaker stands before which dependency",
        Effort.RUN,
    ),
    Check(
        Area.RELIABILITY,
        5,
        "Connections to databases are pooled",
        "D 11",
        3,
        "connections run out before anything else does",
        pooling,
        "how connections are pooled",
    ),
    Check(
        Area.RELIABILITY,
        6,
        "Rate limits and retries together",
        "A 12",
        3,
        "retries without limits are an attack on oneself",
        limits_and_retries,
        "which calls the service makes again, and how often",
        effort=Effort.LINE,
    ),
    Check(
        Area.RELIABILITY,
        7,
        "Documents are embedded by a job, not by a request",
        "A 13",
        3,
        "one large document must not stop answers",
        embeddings,
        "where documents are embedded",
        Effort.RUN,
    ),
    Check(
        Area.RELIABILITY,
        8,
        "Agents do not crowd one process",
        "A 13",
        3,
        "an agent holds a process for minutes",
        agents,
        "how many agents run at once, and what holds more back",
        Effort.STATEMENT,
    ),
    Check(
        Area.RELIABILITY,
        9,
        "A backup was restored elsewhere",
        "D ladder",
        4,
        "the ladder names disaster recovery at this level",
        recovery,
        "when a backup was restored, where, and how long it took",
        Effort.RUN,
    ),
    Check(
        Area.RELIABILITY,
        10,
        "Simple questions go to a smaller model",
        "D ladder",
        4,
        "the ladder names routing by complexity at this level",
        by_complexity,
        "how the service chooses its model",
        effort=Effort.LINE,
    ),
)
