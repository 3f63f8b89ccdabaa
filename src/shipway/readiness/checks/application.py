"""APP: what the application itself must do before users meet it."""

import ast

from shipway.config.credentials import credential_lines
from shipway.readiness.facts import Answer, Facts, ServiceFacts
from shipway.readiness.images import parsed_dockerfile
from shipway.readiness.model import (
    Area,
    Check,
    Effort,
    Evidence,
    Outcome,
    Source,
    UndecidedError,
    failed,
    passed,
)
from shipway.readiness.python_code import Call, calls_in, dotted_name, own_modules

_OK = range(200, 300)
_CLIENT_ERROR = range(400, 500)
_SERVER_ERROR = 500
_NOT_ALLOWED = {401, 403}
_NOT_ABOUT_THE_BODY = {*_NOT_ALLOWED, 404, 429}
# Ten times the usual 30 and 60 seconds: whoever waits longer has gone.
_LONGEST_REQUEST_S = 300.0
_LONGEST_LLM_S = 600.0
# A thousand requests a second of one key.
_MOST_A_MINUTE = 60_000
_INTERNALS = ("Traceback (most recent call last)", 'File "/', "site-packages", '.py", line ', "\tat ")
_BODY_METHODS = {"post", "put", "patch"}
_UNCHECKED = {"dict", "Dict", "Any", "Request", "object", "list", "List", "bytes", "str"}
UP = "start the service (`shipway up`), or name it: `shipway readiness --url ADDRESS`"


def catch_all(service: ServiceFacts) -> Evidence | None:
    """Return evidence that the service answers everything with 200, which makes every single answer worthless."""
    answer = service.answers.get("GET /no-such-page")
    if answer is not None and answer.status in _OK:
        return service.evidence("GET /no-such-page", f"HTTP {answer.status} for a page that does not exist")
    return None


def health(facts: Facts) -> Outcome:
    """APP-1."""
    service = facts.the_service()
    answer, anything = service.answer("GET /health"), catch_all(service)
    seen = service.evidence("GET /health")
    if answer.status not in _OK:
        return failed(f"GET /health answers {answer.status}", "serve it: `shipway serve` does", seen)
    if anything is not None:
        return failed("every path answers 200, so this answer says nothing", "answer 404 to unknown paths", anything)
    return passed(seen, _not_everything(service))


def _not_everything(service: ServiceFacts) -> Evidence:
    status = service.answer("GET /no-such-page").status
    return service.evidence("GET /no-such-page", f"HTTP {status}, so not everything answers 200")


def not_broken(service: ServiceFacts, request: str) -> Answer:
    """Return an answer that says something about the request.

    Raises:
        UndecidedError: the service could not serve at all, as before the first deploy, or does not know the key.
    """
    answer = service.answer(request)
    if answer.status in _NOT_ALLOWED and request.endswith("+key"):
        raise UndecidedError(
            f"{request} answers {answer.status}: the service does not take the key",
            "give a key with the roles invoke and operate; a new one is known after a moment",
            (service.evidence(request),),
        )
    if answer.status >= _SERVER_ERROR:
        raise UndecidedError(
            f"{request} answers {answer.status}: {answer.body[:120]}",
            "let it serve first: `shipway status`, `shipway deploy RELEASE`",
            (service.evidence(request),),
        )
    return answer


def ready(facts: Facts) -> Outcome:
    """APP-2: the gateway's own answer is known to look at store, snapshot and engines; another's has to be stated."""
    service = facts.the_service()
    answer, anything = service.answer("GET /ready"), catch_all(service)
    if anything is not None:
        return failed("every path answers 200, so this answer says nothing", "answer 404 to unknown paths", anything)
    if answer.status not in _OK:
        why = f"GET /ready answers {answer.status}: {answer.body[:160]}"
        return failed(why, "see what is missing: `shipway status`, `shipway doctor`", service.evidence("GET /ready"))
    if answer.body.replace(" ", "") != '{"status":"ready"}' or "x-request-id" not in answer.headers:
        raise UndecidedError(
            "GET /ready answers 200, but this is not Shipway's gateway: what it looks at cannot be seen",
            "attest that it asks every dependency",
            (service.evidence("GET /ready"),),
        )
    return passed(
        service.evidence("GET /ready", "HTTP 200 of Shipway's gateway, which asks snapshot, store and stable engines")
    )


def configuration(facts: Facts) -> Outcome:
    """APP-3: nothing secret in what is committed, and what differs between environments comes from outside."""
    loaded, repository = facts.the_settings(), facts.the_repository()
    found = [
        facts.line(path, number, "looks like a credential in clear text")
        for path, text in repository.ending("")
        for number in credential_lines(text)
        if not _is_example(path)
    ]
    if found:
        return failed(
            f"{len(found)} lines look like credentials",
            "move each to the environment, name it `{env: NAME}`, and rotate it",
            *found[:5],
        )
    hard = _hard_coded(facts)
    if hard:
        return failed("secrets are written into code", "read them with `os.environ[...]`, and rotate them", *hard[:5])
    read = Evidence(Source.REPOSITORY, f"{len(repository.texts)} files", "none holds what looks like a credential")
    return passed(
        Evidence(Source.SETTINGS, "shipway.yaml", f"loads; every secret in it is a reference ({loaded.environment})"),
        read,
    )


def _is_example(path: str) -> bool:
    return path.endswith((".env.example", ".lock", "package-lock.json")) or "/fixtures/" in path


def _hard_coded(facts: Facts) -> list[Evidence]:
    names = ("api_key", "apikey", "secret", "password", "passwd", "access_token", "auth_token", "private_key")
    found = []
    for path, tree in own_modules(facts.the_repository()).items():
        for node in ast.walk(tree):
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            value = getattr(node, "value", None)
            is_text = isinstance(value, ast.Constant) and isinstance(value.value, str) and len(value.value) >= 8  # noqa: PLR2004
            for target in targets:
                name = dotted_name(target).rpartition(".")[2].lower()
                if is_text and name.endswith(names):
                    found.append(facts.line(path, target.lineno, f"{name} is a text in the code"))
    return found


def validation(facts: Facts) -> Outcome:
    """APP-4: the gateway by an invalid body; a service of the user's own by the types of its handlers."""
    project = facts.the_project()
    seen: list[Evidence] = []
    kinds = {route.kind for route in project.routes.values()}
    asked = ["/v1/chat/completions", "/generate", "/v1/feedback"] if kinds - {"http"} else []
    for path in [*asked, *(["/rag_answer"] if "rag" in kinds else [])]:
        service, request = facts.the_service(), f"POST {path} {{}} +key"
        answer = not_broken(service, request)
        told = service.evidence(request, f"HTTP {answer.status} for a body that lacks what it needs")
        seen.append(told)
        if answer.status not in _CLIENT_ERROR or answer.status in _NOT_ABOUT_THE_BODY:
            why = f"{request.removesuffix(' +key')} is answered with {answer.status}, not refused"
            return failed(why, "validate the body: the gateway of `shipway serve` does", told)
    if "http" in kinds:
        seen += _typed_handlers(facts)
    return passed(*seen)


def _typed_handlers(facts: Facts) -> list[Evidence]:
    modules = own_modules(facts.the_repository())
    good: list[Evidence] = []
    bad: list[Evidence] = []
    for path, tree in modules.items():
        models = _models(modules)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _takes_body(node):
                typed = [_annotation(argument) for argument in (*node.args.args, *node.args.kwonlyargs)]
                known = [name for name in typed if name in models]
                loose = [name for name in typed if name in _UNCHECKED - {"str"} or not name]
                told = facts.line(path, node.lineno, f"{node.name}({', '.join(typed)})")
                (good if known and not loose else bad).append(told)
    if bad:
        raise UndecidedError(
            f"{bad[0].where}: the type of the body is not one that is checked here",
            "give it a pydantic model, or attest how it is validated",
            tuple(bad[:5]),
        )
    if not good:
        raise UndecidedError(
            "no handler of FastAPI was found in the service's code",
            "attest that every endpoint validates its input",
        )
    return good


def _models(modules: dict[str, ast.Module]) -> set[str]:
    known = {"BaseModel", "pydantic.BaseModel"}
    grown = True
    while grown:
        grown = False
        for tree in modules.values():
            for node in ast.walk(tree):
                if not isinstance(node, ast.ClassDef) or node.name in known:
                    continue
                if any(dotted_name(base) in known for base in node.bases):
                    known.add(node.name)
                    grown = True
    return known


def _takes_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr in _BODY_METHODS
        for decorator in node.decorator_list
    )


def _annotation(argument: ast.arg) -> str:
    node = argument.annotation
    if isinstance(node, ast.Subscript):
        node = node.value
    return dotted_name(node) if node is not None else ""


def rate_limit(facts: Facts) -> Outcome:
    """APP-5."""
    rates = facts.the_project().rates
    seen = (
        facts.setting("rates", "per_key_min", says=f"{rates.per_key_min} requests a minute and key"),
        facts.setting("rates", "per_ip_min", says=f"{rates.per_ip_min} a minute and address"),
    )
    if rates.per_key_min > _MOST_A_MINUTE:
        return failed("so high a limit stops nobody", "`rates: { per_key_min: 120 }`", *seen)
    return passed(*seen)


def timeouts(facts: Facts) -> Outcome:
    """APP-6."""
    project = facts.the_project()
    server = project.server
    seen = [
        facts.setting("server", "request_timeout_s"),
        facts.setting("server", "llm_timeout_s"),
        facts.setting("server", "stream_timeout_s"),
    ]
    seen += [
        facts.setting("routes", name, "timeout_s") for name, route in project.routes.items() if route.kind == "http"
    ]
    slow = [
        name for name, route in project.routes.items() if route.kind == "http" and route.timeout_s > _LONGEST_REQUEST_S
    ]
    if server.request_timeout_s > _LONGEST_REQUEST_S or server.llm_timeout_s > _LONGEST_LLM_S or slow:
        fix = "`server: { request_timeout_s: 30, llm_timeout_s: 60 }`"
        return failed("a request may hang for more than five minutes, a model for more than ten", fix, *seen)
    return passed(*seen)


def shutdown(facts: Facts) -> Outcome:
    """APP-7: time to drain, and a container whose process gets the signal."""
    drain_s = facts.the_project().server.drain_s
    seen = [facts.setting("server", "drain_s", says=f"{drain_s:g} s for requests in flight")]
    if drain_s <= 0:
        return failed("requests in flight are cut at once", "`server: { drain_s: 30 }`", *seen)
    repository = facts.the_repository()
    text = repository.text("Dockerfile")
    if text is None:
        return passed(*seen)
    for name in ("ENTRYPOINT", "CMD"):
        found = parsed_dockerfile(text).last(name)
        if found is not None:
            told = facts.line("Dockerfile", found.line, f"{name} {found.value[:60]}")
            if not found.value.startswith("[") and not found.value.startswith("exec "):
                why = "the shell form gives SIGTERM to a shell, not to the server"
                return failed(why, f'write the exec form: `{name} ["shipway", "serve"]`', *seen, told)
            return passed(*seen, told)
    raise UndecidedError("the Dockerfile says neither CMD nor ENTRYPOINT", "say what it starts", tuple(seen))


def errors(facts: Facts) -> Outcome:
    """APP-8: what a caller reads when something is wrong, and no debugging left on."""
    service = facts.the_service()
    for call in calls_in(own_modules(facts.the_repository())):
        if _debugs(call):
            told = facts.line(call.path, call.line, f"{call.name}(debug=True)")
            return failed("debugging is on: errors show code and values", "remove `debug=True`", told)
    asked = [name for name, answer in service.answers.items() if answer.status in range(400, 600)]
    if not asked:
        raise UndecidedError("no request was answered with an error", UP)
    for name in asked:
        answer = service.answers[name]
        if any(sign in answer.body for sign in _INTERNALS):
            told = service.evidence(name, f"HTTP {answer.status} with internals: {answer.body[:80]!r}")
            return failed("an error shows the program's internals", "answer with a message and an id alone", told)
        if not _says_something(answer):
            told = service.evidence(name, f"HTTP {answer.status} with {answer.body[:60]!r}")
            return failed("an error does not say what is wrong", "answer with a message that says it", told)
    return passed(
        *(service.evidence(name, f"HTTP {service.answers[name].status}, a message, no internals") for name in asked)
    )


def _debugs(call: Call) -> bool:
    last = call.name.rpartition(".")[2]
    value = call.keywords.get("debug")
    return last in {"FastAPI", "Flask", "Starlette", "run"} and isinstance(value, ast.Constant) and value.value is True


def _says_something(answer: Answer) -> bool:
    return any(word in answer.body for word in ('"message"', '"detail"', '"title"', '"missing"'))


CHECKS = (
    Check(
        Area.APPLICATION,
        1,
        "GET /health answers 200",
        "D 11",
        1,
        "a container that cannot say that it lives cannot be restarted",
        health,
        effort=Effort.RUN,
    ),
    Check(
        Area.APPLICATION,
        2,
        "GET /ready looks at every dependency",
        "D 11",
        2,
        "automatic deploys send traffic as soon as this says 200",
        ready,
        "that the readiness endpoint asks every dependency (name them)",
        Effort.RUN,
    ),
    Check(
        Area.APPLICATION,
        3,
        "Configuration from outside, no secret in the code",
        "D 11",
        1,
        "an image with a secret in it may not leave the laptop",
        configuration,
        effort=Effort.WORK,
    ),
    Check(
        Area.APPLICATION,
        4,
        "Endpoints validate their input",
        "D 11",
        2,
        "what is deployed without a person looking must refuse nonsense itself",
        validation,
        "how every endpoint of the service validates its input",
        Effort.RUN,
    ),
    Check(
        Area.APPLICATION,
        5,
        "Rate limits for each key and address",
        "D 11",
        2,
        "one caller must not stop the service for all",
        rate_limit,
        effort=Effort.LINE,
    ),
    Check(
        Area.APPLICATION,
        6,
        "Time-outs of requests and model calls",
        "D 11",
        2,
        "a hanging engine must not hang the service",
        timeouts,
        effort=Effort.LINE,
    ),
    Check(
        Area.APPLICATION,
        7,
        "Requests in flight are finished at shutdown",
        "D 11",
        2,
        "every automatic deploy is a shutdown",
        shutdown,
        effort=Effort.LINE,
    ),
    Check(
        Area.APPLICATION,
        8,
        "Errors inform and leak nothing",
        "D 11",
        2,
        "strangers see them as soon as it is deployed",
        errors,
        effort=Effort.RUN,
    ),
)
