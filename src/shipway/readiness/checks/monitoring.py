"""MON: whether somebody would notice."""

from prometheus_client.parser import text_string_to_metric_families

from shipway.readiness.checks.application import not_broken
from shipway.readiness.facts import Facts, LogLine, ServiceFacts
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
from shipway.readiness.watching import Watched, alerts, panels

_LOGGED = ("request_id", "model", "tokens_in", "tokens_out", "cost_usd", "latency_ms")
_SERVE = "serve one request (`shipway up`, then ask it), and run this again"
_DASHBOARD = "commit a dashboard of Grafana as JSON; docs/how-to/observe.md has the queries"
_RULES = "commit rules of Prometheus (`groups: [{ rules: [{ alert: ..., expr: ... }] }]`)"
_METRICS = ("GET /metrics", "GET /metrics +key")


def metric_names(service: ServiceFacts) -> tuple[set[str], Evidence]:
    """Return the names of the metrics that the service shows, and the request that showed them.

    Raises:
        UndecidedError: it shows none, or wants a key for them.
    """
    request = next((name for name in _METRICS if name in service.answers and service.answers[name].status == 200), "")  # noqa: PLR2004
    if not request:
        service.answer("GET /metrics +key")
        raise UndecidedError("GET /metrics does not answer 200", "use a key with the role operate: `--key-env NAME`")
    try:
        families = list(text_string_to_metric_families(service.answers[request].body))
    except ValueError as error:
        raise UndecidedError(
            f"GET /metrics is not the text of Prometheus: {error}", "`shipway logs gateway`"
        ) from error
    names = {family.name for family in families} | {sample.name for family in families for sample in family.samples}
    return names, service.evidence(request, f"HTTP 200, {len(families)} metrics")


def structured_logs(facts: Facts) -> Outcome:
    """MON-1."""
    setting = facts.setting("logging", "requests")
    if not facts.the_project().logging.requests:
        return failed("requests are not logged", "`logging: { requests: true }`", setting)
    lines = request_lines(facts.the_logs().lines)
    if not lines:
        raise UndecidedError("no request's line is in the log", _SERVE, (setting,))
    missing = [name for name in _LOGGED if name not in (lines[-1].fields or {})]
    told = Evidence(Source.LOGS, lines[-1].where, "a JSON line with " + ", ".join(_LOGGED))
    if missing:
        return failed(
            f"the line has no {', '.join(missing)}",
            "let the gateway of `shipway serve` write the lines",
            setting,
            Evidence(Source.LOGS, lines[-1].where, "the newest request's line"),
        )
    return passed(setting, told)


def dashboard(facts: Facts) -> Outcome:
    """MON-2."""
    return _shown(panels(facts.the_repository()), ("latency", "errors", "throughput"))


def _shown(found: Watched, wanted: tuple[str, ...]) -> Outcome:
    missing = found.missing(*wanted)
    if len(missing) == len(wanted):
        raise UndecidedError("no dashboard in the repository shows it", f"{_DASHBOARD}, or attest where it is")
    if missing:
        return failed(
            f"no panel shows {', '.join(missing)}", f"add panels for {', '.join(missing)}", *found.evidence(*wanted)
        )
    return passed(*found.evidence(*wanted))


def ai_metrics(facts: Facts) -> Outcome:
    """MON-3."""
    names, seen = metric_names(facts.the_service())
    wanted = {"shipway_tokens": "tokens", "shipway_cost_usd": "cost", "shipway_cache_hits": "cache hits"}
    missing = [told for name, told in wanted.items() if name not in names]
    if missing:
        return failed(
            f"the service does not count {', '.join(missing)}",
            "let the gateway of `shipway serve` stand before it",
            seen,
        )
    return passed(Evidence(seen.source, seen.where, "counts " + ", ".join(wanted)))


def tracing(facts: Facts) -> Outcome:
    """MON-4."""
    traces = facts.the_project().telemetry.traces
    exporter, ratio = facts.setting("telemetry", "traces", "exporter"), facts.setting("telemetry", "traces", "ratio")
    if traces.exporter == "none" or traces.ratio <= 0:
        return failed(
            "no request is traced",
            "`telemetry: { traces: { exporter: otlp, endpoint: ADDRESS, ratio: 0.01 } }`",
            exporter,
            ratio,
        )
    return passed(exporter, ratio)


def alerting(facts: Facts) -> Outcome:
    """MON-5."""
    found = alerts(facts.the_repository())
    wanted = ("errors", "latency", "cost", "engines")
    missing = found.missing(*wanted)
    if missing and found.unread:
        raise UndecidedError(
            f"{found.unread[0]} cannot be read", "make it plain YAML, or attest it", found.evidence(*wanted)
        )
    if len(missing) == len(wanted):
        raise UndecidedError("no alert in the repository looks at the gateway", f"{_RULES}, or attest where they are")
    if missing:
        return failed(f"no alert looks at {', '.join(missing)}", _RULES, *found.evidence(*wanted))
    return passed(*found.evidence(*wanted))


def cost(facts: Facts) -> Outcome:
    """MON-6: a budget, an alert before it is spent, a panel."""
    project = facts.the_project()
    if project.models and not any(_priced(model.price) for model in project.models.values()):
        free = [name for name, model in project.models.items() if model.base_url is None]
        if len(free) == len(project.models):
            return not_applicable(
                "every model runs on this machine and has no price",
                *(facts.setting("models", name, "engine") for name in free),
            )
    budget = facts.setting("budgets", "daily_usd")
    if project.budgets.daily_usd is None:
        return failed("there is no daily budget", "`budgets: { daily_usd: 50 }`", budget)
    repository = facts.the_repository()
    shown, told = panels(repository), alerts(repository)
    if shown.missing("cost") or told.missing("cost"):
        what = "no panel shows the cost" if shown.missing("cost") else "no alert looks at the cost"
        raise UndecidedError(
            what, f"{_DASHBOARD if shown.missing('cost') else _RULES}, or attest where it is", (budget,)
        )
    return passed(budget, *shown.evidence("cost"), *told.evidence("cost"))


def _priced(price: object) -> bool:
    return any(getattr(price, name, 0) for name in ("input", "output", "cache_read", "cache_write"))


def feedback(facts: Facts) -> Outcome:
    """MON-7: that some was collected; that it could be, only a running service shows."""
    try:
        store = facts.the_store()
    except UndecidedError:
        store = None
    if store is not None and store.feedback > 0:
        return passed(Evidence(Source.STORE, "observations of kind feedback", f"{store.feedback} collected"))
    service = facts.the_service()
    answer, nothing = not_broken(service, "POST /v1/feedback {} +key"), service.answer("POST /no-such-page +key")
    if answer.status in {400, 422} and nothing.status in {404, 405}:
        return passed(
            service.evidence("POST /v1/feedback {} +key", f"HTTP {answer.status}: it is there and wants a rating"),
            service.evidence("POST /no-such-page +key"),
        )
    return failed(
        "the service takes no feedback",
        "send it to POST /v1/feedback of the gateway",
        service.evidence("POST /v1/feedback {} +key"),
    )


def watched(facts: Facts) -> Outcome:
    """MON-8: metrics that are there, an alert on them, somebody who is told."""
    project = facts.the_project()
    if not project.contacts:
        return failed(
            "nobody is named who is told",
            '`contacts: [{ who: On call, how: "#oncall" }]`',
            facts.setting("contacts", says="none"),
        )
    contact = facts.setting("contacts", says=", ".join(item.who for item in project.contacts))
    found = alerts(facts.the_repository())
    if not found.answers:
        raise UndecidedError(
            "no alert in the repository looks at the gateway", f"{_RULES}, or attest where they are", (contact,)
        )
    _, seen = metric_names(facts.the_service())
    return passed(seen, *found.evidence(*found.answers)[:1], contact)


def drift(facts: Facts) -> Outcome:
    """MON-9: goldens or sampled answers whose rules alert when they get worse."""
    quality = facts.the_project().quality
    seen = [facts.setting("quality", "sample")]
    if quality.goldens is not None:
        seen.append(facts.setting("quality", "goldens", "dataset"))
    if quality.sample <= 0 and quality.goldens is None:
        return failed(
            "nobody notices when answers get worse by themselves",
            "`quality: { sample: 0.05 }`, or goldens: docs/how-to/watch-quality.md",
            *seen,
        )
    return passed(*seen, facts.setting("quality", "rules", "min_pass"))


def request_lines(lines: tuple[LogLine, ...]) -> list[LogLine]:
    """Return the lines of requests."""
    return [line for line in lines if (line.fields or {}).get("event") == "request"]


_WHERE = "where it is (a link), and what it looks at"

CHECKS = (
    Check(
        Area.MONITORING,
        1,
        "JSON log lines with request id, model, tokens and cost",
        "D 11",
        3,
        "without them an answer cannot be traced to its release",
        structured_logs,
        effort=Effort.RUN,
    ),
    Check(
        Area.MONITORING,
        2,
        "A dashboard of latency, errors and throughput",
        "D 11",
        3,
        "the first question of an incident is since when",
        dashboard,
        _WHERE,
    ),
    Check(
        Area.MONITORING,
        3,
        "Metrics of tokens, cost and cache hits",
        "D 11",
        3,
        "an LLM fails in its bill too",
        ai_metrics,
        effort=Effort.RUN,
    ),
    Check(
        Area.MONITORING,
        4,
        "Requests are traced",
        "D 11",
        3,
        "the ladder names tracing at this level",
        tracing,
        effort=Effort.LINE,
    ),
    Check(
        Area.MONITORING,
        5,
        "Alerts on errors, latency, cost and engines",
        "D 11",
        3,
        "a dashboard that nobody looks at wakes nobody",
        alerting,
        _WHERE,
    ),
    Check(
        Area.MONITORING,
        6,
        "A daily budget, with a panel and an alert",
        "D 11",
        3,
        "the ladder names cost tracking at this level",
        cost,
        _WHERE,
    ),
    Check(
        Area.MONITORING,
        7,
        "Users can say what they think of an answer",
        "D 11",
        3,
        "they see failures that no metric has",
        feedback,
        effort=Effort.RUN,
    ),
    Check(
        Area.MONITORING,
        8,
        "Metrics, an alert, and somebody who is told",
        "A 12",
        3,
        "an alert without a reader is a log line",
        watched,
        _WHERE,
    ),
    Check(
        Area.MONITORING,
        9,
        "Answers that get worse by themselves are noticed",
        "D ladder",
        4,
        "hosted models and users change without a deploy",
        drift,
        effort=Effort.LINE,
    ),
)
