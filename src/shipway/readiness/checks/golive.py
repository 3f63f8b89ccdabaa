"""LIVE: the last look before traffic, at what really runs."""

import json

from shipway.readiness.checks.monitoring import metric_names
from shipway.readiness.facts import Facts
from shipway.readiness.markdown import pages
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
from shipway.readiness.watching import panels

_FIRST_SHARE = 0.10
_SHOWN = ("p50", "p95", "errors", "tokens", "queue", "safety")
_OK = 200


def vllm(facts: Facts) -> Outcome:
    """LIVE-1."""
    project = facts.the_project()
    own = {name: entry for name, entry in project.models.items() if entry.engine == "vllm"}
    if not own:
        outcome = not_applicable("no model runs on vLLM", facts.setting("models", says=_engines(facts)))
        return as_far_as_seen(facts, outcome, "the engines")
    service = facts.the_service()
    seen = []
    for name, entry in own.items():
        request = f"GET models of {name}"
        answer = service.answer(request)
        seen.append(service.evidence(request))
        length = _model_length(answer.body, entry.model)
        if answer.status != _OK or length is None:
            return failed(f"the engine of {name} does not serve {entry.model}", f"`vllm serve {entry.model}`", *seen)
        if length < entry.max_ctx:
            return failed(
                f"--max-model-len is {length}, models.{name}.max_ctx {entry.max_ctx}",
                f"`vllm serve {entry.model} --max-model-len {entry.max_ctx}`",
                *seen,
            )
    raise UndecidedError(
        "the engines answer with the right length; that the tokenizer is the model's cannot be seen",
        "attest the tokenizer",
        tuple(seen),
    )


def _engines(facts: Facts) -> str:
    return ", ".join(f"{name}: {entry.engine}" for name, entry in facts.the_project().models.items()) or "none"


def _model_length(body: str, model: str) -> int | None:
    try:
        listed = json.loads(body)["data"]
        return next((int(item["max_model_len"]) for item in listed if item["id"] == model), None)
    except (ValueError, KeyError, TypeError):
        return None


def trtllm(facts: Facts) -> Outcome:
    """LIVE-2."""
    own = [name for name, entry in facts.the_project().models.items() if entry.engine in {"trtllm", "trt", "trt-llm"}]
    if not own:
        outcome = not_applicable("no model runs on TensorRT-LLM", facts.setting("models", says=_engines(facts)))
        return as_far_as_seen(facts, outcome, "the engines")
    service = facts.the_service()
    answers = [service.evidence(f"GET models of {name}") for name in own]
    raise UndecidedError("how the engine was built cannot be seen", "attest that its KV cache is paged", tuple(answers))


def serving(facts: Facts) -> Outcome:
    """LIVE-3: health, metrics and a stream that ends as it should."""
    service = facts.the_service()
    if service.answer("GET /health").status != _OK:
        return failed("GET /health does not answer 200", "`shipway status`", service.evidence("GET /health"))
    _, metrics = metric_names(service)
    seen = [service.evidence("GET /health"), metrics]
    if all(route.kind == "http" for route in facts.the_project().routes.values()):
        return passed(*seen, facts.setting("routes", says="no route of the gateway streams itself"))
    request = "POST /v1/chat/completions stream +key"
    answer = service.answer(request)
    whole = answer.body.rstrip().endswith("data: [DONE]")
    told = service.evidence(request, f"HTTP {answer.status}, {answer.headers.get('content-type', '')}")
    if answer.status != _OK or "text/event-stream" not in answer.headers.get("content-type", "") or not whole:
        return failed("a streamed answer does not end with [DONE]", "`shipway eval smoke` says more", *seen, told)
    return passed(*seen, Evidence(told.source, told.where, "streamed, ended with [DONE]"))


def redaction(facts: Facts) -> Outcome:
    """LIVE-4: logs by setting; questions and answers only by statement."""
    setting = facts.setting("logging", "question")
    if facts.the_project().logging.question not in {"hash", "omit"}:
        return failed("logs hold more of a question than its hash", "`logging: { question: hash }`", setting)
    raise UndecidedError(
        "logs hold hashes alone; that questions and answers are redacted cannot be seen",
        "attest what redacts them",
        (setting,),
    )


def limits_tested(facts: Facts) -> Outcome:
    """LIVE-5: somebody was refused, at least once."""
    limit = facts.setting("rates", "per_key_min")
    store = facts.the_store()
    if store.refused:
        return passed(
            limit, Evidence(Source.STORE, f"records of {store.environment}", f"{store.refused} answered with 429")
        )
    names, _ = metric_names(facts.the_service())
    del names
    counted = _rejected(facts)
    if counted is not None:
        return passed(limit, counted)
    raise UndecidedError(
        "nobody was ever refused here, so the limit is not tested",
        "send more than `rates.per_key_min` requests within a minute, or attest when it was done",
        (limit,),
    )


def _rejected(facts: Facts) -> Evidence | None:
    service = facts.the_service()
    for request in ("GET /metrics", "GET /metrics +key"):
        answer = service.answers.get(request)
        for line in answer.body.splitlines() if answer is not None and answer.status == _OK else ():
            if line.startswith("shipway_rejected_total{") and not line.rstrip().endswith((" 0", " 0.0")):
                return service.evidence(request, line[:100])
    return None


def rag(facts: Facts) -> Outcome:
    """LIVE-6."""
    project = facts.the_project()
    if all(route.kind != "rag" for route in project.routes.values()):
        return as_far_as_seen(facts, not_applicable("no route answers from documents", routes(facts)), "the documents")
    store = facts.the_store()
    if not store.stable_corpus:
        return failed(
            "no release that pins a corpus is served",
            "`shipway rag build`, `shipway release create`, `shipway deploy`",
            Evidence(Source.STORE, f"stable of {store.environment}", store.stable or "none"),
        )
    pinned = Evidence(Source.STORE, f"release {store.stable}", f"pins corpus {store.stable_corpus[:19]}")
    service = facts.the_service()
    request = "POST /rag_answer +key"
    answer = service.answer(request)
    try:
        citations = json.loads(answer.body).get("citations")
    except (ValueError, AttributeError):
        citations = None
    if answer.status != _OK or not citations:
        return failed(
            "an answer from documents has no citation",
            "`shipway eval smoke`, `shipway rag ask`",
            pinned,
            service.evidence(request),
        )
    return passed(pinned, service.evidence(request, f"HTTP 200 with {len(citations)} citations"))


def sandbox(facts: Facts) -> Outcome:
    """LIVE-7."""
    return as_far_as_seen(facts, not_applicable("no route has tools of its own", routes(facts)), "the tools")


def live_dashboards(facts: Facts) -> Outcome:
    """LIVE-8."""
    found = panels(facts.the_repository())
    missing = found.missing(*_SHOWN)
    if len(missing) == len(_SHOWN):
        raise UndecidedError("no dashboard in the repository shows the gateway", "commit one, or attest where it is")
    if missing:
        return failed(
            f"no panel shows {', '.join(missing)}", f"add panels for {', '.join(missing)}", *found.evidence(*_SHOWN)
        )
    return passed(*found.evidence(*_SHOWN))


def small_first_step(facts: Facts) -> Outcome:
    """LIVE-9."""
    plan = facts.the_project().rollout
    first = (
        facts.setting("rollout", "steps", 0, says=f"{plan.steps[0].weight:.0%} first")
        if "steps" in plan.model_fields_set
        else facts.setting("rollout", "steps", says=f"{plan.steps[0].weight:.0%} first")
    )
    back, strategy = facts.setting("rollout", "on_harm"), facts.setting("rollout", "strategy")
    if plan.strategy != "canary" or plan.steps[0].weight > _FIRST_SHARE:
        return failed(
            "the first users are more than 10 %",
            "`rollout: { steps: [{ weight: 0.1 }, { weight: 1.0 }] }`",
            strategy,
            first,
        )
    if plan.on_harm != "rollback" or not plan.events:
        return failed("a bad candidate is not taken back by itself", "`rollout: { on_harm: rollback }`", back)
    return passed(strategy, first, back, facts.setting("rollout", "events", says=", ".join(plan.events)))


def runbooks(facts: Facts) -> Outcome:
    """LIVE-10: files that exist, linked from a page that people open first."""
    repository = facts.the_repository()
    wanted = {
        "incident": ("incident", "latency", "outage"),
        "safety": ("safety",),
        "rollback": ("rollback", "roll back", "rolling back"),
    }
    if facts.the_project().corpus is not None:
        wanted["stale index"] = ("stale", "index", "corpus")
    fronts = pages(
        (path, text)
        for path, text in repository.ending(".md")
        if path.rsplit("/", 1)[-1].lower() in {"readme.md", "index.md"}
    )
    all_pages = {page.path: page for page in pages(repository.ending(".md"))}
    seen: dict[str, Evidence] = {}
    missing = []
    for name, words in wanted.items():
        for front in fronts:
            for line, target in front.links:
                page = all_pages.get(target)
                titles = " ".join(title for _, title in page.headings).lower() if page is not None else ""
                if page is not None and page.commands and any(word in titles for word in words):
                    seen.setdefault(name, facts.line(front.path, line, f"links {target}"))
        if name not in seen:
            missing.append(name)
    if missing:
        kinds = {"incident": "latency", "stale index": "stale-index"}
        kind = kinds.get(missing[0], missing[0])
        return failed(
            f"no runbook for {', '.join(missing)} is linked from a README",
            f"`mkdir -p runbooks && shipway runbook {kind} --out runbooks/{kind}.md`, and link it from README.md",
            *seen.values(),
        )
    return passed(*dict.fromkeys(seen.values()))


CHECKS = (
    Check(
        Area.GO_LIVE,
        1,
        "vLLM serves the right model with its whole context",
        "E 5",
        3,
        "a shorter context cuts prompts without a word",
        vllm,
        "that the tokenizer is that of the model",
        Effort.STATEMENT,
    ),
    Check(
        Area.GO_LIVE,
        2,
        "TensorRT-LLM engines have a paged KV cache",
        "E 5",
        3,
        "without it a few long requests fill the GPU",
        trtllm,
        "how the engine was built",
        Effort.STATEMENT,
    ),
    Check(
        Area.GO_LIVE,
        3,
        "Health, metrics and streams work",
        "E 5",
        3,
        "a stream that never ends looks like a slow model",
        serving,
        effort=Effort.RUN,
    ),
    Check(
        Area.GO_LIVE,
        4,
        "Logs hold hashes, questions and answers are redacted",
        "E 5",
        3,
        "what was logged once is in every backup",
        redaction,
        "what redacts questions and answers",
        Effort.STATEMENT,
    ),
    Check(
        Area.GO_LIVE,
        5,
        "Somebody was refused with 429",
        "E 5",
        3,
        "a limit that never refused anybody is a belief",
        limits_tested,
        "when and how the limit was tested",
        Effort.RUN,
    ),
    Check(
        Area.GO_LIVE,
        6,
        "Answers from documents have citations",
        "E 5",
        3,
        "an answer without a source cannot be checked by its reader",
        rag,
        "how the service cites, and how that is tested",
        effort=Effort.RUN,
    ),
    Check(
        Area.GO_LIVE,
        7,
        "Tools run in a sandbox, with paths and times limited",
        "E 5",
        3,
        "a tool does what a prompt says",
        sandbox,
        "the tools' sandbox, paths and time-outs",
        Effort.STATEMENT,
    ),
    Check(
        Area.GO_LIVE,
        8,
        "Dashboards show p50, p95, 5xx, tokens, queue and safety",
        "E 5",
        3,
        "these are the first questions of an incident",
        live_dashboards,
        "where they are, and what they show",
    ),
    Check(
        Area.GO_LIVE,
        9,
        "At most 10 % first, and back by itself",
        "E 5",
        3,
        "the ladder names canaries at this level",
        small_first_step,
        effort=Effort.LINE,
    ),
    Check(
        Area.GO_LIVE,
        10,
        "Runbooks are linked",
        "E 5",
        3,
        "who is woken at night must find them from the first page",
        runbooks,
        "where they are",
        Effort.FILE,
    ),
)
